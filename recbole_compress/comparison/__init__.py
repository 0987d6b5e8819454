"""Many runs side by side, made in one command.

- ``experiment``: which runs there are, read from yaml or from names of models.
- ``settings``: what every run is told, checked before the first one begins.
- ``run_files``: where the files of every run lie.
- ``finished``: which runs need not be made again.
- ``runs``: one process per run; what is finished is kept, what was cut off is taken up again.
- ``rank_metrics``: RecBole's metrics of every single row, from its rank.
- ``statistics``: mean and deviation, paired tests and bootstrap intervals.
- ``row_groups``: items by train frequency, in thirds of the train interactions.
- ``latency``: requests timed with the models taking turns.
- ``restore``, ``told_before``: going on from a results file alone, and what it tells already.
- ``document``: all of it in ``comparison.json``.
- ``tables``: Markdown and CSV; ``pareto``, ``plot``: who is not beaten, and the picture of it, with
  names where ``plot_labels`` finds room.
"""
