"""Targets of one data set, each after what its user had done in another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_compress.data.candidates import draw_candidates
from recbole_compress.data.evaluation import eval_batch_size
from recbole_compress.data.histories import known_before
from recbole_compress.data.sequence_dataset import END_FIELD, SequenceDataset
from recbole_compress.data.windows import Windows, cut_windows, window_stride
from recbole_compress.errors import ConfigError, DataError

__all__ = [
    "CANDIDATES_FIELD",
    "POSITIONS_FIELD",
    "TARGETS_FIELD",
    "TransferDataset",
    "refuse_scaled_times",
]

CANDIDATES_FIELD = "candidates"
POSITIONS_FIELD = "target_positions"
TARGETS_FIELD = "targets"
ROW_FIELD = "target_row"
FEW = 0.1


def refuse_scaled_times(config: Any, source_config: Any) -> None:
    """Refuse to compare times that were scaled to 0 .. 1 in each data set for itself.

    Args:
        config: Of the run on the target data set, or what its checkpoint says of it.
        source_config: Of the source.

    Raises:
        ConfigError: They would be compared, and what is later could seem to be earlier.

    Example:
        >>> its = {"dataset": "a", "TIME_FIELD": "time", "normalize_field": ["time"]}
        >>> its["normalize_all"] = None
        >>> refuse_scaled_times({**its, "source_history": "whole"}, its)
    """
    if config["source_history"] != "before":
        return
    for key, its in (("dataset", config), ("source_dataset", source_config)):
        field = its["TIME_FIELD"]
        if its["normalize_all"] or field in (its["normalize_field"] or ()):
            wrong = "normalize_all=True" if its["normalize_all"] else "normalize_field"
            raise ConfigError(
                f"{key}={its['dataset']}: {wrong} scales {field} to 0 .. 1, and source_history="
                f"before compares the times of two data sets; set normalize_all=False and leave "
                f"{field} out of normalize_field, in the pre-training too, or take "
                "--source_history=whole"
            )


class TransferDataset(SequenceDataset):
    """Every interaction of the target data set as a row: the user's source items, then its item.

    A row's history is made of *source* item ids, its ``item_id`` is a *target* item id: two
    catalogues, each numbered from 1. Users are matched by their tokens. A row whose user the source
    does not know, or who had done nothing there yet, is left out.

    The rows are split by users, all of a user's rows in one split, or as ``eval_args`` says
    (``target_split``); either way by chance that ``split_seed`` fixes, so that all seeds of a model
    are tested on the same rows. What a row is tested against depends on ``split_seed`` and the
    row's place in the target data set alone, so that it is the same for all models.

    The train split of ``training_targets: all`` hands out windows of source sequences instead of
    rows: an encoder reads a window once for all targets that were met along it.

    Args:
        config: Of the run on the target data set.
        source: The train split of the source, see :class:`SequenceDataset`.

    Attributes:
        source: As above.
        shared: What the two have in common, by name.
    """

    source: SequenceDataset
    shared: dict[str, int]

    def __init__(self, config, source: SequenceDataset):
        refuse_scaled_times(config, source.config)
        self.source = source
        super().__init__(config)

    # -- rows --------------------------------------------------------------------------------

    def _index_split_files(self):
        raise DataError(
            f"dataset={self.dataset_name}: recipe=transfer splits its .inter file itself; add "
            "--split_files=never"
        )

    def data_augmentation(self):
        """One row per interaction, with how much of the source sequence was known then."""
        self._set_list_fields()
        self._refuse_source()
        sequences = self._sequences_of_users()[self.inter_feat[self.uid_field]]
        paired = sequences >= 0
        self._count_shared(paired)
        starts = self.source.sequence_starts
        ends = torch.from_numpy(self._known_ends(sequences.clamp(min=0).numpy()))
        kept = (paired & (ends > starts[sequences.clamp(min=0)])).nonzero().squeeze(1)
        self.shared["rows without a source history yet"] = int(paired.sum()) - len(kept)
        self.logger.info(f"{self.dataset_name} after {self.source.dataset_name}: {self.shared}")
        if len(kept) == 0:
            raise DataError(
                f"dataset={self.dataset_name}: {self.shared['shared users']} users are shared with "
                f"{self.source.dataset_name}, but none had done anything there before; swap source "
                "and target, or take --source_history=whole if their times cannot be compared"
            )
        self.items, self.sequence_starts = self.source.items, starts
        rows = {field: self.inter_feat[field][kept] for field in self.inter_feat}
        rows[ROW_FIELD] = kept  # which it is, whatever is left out and however rows are ordered
        # A history may be the whole sequence: then its end is where the next one starts.
        self._set_rows(rows, ends[kept], starts[sequences[kept]])

    def _refuse_source(self):
        source = self.source
        if source.benchmark_filename_list is not None:
            raise DataError(
                f"source_dataset={source.dataset_name}: split files tell neither users nor times "
                f"of whole sequences; take {source.dataset_name}.inter with --split_files=never"
            )
        ours = (self.uid_field, self.iid_field)
        if (source.uid_field, source.iid_field) != ours:
            raise DataError(
                f"source_dataset={source.dataset_name}: its columns are {source.uid_field!r} and "
                f"{source.iid_field!r}, those of {self.dataset_name} {ours[0]!r} and {ours[1]!r}; "
                "name them alike (recbole-compress pair-domains does)"
            )
        timed = self.time_field is not None and self.time_field in self.inter_feat
        if self.config["source_history"] == "before" and not timed:
            raise DataError(
                f"dataset={self.dataset_name}: no column {self.time_field!r} (TIME_FIELD) says "
                "when an interaction was; name it, or take --source_history=whole"
            )

    def _warn_of_merged_times(self):
        """No order of rows here: every target has its own history."""

    def _sequences_of_users(self) -> Tensor:
        """Number of every user's source sequence, by user id; -1 for a user without one."""
        source, field = self.source, self.uid_field
        tokens = source.field2id_token[field][source.sequence_users.numpy()]
        # Id 0 is padding in both; its token is nobody's.
        ours = np.append("", self.field2id_token[field][1:].astype(str))
        return torch.from_numpy(pd.Index(tokens.astype(str)).get_indexer(pd.Index(ours)))

    def _count_shared(self, paired: Tensor):
        users = self.inter_feat[self.uid_field]
        n_users, n_shared = len(users.unique()), len(users[paired].unique())
        source = self.source
        self.shared = {
            "target users": n_users,
            "source users": len(source.sequence_users),
            "shared users": n_shared,
            "target rows": len(users),
            "rows of shared users": int(paired.sum()),
        }
        if n_shared == 0:
            ours = str(self.field2id_token[self.uid_field][1])
            theirs = str(source.field2id_token[self.uid_field][1])
            raise DataError(
                f"dataset={self.dataset_name}, source_dataset={source.dataset_name}: none of the "
                f"{n_users} and {len(source.sequence_users)} users are shared ({ours!r} is one "
                f"here, {theirs!r} there); take data sets of the same users"
            )
        if n_shared < FEW * n_users:
            self.logger.warning(
                f"only {n_shared} of the {n_users} users of {self.dataset_name} are in "
                f"{source.dataset_name}, with {int(paired.sum())} of {len(users)} interactions; "
                "all others are left out"
            )

    def _known_ends(self, sequences: np.ndarray) -> np.ndarray:
        source = self.source
        starts = source.sequence_starts.numpy()
        if self.config["source_history"] == "whole":
            return np.append(starts[1:], len(source.items))[sequences]
        moments = self.inter_feat[self.time_field].numpy()
        return known_before(starts, source.times.numpy(), sequences, moments)

    # -- splitting ---------------------------------------------------------------------------

    def build(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config["split_seed"])
            by_users = self.config["target_split"] == "users"
            # Not RecBole's sequential one, which refuses to shuffle: no target is a history here.
            splits = self._split_by_users() if by_users else Dataset.build(self)
        sizes = [len(split.inter_feat) for split in splits]
        if min(sizes) == 0:
            raise DataError(
                f"dataset={self.dataset_name}: {sum(sizes)} rows of "
                f"{self.shared['shared users']} shared users split into {sizes}; an empty part "
                "cannot be used: share more users, or choose another eval_args split"
            )
        train, *evaluation = splits
        numbers = [split.inter_feat[ROW_FIELD] for split in evaluation]
        for split in splits:
            split.inter_feat.drop(ROW_FIELD)
        if self.config["training_targets"] != "last":
            train._gather_targets()
        if self.config["sampled_candidates"] > self.item_num - 2:
            self.logger.warning(
                f"sampled_candidates={self.config['sampled_candidates']}: there are "
                f"{self.item_num - 2} other items, so targets are ranked among all of them"
            )
        for split, rows in zip(evaluation, numbers, strict=True):
            if self.config["sampled_candidates"]:
                split.inter_feat[CANDIDATES_FIELD] = draw_candidates(
                    split.inter_feat[self.iid_field],
                    self.item_num,
                    self.config["sampled_candidates"],
                    self.config["split_seed"],
                    rows,
                )
            split._shortest_first()
        self.config["eval_batch_size"] = eval_batch_size(self.config, self.item_num)
        return splits

    def _split_by_users(self) -> list[Any]:
        self._change_feat_format()
        users = self.inter_feat[self.uid_field]
        known, owner = torch.unique(users, return_inverse=True)
        ratios = torch.tensor(self.config["eval_args"]["split"]["RS"], dtype=torch.float64)
        bounds = (ratios.cumsum(0) / ratios.sum() * len(known)).round().long()
        place = torch.empty(len(known), dtype=torch.long)
        place[torch.randperm(len(known))] = torch.arange(len(known))
        part = torch.bucketize(place, bounds, right=True)[owner]
        return [self.copy(self.inter_feat[part == number]) for number in range(len(ratios))]

    # -- what the train split hands out ------------------------------------------------------

    def _gather_targets(self):
        """Windows of source sequences, and which rows were met along each of them."""
        positions = self.inter_feat[END_FIELD] - 1  # of the newest item known
        firsts, owner = torch.unique(self._starts_of(positions), return_inverse=True)
        empty = torch.zeros_like(firsts)
        newest = empty.scatter_reduce(0, owner, positions, "amax")
        oldest = empty.scatter_reduce(0, owner, positions, "amin", include_self=False)
        stride = window_stride(
            self.max_item_list_len, self.config["window_stride"], self.config["window_min_context"]
        )
        # Nothing before the first target's own history has to be read.
        starts = torch.maximum(firsts, oldest + 1 - self.max_item_list_len)
        windows = cut_windows(starts, newest + 1, self.max_item_list_len, stride)
        counted_from = windows.starts + windows.lengths - windows.counted
        window = torch.searchsorted(counted_from, positions, right=True) - 1
        order = torch.argsort(window, stable=True)
        used, counts = torch.unique_consecutive(window[order], return_counts=True)
        self.windows = Windows(*(part[used] for part in vars(windows).values()))
        self._rows_of, self._row_counts = order, counts
        self._row_starts = counts.cumsum(0) - counts

    def _windows(self, windows: Windows, index: Tensor) -> Interaction:
        starts, lengths = windows.starts[index], windows.lengths[index]
        counts = self._row_counts[index]
        column = torch.arange(int(counts.max()) if len(index) else 0)
        there = column < counts.unsqueeze(1)
        rows = self._rows_of[(self._row_starts[index].unsqueeze(1) + column) * there]
        positions = self.inter_feat[END_FIELD][rows] - 1 - starts.unsqueeze(1)
        return Interaction(
            {
                self.item_id_list_field: self._cut(starts, lengths),
                self.item_list_length_field: lengths,
                POSITIONS_FIELD: positions * there,
                TARGETS_FIELD: self.inter_feat[self.iid_field][rows] * there,
            }
        )

    def example_targets(self) -> Tensor:
        if self.windows is None:
            return super().example_targets()
        return self._row_counts

    def item_counts(self) -> Tensor:
        """How often the rows of this split have every *target* item, ``(n_items,)``."""
        return torch.bincount(self.inter_feat[self.iid_field], minlength=self.item_num)

    def shown_items(self) -> tuple[Tensor, Tensor]:
        """User and target item of every row."""
        return self.inter_feat[self.uid_field], self.inter_feat[self.iid_field]
