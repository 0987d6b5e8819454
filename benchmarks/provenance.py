"""What a measured number depends on, to be stored beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from recbole_compress.reports.environment import commit, environment

__all__ = ["provenance"]


def provenance() -> dict[str, Any]:
    """Versions, processor, threads, commit (``-dirty`` with changes not committed) and time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**environment(), "commit": commit(), "date": now}
