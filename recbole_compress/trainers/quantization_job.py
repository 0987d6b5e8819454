"""What a quantization recipe is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from recbole_compress.datafree import NextItemModel
from recbole_compress.quantization import QuantizationReport, QuantizationSpec

__all__ = ["QuantizationJob", "QuantizationWork"]


@dataclass(frozen=True)
class QuantizationJob:
    """What a recipe is given.

    Attributes:
        model: Full precision, with its trained weights, in evaluation mode; to be quantized in
            place. A recipe that needs the original as well copies it first.
        spec: How its numbers are to be stored.
        config: All settings, the recipe's own among them.
        train_data: Makes the loader of the train split; None on the data-free path.
        drawn_again: Makes the model anew, its weights drawn as its class draws them; None where no
            training is to start from such.
        item_map_sha256: Which items it knows, where its checkpoint says.
    """

    model: Any
    spec: QuantizationSpec
    config: Any
    train_data: Callable[[], Any] | None = None
    drawn_again: Callable[[], Any] | None = None
    item_map_sha256: str | None = None


class QuantizationWork(NamedTuple):
    """A recipe's result.

    Attributes:
        report: What became of every parameter.
        passes: Epochs of training; 0 for none.
        sequences: That the model was shown, in training or to find static ranges; one that was
            shown in two passes counts twice.
        seconds_before: Spent by an interrupted training that was gone on with.
        leftover: File of that training, of no use once the quantized model is written.
        generator: What had learned to make the sequences, as its last turn left it; None where
            nothing did. For whoever looks at them: no file of a quantized model holds it.
    """

    report: QuantizationReport
    passes: int = 0
    sequences: int = 0
    seconds_before: float = 0.0
    leftover: str | None = None
    generator: NextItemModel | None = None
