"""Stand in for ``ray`` where it is missing or broken.

``recbole/quick_start/quick_start.py`` begins with ``from ray import tune`` and calls
``tune.report(**result)`` in ``objective_function``. RecBole caps ray at 2.6.3, which has no wheels
for Python 3.12+, and on older Pythons needs ``pkg_resources`` and numpy 1 to import.
"""

import sys
import types

__all__ = ["install"]


def install() -> None:
    """Put a stub into ``sys.modules`` unless a working ``ray.tune`` can be imported."""
    if "ray" in sys.modules:
        return
    try:
        from ray import tune
    except Exception:  # ray 2.6.3 fails in several ways: ImportError, AttributeError (np.bool8), …
        for name in [name for name in sys.modules if name == "ray" or name.startswith("ray.")]:
            del sys.modules[name]  # a half-imported package must not be found again
        ray = types.ModuleType("ray", "Stub: recbole_compress needs nothing of ray.")
        tune = types.ModuleType("ray.tune", "Stub: reports go nowhere.")
        tune.report = lambda *args, **kwargs: None
        ray.tune = tune
        sys.modules.update({"ray": ray, "ray.tune": tune})
