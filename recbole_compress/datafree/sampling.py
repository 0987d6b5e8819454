"""Sequences from a model itself: what it believes that people do, item after item."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_compress.datafree.draw import draw_from, draw_items_
from recbole_compress.datafree.sequences import NextItemModel, Reading, Sequences
from recbole_compress.functional.sequence_mask import sequence_mask

__all__ = ["SamplingSettings", "noise_sequences", "sample_sequences", "stationary_prior"]

# Scores drawn from at once, float32: what fits into the cache is fastest.
_SCORES_AT_ONCE = 2**19
# Rows scored at once even so: each time the whole item table is read, which is far from any cache.
_ROWS_AT_ONCE, _ROWS_ON_ACCELERATORS = 16, 64
# Chains and steps that the stationary distribution is estimated from.
_CHAINS, _STEPS = 1024, 10

Draw = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SamplingSettings:
    """How sequences are sampled.

    Attributes:
        temperature: Of the next item's distribution; above 1 sequences become more even.
        start: First items: ``"uniform"`` over the catalogue, ``"stationary"`` as the model's own
            chain visits them, or ``"mixed"``, half of each.
        min_length: Shortest sequence.
        lengths: ``"longest"``, all as long as the model reads (which is asked within them as well);
            ``"uniform"``, any length from the shortest on; ``"mixed"``, half of each.
        repeats: Whether an item may come again in a sequence.
    """

    temperature: float = 1.0
    start: str = "mixed"
    min_length: int = 5
    lengths: str = "longest"
    repeats: bool = True


def sample_sequences(
    model: NextItemModel,
    n: int,
    settings: SamplingSettings | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    prior: Tensor | None = None,
    draw: Draw | None = None,
    after_batch: Callable[[int], object] | None = None,
) -> Sequences:
    """``n`` sequences, each item drawn from what the model says after the ones before.

    One pass over the growing prefix per item; sequences that are long enough leave the batch, and
    scores are made for as many rows at a time as fit into the cache, but no fewer than 16 (64 on
    accelerators), whatever the catalogue.

    Args:
        model: Is only read.
        n: Number of sequences.
        settings: None for the defaults.
        generator: On the CPU; sequences are made there and depend on nothing else.
        batch_size: Sequences at a time.
        prior: Distribution of first items, ``(n_items,)``, see :func:`stationary_prior`; estimated
            here where the settings ask for it and it is None.
        draw: Scores ``(C, n_items)`` -> ids ``(C,)`` in place of temperature and softmax; column 0
            is ``-inf``, and so are items already there when repeats are off.
        after_batch: Is told how many sequences a batch had that is finished.

    Returns:
        As wide as the longest sequence.
    """
    settings = settings or SamplingSettings()
    if settings.start != "uniform" and prior is None:
        prior = stationary_prior(model, settings, generator)
    draw = draw or (lambda scores: draw_items_(scores, settings.temperature, generator))
    lengths = _lengths(model.max_length, model.n_items, n, settings, generator)
    lengths = lengths.sort(descending=True).values  # neighbours end together
    parts = []
    for wanted in lengths.split(batch_size):
        first = _first_items(model.n_items, len(wanted), settings.start, prior, generator)
        parts.append(_grown(model, first, wanted, settings.repeats, draw))
        if after_batch is not None:
            after_batch(len(wanted))
    item_seq = torch.cat(
        [torch.nn.functional.pad(p, (0, int(lengths[0]) - p.shape[1])) for p in parts]
    )
    order = torch.randperm(n, generator=generator)
    return Sequences(item_seq[order], lengths[order])


def noise_sequences(
    n_items: int,
    max_length: int,
    n: int,
    settings: SamplingSettings | None = None,
    generator: torch.Generator | None = None,
) -> Sequences:
    """Sequences of items drawn uniformly: what a model can be asked without knowing anything.

    Example:
        >>> sequences = noise_sequences(n_items=9, max_length=7, n=3)
        >>> sequences.item_seq.max() < 9, bool((sequences.lengths >= 5).all())
        (tensor(True), True)
    """
    settings = settings or SamplingSettings()
    lengths = _lengths(max_length, n_items, n, settings, generator)
    width = int(lengths.max())
    if settings.repeats:
        item_seq = torch.randint(1, n_items, (n, width), generator=generator)
    else:
        sizes = (which.stop - which.start for which in _chunks(n, n_items))
        shuffled = (torch.rand(size, n_items - 1, generator=generator) for size in sizes)
        item_seq = torch.cat([order.topk(width, 1).indices + 1 for order in shuffled])
    return Sequences(item_seq * sequence_mask(lengths, item_seq.shape[1]), lengths)


@torch.no_grad()
def stationary_prior(
    model: NextItemModel,
    settings: SamplingSettings | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How often the model's own chain comes to every item, ``(n_items,)``, sums to 1.

    The mean of its next-item distributions after a few sampled steps from uniform starts.
    """
    settings = settings or SamplingSettings()
    first = torch.randint(1, model.n_items, (_CHAINS,), generator=generator)
    steps = min(_STEPS, model.max_length)
    lengths = torch.full((_CHAINS,), steps)

    def draw(scores: Tensor) -> Tensor:
        return draw_items_(scores, settings.temperature, generator)

    walked = _grown(model, first, lengths, repeats=True, draw=draw)
    prior = torch.zeros(model.n_items)
    for which in _chunks(_CHAINS, model.n_items, _ROWS_AT_ONCE):
        reading = model.ends(Sequences(walked[which], lengths[which]))
        for _, scores in _scores(reading, model.n_items):
            prior += (scores / settings.temperature).softmax(1).sum(0).cpu()
    return prior / prior.sum()


