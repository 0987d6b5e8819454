"""RecBole's evaluation collector without its catalogue-wide integer matrix."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from recbole.evaluator import Collector
from torch import Tensor

from recbole_compress.distributed.group import gathered
from recbole_compress.distributed.place import here
from recbole_compress.trainers.ranks import RankRecorder

__all__ = ["BoundedCollector", "TopItems"]

TOPK_NEEDS = {"rec.topk", "rec.items"}
ALL_NEEDS = {*TOPK_NEEDS, "rec.meanrank", "rec.score", "data.label"}


@dataclass(frozen=True)
class TopItems:
    """The best items of every row, best first, in place of the scores of all items.

    Attributes:
        ids: int64 ``(rows, max(topk))``; 0 where there are no more.
        n_items: Catalogue size.
    """

    ids: Tensor
    n_items: int


class BoundedCollector(Collector):
    """Collects the same numbers as RecBole's ``Collector`` from the top-k alone.

    RecBole marks the positive items in an int32 ``[batch, n_items]`` matrix and gathers the top-k
    from it; at large catalogues that is most of an evaluation's time and memory. Looking the top-k
    up among the positives gives the same bits. A model that finds its top-k without scoring
    everything hands in :class:`TopItems`.

    Attributes:
        recorder: A :class:`~recbole_compress.trainers.ranks.RankRecorder` that is shown every
            batch's top-k, or None.
    """

    recorder: RankRecorder | None = None

    def needs_topk_only(self) -> bool:
        """Whether all that the metrics ask for can be told from the top-k."""
        return not any(self.register.need(key) for key in ALL_NEEDS - TOPK_NEEDS)

    def eval_batch_collect(self, scores_tensor, interaction, positive_u, positive_i):
        if self.recorder is not None or any(self.register.need(key) for key in TOPK_NEEDS):
            if isinstance(scores_tensor, TopItems):
                topk = found = scores_tensor.ids
                n_items = scores_tensor.n_items
            else:
                values, topk = torch.topk(scores_tensor, max(self.topk), dim=-1)
                # What was taken out of a ranking is no hit, though it may fill a place at its end.
                found = topk.masked_fill(values == -torch.inf, 0)
                n_items = scores_tensor.shape[1]
            self._collect_topk(topk, found, n_items, positive_u, positive_i)
            if self.recorder is not None:
                self.recorder.collect(found, interaction, positive_u, positive_i)
        if not self.needs_topk_only():
            rest = copy.copy(self)
            rest.register = _Without(self.register, TOPK_NEEDS)
            Collector.eval_batch_collect(rest, scores_tensor, interaction, positive_u, positive_i)

    def _collect_topk(self, topk, found, n_items, positive_u, positive_i):
        rows = len(topk)
        if self.register.need("rec.topk"):
            positive = torch.unique(
                positive_u.to(topk.device) * n_items + positive_i.to(topk.device)
            )
            keys = found + torch.arange(rows, device=topk.device).unsqueeze(1) * n_items
            hits = torch.isin(keys, positive).int()
            n_positive = torch.bincount(positive // n_items, minlength=rows).int().unsqueeze(1)
            self.data_struct.update_tensor("rec.topk", torch.cat((hits, n_positive), dim=1))
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", topk)

    def get_data_struct(self):
        self._bring_rows_together()
        # RecBole calls ``.cpu()`` on plain ints and Counters too, which breaks ItemCoverage,
        # AveragePopularity, GiniIndex, ShannonEntropy and TailPercentage.
        struct = self.data_struct
        plain = {k: v for k, v in struct._data_dict.items() if not isinstance(v, torch.Tensor)}
        for key in plain:
            del struct[key]
        returned = super().get_data_struct()
        for key, value in plain.items():
            struct.set(key, value)
            returned.set(key, value)
        return returned

    def _bring_rows_together(self):
        """All processes' rows in all of them, in the order in which one process would have them."""
        if here().is_alone:
            return
        own = {key: self.data_struct[key].cpu() for key in ALL_NEEDS if key in self.data_struct}
        parts = gathered(own)
        for key in ALL_NEEDS:
            rows = [part[key] for part in parts if key in part]
            if rows:
                self.data_struct.set(key, torch.cat(rows))


class _Without:
    """A register that no longer needs some keys."""

    def __init__(self, register, keys):
        self._register, self._keys = register, keys

    def need(self, key):
        return key not in self._keys and self._register.need(key)
