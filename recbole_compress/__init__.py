"""Compressed sequential recommendation for RecBole.

Importing this package makes its models known to RecBole by name:
``run_recbole(model="CpRecNextItNet")`` and RecBole's other functions then work as for its own.
"""

from recbole_compress._version import __version__

__all__ = ["__version__"]

try:
    import recbole  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "recbole":
        raise
    raise ModuleNotFoundError(
        "recbole_compress needs RecBole 1.2.1: pip install --no-deps recbole==1.2.1", name="recbole"
    ) from None

from recbole_compress import compat

compat.apply()  # before anything imports recbole.quick_start or makes a Config

from recbole_compress.config import registry  # noqa: E402

registry.install()
