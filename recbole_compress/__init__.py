"""Compressed sequential recommendation for RecBole.

Importing this package makes its models known to RecBole by name:
``run_recbole(model="CpRecNextItNet")`` and RecBole's other functions then work as for its own.

Without RecBole or torch only :mod:`recbole_compress.artifact` can be used, which needs neither.
"""

from importlib.util import find_spec

from recbole_compress._version import __version__

__all__ = ["__version__"]

if find_spec("recbole") and find_spec("torch"):
    from recbole_compress import steady_memory

    steady_memory.keep_steady()  # before torch is imported

    from recbole_compress import compat

    compat.apply()  # before anything imports recbole.quick_start or makes a Config

    from recbole_compress.config import registry

    registry.install()
