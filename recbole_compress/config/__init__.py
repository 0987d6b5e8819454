"""Settings: RecBole's, strict.

- ``config``: :class:`Config`, for every run of ours.
- ``given``, ``values``: reading command line and config files; texts are parsed, never evaluated.
- ``parsed_files``: yaml files that come with a package, each parsed once.
- ``written``: settings as a config file can hold them.
- ``schema``, ``keys_read``, ``validation``: which keys there are, and refusing all others.
- ``data_settings``: how data are read, and refusing what would be read as something else.
- ``internal_defaults``, ``split_files``, ``properties_folder``: our yaml files among RecBole's.
- ``model_names``, ``registry``: making our models known to RecBole, and finding models.
"""

from recbole_compress.config.config import Config

__all__ = ["Config"]
