"""Times that become one when they are stored in 32 bits, as RecBole stores them."""

from __future__ import annotations

import numpy as np

__all__ = ["users_in_file_order"]


def users_in_file_order(users: np.ndarray, times: np.ndarray) -> int:
    """How many users have items that no longer stand by time once times are sorted in 32 bits.

    Seconds since 1970 are then told apart from a minute or two on. A stable sort leaves rows of
    one time as they came, so a file that is sorted by time loses nothing.

    Args:
        users: Whose row it is, in the order of the file, ``(rows,)``.
        times: float64 ``(rows,)``.

    Example:
        >>> users = np.array([1, 1, 2, 2])
        >>> users_in_file_order(users, np.array([881250949.0, 881250940.0, 5.0, 4.0]))
        1
        >>> users_in_file_order(users, np.array([881250940.0, 881250949.0, 5.0, 4.0]))
        0
    """
    stored = times.astype(np.float32)
    if np.array_equal(stored, times) or (times[1:] >= times[:-1]).all():
        return 0
    order = np.lexsort((stored, users))
    users, times = users[order], times[order]
    swapped = (users[1:] == users[:-1]) & (times[1:] < times[:-1])
    return len(np.unique(users[1:][swapped]))
