"""Product codes: which items share a centroid, and what the codes stand for."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.functional.product_codes import (
    quantile_codes,
    quantized_rows,
    quantized_scores,
)


def test_codes_follow_the_order_of_a_column_and_are_used_alike():
    vectors = torch.randn(1000, 3)
    codes = quantile_codes(vectors, 256)
    assert codes.shape == (3, 1000) and codes.dtype == torch.uint8 and codes.is_contiguous()
    for column, code in zip(vectors.T, codes.long(), strict=True):
        sorted_codes = code[column.argsort()]
        assert (sorted_codes.diff() >= 0).all()
        assert set(torch.bincount(code, minlength=256).tolist()) == {3, 4}


@pytest.mark.parametrize("n", [1, 5, 256])
def test_few_items_have_codes_of_their_own(n):
    codes = quantile_codes(torch.randn(n, 2), 256)
    assert all(len(code.unique()) == n for code in codes)


def test_equal_vectors_are_told_apart_by_chance_and_not_by_their_place():
    code = quantile_codes(torch.zeros(1000, 1), 250)[0].long()
    assert torch.bincount(code).tolist() == [4] * 250
    assert (code[1:] == code[:-1]).float().mean() < 0.05  # by place it would be 0.75
    assert code.equal(quantile_codes(torch.zeros(1000, 1), 250)[0].long())


@pytest.mark.parametrize("n_codes", [0, 257])
def test_a_code_is_a_byte(n_codes):
    with pytest.raises(ValueError, match=f"pq_codes={n_codes}: choose 1 .. 256"):
        quantile_codes(torch.zeros(3, 2), n_codes)


@pytest.mark.parametrize("batch", [0, 1, 12, 13, 40])
def test_scores_are_products_with_the_rows(batch):
    torch.manual_seed(1)
    codes, centroids = torch.randint(0, 7, (4, 31)).byte(), torch.randn(4, 7, 2).double()
    rows = quantized_rows(codes, centroids)
    for item in (0, 30):
        expected = torch.cat([centroids[j, int(codes[j, item])] for j in range(4)])
        assert rows[item].equal(expected)
    hidden = torch.randn(batch, 8).double()
    scores = quantized_scores(codes, centroids, hidden)
    torch.testing.assert_close(scores, hidden @ rows.T, rtol=1e-12, atol=1e-12)
