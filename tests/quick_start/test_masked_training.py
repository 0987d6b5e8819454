"""What RecBole's masking of sequences cannot do is refused before anything is trained."""

from __future__ import annotations

import pytest

from recbole_compress.config import Config
from recbole_compress.errors import ConfigError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.host_models import dataset_class
from recbole_compress.quick_start.prepared_data import prepare_data
from tests.conftest import SEQUENCES, write_interactions
from tests.refusals import refusal

SMALL = ["--hidden_size=8", "--inner_size=8", "--epochs=1", "--threads=1", "--show_progress=False"]


def test_a_ratio_that_masks_no_item_is_refused_and_the_one_named_works(in_tmp, capsys):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    run = ["--model=BERT4Rec", "--dataset=tiny", f"--data_path={path}", *SMALL]
    run.append("--MAX_ITEM_LIST_LENGTH=3")
    assert refusal(capsys, run) == (
        "error: mask_ratio=0.2: is less than one item of MAX_ITEM_LIST_LENGTH=3; choose 0.34 or "
        "more"
    )
    teacher = ["--model=TTSASRec", *run[1:3], "--embedding_size=8", "--MAX_ITEM_LIST_LENGTH=3"]
    teacher += ["--recipe=distillation", "--teacher={model: BERT4Rec}"]
    assert "teacher: mask_ratio=0.2: is less than" in refusal(capsys, teacher)
    assert not (in_tmp / "saved").exists()
    assert main([*run, "--mask_ratio=0.34"]) == 0


@pytest.mark.parametrize(
    ("sequences", "refused"),
    [
        (["abab", "baba"], True),
        (["abcab", "bcaba"], True),
        (["bbaac", "aabbc"], False),  # c is the last target, in no sequence
        (["aabcb", "bbaca"], True),  # in those of the test split alone
        (["abcab", "bcdba"], False),
    ],
)
def test_a_sequence_of_all_items_leaves_none_to_draw(in_tmp, sequences, refused):
    path = write_interactions(in_tmp, "tiny", sequences)
    settings = {"data_path": path, "topk": [1], "valid_metric": "MRR@1"}
    config = Config("BERT4Rec", "tiny", config_dict=settings)
    data = dataset_class(config)(config)
    if not refused:
        prepare_data(config, data)
        return
    with pytest.raises(ConfigError, match="model=BERT4Rec: a sequence of tiny holds all of its"):
        prepare_data(config, data)
