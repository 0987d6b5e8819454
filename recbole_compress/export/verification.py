"""Whether a file says what the model says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recbole_compress.artifact.session import open_session
from recbole_compress.errors import ArtifactError, ExportError
from recbole_compress.export.source import Source
from recbole_compress.functional.sequence_mask import sequence_mask

__all__ = ["Deviation", "require_numbers", "verified"]

# Of the range of a row's scores. Rounding of float32; and of 8-bit activations besides.
_TOLERANCE, _TOLERANCE_OF_INTEGERS = 1e-4, 0.05
# Roundings of the largest score, whatever the range: log-probabilities of a million items lie far
# from zero and may lie close together.
_ROUNDINGS = 32 * torch.finfo(torch.float32).eps
_CANDIDATES = 7


class Deviation(NamedTuple):
    """How far a file is from its model.

    Attributes:
        largest: Largest difference of a score, as a share of the range of its row's scores.
        same_items: Share of the places in the top-k that hold the same item.
        sequences: How many sequences were compared.
    """

    largest: float
    same_items: float
    sequences: int


@torch.no_grad()
def require_numbers(path: str, source: Source) -> None:
    """Look at the model's scores before anything is made of them.

    Raises:
        ExportError: Some are no numbers.
    """
    for item_seq, length in _sequences(source):
        _refuse_no_numbers(path, _truth(source, item_seq, length))


@torch.no_grad()
def verified(file: str, path: str, source: Source, k: int, integers: bool) -> Deviation:
    """Compare a file with its model on random and extreme sequences.

    Each sequence of length 1, in between, full, and longer than the model takes; one item
    repeated; the last ids of the catalogue, which training may never have seen; all items, where
    a sequence can hold them and nothing is rounded to integers. Asked for the
    top-k, with history excluded, for candidates, and in batches of one and of several.

    Args:
        file: Where it is.
        path: Where it is to be, for messages.
        source: The model.
        k: How many items to compare; all there are if there are fewer.
        integers: The file multiplies integers, so that small differences are what is expected.

    Raises:
        ExportError: They differ by more than rounding explains; the model has no scores to compare
            with; onnxruntime does not take the file.
    """
    try:
        session = open_session(file, 1, path)
    except ArtifactError as error:
        raise ExportError(
            f"{path}: not written: what torch's exporter makes of {type(source.model).__name__} is "
            f"no graph for onnxruntime ({error})"
        ) from error
    tolerance = _TOLERANCE_OF_INTEGERS if integers else _TOLERANCE
    k = min(k, source.n_items - 1)
    largest, same, places, sequences = 0.0, 0, 0, 0
    generator = torch.Generator().manual_seed(0)
    for item_seq, length in _sequences(source, all_items=not integers):
        feed = {"item_seq": item_seq.numpy(), "length": length.numpy()}
        truth = _truth(source, item_seq, length)
        _refuse_no_numbers(path, truth)
        seen = truth.scatter(1, item_seq, -torch.inf)
        chosen = torch.randint(1, source.n_items, (1, _CANDIDATES), generator=generator)
        chosen = chosen.unique().unsqueeze(0)
        among = torch.full_like(truth, -torch.inf).scatter(
            1, chosen.expand(len(truth), -1), truth[:, chosen[0]]
        )
        asked: tuple[tuple[Tensor, dict[str, np.ndarray]], ...] = (
            (truth, {"exclude_history": np.array([False])}),
            (seen, {"exclude_history": np.array([True])}),
            (among, {"exclude_history": np.array([False]), "candidates": chosen.numpy()}),
        )
        for expected, options in asked:
            wanted = np.array([k], np.int64)
            ids, scores = session.run(["items", "scores"], {**feed, "k": wanted, **options})
            difference, right = _compare(path, expected, ids, scores, tolerance)
            largest = max(largest, difference)
            same, places = same + right, places + ids.size
        sequences += len(item_seq)
    return Deviation(largest, same / places, sequences)


def _refuse_no_numbers(path: str, truth: Tensor) -> None:
    """A score of -inf is an item that is never ranked; the best of a row has to be a number."""
    if not bool((~torch.isnan(truth)).all() and torch.isfinite(truth.amax(1)).all()):
        raise ExportError(
            f"{path}: not written: the model itself gives scores that are not numbers, as after a "
            "training that diverged; train it anew or give another checkpoint"
        )


def _compare(
    path: str, expected: Tensor, ids: np.ndarray, scores: np.ndarray, tolerance: float
) -> tuple[float, int]:
    """Largest deviation of a score, and how many places hold the same item."""
    best, where = expected.topk(min(ids.shape[1], expected.shape[1]), dim=1)
    real = torch.isfinite(expected)
    rows = expected.masked_fill(~real, torch.nan)
    spread = torch.nan_to_num(rows, nan=-torch.inf).amax(1) - torch.nan_to_num(
        rows, nan=torch.inf
    ).amin(1)
    spread = torch.where(spread > 0, spread, torch.ones(())).unsqueeze(1)
    found, own = torch.from_numpy(ids), torch.from_numpy(scores)
    finite = torch.isfinite(best)
    if not torch.equal(torch.isfinite(own), finite):
        raise ExportError(f"{path}: not written: the file ranks items that the model does not")
    of_same = (own - expected.gather(1, found)).masked_fill(~finite, 0).abs()
    # Each place must hold an item as good as the one that belongs there, up to rounding.
    of_place = (own - best).masked_fill(~finite, 0).abs()
    differences = torch.maximum(of_same, of_place)
    difference = float((differences / spread).max())
    magnitude = expected.masked_fill(~real, 0).abs().amax(1, keepdim=True)
    if not bool((differences <= tolerance * spread + _ROUNDINGS * magnitude).all()):
        raise ExportError(
            f"{path}: not written: its scores differ from the model's by {difference:.2g} of their "
            f"range, more than rounding explains ({tolerance:g})"
        )
    return difference, int(((found == where) | ~finite).sum())


def _truth(source: Source, item_seq: Tensor, length: Tensor) -> Tensor:
    """The model's scores, asked as RecBole asks it, ``-inf`` for padding."""
    item_seq, length = _newest(item_seq, length, source.max_length)
    if source.padded:
        missing = source.max_length - item_seq.shape[1]
        item_seq = nn.functional.pad(item_seq, (0, missing))
    scores = source.scores(item_seq, length, torch.zeros(len(item_seq), dtype=torch.long)).clone()
    scores[:, 0] = -torch.inf
    return scores


