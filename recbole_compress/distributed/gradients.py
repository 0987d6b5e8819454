"""The loss whose gradients, brought together, are those of the whole batch."""

from __future__ import annotations

import inspect
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["SharedLoss", "batch_norm_over_all", "same_buffers"]


# Torch is renaming this argument, and warns of the old name where it has the new one.
_LEAVE_BUFFERS: dict[str, Any] = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else {"broadcast_buffers": False}
)


class _Loss(nn.Module):
    """A loss function of a model's as the ``forward`` that DistributedDataParallel watches."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[Any], Any], batch: Any) -> Any:
        return function(batch)


class SharedLoss:
    """Calls a model's loss function on this process's part of a batch.

    After ``backward`` every parameter's gradient is, in all processes alike, that of the mean over
    the targets of the whole batch. Parameters that no process used keep no gradient; those that
    only some used count as zero in the others.

    Args:
        model: The model; its parameters become those of the first process.
        scales: What each coming part's loss is multiplied by, see ``BatchShares.scales``.
    """

    def __init__(self, model: nn.Module, scales: deque[float]) -> None:
        self.scales = scales
        self._parallel = DistributedDataParallel(
            _Loss(model),
            # A batch may lack the targets of a tail: its tables have no part in the loss then.
            find_unused_parameters=True,
            # Item permutations are large and never change; see same_buffers for the others.
            **_LEAVE_BUFFERS,
        )
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")

    def of(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """``function`` on parts of batches, in the order of :attr:`scales`."""

        def loss(batch: Any) -> Tensor | tuple[Tensor, ...]:
            scale = self.scales.popleft()
            losses = self._parallel(function, batch)
            if isinstance(losses, tuple):
                return tuple(part * scale for part in losses)
            return losses * scale

        return loss


def batch_norm_over_all(model: nn.Module) -> nn.Module:
    """Let batch normalisation see the batches of all processes; torch has that for GPUs only."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def same_buffers(model: nn.Module) -> None:
    """Give all processes the first one's running statistics: the buffers that training changes."""
    for buffer in model.buffers():
        if buffer.is_floating_point():
            torch.distributed.broadcast(buffer, src=0)
