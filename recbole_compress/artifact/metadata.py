"""What an exported file says of itself, as entries of ONNX's metadata."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from recbole_compress.errors import ArtifactError

__all__ = ["LARGEST", "SCHEMA", "read", "written"]

SCHEMA = 1
_PREFIX = "recbole_compress."
# JSON, compressed, as letters: maps of many tokens.
_PACKED = ("item_tokens", "user_tokens")
# Unpacked: tokens of ten million items. A few bytes could claim to be far more than memory holds.
LARGEST = 1 << 28


def written(described: Mapping[str, Any]) -> dict[str, str]:
    """Entries of the metadata.

    Raises:
        ArtifactError: Tokens that take more than :data:`LARGEST` bytes.

    Example:
        >>> read(written({"model": "SASRec", "item_tokens": ["[PAD]", "a"]}), "m.onnx")
        {'schema': 1, 'model': 'SASRec', 'item_tokens': ['[PAD]', 'a']}
    """
    entries = {_PREFIX + "schema": str(SCHEMA)}
    for key, value in described.items():
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        entries[_PREFIX + key] = (
            _packed(key, text) if key in _PACKED and value is not None else text
        )
    return entries


def _packed(name: str, text: str) -> str:
    content = text.encode()
    if len(content) > LARGEST:
        raise ArtifactError(
            f"{name} take {len(content):,} bytes, a file holds at most {LARGEST:,}; export with "
            "--tokens=False"
        )
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _unpacked(text: str) -> str:
    reader = zlib.decompressobj()
    content = reader.decompress(base64.b64decode(text), LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} bytes")
    if not reader.eof:
        raise ValueError("it ends early")
    return content.decode()


def read(entries: Mapping[str, str], path: str) -> dict[str, Any]:
    """What :func:`written` was given.

    Raises:
        ArtifactError: Another schema version, or entries that cannot be read.
    """
    schema = entries.get(_PREFIX + "schema")
    if schema != str(SCHEMA):
        raise ArtifactError(
            f"{path}: schema version {schema}, this release reads {SCHEMA}; export the model "
            "again, or install the release that wrote the file"
        )
    described: dict[str, Any] = {}
    try:
        for key, text in entries.items():
            name = key.removeprefix(_PREFIX)
            if name == key or name == "sha256":
                continue
            if name in _PACKED and text != "null":
                text = _unpacked(text)
            described[name] = json.loads(text)
    except (ValueError, zlib.error, RecursionError) as error:
        raise ArtifactError(f"{path}: {name} in its metadata cannot be read ({error})") from error
    return described
