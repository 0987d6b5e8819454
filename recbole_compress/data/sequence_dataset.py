"""A RecBole sequential data set that stores every sequence once and histories as indices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_compress.data.atomic_files import AtomicFiles
from recbole_compress.data.item_counts import covered_positions
from recbole_compress.data.prefix_rows import merge_prefix_rows
from recbole_compress.data.shown_sequences import shown_sequences
from recbole_compress.data.windows import Windows, cut_windows, window_stride
from recbole_compress.errors import DataError

__all__ = ["SequenceDataset"]

END_FIELD = "sequence_end"
TARGET_LIST_PREFIX = "target_"


class SequenceDataset(AtomicFiles, SequentialDataset):
    """RecBole's ``SequentialDataset`` without the copied histories.

    RecBole stores one padded history per target: a million interactions take gigabytes. Here
    ``items`` holds all sequences end to end, a row of ``inter_feat`` remembers where its target
    stands, and ``dataset[index]`` cuts the histories of one batch, padded to the batch's own
    longest. Splits, filters and evaluators are RecBole's own and see the same rows.

    The train split of ``training_targets: all`` hands out windows instead of rows: an example is a
    window of inputs with one target per position (0 where none is to be trained).

    Attributes:
        items: Item ids of all sequences end to end, int64 ``(N,)``; shared by all splits.
        sequence_starts: Position of every sequence's first item, ascending; shared by all splits.
        sequence_users: User id of every sequence; not known of split files.
        times: When every item of ``items`` was met; not known of split files.
        windows: What an example is in this split: windows, or None for rows.
        row_width: Length that a row's history is padded to, or None for the batch's own longest.
    """

    windows: Windows | None = None
    row_width: int | None = None

    # -- loading ---------------------------------------------------------------------------

    def _is_history(self, field):
        return False  # histories are kept whole here and cut per batch

    def _load_inter_feat(self, token, dataset_path):
        self._history_tokens: list[str] = []
        super()._load_inter_feat(token, dataset_path)
        field = self._split_history_field()
        if field in self.inter_feat:
            self._history_lengths = self.inter_feat.pop(field).to_numpy()
            tokens = np.array(self._history_tokens, dtype=object)
            self._histories = pd.DataFrame({field: tokens}, copy=False)
        del self._history_tokens

    def _split_history_field(self):
        """Column of split files whose cells are laid end to end; None without split files."""
        split = self.benchmark_filename_list is not None
        return self.iid_field + self.config["LIST_SUFFIX"] if split else None

    def _split_sequences(self, column, field):
        if field != self._split_history_field():
            return super()._split_sequences(column, field)
        # Per row only a length: RecBole would copy an array per row at every step.
        lengths = []
        for tokens in self._cells(column, field):
            self._history_tokens += tokens
            lengths.append(len(tokens))
        self.field2seqlen[field] = max(lengths, default=0)
        return pd.Series(lengths, dtype=np.int64)

    def _get_remap_list(self, field_list):
        """As RecBole's, with the histories as one long column of tokens in their place."""
        return [
            (self._histories, field, FeatureType.TOKEN)
            if field == self._split_history_field()
            else (feat, field, kind)
            for feat, field, kind in super()._get_remap_list(field_list)
        ]

    def _benchmark_presets(self):
        """Split files bring their histories; they are indexed in :meth:`_change_feat_format`."""
        self._set_list_fields()

    def _set_list_fields(self):
        suffix = self.config["LIST_SUFFIX"]
        self.item_id_list_field = self.iid_field + suffix
        self.set_field_property(
            self.item_id_list_field,
            FeatureType.TOKEN_SEQ,
            FeatureSource.INTERACTION,
            self.max_item_list_len,
        )
        self.set_field_property(
            self.item_list_length_field, FeatureType.TOKEN, FeatureSource.INTERACTION, 1
        )

    def _change_feat_format(self):
        if self.benchmark_filename_list is not None:
            self._index_split_files()
        else:
            super()._change_feat_format()  # ends with data_augmentation

    def data_augmentation(self):
        """One row per target, as RecBole's, with the target's position in place of the history."""
        self._set_list_fields()
        self._need_times()
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        users = self.inter_feat[self.uid_field]
        self.items = self.inter_feat[self.iid_field]
        is_first = torch.ones(len(users), dtype=torch.bool)
        is_first[1:] = users[1:] != users[:-1]
        self.sequence_starts = is_first.nonzero().squeeze(1)
        self.sequence_users, self.times = users[is_first], self.inter_feat[self.time_field]
        ends = (~is_first).nonzero().squeeze(1)
        if len(ends) == 0:
            raise DataError(
                f"dataset={self.dataset_name}: no user has two or more interactions, so there is "
                "nothing to predict"
            )
        rows = {field: self.inter_feat[field][ends] for field in self.inter_feat}
        self._set_rows(rows, ends)

    def _index_split_files(self):
        frame = self.inter_feat
        items, starts, ends = merge_prefix_rows(
            frame[self.uid_field].to_numpy(),
            self._histories[self.item_id_list_field].to_numpy(),
            self._history_lengths,
            frame[self.iid_field].to_numpy(),
            np.cumsum(self.file_size_list),
        )
        del self._histories, self._history_lengths
        self.items, self.sequence_starts = torch.from_numpy(items), torch.from_numpy(starts)
        rows = {
            field: torch.from_numpy(frame[field].to_numpy(dtype=np.int64))
            for field in (self.uid_field, self.iid_field)
        }
        self._set_rows(rows, torch.from_numpy(ends))
        for name in self.feat_name_list:
            if name != "inter_feat":
                setattr(self, name, self._dataframe_to_interaction(getattr(self, name)))

    def _set_rows(self, rows: dict[str, Tensor], ends: Tensor, starts: Tensor | None = None):
        available = ends - (self._starts_of(ends) if starts is None else starts)
        rows[self.item_list_length_field] = available.clamp(max=self.max_item_list_len)
        rows[END_FIELD] = ends
        self.inter_feat = Interaction(rows)

    def _starts_of(self, ends: Tensor) -> Tensor:
        """First position of the sequence that every position lies in."""
        return self.sequence_starts[torch.searchsorted(self.sequence_starts, ends, right=True) - 1]

    # -- splitting -------------------------------------------------------------------------

    def build(self):
        train, *evaluation = super().build()
        if len(train.inter_feat) == 0:
            raise DataError(
                f"dataset={self.dataset_name}: the train split is empty; users need at least "
                "four interactions under leave-one-out, or choose another eval_args split"
            )
        if self.config["training_targets"] != "last":
            train.windows = train._cut_windows()
        for phase, split in zip(("valid", "test"), evaluation, strict=True):
            if self.config["eval_args"]["mode"][phase] != "full":
                # RecBole's sampled evaluation puts batches of one user each together.
                split.row_width = self.max_item_list_len
            split._shortest_first()
        return [train, *evaluation]

    def _shortest_first(self):
        """Rows of similar length meet in a batch, which is padded to its own longest."""
        order = torch.argsort(self.inter_feat[self.item_list_length_field], stable=True)
        self.inter_feat = Interaction(
            {field: self.inter_feat[field][order] for field in self.inter_feat}
        )

    def _cut_windows(self) -> Windows:
        ends = self.inter_feat[END_FIELD]
        firsts, owner = torch.unique(self._starts_of(ends), return_inverse=True)
        lasts = torch.zeros_like(firsts).scatter_reduce(0, owner, ends, "amax")
        self.is_target = torch.zeros(len(self.items), dtype=torch.bool)
        self.is_target[ends] = True
        stride = window_stride(
            self.max_item_list_len, self.config["window_stride"], self.config["window_min_context"]
        )
        return cut_windows(firsts, lasts, self.max_item_list_len, stride)

    # -- what a split hands out ------------------------------------------------------------

    def __len__(self):
        return len(self.inter_feat) if self.windows is None else len(self.windows)

    def __getitem__(self, index, join=True):
        if self.windows is None:
            return self._rows(index, join)
        return self._windows(self.windows, torch.as_tensor(index).reshape(-1))

    def _rows(self, index, join) -> Interaction:
        batch = super().__getitem__(index, join)
        ends, lengths = batch[END_FIELD], batch[self.item_list_length_field]
        batch[self.item_id_list_field] = self._cut(ends - lengths, lengths, width=self.row_width)
        return batch

    def _windows(self, windows: Windows, index: Tensor) -> Interaction:
        starts, lengths = windows.starts[index], windows.lengths[index]
        targets = self._cut(starts + 1, lengths)
        trained = self._cut(starts + 1, lengths, values=self.is_target)
        column = torch.arange(targets.shape[1])
        trained &= column >= (lengths - windows.counted[index]).unsqueeze(1)
        return Interaction(
            {
                self.item_id_list_field: self._cut(starts, lengths),
                self.item_list_length_field: lengths,
                TARGET_LIST_PREFIX + self.item_id_list_field: targets * trained,
            }
        )

    def _cut(
        self,
        starts: Tensor,
        lengths: Tensor,
        values: Tensor | None = None,
        width: int | None = None,
    ) -> Tensor:
        """``values[start : start + length]`` per row, padded with 0 on the right."""
        values = self.items if values is None else values
        if width is None:
            width = int(lengths.max()) if len(lengths) else 0
        column = torch.arange(width)
        inside = column < lengths.unsqueeze(1)
        return values[(starts.unsqueeze(1) + column) * inside] * inside

    def example_lengths(self) -> Tensor:
        """Inputs per example, ``(len(self),)``: what a batch of similar length is made by."""
        if self.windows is None:
            return self.inter_feat[self.item_list_length_field]
        return self.windows.lengths

    def example_targets(self) -> Tensor:
        """Targets per example, ``(len(self),)``."""
        if self.windows is None:
            return torch.ones(len(self.inter_feat), dtype=torch.long)
        ends = self.windows.starts + self.windows.lengths
        before = self.is_target.long().cumsum(0)
        return before[ends] - before[ends - self.windows.counted]

    def item_counts(self) -> Tensor:
        """How often the rows of this split show every item, ``(n_items,)``."""
        _, items = self.shown_items()
        return torch.bincount(items, minlength=self.item_num)

    def shown_items(self) -> tuple[Tensor, Tensor]:
        """Sequence and item id of every interaction that the rows of this split show, each once."""
        ends, lengths = self.inter_feat[END_FIELD], self.inter_feat[self.item_list_length_field]
        shown = covered_positions(len(self.items), ends - lengths, ends).nonzero().squeeze(1)
        sequences = torch.searchsorted(self.sequence_starts, shown, right=True) - 1
        users = self.inter_feat[self.uid_field]
        pieces = 1 + int(((shown.diff() > 1) | (sequences.diff() > 0)).sum())
        if self.benchmark_filename_list is None or pieces == len(users.unique()):
            return sequences, self.items[shown]
        # Where histories were cut in the file, several sequences of a session may be one.
        rows = (part.numpy() for part in (users, self.items, ends - lengths, lengths))
        sequences, items = map(torch.from_numpy, shown_sequences(*rows))
        return sequences, items
