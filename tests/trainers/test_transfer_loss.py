"""The transfer recipe's binary cross-entropy, on heads alone."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.heads import LowRankHead, UntiedHead
from recbole_compress.trainers.transfer_trainer import sampled_binary_cross_entropy


@pytest.mark.parametrize("make", [UntiedHead, lambda n, d: LowRankHead(n, d, 2)])
def test_binary_cross_entropy_is_the_protocols(make):
    head = make(3, 4)  # two real items: the negative of one is the other
    hidden, targets = torch.randn(6, 4), torch.tensor([1, 2, 1, 1, 2, 2])
    positive = torch.sigmoid(head(hidden, targets))
    negative = torch.sigmoid(head(hidden, 3 - targets))
    expected = (-positive.log() - (1 - negative).log()).mean()
    torch.testing.assert_close(sampled_binary_cross_entropy(head, hidden, targets), expected)
    assert sampled_binary_cross_entropy(head, hidden[:0], targets[:0]) == 0
    many = torch.full((4000,), 7)
    drawn = []

    class Spy(torch.nn.Module):
        num_embeddings = 11

        def forward(self, hidden, ids):
            drawn.append(ids)
            return hidden[:, 0]

    sampled_binary_cross_entropy(Spy(), torch.zeros(4000, 1), many)
    counts = torch.bincount(drawn[1], minlength=11)
    assert counts[0] == counts[7] == 0 and counts[1:].count_nonzero() == 9
    assert counts[counts > 0].min() > 300
