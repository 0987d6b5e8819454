"""Measuring in a process of its own, so that neither memory nor caches of another run count.

    python -m benchmarks.fresh_process < job.json

is what :func:`measure_apart` starts: it imports a benchmark, calls its ``measure`` and prints what
came out as one line of JSON.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["measure_apart", "measure_on_gpu", "require_memory"]

ROOT = Path(__file__).resolve().parents[1]


def measure_apart(
    module: str,
    entry: dict[str, Any],
    context: dict[str, Any] | None = None,
    memory_limit: float | None = None,
) -> dict[str, Any]:
    """``module.measure(**entry, **context)`` in a new process and an empty folder.

    Args:
        module: Name of a module with a function ``measure`` that returns a dict.
        entry: What is measured; its ``threads`` (default 1) are what torch uses there.
        context: Further arguments that do not change the result, such as paths (absolute ones).
        memory_limit: GB that the process may hold.

    Returns:
        ``result`` and ``provenance``. The result holds ``baseline_rss_bytes``, the most memory
        held once everything was imported, and ``peak_rss_bytes``, the most held at the end; where
        memory ran out, ``out_of_memory`` and why instead of the rest. (On Linux a new process
        inherits its parent's peak: a parent must hold no more than what it imported.)

    Raises:
        subprocess.CalledProcessError: The measurement failed for any other reason; what it wrote
            to standard error has been seen.
    """
    job = {
        "module": module,
        "entry": entry,
        "context": context or {},
        "memory_limit": memory_limit,
    }
    threads = str(entry.get("threads", 1))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    environment["PYTHONWARNINGS"] = "ignore::FutureWarning"  # RecBole's, several per run
    # RecBole writes log_tensorboard/ and saved/ where it runs.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.fresh_process"],
            input=json.dumps(job),
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
    if done.returncode == -signal.SIGKILL:
        return {"result": {"out_of_memory": "the system ended the process"}, "provenance": None}
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


def measure_on_gpu(
    module: str, entry: dict[str, Any], context: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The same in this process: starting CUDA takes longer than most measurements.

    The result holds ``peak_gpu_bytes`` in place of this process's memory, which is that of all
    entries so far.
    """
    import torch

    from benchmarks.provenance import provenance
    from recbole_compress.reports.environment import peak_gpu_bytes

    gc.collect()  # the model before, whose hooks hold it in circles
    torch.cuda.init()  # memory is not counted before
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    here = os.getcwd()
    os.chdir(_scratch().name)
    try:
        result = _result(_measure(module, entry), {**entry, **(context or {})})
    finally:
        os.chdir(here)
    return {"result": {**result, "peak_gpu_bytes": peak_gpu_bytes()}, "provenance": provenance()}


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Kept until the process ends: RecBole's tensorboard may write there until then."""
    return tempfile.TemporaryDirectory()


def require_memory(n_bytes: float) -> None:
    """Give up before work begins that will not fit.

    Raises:
        MemoryError: More than this process may hold, or than the machine has free.
    """
    import psutil

    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    free = psutil.virtual_memory().available
    allowed = free if limit == resource.RLIM_INFINITY else min(limit, free)
    if n_bytes > allowed:
        raise MemoryError(f"about {n_bytes / 1e9:.1f} GB needed, {allowed / 1e9:.1f} GB allowed")


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.provenance import provenance
    from recbole_compress.reports.environment import peak_rss_bytes

    measure = _measure(job["module"], job["entry"])
    baseline = peak_rss_bytes()
    if job["memory_limit"]:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (int(job["memory_limit"] * 1e9), hard))
    result = _result(measure, {**job["entry"], **job["context"]})
    memory = {"baseline_rss_bytes": baseline, "peak_rss_bytes": peak_rss_bytes()}
    return {"result": {**result, **memory}, "provenance": provenance()}


def _measure(module: str, entry: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    import torch

    torch.set_num_threads(entry.get("threads", 1))
    return importlib.import_module(module).measure


def _result(measure: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return measure(**arguments)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return {"out_of_memory": str(error).splitlines()[0] if str(error) else "MemoryError"}


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    # torch's allocator on the CPU raises a RuntimeError
    known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    return known or "can't allocate memory" in str(error)


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
