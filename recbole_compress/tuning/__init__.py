"""Hyper-parameter search: which settings give the best validation score.

- ``options``: what the ``tune`` command is told.
- ``space``: the ``.hyper`` files; a space can be checked, listed and drawn from.
- ``trials``: all trials of a search, kept on disk so that none is run twice.
- ``hyperopt_search``: RecBole's ``HyperTuning``, one trial after another.
- ``ray_search``: Ray Tune, several trials at once.
- ``results``: RecBole's result file and the best settings as a config file.

How one trial is run is told to a search from outside: it never trains anything itself.
"""
