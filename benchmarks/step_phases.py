"""Where the time of a training step goes, seen from hooks inside the trainer's own loop."""

from __future__ import annotations

import statistics
import time
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.timed_batches import settle

__all__ = ["StepPhases"]

# Each phase lasts from the mark before it to the mark that ends it.
ENDS = {
    "given": "batch",
    "embedding_begins": "zero_grad",
    "embedded": "embedding_forward",
    "encoded": "backbone_forward",
    "loss_known": "head_and_loss_forward",
    "gradient_of_hidden": "head_backward",
    "gradient_of_embedded": "backbone_backward",
    "optimizer_begins": "embedding_backward",
    "optimizer_ends": "optimizer",
    "ask": "rest",
}


class StepPhases:
    """Marks of every step of a compressed model's training.

    The full cross-entropy makes the gradients of its inputs while it goes forward, so most of a
    head's backward pass counts as ``head_and_loss_forward``. A weight's gradient belongs to the
    phase in which autograd stores it, which may be the one after.

    Args:
        model: A ``CompressedRecommender``; hooks stay on it.
        optimizer: The one that its trainer steps with.
        device: Type of the device that the steps run on; every mark waits until it is done, so a
            step on a GPU takes longer than without marks.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, device: str = "cpu") -> None:
        self.device = device
        self.steps: list[dict[str, float]] = []
        self._last = 0.0
        self._follow(model)
        optimizer.register_step_pre_hook(lambda *_: self.mark("optimizer_begins"))
        optimizer.register_step_post_hook(lambda *_: self.mark("optimizer_ends"))

    def mark(self, name: str) -> None:
        """One moment of a step; "ask" begins the next one, "end" ends the last."""
        settle(self.device)
        now = time.perf_counter()
        if name in ("ask", "end") and self.steps:
            self.steps[-1]["rest"] = now - self._last
        if name == "ask":
            self.steps.append({})
        elif name != "end":
            self.steps[-1][ENDS[name]] = now - self._last
        self._last = now

    def summary(self, warm_up: int) -> dict[str, Any]:
        """Median milliseconds and share of every phase, and how many steps they are from."""
        steps = self.steps[warm_up:]
        median = {
            phase: statistics.median(step[phase] for step in steps) * 1e3 for phase in ENDS.values()
        }
        whole = {phase: sum(step[phase] for step in steps) for phase in ENDS.values()}
        total = sum(whole.values())
        return {
            "steps": len(steps),
            "median_ms": {phase: round(value, 3) for phase, value in median.items()},
            "share": {phase: round(value / total, 4) for phase, value in whole.items()},
        }

    def _follow(self, model: Any) -> None:
        hidden_states, loss = model.hidden_states, model.item_head.loss

        def followed_states(*arguments: Any) -> Tensor:
            hidden = hidden_states(*arguments)
            hidden.register_hook(lambda _: self.mark("gradient_of_hidden"))
            self.mark("encoded")
            return hidden

        def followed_loss(*arguments: Any) -> Tensor:
            value = loss(*arguments)
            self.mark("loss_known")
            return value

        def embedded(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            output.register_hook(lambda _: self.mark("gradient_of_embedded"))
            self.mark("embedded")

        model.item_embedding.register_forward_pre_hook(lambda *_: self.mark("embedding_begins"))
        model.item_embedding.register_forward_hook(embedded)
        model.hidden_states, model.item_head.loss = followed_states, followed_loss
