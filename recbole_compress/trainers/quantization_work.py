"""What a quantization recipe hands back: the report, and what it took."""

from __future__ import annotations

from typing import NamedTuple

from recbole_compress.quantization import QuantizationReport

__all__ = ["QuantizationWork"]


class QuantizationWork(NamedTuple):
    """A recipe's result.

    Attributes:
        report: What became of every parameter.
        passes: Epochs of training; 0 for none.
        sequences: That the model was shown, in training or to find static ranges; one that was
            shown in two passes counts twice.
        seconds_before: Spent by an interrupted training that was gone on with.
        leftover: File of that training, of no use once the quantized model is written.
    """

    report: QuantizationReport
    passes: int = 0
    sequences: int = 0
    seconds_before: float = 0.0
    leftover: str | None = None
