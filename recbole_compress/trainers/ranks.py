"""Where the target of every evaluated row stood: what tests between two models are made from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.utils import EvaluatorType
from torch import Tensor

from recbole_compress.data.item_counts import train_item_counts
from recbole_compress.distributed.group import gathered
from recbole_compress.errors import ConfigError, DataError, first_line
from recbole_compress.files import replacing

__all__ = [
    "RankRecorder",
    "RankRecords",
    "read_ranks",
    "refuse_ranks",
    "target_ranks",
    "write_ranks",
]


class RankRecords(NamedTuple):
    """The evaluated rows of one run, in the order of the loader.

    Attributes:
        users: Token of the row's user (or session), str ``(rows,)``.
        items: Token of the row's target, str ``(rows,)``.
        ranks: Place of the target among the ``depth`` best items, from 1; 0 for not among them;
            int32 ``(rows,)``.
        counts: How often the train split shows the target, int64 ``(rows,)``.
        item_counts: The same of every item of the catalogue, most frequent first, int64
            ``(n_items,)``; padding is no item.
        depth: ``max(topk)``.
        repeated: Whether the sequence that the row is predicted from holds its target, bool
            ``(rows,)``; None where sequences hold other items, and in older files.
    """

    users: np.ndarray
    items: np.ndarray
    ranks: np.ndarray
    counts: np.ndarray
    item_counts: np.ndarray
    depth: int
    repeated: np.ndarray | None = None


def target_ranks(topk: Tensor, targets: Tensor) -> Tensor:
    """Place of every row's target in the row's list, from 1; 0 where it is not there.

    Example:
        >>> target_ranks(torch.tensor([[5, 2, 9], [1, 2, 3]]), torch.tensor([2, 7])).tolist()
        [2, 0]
    """
    hits = topk == targets.unsqueeze(1)
    return torch.where(hits.any(1), hits.int().argmax(1) + 1, 0)


def refuse_ranks(config: Any) -> None:
    """Say before training that ``ranks_path`` cannot be served.

    Raises:
        ConfigError: The test split is not ranked in full.
    """
    if (
        config["eval_type"] != EvaluatorType.RANKING
        or config["eval_args"]["mode"]["test"] != "full"
    ):
        raise ConfigError(
            f"ranks_path={config['ranks_path']!r}: ranks are those of a full ranking, and this run "
            f"tests with eval_args mode={config['eval_args']['mode']['test']!r}; use full or leave "
            "ranks_path out"
        )


class RankRecorder:
    """Collects the ranks of one evaluation, batch by batch; see :class:`RankRecords`.

    Args:
        user_field: Name of the field that holds the user ids.
        sequence_field: Name of the field that holds the sequences of item ids; None where those
            are of another catalogue.
    """

    def __init__(self, user_field: str, sequence_field: str | None = None) -> None:
        self.user_field, self.sequence_field = user_field, sequence_field
        self.depth = 0
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self._repeated: list[Tensor] = []

    def collect(self, topk: Tensor, interaction, positive_u: Tensor, positive_i: Tensor) -> None:
        """Take in one batch of full-ranking evaluation.

        Raises:
            DataError: A row with several targets (or none), which has no one rank.
        """
        rows = len(topk)
        users = interaction[self.user_field].cpu()
        if len(users) != rows or not torch.equal(positive_u.cpu(), torch.arange(rows)):
            raise DataError(
                "ranks_path: a row of the test split has several targets (or none), so it has no "
                "single rank; leave ranks_path out"
            )
        self.depth = topk.shape[1]
        targets = positive_i.cpu()
        self._batches.append((users, targets, target_ranks(topk.cpu(), targets)))
        if self.sequence_field is not None:
            sequences = interaction[self.sequence_field].cpu()
            self._repeated.append((sequences == targets.unsqueeze(1)).any(1))

    def records(self, train_split, evaluated_split) -> RankRecords:
        """Everything collected, by all processes of a run, with tokens in place of ids.

        Args:
            train_split: The built train split; frequencies are read from it and nothing else.
            evaluated_split: The split whose rows were collected.
        """
        batches = [batch for part in gathered(self._batches) for batch in part]
        users, items, ranks = (torch.cat(column).numpy() for column in zip(*batches, strict=True))
        repeated = [batch for part in gathered(self._repeated) for batch in part]
        counts = train_item_counts(train_split).numpy()
        tokens = evaluated_split.field2id_token
        return RankRecords(
            users=tokens[evaluated_split.uid_field][users].astype(str),
            items=tokens[evaluated_split.iid_field][items].astype(str),
            ranks=ranks.astype(np.int32),
            counts=counts[items].astype(np.int64),
            item_counts=np.sort(counts[1:])[::-1].astype(np.int64),
            depth=max(gathered(self.depth)),
            repeated=torch.cat(repeated).numpy() if repeated else None,
        )


def write_ranks(records: RankRecords, path: str) -> None:
    """Write the records as ``.npz``: numbers and UTF-8 bytes, nothing pickled.

    Raises:
        DataError: The file cannot be written; what was there before still is.
    """
    arrays = {name: value for name, value in records._asdict().items() if value is not None}
    for name in ("users", "items"):
        arrays[name] = np.char.encode(arrays[name], "utf-8")
    try:
        with replacing(path, "wb") as file:
            np.savez_compressed(file, **arrays)
    except OSError as error:
        raise DataError(f"ranks_path={path}: cannot be written ({error.strerror})") from error


def read_ranks(path: str) -> RankRecords:
    """The records that a run has written to ``ranks_path``.

    Raises:
        DataError: The file is missing, damaged or something else.
    """
    try:
        # Opened here, because numpy leaves a damaged file open.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            optional = RankRecords._field_defaults
            arrays = {
                name: file[name]
                for name in RankRecords._fields
                if name in file or name not in optional
            }
    except Exception as error:  # a missing file, a damaged zip, a truncated or pickled array …
        reason = first_line(error)
        raise DataError(
            f"{path}: not a file of ranks ({reason}); run it again, in a comparison after "
            "deleting the card beside it"
        ) from error
    for name in ("users", "items"):
        arrays[name] = np.char.decode(arrays[name], "utf-8")
    return RankRecords(**{**arrays, "depth": int(arrays["depth"])})
