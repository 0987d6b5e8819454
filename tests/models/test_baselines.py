"""The baselines that learn nothing: what they say follows from the train split and the sequence."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction

from recbole_compress.config import Config
from recbole_compress.data import SequenceDataset
from recbole_compress.data.item_counts import train_item_counts
from recbole_compress.models.recency import Recency
from tests.conftest import write_interactions

SEQUENCES = [[f"i{(u * 5 + s * s) % 31}" for s in range(3 + u % 8)] for u in range(60)]


def naive(model, item_seq, item):
    places = [t + 2 for t in range(len(item_seq)) if item_seq[t] == item]
    return float(max(places, default=model.popularity[item]))


def test_the_latest_items_come_first_and_then_the_most_popular(tmp_path):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)
    given = {"data_path": path, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    config = Config("Recency", "tiny", config_dict=given)
    train, _, _ = SequenceDataset(config).build()
    model = Recency(config, train)
    item_seq = torch.tensor([[4, 7, 4, 9, 0, 0], [5, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    rows = {"item_id_list": item_seq, "item_length": (item_seq > 0).sum(1)}
    scores = model.full_sort_predict(Interaction(rows))
    assert scores.topk(3).indices[0, :].tolist() == [9, 4, 7]
    for row, sequence in enumerate(item_seq.tolist()):
        expected = [naive(model, sequence, item) for item in range(1, model.n_items)]
        assert scores[row, 1:].tolist() == expected
    assert scores[1].argmax() == 5  # of the sequence, before the most popular of all
    assert scores[:, 0].eq(0).all()
    others = scores[1].index_fill(0, torch.tensor([0, 5]), -1.0)
    counts = train_item_counts(train)
    assert counts[others.argmax()] == counts.index_fill(0, torch.tensor([5]), 0).max()
    one = Interaction({**rows, "item_id": torch.tensor([7, 6, 6])})
    assert model.predict(one).tolist() == [3.0, naive(model, [5], 6), 7.0]
