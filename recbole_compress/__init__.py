"""Compressed sequential recommendation for RecBole.

Importing this package makes its models known to RecBole by name:
``run_recbole(model="CpRecNextItNet")`` and RecBole's other functions then work as for its own.
What the commands do is here as functions, each fetched when it is asked for.

Without RecBole or torch only :mod:`recbole_compress.artifact` can be used, which needs neither.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from recbole_compress import quick_start
from recbole_compress._version import __version__

if TYPE_CHECKING:
    from recbole_compress.quick_start import *  # noqa: F403

__all__ = ["__version__"]
__all__ += quick_start.__all__

if not TYPE_CHECKING:  # to a type checker it would say that there is every name

    def __getattr__(name: str) -> Any:
        if name in quick_start.__all__:
            return getattr(quick_start, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if find_spec("recbole") and find_spec("torch"):
    from recbole_compress import steady_memory

    steady_memory.keep_steady()  # before torch is imported

    from recbole_compress import compat

    compat.apply()  # before anything imports recbole.quick_start or makes a Config

    from recbole_compress.config import registry

    registry.install()
