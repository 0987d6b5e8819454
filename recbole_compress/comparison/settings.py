"""From what an experiment says of a run to settings that a run accepts, checked before any run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import recbole
import yaml

from recbole_compress.changed_defaults import left_open
from recbole_compress.comparison.experiment import Planned
from recbole_compress.config import Config
from recbole_compress.config.model_names import find_model, quantized_of
from recbole_compress.config.schema import Declared, load_schema, owners_of_key
from recbole_compress.config.validation import check_keys
from recbole_compress.config.written import for_config_file
from recbole_compress.errors import ConfigError, RecBoleCompressError
from recbole_compress.near_names import did_you_mean

__all__ = ["CheckedRun", "checked_runs"]

# Where things lie is no part of what a run is, and the comparison itself says where a run's go.
PLACES = ("data_path",)
OURS_TO_SAY = ("checkpoint_dir", "card_path", "ranks_path", "resume", "seed", "dataset")


@dataclasses.dataclass(frozen=True)
class CheckedRun:
    """A planned run with settings that are known to be accepted.

    Attributes:
        planned: Where it belongs.
        settings: What its config file says, ``model``, ``dataset`` and ``seed`` included: two runs
            of equal settings are the same run. A checkpoint of another run is given here by
            that run's name, and by its path on the command line.
        places: Settings that only say where something lies.
        valid_metric: Lower case.
        ranked: Whether the test split is ranked in full, so that ranks can be had.
        data_folder: Where the data set's files lie.
        left_open: Values that the settings do not tell and that were others once, by their keys.
    """

    planned: Planned
    settings: dict[str, Any]
    places: dict[str, Any]
    valid_metric: str
    ranked: bool
    data_folder: str
    left_open: dict[str, Any] = dataclasses.field(default_factory=dict)


def checked_runs(
    planned: Sequence[Planned],
    check: Callable[[Config, Collection[str]], None] = lambda config, unmade: None,
) -> list[CheckedRun]:
    """Check all runs before the first one begins.

    A shared setting is for those runs whose model knows its key; one that no model knows is an
    error, as is one of the command line that no run knows, anything that a run itself would refuse,
    a checkpoint that no run makes, and a data set that is not there.

    Args:
        planned: The runs.
        check: What a run itself refuses beyond its ``Config``. Told the config and which of its
            keys name a checkpoint that another run has yet to make.

    Raises:
        ConfigError: Naming the run and what is wrong with it.
    """
    known: dict[str, Any] = {}
    checked = []
    for run in planned:
        try:
            checked.append(_checked(run, known, check))
        except RecBoleCompressError as error:
            raise ConfigError(f"{run}: {error}") from error
    # Among the shared ones may be keys of entries that are not chosen today.
    of_others = {key for key in {*chain(*(run.shared for run in planned))} if owners_of_key(key)}
    for run in planned:
        for settings, forgiven in ((run.shared, of_others), (run.common, set())):
            unknown = {key: settings[key] for key in settings if key not in {*known, *forgiven}}
            check_keys(unknown, known, dict.fromkeys(unknown, "for all runs"), model="any run here")
    _check_checkpoints(planned)
    for one in {each.planned.dataset: each for each in checked}.values():
        _check_data_set(one)
    return checked


def _checked(
    run: Planned, known: dict[str, Any], check: Callable[[Config, Collection[str]], None]
) -> CheckedRun:
    model = {**run.shared, **run.own, **run.common}.get("model")
    if not isinstance(model, str):
        raise ConfigError(f"model={model!r}: expected the name of a model")
    trained = quantized_of(model) or model
    schema = load_schema(trained, run.dataset, find_model(trained))
    known.update(schema)
    for source, settings in (("shared", run.shared), ("own", run.own), ("common", run.common)):
        for key in OURS_TO_SAY:
            if key in settings:
                raise ConfigError(f"{key} ({source}): a comparison sets this itself; leave it out")

    def for_this_model(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if key in schema}

    merged = {**for_this_model(run.shared), **run.own, **for_this_model(run.common)}
    for key in run.checkpoints:
        if key in merged:
            raise ConfigError(f"{key}={merged[key]!r}: given beside 'checkpoints'; keep one")
        if key not in schema:
            raise ConfigError(f"checkpoints: {key}: unknown key; {did_you_mean(key, schema)}")
    merged |= {key: f"the checkpoint of {other}" for key, other in run.checkpoints.items()}
    config = Config(config_dict={**merged, "dataset": run.dataset, "seed": run.seed})
    if config["MODEL_TYPE"].name != "SEQUENTIAL":
        raise ConfigError(
            f"model={model!r}: not a sequential recommender; choose one of RecBole's sequential "
            "models, one of this package, or Pop"
        )
    check(config, run.checkpoints.keys())
    settings = _as_stored(config.external_config_dict, schema)
    return CheckedRun(
        planned=run,
        settings={key: value for key, value in settings.items() if key not in PLACES},
        places={key: settings[key] for key in PLACES if key in settings},
        valid_metric=str(config["valid_metric"]).lower(),
        ranked=config["eval_args"]["mode"]["test"] == "full",
        data_folder=config["data_path"],
        left_open=left_open(config, settings),
    )


def _as_stored(settings: Mapping[str, Any], schema: Mapping[str, Declared]) -> dict[str, Any]:
    """Settings as a config file gives them back: it has no tuples."""
    written = yaml.safe_dump(for_config_file(settings, schema), allow_unicode=True)
    return yaml.safe_load(written)


def _check_checkpoints(planned: Sequence[Planned]) -> None:
    """A run that takes a checkpoint nobody makes would fail, after all others."""
    keys = {run.key for run in planned}
    for run in planned:
        for key, other in run.checkpoints.items():
            if run.key_of(other) not in keys:
                raise ConfigError(
                    f"{run}: checkpoints: {key}: {other!r} has no run of this data set and seed; "
                    "give both entries the same 'datasets' and 'seeds'"
                )


def _check_data_set(run: CheckedRun) -> None:
    """A data set whose folder is missing would fail in every one of its runs."""
    name, folder = run.planned.dataset, run.data_folder
    if os.path.isdir(folder) or name in _downloadable():
        return
    above = os.path.dirname(folder)
    there = [path.name for path in Path(above).glob("*") if path.is_dir()]
    raise ConfigError(
        f"dataset={name!r}: there is no folder {folder!r}"
        + (f"; {did_you_mean(name, there)}" if there else "; name the one above with --data_path")
    )


def _downloadable() -> Mapping[str, str]:
    """What RecBole fetches itself."""
    path = Path(recbole.__file__).parent / "properties" / "dataset" / "url.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))
