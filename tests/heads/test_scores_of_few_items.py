"""Heads whose score of one item asks for all others: memory does not grow with the ids."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recbole_compress.backbones import Pointer
from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.heads import ItemHead, PointerHead, TwoLevelHead, UntiedHead
from tests.heads.head_cases import DIM, shuffled_blocks
from tests.largest_allocation import largest_tensor

N_ITEMS = 4_001
LENGTH = 3


def two_level() -> TwoLevelHead:
    return TwoLevelHead(shuffled_blocks(400, 1_600, 2_000), DIM, tail_dims=(3, 2))


HEADS = {
    "two_level": two_level,
    "pointer": lambda: PointerHead(UntiedHead(N_ITEMS, DIM)),
    "pointer, two_level": lambda: PointerHead(two_level()),
}


@pytest.fixture(params=HEADS)
def head(request) -> ItemHead:
    torch.manual_seed(3)
    return HEADS[request.param]()


def states_for(head: ItemHead, n: int) -> torch.Tensor:
    vectors = torch.randn(n, DIM)
    if not isinstance(head, PointerHead):
        return vectors
    item_seq = torch.randint(1, N_ITEMS, (n, LENGTH))
    ends = torch.full((n, 1), LENGTH)
    return Pointer(DIM, LENGTH)(vectors.unsqueeze(1), item_seq, ends).squeeze(1).detach()


def test_many_rows_of_one_item_each_are_scored_a_chunk_at_a_time(head):
    n = 3_000
    hidden, ids = states_for(head, n), torch.randint(0, N_ITEMS, (n,))
    scored = []
    with torch.no_grad():
        most = largest_tensor(lambda: scored.append(head(hidden, ids)))
        assert_close(scored[0], head.scores(hidden).gather(1, ids[:, None]).squeeze(1))
    assert most <= default_chunk_size(N_ITEMS) * N_ITEMS < n * N_ITEMS


def test_many_items_per_row_cost_no_more_than_all(head):
    n, k = 50, 100
    hidden, ids = states_for(head, n).requires_grad_(), torch.randint(0, N_ITEMS, (n, k))
    most = largest_tensor(lambda: head.item_scores(hidden, ids).exp().sum().backward())
    assert most <= n * N_ITEMS
