"""Parts of batches: all of them together are the batch, and their weights say how large each is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_compress.distributed.shares import BatchShares

batches_of_examples = st.lists(
    st.lists(st.integers(0, 19), min_size=1, max_size=12), min_size=1, max_size=5
)


@given(
    batches=batches_of_examples,
    targets=st.none() | st.lists(st.integers(1, 50), min_size=20, max_size=20),
    world_size=st.integers(1, 5),
)
def test_parts_are_the_batch_and_weigh_as_much(batches, targets, world_size):
    weights = None if targets is None else torch.tensor(targets)
    shares = [BatchShares(batches, weights, rank, world_size) for rank in range(world_size)]
    parts = [list(share) for share in shares]
    assert [len(part) for part in parts] == [len(batches)] * world_size  # the same steps
    for step, batch in enumerate(batches):
        of = [targets[i] if targets else 1 for i in batch]
        own = [(part[step], share.scales[step]) for part, share in zip(parts, shares, strict=True)]
        assert [i for part, scale in own if scale for i in part] == batch
        assert all(part for part, _ in own)  # a process without examples could not take the step
        for part, scale in own:
            if scale:
                total = sum(targets[i] if targets else 1 for i in part)
                assert scale == pytest.approx(world_size * total / sum(of))
                assert total <= sum(of) / world_size + max(of)


def test_weights_of_an_abandoned_epoch_are_forgotten():
    share = BatchShares([[1, 2], [3, 4, 5]], None, rank=0, world_size=2)
    next(iter(share))
    list(share)
    assert len(share.scales) == len(share) == 2
