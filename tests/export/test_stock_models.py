"""RecBole's own models as files: which can be, and what is said of those that cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_compress.artifact.session import Session
from recbole_compress.errors import ExportError
from recbole_compress.export import writing
from recbole_compress.export.writing import export_model
from tests.export.test_export import sequences, truth
from tests.quantization.models import N_ITEMS, made


@pytest.mark.parametrize(
    "name, settings",
    [
        ("TransRec", {}),  # distances
        ("NPE", {}),  # only what is positive of the table
        ("HGN", {}),  # another table
        ("RepeatNet", {"hidden_size": 16}),
        ("GRU4RecCPR", {"hidden_size": 16, "reranker_CAN_NUM": 5}),
    ],
)
def test_what_does_not_score_by_a_product_is_refused(tmp_path, name, settings) -> None:
    _, model = made(name, embedding_size=16, **settings)
    with pytest.raises(ExportError, match=f"^{name}: only sequential models that score items by a"):
        export_model(model, str(tmp_path / "m.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_a_bias_of_ones_own_is_part_of_the_product(tmp_path, monkeypatch) -> None:
    _, model = made("SASRec")
    model.output_bias = torch.nn.Parameter(torch.randn(N_ITEMS))
    plain = model.full_sort_predict
    monkeypatch.setattr(model, "full_sort_predict", lambda batch: plain(batch) + model.output_bias)
    session = Session(export_model(model, str(tmp_path / "m.onnx"), all_scores=True).path)
    item_seq, length = (tensor.numpy() for tensor in sequences())
    assert np.allclose(session.all_scores(item_seq, length), truth(model).numpy(), atol=1e-4)


def test_a_graph_that_onnxruntime_does_not_take_is_told_by_the_models_name(
    tmp_path, monkeypatch
) -> None:
    _, model = made("SASRec")
    monkeypatch.setattr(writing.checksum, "seal", lambda file: open(file, "wb").close())
    with pytest.raises(ExportError, match=r"m\.onnx: not written: .* of SASRec is no graph"):
        export_model(model, str(tmp_path / "m.onnx"))
    assert list(tmp_path.iterdir()) == []
