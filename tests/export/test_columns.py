"""Which item a column belongs to: there and back, in few bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from recbole_compress.artifact.session import open_session
from recbole_compress.embeddings import ItemBlocks
from recbole_compress.errors import ExportError
from recbole_compress.export.columns import by_block, by_id, one_behind, rows_by_id, scattered
from recbole_compress.export.graph import Graph

N_ITEMS = 500


def blocks(sizes):
    rank = torch.full((sum(sizes) + 1,), -1, dtype=torch.int32)
    rank[1:] = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(0))
    return ItemBlocks(sizes, rank)


def answers(graph, ids, *outputs):
    given = helper.make_tensor_value_info("ids", TensorProto.INT64, ids.shape)
    found = [helper.make_tensor_value_info(out, TensorProto.INT64, None) for out in outputs]
    model = graph.model([given], found)
    return open_session(model.SerializeToString(), 1, "m.onnx").run(None, {"ids": ids}), model


ORDERS = {
    "by_id": lambda graph: by_id(N_ITEMS),
    "one_behind": lambda graph: one_behind(N_ITEMS),
    "scattered": lambda graph: scattered(N_ITEMS, 7),
    "by_block": lambda graph: by_block(graph, blocks((9, 90, 400))),
    "one_block": lambda graph: by_block(graph, blocks((N_ITEMS - 1,))),
}


@pytest.mark.parametrize("order", ORDERS)
def test_every_item_has_a_column_of_its_own(order) -> None:
    graph, ids = Graph(), np.arange(1, N_ITEMS)[None]
    columns = ORDERS[order](graph)
    there = columns.of_ids(graph, "ids")
    (column, back), _ = answers(graph, ids, there, columns.to_ids(graph, there))
    assert np.array_equal(back, ids)
    assert len(np.unique(column)) == N_ITEMS - 1
    assert column.min() >= 0 and column.max() < columns.n_columns


def test_columns_of_blocks_are_those_of_their_rows_by_id() -> None:
    cut = blocks((9, 90, 400))
    graph, ids = Graph(), cut.id_of_rank[None].numpy()
    (column,), model = answers(graph, ids, by_block(graph, cut).of_ids(graph, "ids"))
    orders = rows_by_id(cut)
    ranks = np.concatenate([start + order for start, order in zip(cut.starts, orders, strict=True)])
    assert np.array_equal(ranks[column[0]], np.arange(N_ITEMS - 1))
    assert (np.diff(ids[0, :9][orders[0]]) > 0).all()
    # Two bits tell an item's block; its place in there is not stored.
    held = sum(len(array.raw_data) for array in model.graph.initializer if array.dims[:1] != [])
    assert held < N_ITEMS / 4 + 80


def test_more_blocks_than_a_byte_can_tell_are_refused() -> None:
    with pytest.raises(ExportError, match="257 item blocks: a file can hold 256"):
        by_block(Graph(), blocks((1,) * 257))
