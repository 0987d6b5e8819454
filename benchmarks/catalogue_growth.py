"""Time and memory of a training step and of a top-10 request as the catalogue grows.

    python -m benchmarks.catalogue_growth
    python -m benchmarks.catalogue_growth --only n_items=10000
    python -m benchmarks.catalogue_growth --device=cuda

CpRecNextItNet, width 64, lists of 50, on a synthetic catalogue with Zipf frequencies; 512 targets
per step through ``CompressTrainer``'s own loop and optimizer, one sequence per request. Heads:
``untied`` and ``tied`` over dense tables, ``two_level`` and ``tied_two_level`` over blockwise ones.
``untied_whole_logits`` is ``untied`` with the loss as RecBole's models compute it, which keeps the
scores of all items for all targets.

Drawn items do not depend on each other, so nothing can be learned but popularity: no item becomes
as probable as a whole tail, and a two-level head's requests open every tail, which is their worst
case; ``opened_tails`` is the mean number opened, of ``n_tails``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import get_model, init_seed
from torch import Tensor
from torch.nn import functional as F

from benchmarks.fresh_process import require_memory
from benchmarks.results_file import common_parser, measure_all
from benchmarks.synthetic import ZipfCatalogue
from benchmarks.timed_batches import TimedBatches
from recbole_compress.config import Config
from recbole_compress.data.sequence_dataset import TARGET_LIST_PREFIX
from recbole_compress.heads.base import ItemHead
from recbole_compress.reports.environment import peak_rss_bytes
from recbole_compress.reports.latency import request_latency
from recbole_compress.trainers import CompressTrainer

N_ITEMS = (10_000, 100_000, 1_000_000)
LENGTH, TARGETS, K = 50, 512, 10
SAMPLE_SECONDS = {"cpu": 8.0, "cuda": 2.0}
DENSE = {"item_embedding": "dense"}
HEADS: dict[str, dict[str, Any]] = {
    "untied_whole_logits": {**DENSE, "item_head": "untied"},
    "untied": {**DENSE, "item_head": "untied"},
    "tied": {**DENSE, "item_head": "tied"},
    "two_level": {"item_head": "two_level"},
    "tied_two_level": {"item_head": "tied_two_level"},
}
WHOLE_LOGITS = ("untied_whole_logits",)


def entries(sample_seconds: float) -> Iterator[dict[str, Any]]:
    for n_items in N_ITEMS:
        for head in HEADS:
            yield {"n_items": n_items, "head": head, "sample_seconds": sample_seconds}


def measure(
    n_items: int,
    head: str,
    sample_seconds: float,
    seed: int,
    threads: int,
    device: str = "cpu",
    exponent: float = 1.0,
    min_steps: int = 4,
    max_steps: int = 400,
    checked_requests: int = 20,
) -> dict[str, Any]:
    """One head on one catalogue, in this process."""
    config = config_of(head, seed, use_gpu=device == "cuda")
    init_seed(seed, config["reproducibility"])
    tables = 2 if config["item_head"] == "untied" else 1
    logits = 3 if head in WHOLE_LOGITS else 0
    estimated = training_bytes(n_items, config["embedding_size"], tables, logits)
    if device == "cpu":
        require_memory(estimated)
    catalogue = ZipfCatalogue(n_items, exponent, seed=seed)
    model = get_model(config["model"])(config, catalogue).to(config["device"])
    if head in WHOLE_LOGITS:
        model.item_head.loss = partial(whole_logits_loss, model.item_head)
    trainer = CompressTrainer(config, model)
    requests = catalogue.draw(200, LENGTH)
    built = peak_rss_bytes()
    batches = TimedBatches(
        SyntheticBatches(catalogue, model, max_steps),
        count_targets=lambda batch: TARGETS,
        seconds=sample_seconds,
        min_steps=min_steps,
        device=device,
    )
    trainer._train_epoch(batches, 0)
    memory = {
        "estimated_bytes": estimated,
        "rss_bytes_built": built,
        "rss_bytes_trained": peak_rss_bytes(),
    }
    return {
        "step_ms": statistics.median(batches.seconds) * 1e3,
        "timed_steps": len(batches.seconds),
        "targets_per_step": TARGETS,
        "parameter_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "optimizer_bytes": optimizer_bytes(trainer.optimizer),
        "request_ms": latency(model, requests),
        **check_topk(model, requests[:checked_requests].to(config["device"])),
        **(memory if device == "cpu" else {}),
    }


def config_of(head: str, seed: int, use_gpu: bool = False) -> Config:
    return Config(
        "CpRecNextItNet",
        "synthetic",
        config_dict={
            **HEADS[head],
            "embedding_size": 64,
            "MAX_ITEM_LIST_LENGTH": LENGTH,
            "seed": seed,
            "use_gpu": use_gpu,
        },
    )


def training_bytes(n_items: int, dim: int, tables: int, logits: int) -> int:
    """An upper estimate: dense tables, their gradients twice, Adam's moments; the catalogue."""
    return n_items * (tables * dim * 4 * 5 + logits * TARGETS * 4 + 40) + 1_000_000_000


