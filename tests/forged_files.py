"""Exported files that say something else of themselves, and are sound otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx

from recbole_compress.artifact import checksum, metadata

__all__ = ["amend_metadata", "replace_metadata"]


def amend_metadata(path: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what a file says of itself."""
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    described = metadata.read(entries, path)
    described.pop("schema")
    change(described)
    replace_metadata(path, metadata.written(described))


def replace_metadata(path: str, entries: dict[str, str]) -> None:
    """Give a file these entries, and a checksum that is right."""
    model = onnx.load(path)
    del model.metadata_props[:]
    for key, value in {**entries, checksum.CHECKSUM_KEY: checksum.EMPTY}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    checksum.seal(path)
