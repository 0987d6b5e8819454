"""Stand in for ``ray`` where it is missing or broken, while RecBole's module that wants it is read.

``recbole/quick_start/quick_start.py`` begins with ``from ray import tune`` and calls
``tune.report(**result)`` in ``objective_function``. RecBole caps ray at 2.6.3, which has no wheels
for Python 3.12+, and on older Pythons needs ``pkg_resources`` and numpy 1 to import.
"""

import importlib
import sys
import types

__all__ = ["import_quick_start"]


def import_quick_start() -> None:
    """Import ``recbole.quick_start``, with a stub unless a working ``ray.tune`` can be imported.

    RecBole's module keeps the stub; for all others there is no ray afterwards, as there was none.
    """
    if "recbole.quick_start.quick_start" in sys.modules:
        return
    before = _modules_of_ray()
    try:
        from ray import tune
    except Exception:  # ray 2.6.3 fails in several ways: ImportError, AttributeError (np.bool8), …
        ray = types.ModuleType("ray", "Stub: recbole_compress needs nothing of ray.")
        tune = types.ModuleType("ray.tune", "Stub: reports go nowhere.")
        tune.report = lambda *args, **kwargs: None
        ray.tune = tune
        sys.modules.update({"ray": ray, "ray.tune": tune})
        try:
            importlib.import_module("recbole.quick_start")
        finally:
            for name in _modules_of_ray():  # nor is a half-imported package to be found again
                del sys.modules[name]
            sys.modules.update(before)
    else:
        importlib.import_module("recbole.quick_start")


def _modules_of_ray() -> dict[str, types.ModuleType]:
    return {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "ray"}