def _newest(item_seq: Tensor, length: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """What RecBole leaves of longer sequences."""
    rows = [row[max(end - longest, 0) : end] for row, end in zip(item_seq, length, strict=True)]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), length.clamp(max=longest)


def _sequences(source: Source, all_items: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of right-padded sequences."""
    generator = torch.Generator().manual_seed(20)
    longest, n_items = source.max_length, source.n_items

    def random(rows: int, columns: int) -> Tensor:
        return torch.randint(1, n_items, (rows, columns), generator=generator)

    yield random(1, 1), torch.ones(1, dtype=torch.long)
    yield random(5, longest), torch.full((5,), longest)
    length = torch.randint(1, longest + 1, (16,), generator=generator)
    width = int(length.max())
    yield random(16, width) * sequence_mask(length, width), length
    yield random(2, 1).expand(2, longest).contiguous(), torch.full((2,), longest)
    few = min(3, longest)
    last = torch.arange(n_items - few, n_items).clamp(min=1).unsqueeze(0)
    yield last, torch.tensor([few])
    if all_items and n_items - 1 <= longest:
        yield torch.arange(1, n_items).unsqueeze(0), torch.tensor([n_items - 1])
    length = torch.tensor([longest + 4, 1, longest + 1, longest])
    yield random(4, longest + 4) * sequence_mask(length, longest + 4), length
