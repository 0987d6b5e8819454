"""Numbers and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["UNKNOWN", "byte_count", "count", "counted", "markdown", "number", "scaled"]

UNKNOWN = "-"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first ``left`` columns hold text, the others numbers.

    Example:
        >>> print(markdown(["run", "p50 ms"], [["a | b", "0.5"]]))
        | run | p50 ms |
        | --- | ---: |
        | a \\| b | 0.5 |
    """
    rule = [*["---"] * left, *["---:"] * (len(header) - left)]
    lines = [header, rule, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def count(value: int | None) -> str:
    return number(value, ",d")


def counted(value: int | None, one: str, several: str | None = None) -> str:
    """A number of things.

    Example:
        >>> counted(1, "epoch"), counted(2_000, "pass", "passes"), counted(None, "epoch")
        ('1 epoch', '2,000 passes', '- epochs')
    """
    return f"{count(value)} {one if value == 1 else several or one + 's'}"


def byte_count(value: float | None) -> str:
    return scaled(value, "B")


def scaled(value: float | None, unit: str) -> str:
    """Three digits and a decimal prefix: 1000 B are 1 kB.

    Example:
        >>> scaled(1_234_567, "B"), scaled(None, "B")
        ('1.23 MB', '-')
    """
    if value is None:
        return UNKNOWN
    for prefix in ("", "k", "M", "G"):
        if value < 999.5 or prefix == "G":
            break
        value /= 1000
    text = f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
    return f"{text} {prefix}{unit}".rstrip()
