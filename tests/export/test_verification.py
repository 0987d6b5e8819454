"""What counts as rounding when a file is compared with its model."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.errors import ExportError
from recbole_compress.export.verification import _compare
from recbole_compress.export.writing import export_model
from tests.quantization.models import made


def compared(expected, error):
    best, where = expected.topk(5, dim=1)
    return _compare("m.onnx", expected, where.numpy(), (best + error).numpy(), tolerance=1e-4)


def test_rounding_is_that_of_the_scores_not_of_their_range():
    """Log-probabilities of a million items: about -14, and within a hundredth of each other."""
    generator = torch.Generator().manual_seed(1)
    close = torch.rand(2, 50, generator=generator, dtype=torch.float64).float() / 100
    difference, right = compared(close - 14, error=1e-5)
    assert difference == pytest.approx(1e-3, rel=0.2) and right == 10
    with pytest.raises(ExportError, match="more than rounding explains"):
        compared(close, error=1e-5)
    with pytest.raises(ExportError, match="more than rounding explains"):
        compared(close - 14, error=1e-4)
    with pytest.raises(ExportError, match="ranks items that the model does not"):
        compared(close, error=float("nan"))


@pytest.mark.parametrize("broken", [slice(None), slice(7, 8)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_without_numbers_is_refused(tmp_path, broken, value):
    _, model = made("SASRec")
    with torch.no_grad():
        model.item_embedding.weight[broken] = value
    with pytest.raises(ExportError, match="not written: the model itself gives scores that are no"):
        export_model(model, str(tmp_path / "m.onnx"))
    assert list(tmp_path.iterdir()) == []