def whole_logits_loss(head: ItemHead, hidden: Tensor, targets: Tensor) -> Tensor:
    """The loss as RecBole's models compute it."""
    return F.cross_entropy(head.scores(hidden), targets)


class SyntheticBatches:
    """Windows with 512 targets, other ones in every step."""

    def __init__(self, catalogue: ZipfCatalogue, model: Any, steps: int) -> None:
        self.catalogue, self.model, self.steps = catalogue, model, steps
        full, rest = divmod(TARGETS, LENGTH)
        self.lengths = torch.tensor([LENGTH] * full + [rest])

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Interaction]:
        inside = torch.arange(LENGTH) < self.lengths.unsqueeze(1)
        # All at once, before a step counts: drawing from a million items would be a part of it.
        for items in self.catalogue.draw(self.steps, len(self.lengths), LENGTH + 1):
            yield Interaction(
                {
                    self.model.ITEM_SEQ: items[:, :-1] * inside,
                    self.model.ITEM_SEQ_LEN: self.lengths,
                    TARGET_LIST_PREFIX + self.model.ITEM_SEQ: items[:, 1:] * inside,
                }
            )


def latency(model: Any, requests: torch.Tensor) -> dict[str, float]:
    measured = request_latency(model, requests, k=K, budget_seconds=3.0)
    if measured is None:
        raise RuntimeError("the model did not answer a request")
    return {"p50": measured["p50"], "p95": measured["p95"]}


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    return sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


@torch.inference_mode()
def check_topk(model: Any, requests: torch.Tensor) -> dict[str, Any]:
    """Whether the ten best items are those of the full ranking, one request at a time.

    Two items in a different order count as the same where their scores differ by rounding only.
    """
    model.eval()
    lengths = torch.full((1,), LENGTH, device=requests.device)
    exact, worst, opened = True, 0.0, []
    for row in requests.split(1):
        hidden = model(row, lengths)
        values, ids = model.item_head.topk(hidden, K)
        scores = model.item_head.scores(hidden)
        best = scores.topk(K).values
        worst = max(worst, float((values - best).abs().max()))
        close = torch.allclose(scores.gather(1, ids), best, rtol=1e-5, atol=1e-5)
        exact = exact and close and len(ids.unique()) == K
        if hasattr(model.item_head, "_topk_counting_opened_tails"):
            opened.append(sum(model.item_head._topk_counting_opened_tails(hidden, K)[2]))
    answer: dict[str, Any] = {
        "topk_is_exact": exact,
        "topk_score_difference": worst,
        "checked_requests": len(requests),
    }
    if opened:
        answer["opened_tails"] = statistics.mean(opened)
        answer["n_tails"] = len(model.item_head.item_blocks.sizes) - 1
    return answer


def main() -> None:
    parser = common_parser("catalogue_growth", __doc__.splitlines()[0], on_gpu=True)
    parser.add_argument("--sample_seconds", type=float, help="counted, per entry")
    options = parser.parse_args()
    seconds = options.sample_seconds
    if seconds is None:
        seconds = SAMPLE_SECONDS[options.device]
    measure_all("benchmarks.catalogue_growth", entries(seconds), options)


if __name__ == "__main__":
    main()
