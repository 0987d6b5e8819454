"""Any sequential recommender as a :class:`~recbole_compress.datafree.NextItemModel`.

What a model can do is found by trying it, never by its name:

- ours hand out the hidden state of every position;
- a model that picks its last state by RecBole's ``gather_indexes`` may have states at every
  position as good as those of the prefixes: then one pass answers for all of them;
- a model with a mask token answers wherever the mask stands;
- any other reads some prefixes of every sequence;
- where scores are no function of one vector per sequence, whole sequences are scored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn.utils import parametrize

from recbole_compress.datafree.sequences import Places, Reading, Sequences
from recbole_compress.errors import ConfigError
from recbole_compress.models.compressed_recommender import CompressedRecommender

__all__ = ["ReadVectors", "SequenceReader", "as_reader", "reader_like"]

# Prefixes per sequence that are read by models which read prefixes one by one.
_PREFIXES = 4
# Share of the positions that are masked for models with a mask token.
_MASKED = 0.2
_TOLERANCE = 1e-3


class ReadVectors(NamedTuple):
    """The item vectors that a model has read, as something to take gradients in.

    Attributes:
        leaf: ``(rows, width, dim)``.
        ids: The items, ``(rows, width)``; padding and masks among them.
        row: The original sequence that every row is a part of, ``(rows,)``.
        offset: Items that the model dropped on the left.
    """

    leaf: Tensor
    ids: Tensor
    row: Tensor
    offset: int

    def per_item(self, gradient: Tensor, item_seq: Tensor) -> Tensor:
        """A gradient in ``leaf`` as one in the items of the sequences, ``(*item_seq.shape, dim)``.

        What stood in the place of an item, padding or a mask, is no part of it.
        """
        row, device = self.row.to(gradient.device), gradient.device
        width = min(gradient.shape[1], item_seq.shape[1] - self.offset)
        told = slice(self.offset, self.offset + width)
        is_item = self.ids[:, :width] == item_seq.to(device)[row, told]
        total = gradient.new_zeros(*item_seq.shape, gradient.shape[2])
        total[:, told].index_add_(0, row, gradient[:, :width] * is_item.unsqueeze(2))
        return total


class SequenceReader:
    """Asks one model; see the subclasses for how.

    Args:
        model: Ours or a sequential one of RecBole that reads nothing but items (and users, which
            are made up: one per first item).
        trims: Whether the model gives the same answer without the padding up to its longest.
    """

    offset = 0

    def __init__(self, model: Any, trims: bool = True) -> None:
        self.model = model
        self.trims = trims
        self._scored_by: dict[bool, list[str]] = {}  # by whether torch caches parametrizations

    @property
    def n_items(self) -> int:
        return self.model.n_items

    @property
    def max_length(self) -> int:
        return self.model.max_seq_length

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    # -- places ------------------------------------------------------------------------------

    def places(self, sequences: Sequences, generator: torch.Generator | None = None) -> Places:
        """Some prefixes of every sequence, the whole one among them."""
        n, longest = sequences.item_seq.shape
        rank = torch.rand(n, longest, generator=generator)
        column = torch.arange(longest)
        rank[column >= sequences.lengths.unsqueeze(1) - 1] = -1.0
        row, other = (rank.topk(min(_PREFIXES - 1, longest), 1).values >= 0).nonzero().unbind(1)
        seen = rank.topk(min(_PREFIXES - 1, longest), 1).indices[row, other] + 1
        row, seen = torch.cat([row, torch.arange(n)]), torch.cat([seen, sequences.lengths])
        return self._prefixes(sequences, row, seen)

    def next_places(self, sequences: Sequences) -> Places:
        """Every proper prefix."""
        column = torch.arange(1, sequences.item_seq.shape[1])
        row, seen = (column < sequences.lengths.unsqueeze(1)).nonzero().unbind(1)
        return self._prefixes(sequences, row, seen + 1)

    def _prefixes(self, sequences: Sequences, row: Tensor, seen: Tensor) -> Places:
        item_seq = sequences.item_seq[row]
        item_seq = item_seq * (torch.arange(item_seq.shape[1]) < seen.unsqueeze(1))
        return Places(item_seq, seen, None, row, seen, self.offset)

    def ends(self, sequences: Sequences) -> Reading:
        item_seq, lengths = sequences
        rows = torch.arange(len(lengths))
        return self.read(Places(item_seq, lengths, None, rows, lengths, self.offset))

    # -- what the model says -----------------------------------------------------------------

    def read(self, places: Places) -> Reading:
        item_seq, lengths = self._padded(places)
        return self._reading(self._states(item_seq, lengths, places))

    def read_with_vectors(self, places: Places) -> tuple[Reading, ReadVectors]:
        """:meth:`read` with item vectors that gradients end in, instead of in the item table."""
        leaves: list[Tensor] = []
        ids: list[Tensor] = []

        def cut(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if leaves or args[0].dim() != 2:
                return None
            ids.append(args[0])
            leaves.append(output.detach().requires_grad_())
            return leaves[0]

        hook = self.embedding.register_forward_hook(cut)
        try:
            reading = self.read(places)
        finally:
            hook.remove()
        row = places.row if places.chosen is None else torch.arange(len(leaves[0]))
        return reading, ReadVectors(leaves[0], ids[0], row, places.offset)

    def _padded(self, places: Places) -> tuple[Tensor, Tensor]:
        item_seq, lengths = places.item_seq.to(self.device), places.lengths.to(self.device)
        if not self.trims:
            missing = self.model.max_seq_length - item_seq.shape[1]
            item_seq = nn.functional.pad(item_seq, (0, missing))
        return item_seq, lengths

    def _states(self, item_seq: Tensor, lengths: Tensor, places: Places) -> Tensor:
        """What ``forward`` gives inside ``full_sort_predict``."""
        found: list[Tensor] = []
        forward = self.model.forward

        def captured(*args: Any, **kwargs: Any) -> Tensor:
            found.append(forward(*args, **kwargs))
            raise _Found

        with _replaced(self.model, forward=captured), contextlib.suppress(_Found):
            self._ask(item_seq, lengths)
        if not found:
            raise _Unlike("it does not call forward")
        return found[0]

    def _reading(self, states: Tensor) -> Reading:
        return Reading(states, self._scores, self._item_scores, self._tensors(states, self._scores))

    def _tensors(self, states: Tensor, scores: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        """What scores are functions of; a quantized tensor itself where it is read once per step.

        Then it is put on its grid once per step and not once per chunk of scores.
        """
        if not torch.is_grad_enabled():
            return ()
        named, cached = dict(_trained_tensors(self.model)), _caches()
        if cached not in self._scored_by:
            few = scores(states[:1].detach())[:, 1:].sum()
            if not few.requires_grad:  # such as where the item table is frozen
                return ()
            found = torch.autograd.grad(few, list(named.values()), allow_unused=True)
            pairs = zip(named, found, strict=True)
            self._scored_by[cached] = [name for name, gradient in pairs if gradient is not None]
        return tuple(named[name] for name in self._scored_by[cached])

    def _scores(self, states: Tensor) -> Tensor:
        with self._instead_of_reading(states):
            nothing = torch.ones(len(states), 1, dtype=torch.long, device=states.device)
            return self._ask(nothing, nothing[:, 0]).clone()

    def _item_scores(self, states: Tensor, ids: Tensor) -> Tensor:
        n, k = ids.shape
        with self._instead_of_reading(states.repeat_interleave(k, 0)):
            nothing = torch.ones(n * k, 1, dtype=torch.long, device=states.device)
            batch = self._interaction(nothing, nothing[:, 0])
            batch.update(Interaction({self.model.ITEM_ID: ids.reshape(-1)}))
            return self.model.predict(batch).view(n, k)

    def _instead_of_reading(self, states: Tensor) -> contextlib.AbstractContextManager[None]:
        return _replaced(
            self.model,
            forward=lambda *args, **kwargs: states,
            gather_indexes=lambda output, index: output,
        )

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        if ids is None:
            ids = torch.arange(self.n_items)
        return self.embedding(ids.to(self.device))

    @property
    def embedding(self) -> nn.Module:
        """What looks items up, for the objectives that compare item vectors.

        Raises:
            ConfigError: The model has none under RecBole's usual name.
        """
        module = getattr(self.model, "item_embedding", None)
        if not isinstance(module, nn.Module):
            raise ConfigError(
                f"{type(self.model).__name__}: has no item_embedding, whose vectors this recipe "
                "compares; take --recipe=self_sample with df_objective=divergence"
            )
        return module

    # -- RecBole's interface -----------------------------------------------------------------

    def _interaction(self, item_seq: Tensor, lengths: Tensor) -> Interaction:
        model = self.model
        fields = {model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: lengths}
        n_users = getattr(model, "n_users", None) or getattr(model, "n_user", None)
        if n_users:  # the same user for all prefixes of a sequence, and every user for some
            fields[model.USER_ID] = 1 + item_seq[:, 0] * 7919 % max(1, int(n_users) - 1)
        return Interaction(fields)

    def _ask(self, item_seq: Tensor, lengths: Tensor) -> Tensor:
        try:
            scores = self.model.full_sort_predict(self._interaction(item_seq, lengths))
        except KeyError as error:
            raise ConfigError(
                f"{type(self.model).__name__}: asks for {error}; without data only a model that "
                "reads nothing but the sequence of items can be taught"
            ) from error
        return scores.reshape(len(item_seq), -1) if scores.dim() != 2 else scores


class EveryPosition(SequenceReader):
    """A model of ours: hidden states of all positions by :meth:`hidden_states`."""

    def places(self, sequences: Sequences, generator: torch.Generator | None = None) -> Places:
        return self._at(sequences, sequences.lengths)

    def next_places(self, sequences: Sequences) -> Places:
        return self._at(sequences, sequences.lengths - 1)

    def _at(self, sequences: Sequences, n_places: Tensor) -> Places:
        item_seq, lengths = sequences
        chosen = torch.arange(item_seq.shape[1]) < n_places.unsqueeze(1)
        row, column = chosen.nonzero().unbind(1)
        return Places(item_seq, lengths, chosen, row, column + 1, self.offset)

    def _states(self, item_seq: Tensor, lengths: Tensor, places: Places) -> Tensor:
        if places.chosen is None:
            return self.model.forward(item_seq, lengths)
        return self.model.hidden_states(item_seq, lengths)[places.chosen.to(self.device)]

    def _reading(self, states: Tensor) -> Reading:
        head = self.model.item_head
        scores, tensors = head.scorer()

        def item_scores(states: Tensor, ids: Tensor) -> Tensor:
            rows = states.repeat_interleave(ids.shape[1], 0)
            return head(rows, ids.reshape(-1)).view(ids.shape)

        tensors = tuple(tensor for tensor in tensors if tensor.requires_grad)
        if _caches():
            # Parameters may stand for cached tensors; what a step has built is what it is.
            originals = {id(p) for _, p in _originals(self.model)}
            if any(id(tensor) in originals for tensor in tensors):
                tensors = self._tensors(states, scores)
        return Reading(states, scores, item_scores, tensors)


class GatheredPositions(EveryPosition):
    """A causal model of RecBole: all the states from which ``gather_indexes`` takes the last."""

    def _states(self, item_seq: Tensor, lengths: Tensor, places: Places) -> Tensor:
        if places.chosen is None:
            return SequenceReader._states(self, item_seq, lengths, places)
        chosen = nn.functional.pad(
            places.chosen, (0, item_seq.shape[1] - places.chosen.shape[1])
        ).to(self.device)
        with _replaced(self.model, gather_indexes=lambda output, index: output[chosen]):
            return SequenceReader._states(self, item_seq, lengths, places)

    _reading = SequenceReader._reading


class MaskedPositions(SequenceReader):
    """A bidirectional model: asked at its mask tokens, after the end and within the sequence."""

    offset = 1  # RecBole makes room for the mask by dropping the first item

    def places(self, sequences: Sequences, generator: torch.Generator | None = None) -> Places:
        item_seq, lengths = sequences
        n, longest = item_seq.shape
        rows, end = torch.arange(n), lengths.unsqueeze(1)
        item_seq = nn.functional.pad(item_seq, (0, 1))
        item_seq[rows, lengths] = self.model.mask_token
        # Half of the sequences are asked for what comes next, half for what is missing.
        within = torch.rand(n, longest + 1, generator=generator) < _MASKED
        within &= (torch.arange(longest + 1) < end) & (rows % 2 == 1).unsqueeze(1)
        item_seq = item_seq.masked_fill(within, self.model.mask_token)
        chosen = item_seq[:, 1:] == self.model.mask_token
        row, column = chosen.nonzero().unbind(1)
        return Places(item_seq[:, 1:], lengths, chosen, row, column + 1, self.offset)

    def _states(self, item_seq: Tensor, lengths: Tensor, places: Places) -> Tensor:
        found: list[Tensor] = []

        def captured(output: Tensor, index: Tensor) -> Tensor:
            found.append(output)
            raise _Found

        known: dict[str, Callable] = {"gather_indexes": captured}
        if places.chosen is not None:  # the masks stand where they are to be
            known["reconstruct_test_data"] = lambda item_seq, lengths: item_seq
        with _replaced(self.model, **known), contextlib.suppress(_Found):
            self._ask(item_seq, lengths)
        if not found:
            raise _Unlike("it does not call gather_indexes")
        if places.chosen is None:
            return found[0][torch.arange(len(lengths), device=self.device), lengths - 1]
        chosen = nn.functional.pad(
            places.chosen, (0, found[0].shape[1] - places.chosen.shape[1])
        ).to(self.device)
        return found[0][chosen]

    def _instead_of_reading(self, states: Tensor) -> contextlib.AbstractContextManager[None]:
        return _replaced(
            self.model,
            forward=lambda *args, **kwargs: states,
            gather_indexes=lambda output, index: output,
            reconstruct_test_data=lambda item_seq, lengths: item_seq,
        )


class WholeSequences(SequenceReader):
    """A model whose scores are no function of one vector: its state is the row that it reads."""

    def read(self, places: Places) -> Reading:
        item_seq, lengths = self._padded(places)
        rows = torch.arange(len(lengths), dtype=torch.float32, device=self.device)

        def scores(states: Tensor) -> Tensor:
            which = states[:, 0].long()
            return self._ask(item_seq[which], lengths[which]).clone()

        def item_scores(states: Tensor, ids: Tensor) -> Tensor:
            return scores(states).gather(1, ids)

        return Reading(rows.unsqueeze(1), scores, item_scores, self._all_tensors())

    def _all_tensors(self) -> tuple[Tensor, ...]:
        return tuple(tensor for _, tensor in _trained_tensors(self.model))


def as_reader(model: Any) -> SequenceReader:
    """The way to ask this model that gets the most out of one pass; tried on made-up sequences.

    Args:
        model: Ours, or a sequential recommender of RecBole.

    Raises:
        ConfigError: A model that reads more than items.
    """
    if isinstance(model, CompressedRecommender):
        return EveryPosition(model)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _tried(model)
    finally:
        model.train(training)


def reader_like(reader: SequenceReader, model: Any) -> SequenceReader:
    """A reader of the same kind for a model of the same class, without trying again."""
    return type(reader)(model, reader.trims)


def _tried(model: Any) -> SequenceReader:
    generator = torch.Generator().manual_seed(0)
    longest = min(model.max_seq_length, 7)
    item_seq = torch.randint(1, model.n_items, (6, longest), generator=generator)
    lengths = torch.tensor([longest, 2, max(1, longest - 1), 1, longest, max(1, longest // 2)])
    lengths = lengths.clamp(max=longest)
    sequences = Sequences(item_seq * (torch.arange(longest) < lengths.unsqueeze(1)), lengths)
    whole = WholeSequences(model, trims=False)
    expected = _all_scores(whole.ends(sequences))
    if expected.shape[1] != model.n_items - 1:
        raise ConfigError(
            f"{type(model).__name__}: scores {expected.shape[1] + 1} items of {model.n_items}; it "
            "cannot be quantized without data"
        )
    trims = _agrees(lambda: _all_scores(WholeSequences(model).ends(sequences)), expected)
    if hasattr(model, "mask_token") and hasattr(model, "reconstruct_test_data"):
        masked = MaskedPositions(model, trims)
        if _agrees(lambda: _all_scores(masked.ends(sequences)), expected):
            return masked
    prefixes = SequenceReader(model, trims)
    if not _agrees(lambda: _all_scores(prefixes.ends(sequences)), expected):
        return WholeSequences(model, trims)
    some = torch.tensor([[1, model.n_items - 1]] * len(lengths))
    ends = prefixes.ends(sequences)
    if not _agrees(lambda: ends.item_scores(ends.states, some), expected.gather(1, some - 1)):
        return WholeSequences(model, trims)
    gathered = GatheredPositions(model, trims)
    one_by_one = _all_scores(prefixes.read(prefixes.next_places(sequences)))
    in_one = lambda: _all_scores(gathered.read(gathered.next_places(sequences)))  # noqa: E731
    return gathered if _agrees(in_one, one_by_one) else prefixes


def _all_scores(reading: Reading) -> Tensor:
    return reading.scores(reading.states)[:, 1:]


def _agrees(attempt: Callable[[], Tensor], expected: Tensor) -> bool:
    try:
        found = attempt()
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
        return False
    scale = expected.abs().amax().clamp(min=1e-6)
    return found.shape == expected.shape and bool(
        ((found - expected).abs().amax() / scale) < _TOLERANCE
    )


def _caches() -> bool:
    return parametrize._cache_enabled > 0


def _originals(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that are only read through a parametrization, its own ones among them."""
    for path, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            yield from module.named_parameters(prefix=path)


def _trained_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Everything trained, parametrized tensors as they are read where torch caches them."""
    hidden: set[int] = set()
    if _caches():
        hidden = {id(parameter) for _, parameter in _originals(model)}
        for path, module in model.named_modules():
            if parametrize.is_parametrized(module):
                for name in module.parametrizations:
                    if (value := getattr(module, name)).requires_grad:
                        yield f"{path}.{name}", value
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in hidden:
            yield name, parameter


class _Found(Exception):
    """Ends a model's method once it has shown what was looked for."""


class _Unlike(RuntimeError):
    """A model that does not work the way that was tried."""


@contextlib.contextmanager
def _replaced(model: nn.Module, **methods: Callable) -> Iterator[None]:
    """Methods of this one object, for as long as the block lasts."""
    before = {name: vars(model).get(name) for name in methods}
    vars(model).update(methods)
    try:
        yield
    finally:
        for name, method in before.items():
            if method is None:
                vars(model).pop(name, None)
            else:
                vars(model)[name] = method
