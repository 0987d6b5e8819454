"""What a request takes in memory as the catalogue grows, and top 5 beside top 10.

    python -m benchmarks.request_memory
    python -m benchmarks.request_memory --only n_items=10000

The models of ``benchmarks.catalogue_growth``, untrained, each in a process of its own, which has
never taken a training step. One sequence of 50 items per request, as there, and every tail of a
two-level head open. ``loaded`` is what the process holds once its model is there, ``peak`` the most
that it held during the first requests, ``after`` what it holds when they are answered: a two-level
head keeps its tables a second time, by columns. Memory that is free but still the process's goes
back to the system before ``loaded``, or requests would use it unseen, and before ``after``. Linux
only.

Then requests for 5 and for 10 items take turns: the median of each one's processor time.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from recbole.utils import get_model, init_seed
from torch import Tensor

from benchmarks.catalogue_growth import LENGTH, N_ITEMS, check_topk, config_of
from benchmarks.results_file import common_parser, measure_all
from benchmarks.synthetic import ZipfCatalogue
from recbole_compress.heads import TiedTwoLevelHead, TwoLevelHead
from recbole_compress.reports.requests import evaluating
from recbole_compress.steady_memory import hand_back

HEADS = ("untied", "tied", "two_level", "tied_two_level")
KS = (5, 10)
REQUESTS, CHECKED = 20, 5


def entries(seconds: float) -> Iterator[dict[str, Any]]:
    for n_items in N_ITEMS:
        for head in HEADS:
            yield {"n_items": n_items, "head": head, "seconds": seconds}


def measure(n_items: int, head: str, seconds: float, seed: int, threads: int) -> dict[str, Any]:
    """One head on one catalogue, in this process."""
    config = config_of(head, seed)
    init_seed(seed, config["reproducibility"])
    catalogue = ZipfCatalogue(n_items, seed=seed)
    model = get_model(config["model"])(config, catalogue)
    open_all_tails(model)
    requests = catalogue.draw(REQUESTS, LENGTH)
    del catalogue
    rows, length = itertools.cycle(requests.split(1)), torch.tensor([LENGTH])

    def ask(k: int) -> Tensor:
        return model.item_head.topk(model(next(rows), length), k)[1]

    with evaluating(model):
        memory = held(lambda: [ask(max(KS)) for _ in range(REQUESTS)])
        times = cpu_ms(ask, seconds)
    return {
        "parameter_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "rss_bytes": memory,
        "cpu_ms": times,
        **check_topk(model, requests[:CHECKED]),
    }


@torch.no_grad()
def open_all_tails(model: Any) -> None:
    """All of a first level as probable as each other, tokens too, so that no tail stays closed."""
    head = model.item_head
    if isinstance(head, TwoLevelHead):
        head.weight.zero_()
    elif isinstance(head, TiedTwoLevelHead):
        head.tokens.zero_()
        head.embedding.tables[0].zero_()


def held(work: Callable[[], Any]) -> dict[str, int]:
    """Bytes in RAM before some work, the most during it, and after it."""
    _hand_back()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the peak, begins anew
    loaded = _status("VmRSS")
    work()
    peak = _status("VmHWM")
    _hand_back()
    return {"loaded": loaded, "peak": peak, "after": _status("VmRSS")}


def _hand_back() -> None:
    gc.collect()
    hand_back()


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def cpu_ms(ask: Callable[[int], Any], seconds: float) -> dict[str, float]:
    """Median processor milliseconds of a request for so many items, all taking turns."""
    times: dict[str, list[float]] = {f"top {k}": [] for k in KS}
    deadline = time.perf_counter() + seconds
    while len(times["top 10"]) < 3 or time.perf_counter() < deadline:
        for k in KS:
            start = time.process_time()
            ask(k)
            times[f"top {k}"].append(time.process_time() - start)
    return {name: statistics.median(each) * 1e3 for name, each in times.items()}


def main() -> None:
    parser = common_parser("request_memory", (__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of requests in turns")
    options = parser.parse_args()
    measure_all("benchmarks.request_memory", entries(options.seconds), options)


if __name__ == "__main__":
    main()
