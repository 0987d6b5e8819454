"""How a causal model of RecBole is asked."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from recbole_compress.datafree.sequences import Places
from recbole_compress.readers.one_pass import OnePass
from recbole_compress.readers.prefixes import Prefixes
from recbole_compress.readers.replaced_methods import replaced
from recbole_compress.readers.trial import Trial

__all__ = ["GatheredPositions"]


class GatheredPositions(OnePass):
    """A causal model of RecBole: all the states from which ``gather_indexes`` takes the last."""

    @classmethod
    def tried(cls, model: Any, trial: Trial) -> GatheredPositions | None:
        prefixes = Prefixes.tried(model, trial)
        if prefixes is None:
            return None
        gathered = cls(model, trial.trims)
        one_by_one = trial.at_next_places(prefixes)
        agrees = trial.agrees(lambda: trial.at_next_places(gathered), one_by_one)
        return gathered if agrees else None

    def _states(self, item_seq: Tensor, lengths: Tensor, places: Places) -> Tensor:
        if places.chosen is None:
            return super()._states(item_seq, lengths, places)
        chosen = nn.functional.pad(
            places.chosen, (0, item_seq.shape[1] - places.chosen.shape[1])
        ).to(self.device)
        with replaced(self.model, gather_indexes=lambda output, index: output[chosen]):
            return super()._states(item_seq, lengths, places)
