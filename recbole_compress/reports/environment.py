"""Where a run took place: versions, processor, memory, commit."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import recbole
import torch

__all__ = ["commit", "cpu_name", "environment", "peak_gpu_bytes", "peak_rss_bytes"]

PACKAGE = Path(__file__).resolve().parents[1]


def environment() -> dict[str, Any]:
    """Versions of what computes, the processor's name, the GPU's if one was used, torch's threads.

    Example:
        >>> sorted(environment())
        ['cpu', 'gpu', 'numpy', 'python', 'recbole', 'threads', 'torch']
    """
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "recbole": recbole.__version__,
        "numpy": numpy.__version__,
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_initialized() else None,
        "threads": torch.get_num_threads(),
    }


def cpu_name() -> str:
    """The processor as it calls itself on Linux; elsewhere what Python knows of it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def peak_rss_bytes() -> int | None:
    """The most memory this process has held at once, since it began; None where no one counts."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def peak_gpu_bytes() -> int | None:
    """The most memory this process's tensors have held on its GPU; None if it has used none."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None


def commit(package: Path = PACKAGE) -> str | None:
    """Commit of the checkout that the package runs from, ``-dirty`` with changes not committed.

    None for an installed package, whatever repository happens to lie around it.
    """
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != package.parent:
        return None
    # No tags: always the hash itself.
    return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
