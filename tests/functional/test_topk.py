"""The grouped top-k is torch's top-k."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_compress.functional.topk import row_topk


@given(
    rows=st.sampled_from([0, 1, 2, 6, 24]),  # both sides of what is sorted as a whole
    columns=st.integers(1, 3000),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
    rounded=st.booleans(),
)
def test_equals_torch(rows, columns, share, seed, rounded):
    k = max(1, int(share * min(columns, 40)))
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    if rounded:  # many ties and infinities
        values = values.round()
        values[values == 0] = -torch.inf
    best, indices = row_topk(values, k)
    torch.testing.assert_close(best, values.topk(k, dim=1).values, rtol=0, atol=0)
    torch.testing.assert_close(values.gather(1, indices), best, rtol=0, atol=0)
    assert all(len(set(row)) == k for row in indices.tolist())
