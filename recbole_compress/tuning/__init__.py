"""Hyper-parameter search: which settings give the best validation score.

- ``options``: what the ``tune`` command is told; ``arguments`` reads it.
- ``space``: the ``.hyper`` files; a space can be checked, listed and drawn from.
- ``trials``: all trials of a search, kept on disk so that none is run twice.
- ``tool``: what every tool is that can run trials; ``tools`` lists them by name.
- ``hyperopt_tool``: one trial after another; ``hyperopt_search`` is RecBole's ``HyperTuning``.
- ``ray_tool``: several trials at once; ``ray_search`` is Ray Tune.
- ``results``: RecBole's result file and the best settings as a config file.

How one trial is run is told to a search from outside: it never trains anything itself.
"""
