"""Naming what the user probably meant."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


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
