"""How fast a file answers and how much memory that takes, in a process of its own without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from recbole_compress.artifact.session import Session
from recbole_compress.errors import ArtifactError

__all__ = ["measured", "milliseconds"]

_WARM_UPS = 5
# torch and RecBole would only be loaded because they are there.
_PROGRAM = (
    "import sys; sys.modules.update(torch=None, recbole=None); "
    "from recbole_compress.artifact.measure import main; main()"
)


def measured(path: str, item_seq: np.ndarray, length: np.ndarray, k: int = 10) -> dict[str, Any]:
    """Latency at batches of 1 and 32 on one thread, and resident memory.

    Args:
        path: The file.
        item_seq: Item ids of requests, ``(N, L)``, right-padded with 0.
        length: ``(N,)``.
        k: Items per request.

    Returns:
        ``latency_ms`` with an entry per batch size (``batch_size``, ``k``, ``p50``, ``p95``,
        ``runtime``, ``threads``), and ``resident_bytes``: what the process grew by, from before the
        file was opened to after the last request.

    Raises:
        ArtifactError: The file cannot be used.
    """
    job = {
        "path": path,
        "item_seq": np.asarray(item_seq).tolist(),
        "length": np.asarray(length).tolist(),
        "k": k,
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=json.dumps(job), capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended early"])[-1]
        raise ArtifactError(f"{path}: could not be measured ({reason})")
    return json.loads(done.stdout)


def main() -> None:
    job = json.load(sys.stdin)
    item_seq, length = np.array(job["item_seq"]), np.array(job["length"])
    before = resident_bytes()
    session = Session(job["path"], threads=1)
    latency = []
    for batch_size in (1, 32):
        times = milliseconds(session, item_seq, length, job["k"], batch_size)
        p50, p95 = np.percentile(times, [50, 95])
        latency.append(
            {
                "batch_size": batch_size,
                "k": job["k"],
                "p50": float(p50),
                "p95": float(p95),
                "runtime": "onnxruntime",
                "threads": 1,
            }
        )
    print(json.dumps({"latency_ms": latency, "resident_bytes": resident_bytes() - before}))


def milliseconds(
    session: Session,
    item_seq: np.ndarray,
    length: np.ndarray,
    k: int,
    batch_size: int,
    repeats: int = 200,
    budget_seconds: float = 3.0,
) -> list[float]:
    """Times of requests, one by one, after a few that are not timed."""

    def ask(number: int) -> Callable[[], Any]:
        rows = np.arange(number * batch_size, (number + 1) * batch_size) % len(item_seq)
        lengths = length[rows]
        sequences = np.ascontiguousarray(item_seq[rows, : lengths.max()])
        return lambda: session.topk(sequences, lengths, k)

    for number in range(_WARM_UPS):
        ask(number)()
    times: list[float] = []
    end = time.perf_counter() + budget_seconds
    for number in range(repeats):
        request = ask(number)
        start = time.perf_counter()
        request()
        now = time.perf_counter()
        times.append((now - start) * 1e3)
        if now > end:
            break
    return times


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return 0
