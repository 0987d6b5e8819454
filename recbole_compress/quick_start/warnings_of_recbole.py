"""RecBole's warnings, which are not for whoever runs a command."""

from __future__ import annotations

import warnings

__all__ = ["ignore_warnings_of_recbole"]


def ignore_warnings_of_recbole() -> None:
    """RecBole's use of torch and pandas: nothing that a user could mend."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
