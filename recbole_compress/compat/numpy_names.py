"""Give numpy 2 back the three names that RecBole's ``Config`` reads."""

import numpy as np

__all__ = ["restore"]

# ``Config.compatibility_settings`` assigns ``np.float = np.float_`` and so on; numpy 2 removed the
# right-hand sides. ``np.int_``, ``np.bool_``, ``np.str_`` and ``np.object_`` still exist.
_REMOVED = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}


def restore() -> None:
    """Add the missing names; names that numpy still has are left alone."""
    for name, dtype in _REMOVED.items():
        if name not in vars(np):
            setattr(np, name, dtype)
