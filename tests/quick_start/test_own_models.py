"""Models that a user wrote against RecBole's own interface."""

from __future__ import annotations

from recbole.model.sequential_recommender import GRU4Rec

from recbole_compress.quick_start.quick_start import run_recbole_compress
from tests.conftest import SEQUENCES, write_interactions


class MyRec(GRU4Rec):
    """Reads a target per row, as RecBole's data set gives them."""

    def calculate_loss(self, interaction):
        assert interaction[self.ITEM_ID].shape == interaction[self.USER_ID].shape
        return super().calculate_loss(interaction)


def test_a_class_of_ones_own_is_trained_as_recbole_trains_it(in_tmp):
    settings = {
        "data_path": write_interactions(in_tmp, "tiny", SEQUENCES),
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "embedding_size": 8,
        "hidden_size": 8,
        "num_layers": 1,
        "dropout_prob": 0.1,
        "epochs": 1,
        "use_gpu": False,
        "show_progress": False,
    }
    result = run_recbole_compress(MyRec, "tiny", config_dict=settings)
    assert result["card"]["model"] == "MyRec"
    assert 0 <= result["test_result"]["ndcg@10"] <= 1
