"""``recbole-compress compare``: an experiment in, runs, tables and one JSON file out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_compress.arguments import read_command_line
from recbole_compress.comparison.document import build_document, write_document
from recbole_compress.comparison.experiment import (
    Experiment,
    experiment_of_models,
    read_experiment,
)
from recbole_compress.comparison.latency import measure_in_turns
from recbole_compress.comparison.restore import RESULTS, restore_runs
from recbole_compress.comparison.run_files import check_names, make_folder
from recbole_compress.comparison.runs import run_missing
from recbole_compress.comparison.settings import checked_runs
from recbole_compress.comparison.tables import csv_table, markdown_page
from recbole_compress.config.given import with_config_files
from recbole_compress.errors import ConfigError
from recbole_compress.files import replacing
from recbole_compress.quick_start.checks import check_run

__all__ = ["compare", "compare_experiment"]

OPTIONS = ("models", "datasets", "seeds", "only", "reference", "output", "jobs")
FLAGS = ("--table", "--latency")
FOLDER = Path("runs", "compare")


def compare(arguments: Sequence[str]) -> int:
    """What the command line asks for; see ``recbole-compress help``.

    Returns:
        0, or 1 if a run failed.

    Raises:
        RecBoleCompressError: Anything the user can mend, before anything is run.
    """
    arguments = list(arguments)
    flags = {flag: flag in arguments for flag in FLAGS}
    rest = [argument for argument in arguments if argument not in FLAGS]
    files = [argument for argument in rest if not argument.startswith("-") and "=" not in argument]
    arguments_given = read_command_line([argument for argument in rest if argument not in files])
    options = {name: arguments_given.pop(name) for name in OPTIONS if name in arguments_given}
    given = with_config_files(arguments_given)  # for all runs
    for name, others in (("model", "models"), ("dataset", "datasets"), ("seed", "seeds")):
        if name in given:
            raise ConfigError(f"{name}={given[name]}: a comparison takes --{others}=...")
    experiment = _experiment(files, options).selected(
        only=options.get("only"), reference=options.get("reference"), common=given
    )
    folder = Path(options["output"]) if options.get("output") else FOLDER / experiment.name
    return compare_experiment(
        experiment,
        folder,
        jobs=_jobs(options.get("jobs", "1")),
        run=not flags["--table"],
        latency=flags["--latency"],
    )


def compare_experiment(
    experiment: Experiment, folder: Path, jobs: int = 1, run: bool = True, latency: bool = False
) -> int:
    """Run what is missing of an experiment and write ``comparison.json``, ``.md`` and ``.csv``.

    Args:
        experiment: What to compare; see
            :func:`~recbole_compress.comparison.experiment.read_experiment`.
        folder: Where everything goes; runs that are there with the same settings are kept.
        jobs: Runs at a time.
        run: False to write the tables only, from what is there.
        latency: Time the models in turns, after all runs.

    Returns:
        0, or 1 if a run failed.

    Raises:
        RecBoleCompressError: Anything the user can mend, before anything is run.
    """
    planned = experiment.planned()
    check_names(planned)
    runs = checked_runs(planned, check_run)
    make_folder(folder)
    if restored := restore_runs(folder):
        _say(f"{restored} runs taken from {folder / RESULTS}, without their rows")
    failures: dict[Any, str] = run_missing(runs, folder, jobs, _say) if run else {}
    slow = measure_in_turns(runs, folder, _say) if latency else {}
    document = build_document(experiment, runs, folder, failures)
    write_document(document, folder / RESULTS)
    page = markdown_page(document)
    for name, text in (("comparison.md", page), ("comparison.csv", csv_table(document))):
        with replacing(str(folder / name)) as file:
            file.write(text)
    _say("\n" + page)
    _say(f"written: {folder / RESULTS}, .md and .csv")
    _plot(document, folder / "comparison")
    return 1 if failures or slow else 0


def _plot(document: Mapping[str, Any], stem: Path) -> None:
    """The plot is the one part that needs more than the package itself does."""
    try:
        from recbole_compress.comparison.plot import write_pareto
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        _say("no plot without matplotlib: pip install 'recbole-compress[plot]'")
        return
    _say("".join(f"written: {path}\n" for path in write_pareto(document, stem)).rstrip())


def _experiment(files: Sequence[str], options: dict[str, str]) -> Experiment:
    if len(files) > 1:
        raise ConfigError(f"{files[1]}: one experiment at a time; {files[0]} is given already")
    if files and "models" in options:
        raise ConfigError(
            f"--models beside {files[0]}: the experiment names its own; --only chooses"
        )
    if files:
        return read_experiment(files[0]).selected(options.get("datasets"), options.get("seeds"))
    if "models" not in options:
        raise ConfigError("compare what? Add --models=NAME,NAME or the name of an EXPERIMENT.yaml")
    return experiment_of_models(options["models"], options.get("datasets"), options.get("seeds"))


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--jobs={text}: expected a whole number from 1 on")
    return int(text)


def _say(text: str) -> None:
    print(text, flush=True)
