"""How a bidirectional model with a mask token is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from recbole_compress.datafree.sequences import Places, Sequences
from recbole_compress.functional.sequence_mask import sequence_mask
from recbole_compress.readers.prefixes import Prefixes
from recbole_compress.readers.replaced_methods import Found, Unlike, replaced
from recbole_compress.readers.trial import Trial

__all__ = ["MaskedPositions"]

# Share of the positions that are masked.
_MASKED = 0.2


class MaskedPositions(Prefixes):
    """A bidirectional model: asked at its mask tokens, after the end and within the sequence."""

    offset = 1  # RecBole makes room for the mask by dropping the first item

    @classmethod
    def tried(cls, model: Any, trial: Trial) -> MaskedPositions | None:
        if not (hasattr(model, "mask_token") and hasattr(model, "reconstruct_test_data")):
            return None
        masked = cls(model, trial.trims)
        return masked if trial.agrees(lambda: trial.at_ends(masked), trial.expected) else None

    def places(self, sequences: Sequences, generator: torch.Generator | None = None) -> Places:
        item_seq, lengths = sequences
        n, longest = item_seq.shape
        rows = torch.arange(n)
        item_seq = nn.functional.pad(item_seq, (0, 1))
        item_seq[rows, lengths] = self.model.mask_token
        # Half of the sequences are asked for what comes next, half for what is missing.
        within = torch.rand(n, longest + 1, generator=generator) < _MASKED
        within &= sequence_mask(lengths, longest + 1) & (rows % 2 == 1).unsqueeze(1)
        item_seq = item_seq.masked_fill(within, self.model.mask_token)
        chosen = item_seq[:, 1:] == self.model.mask_token
        row, column = chosen.nonzero().unbind(1)
        return Places(item_seq[:, 1:], lengths, chosen, row, column + 1, self.offset)

    def _states(self, item_seq: Tensor, lengths: Tensor, places: Places) -> Tensor:
        found: list[Tensor] = []

        def captured(output: Tensor, index: Tensor) -> Tensor:
            found.append(output)
            raise Found

        known: dict[str, Callable] = {"gather_indexes": captured}
        if places.chosen is not None:  # the masks stand where they are to be
            known["reconstruct_test_data"] = lambda item_seq, lengths: item_seq
        with replaced(self.model, **known), contextlib.suppress(Found):
            self.ask(item_seq, lengths)
        if not found:
            raise Unlike("it does not call gather_indexes")
        if places.chosen is None:
            return found[0][torch.arange(len(lengths), device=self.device), lengths - 1]
        chosen = nn.functional.pad(
            places.chosen, (0, found[0].shape[1] - places.chosen.shape[1])
        ).to(self.device)
        return found[0][chosen]

    def _instead_of_reading(self, states: Tensor) -> contextlib.AbstractContextManager[None]:
        return replaced(
            self.model,
            forward=lambda *args, **kwargs: states,
            gather_indexes=lambda output, index: output,
            reconstruct_test_data=lambda item_seq, lengths: item_seq,
        )
