"""What every way of asking a model shares: RecBole's interface, taken apart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_compress.datafree.sequences import Places, Reading, Sequences
from recbole_compress.errors import ConfigError
from recbole_compress.functional.probabilities import logits_of
from recbole_compress.readers.read_vectors import ReadVectors
from recbole_compress.readers.replaced_methods import Found, Unlike, replaced
from recbole_compress.readers.trained_tensors import caches, trained_tensors

__all__ = ["SequenceReader"]


class SequenceReader:
    """Asks one model; see the subclasses for how.

    Args:
        model: Ours or a sequential one of RecBole that reads nothing but items (and users, which
            are made up: one per first item).
        trims: Whether the model gives the same answer without the padding up to its longest.
        gives_probabilities: Whether its scores are probabilities; then their logarithms are said.
    """

    offset = 0

    def __init__(self, model: Any, trims: bool = True, gives_probabilities: bool = False) -> None:
        self.model = model
        self.trims = trims
        self.gives_probabilities = gives_probabilities
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
        """Where the model answers in these sequences, the ends of all of them among it."""
        raise NotImplementedError

    def next_places(self, sequences: Sequences) -> Places:
        """Every place that a next item follows."""
        raise NotImplementedError

    def ends(self, sequences: Sequences) -> Reading:
        item_seq, lengths = sequences
        rows = torch.arange(len(lengths))
        return self.read(Places(item_seq, lengths, None, rows, lengths, self.offset))

    # -- what the model says -----------------------------------------------------------------

    def read(self, places: Places) -> Reading:
        item_seq, lengths = self.padded(places.item_seq, places.lengths)
        return self._reading(self._states(item_seq, lengths, places))

    def read_with_vectors(self, places: Places) -> tuple[Reading, ReadVectors]:
        """:meth:`read` with item vectors that gradients end in, instead of in the item table.

        Raises:
            ConfigError: The model does not look its sequences up there, all items at once.
        """
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
        if not leaves:
            raise ConfigError(
                f"{type(self.model).__name__}: does not read its sequences by one look-up in "
                "item_embedding, which a generator is taught through; take --recipe=self_sample, "
                "or df_synthesis=epsilon_greedy"
            )
        row = places.row if places.chosen is None else torch.arange(len(leaves[0]))
        return reading, ReadVectors(leaves[0], ids[0], row, places.offset)

    def padded(self, item_seq: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Where the model is, and as wide as it wants its sequences."""
        item_seq, lengths = item_seq.to(self.device), lengths.to(self.device)
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
            raise Found

        with replaced(self.model, forward=captured), contextlib.suppress(Found):
            self.ask(item_seq, lengths)
        if not found:
            raise Unlike("it does not call forward")
        return found[0]

    def _reading(self, states: Tensor) -> Reading:
        tensors = self._tensors(states, self._scores)
        return Reading(states, self._scores, self._item_scores, tensors, tensors)

    def _tensors(self, states: Tensor, scores: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        """What scores are functions of; a quantized tensor itself where it is read once per step.

        Then it is put on its grid once per step and not once per chunk of scores.
        """
        if not torch.is_grad_enabled():
            return ()
        named, cached = dict(trained_tensors(self.model)), caches()
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
            return self.ask(nothing, nothing[:, 0])

    def _item_scores(self, states: Tensor, ids: Tensor) -> Tensor:
        n, k = ids.shape
        with self._instead_of_reading(states.repeat_interleave(k, 0)):
            nothing = torch.ones(n * k, 1, dtype=torch.long, device=states.device)
            batch = self._interaction(nothing, nothing[:, 0])
            batch.update(Interaction({self.model.ITEM_ID: ids.reshape(-1)}))
            return self._logits(self.model.predict(batch)).view(n, k)

    def _instead_of_reading(self, states: Tensor) -> contextlib.AbstractContextManager[None]:
        return replaced(
            self.model,
            forward=lambda *args, **kwargs: states,
            gather_indexes=lambda output, index: output,
        )

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        if ids is None:
            ids = torch.arange(self.n_items)
        found = self.embedding(ids.to(self.device))
        return found.as_subclass(Tensor)  # of rows that would round what they are multiplied with

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

    def ask(self, item_seq: Tensor, lengths: Tensor) -> Tensor:
        """``full_sort_predict`` of these sequences, ``(B, n_items)``, as logits."""
        try:
            scores = self.model.full_sort_predict(self._interaction(item_seq, lengths))
        except KeyError as error:
            raise ConfigError(
                f"{type(self.model).__name__}: asks for {error}; without data only a model that "
                "reads nothing but the sequence of items can be taught"
            ) from error
        scores = scores.reshape(len(item_seq), -1) if scores.dim() != 2 else scores
        return self._logits(scores)

    def _logits(self, scores: Tensor) -> Tensor:
        return logits_of(scores) if self.gives_probabilities else scores
