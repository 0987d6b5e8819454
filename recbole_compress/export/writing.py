"""A model as a file: put together, compared with the model, and only then there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from onnx import ModelProto
from torch import Tensor, nn

from recbole_compress.artifact import checksum, metadata
from recbole_compress.errors import ExportError
from recbole_compress.export.encoder import Traces
from recbole_compress.export.graph import MICROSOFT
from recbole_compress.export.integers import integers_of
from recbole_compress.export.recommender_graph import recommender_graph
from recbole_compress.export.source import Source
from recbole_compress.export.sources import source_of
from recbole_compress.export.storage import Integers
from recbole_compress.export.verification import Deviation, require_numbers, verified
from recbole_compress.files import replacing

__all__ = ["Exported", "export_model", "onnx_model_of"]

# Protocol buffers end at 2 GiB, of which the graph and the item tokens take a little.
LARGEST = 2**31 - 2**26


class Exported(NamedTuple):
    """A file that was written and compared with its model.

    Attributes:
        path: Where it is.
        size_bytes: On the disk.
        deviation: How far it is from the model.
        remark: A line on what the file does otherwise than its checkpoint; None for nothing.
    """

    path: str
    size_bytes: int
    deviation: Deviation
    remark: str | None = None


def export_model(
    model: nn.Module,
    path: str,
    *,
    quantized: nn.Module | None = None,
    k: int = 10,
    half: bool = False,
    all_scores: bool = False,
    exclude_history: bool = False,
    described: Mapping[str, Any] | None = None,
    traces: Traces | None = None,
) -> Exported:
    """Write a model into one ONNX file.

    The file is written under a temporary name, read back and compared with the model; it takes its
    name only when they agree. What was at ``path`` before is there until then.

    Args:
        model: A model of this package or one of RecBole's, in full precision.
        path: The file.
        quantized: The same model on integer grids, whose numbers ``model`` has (see
            :func:`~recbole_compress.export.integers.read_numbers_of`): its integers are stored.
        k: How many items are returned where nothing else is asked for.
        half: Store tables in half precision; ``model`` is rounded likewise.
        all_scores: Add an output with the scores of all items.
        exclude_history: Whether the history is left out where nothing else is asked for.
        described: What the file is to say of itself.
        traces: Of this model with other integers, see :func:`onnx_model_of`.

    Raises:
        ExportError: A model that cannot be exported, a file that cannot be written, or one that
            does not say what the model says.
    """
    onnx_model, source, integers = onnx_model_of(
        model,
        path,
        quantized=quantized,
        k=k,
        half=half,
        all_scores=all_scores,
        exclude_history=exclude_history,
        described=described,
        traces=traces,
    )
    content = onnx_model.SerializeToString()
    del onnx_model
    deviations: list[Deviation] = []

    def seal_and_verify(temporary: str) -> None:
        checksum.seal(temporary)
        deviations.append(verified(temporary, path, source, k, bool(integers)))

    try:
        with replacing(path, "wb", seal_and_verify) as file:
            file.write(content)
            del content
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror or error})") from error
    return Exported(path, os.path.getsize(path), deviations[0])


def onnx_model_of(
    model: nn.Module,
    path: str,
    *,
    quantized: nn.Module | None = None,
    k: int = 10,
    half: bool = False,
    all_scores: bool = False,
    exclude_history: bool = False,
    described: Mapping[str, Any] | None = None,
    traces: Traces | None = None,
) -> tuple[ModelProto, Source, dict[Tensor, Integers]]:
    """What :func:`export_model` writes, nothing written yet; its arguments and errors.

    Several files of one model that differ in their integers share ``traces``, and one tracing.

    Returns:
        The file's content, of ``ByteSize()`` bytes; what was found in ``model``; its integers.
    """
    source = source_of(model)
    if not 1 <= k < source.n_items:
        raise ExportError(f"k={k}: choose 1 .. {source.n_items - 1}, the number of items")
    if half:
        for parameter in source.tables:
            short = parameter.data.half()
            if not torch.isfinite(short).all():
                raise ExportError(
                    f"table_bits=16: cannot hold {parameter.data.abs().max():.4g}, which is in a "
                    "table; take 32, or 8 or fewer"
                )
            parameter.data = short.float()
    integers = {} if quantized is None else integers_of(quantized, model)
    size = sum(
        integers[p].codes.size * integers[p].bits // 8
        if p in integers
        else p.numel() * (2 if half and any(p is table for table in source.tables) else 4)
        for p in model.parameters()
    )
    if size > LARGEST:
        raise ExportError(
            f"{path}: the model takes {size / 1e9:.1f} GB, and an ONNX file holds at most "
            f"{LARGEST / 1e9:.1f} GB; store integers (--table-bits=4 --weight-bits=8) or compress "
            "its table"
        )
    require_numbers(path, source)
    onnx_model = recommender_graph(source, integers, k, half, all_scores, exclude_history, traces)
    operators = sorted({node.op_type for node in onnx_model.graph.node if node.domain == MICROSOFT})
    _describe(
        onnx_model,
        {
            **(described or {}),
            "n_items": source.n_items,
            "max_length": source.max_length,
            "k": k,
            "exclude_history": exclude_history,
            "operators": operators,
        },
    )
    return onnx_model, source, integers


def _describe(model: ModelProto, described: Mapping[str, Any]) -> None:
    entries = {**metadata.written(described), checksum.CHECKSUM_KEY: checksum.EMPTY}
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
