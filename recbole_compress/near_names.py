"""Naming what the user probably meant."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "near_options"]


def did_you_mean(name: str, known: Iterable[str], n: int = 3) -> str:
    """``choose ...`` with the nearest known names first, for the end of an error line.

    Example:
        >>> did_you_mean("tide", ["tied", "untied", "low_rank"])
        "did you mean 'tied' or 'untied'? Choose one of low_rank, tied, untied"
        >>> did_you_mean("xyz", ["tied"])
        'choose one of tied'
    """
    known = sorted(known)
    folded = {candidate.lower(): candidate for candidate in known}
    near = [folded[key] for key in difflib.get_close_matches(name.lower(), folded, n=n)]
    listing = "hoose one of " + ", ".join(known)
    if not near:
        return "c" + listing
    return "did you mean " + " or ".join(repr(candidate) for candidate in near) + "? C" + listing


def near_options(name: str, known: Iterable[str]) -> list[str]:
    """Those that are spelt nearly alike, or else have a word in common.

    Example:
        >>> bits = ["table_bits", "weight_bits", "recipe"]
        >>> near_options("wieght_bits", bits), near_options("bits", bits), near_options("k", bits)
        (['weight_bits'], ['table_bits', 'weight_bits'], [])
    """
    known = sorted(known)
    words = set(name.lower().split("_"))
    near = difflib.get_close_matches(name.lower(), known, cutoff=0.8)
    return near or [option for option in known if words & set(option.split("_"))]
