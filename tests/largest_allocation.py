"""How large a tensor gets while something is computed."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class LargestAllocation(TorchDispatchMode):
    """Records the most numbers that any single operation allocated; views are not counted.

    Args:
        counts: Which tensors are looked at.
    """

    def __init__(self, counts: Callable[[Tensor], bool] = lambda tensor: True) -> None:
        super().__init__()
        self.counts, self.numel = counts, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if tensor.untyped_storage().data_ptr() not in known and self.counts(tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def largest_tensor(run: Callable[[], object]) -> int:
    """Numbers in the largest tensor that ``run()`` allocates."""
    with LargestAllocation() as largest:
        run()
    return largest.numel


def _tensors(tree) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
