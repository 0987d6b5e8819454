from __future__ import annotations

import pytest

from recbole_compress.export.writing import export_model
from tests.quantization.models import N_ITEMS, made

TOKENS = ["[PAD]", *(f"item {i}" for i in range(1, N_ITEMS))]


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> str:
    """A small file with everything a file can say of itself."""
    path = str(tmp_path_factory.mktemp("artifact") / "model.onnx")
    described = {
        "model": "TTSASRec",
        "dataset": "nowhere",
        "configuration": {"embedding_size": 16},
        "metrics": {"test": {"ndcg@10": 0.5}},
        "item_tokens": TOKENS,
    }
    export_model(made("TTSASRec")[1], path, k=5, described=described)
    return path