@torch.no_grad()
def _grown(
    model: NextItemModel, first: Tensor, lengths: Tensor, repeats: bool, draw: Draw
) -> Tensor:
    """Sequences of these lengths (descending) from these first items, ``(B, lengths[0])``."""
    item_seq = torch.zeros(len(first), int(lengths[0]), dtype=torch.long)
    item_seq[:, 0] = first
    for step in range(1, item_seq.shape[1]):
        active = int((lengths > step).sum())
        prefix = item_seq[:active, :step]
        reading = model.ends(Sequences(prefix, torch.full((active,), step)))
        for which, scores in _scores(reading, model.n_items):
            if not repeats:
                scores.scatter_(1, prefix[which].to(scores.device), -torch.inf)
            item_seq[which, step] = draw(scores.cpu())
    return item_seq


def _scores(reading: Reading, n_items: int) -> Iterator[tuple[slice, Tensor]]:
    """The scores of all places, a few rows at a time: which they are, and float32 ``(C, n_items)``.

    Column 0 is ``-inf``; the caller may write into them.
    """
    on_cpu = reading.states.device.type == "cpu"
    wanted = _ROWS_AT_ONCE if on_cpu else _ROWS_ON_ACCELERATORS
    for several in _chunks(len(reading.states), n_items, wanted):
        scored = reading.scores(reading.states[several])
        for part in _chunks(len(scored), n_items):
            # A copy: what a model gives may be its own.
            scores = scored[part].to(torch.float32, copy=True)
            scores[:, 0] = -torch.inf
            yield slice(several.start + part.start, several.start + part.stop), scores


def _chunks(n: int, n_items: int, wanted: int = 1) -> list[slice]:
    """Of rows: as many as fit into the cache, or the multiple of that up to ``wanted``."""
    size = max(1, _SCORES_AT_ONCE // n_items)
    size *= max(1, wanted // size)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _first_items(
    n_items: int,
    n: int,
    start: str,
    prior: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    uniform = torch.randint(1, n_items, (n,), generator=generator)
    if prior is None or start == "uniform":
        return uniform
    visited = draw_from(prior, n, generator)
    if start == "stationary":
        return visited
    return torch.where(torch.rand(n, generator=generator) < 0.5, uniform, visited)


def _lengths(
    max_length: int,
    n_items: int,
    n: int,
    settings: SamplingSettings,
    generator: torch.Generator | None,
) -> Tensor:
    longest = max_length if settings.repeats else min(max_length, n_items - 1)
    shortest = min(settings.min_length, longest)
    full = torch.full((n,), longest)
    if settings.lengths == "longest":
        return full
    uniform = torch.randint(shortest, longest + 1, (n,), generator=generator)
    if settings.lengths == "uniform":
        return uniform
    return torch.where(torch.rand(n, generator=generator) < 0.5, uniform, full)
