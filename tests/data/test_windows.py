"""Every target exactly once, with the context that was promised."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_compress.data.windows import cut_windows, window_stride
from recbole_compress.errors import ConfigError


@given(
    totals=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    max_length=st.integers(1, 12),
    data=st.data(),
)
def test_every_target_once_with_enough_context(totals, max_length, data):
    stride = data.draw(st.integers(1, max_length))
    firsts, position = [], 0
    for total in totals:
        firsts.append(position)
        position += total + 1
    firsts = torch.tensor(firsts)
    lasts = firsts + torch.tensor(totals)

    windows = cut_windows(firsts, lasts, max_length, stride)

    seen = []
    for start, length, counted in zip(
        windows.starts.tolist(), windows.lengths.tolist(), windows.counted.tolist(), strict=True
    ):
        assert 1 <= length <= max_length
        first = int(firsts[firsts <= start].max())
        for target in range(start + length - counted + 1, start + length + 1):
            seen.append(target)
            context = target - start
            assert context >= min(max_length + 1 - stride, target - first)
    expected = [p for f, t in zip(firsts, totals, strict=True) for p in range(f + 1, f + t + 1)]
    assert sorted(seen) == expected


def test_stride_follows_from_min_context():
    assert window_stride(50, None, 20) == 31
    assert window_stride(50, 31, 20) == 31


@pytest.mark.parametrize(("stride", "context"), [(32, 20), (0, None), (51, None), (None, 51)])
def test_stride_out_of_range_is_refused(stride, context):
    with pytest.raises(ConfigError, match="window_(stride|min_context)=.*choose 1 .."):
        window_stride(50, stride, context)
