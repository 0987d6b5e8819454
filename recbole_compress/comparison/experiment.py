"""An experiment is data: which runs there are, and which of them the others are tested against."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_compress.config.given import read_config_file
from recbole_compress.config.model_names import DATA_FREE_PREFIX, class_name, quantized_of
from recbole_compress.errors import ConfigError
from recbole_compress.near_names import did_you_mean

__all__ = ["Experiment", "Planned", "experiment_of_models", "names_among", "read_experiment"]

KEYS = ("about", "shared", "datasets", "seeds", "runs", "reference")
OF_AN_ENTRY = ("datasets", "seeds", "checkpoints")
SEED = 2020  # RecBole's default


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run: where it belongs in the tables, and its settings from the weakest to the strongest.

    Attributes:
        dataset: Name of the data set.
        entry: Name of the row.
        seed: RecBole's ``seed``.
        shared: Settings that other runs have too; a key that this run's model does not know is
            for those.
        own: The entry's own settings, ``model`` among them; every key must be known.
        common: What the command line says for all runs; a key may be for other runs here too.
        checkpoints: Keys that take the checkpoint of another entry's run, of the same data set and
            seed, and the names of those entries.
    """

    dataset: str
    entry: str
    seed: int
    shared: Mapping[str, Any]
    own: Mapping[str, Any]
    common: Mapping[str, Any]
    checkpoints: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, int]:
        return self.dataset, self.entry, self.seed

    def key_of(self, entry: str) -> tuple[str, str, int]:
        """The run of another entry, of the same data set and seed."""
        return self.dataset, entry, self.seed

    def __str__(self) -> str:
        return f"{self.dataset}, {self.entry}, seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Settings of all runs, of the data sets, and of every entry; see :func:`read_experiment`."""

    name: str
    about: str
    shared: Mapping[str, Any]
    datasets: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    runs: Mapping[str, Mapping[str, Any]]
    reference: str | Mapping[str, str] | None
    common: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def reference_of(self, dataset: str) -> str | None:
        """The entry that the others on this data set are tested against, if there is one."""
        if isinstance(self.reference, Mapping):
            return self.reference.get(dataset)
        return self.reference

    def planned(self) -> list[Planned]:
        """Every run, data set by data set, the first seed of all entries before the second."""
        return [
            Planned(
                dataset,
                entry,
                seed,
                shared={**self.shared, **self.datasets[dataset]},
                own={key: value for key, value in own.items() if key not in OF_AN_ENTRY},
                common=self.common,
                checkpoints=own.get("checkpoints", {}),
            )
            for dataset, seed in itertools.product(self.datasets, self.seeds)
            for entry, own in self.runs.items()
            if dataset in own.get("datasets", self.datasets) and seed in own.get("seeds", [seed])
        ]

    def selected(
        self,
        datasets: str | None = None,
        seeds: str | None = None,
        only: str | None = None,
        reference: str | None = None,
        common: Mapping[str, Any] | None = None,
    ) -> Experiment:
        """The same experiment with another choice of runs.

        Args:
            datasets: Names, comma-separated; the experiment's, or further ones.
            seeds: Numbers, comma-separated.
            only: Names of entries, comma-separated; the reference stays in, and so do entries
                whose checkpoints they take.
            reference: Entry to test against.
            common: Settings for all runs, stronger than the experiment's.

        Raises:
            ConfigError: A name that is none, or a seed that is no number.
        """
        chosen = self
        if datasets is not None:
            given = _names(datasets, "--datasets")
            chosen = dataclasses.replace(
                chosen, datasets={name: self.datasets.get(name, {}) for name in given}
            )
        if seeds is not None:
            chosen = dataclasses.replace(chosen, seeds=_seeds(_names(seeds, "--seeds"), "--seeds"))
        if reference is not None:
            chosen = dataclasses.replace(chosen, reference=reference)
            chosen._check_reference("--reference")
        if only is not None:
            references = [chosen.reference_of(dataset) for dataset in chosen.datasets]
            kept = [*names_among(only, self.runs, "--only"), *references]
            for name in kept:  # it grows
                kept += self.runs[name].get("checkpoints", {}).values() if name else []
            chosen = dataclasses.replace(
                chosen, runs={name: own for name, own in self.runs.items() if name in kept}
            )
        if common:
            chosen = dataclasses.replace(chosen, common=common)
        if not chosen.datasets:
            raise ConfigError(
                f"experiment {self.name}: no data set; add 'datasets: [NAME]' or --datasets=NAME"
            )
        if not chosen.planned():
            raise ConfigError(f"experiment {self.name}: no run is left to be done; choose others")
        return chosen

    def _check_reference(self, where: str) -> None:
        given = self.reference if isinstance(self.reference, Mapping) else {"": self.reference}
        for dataset, name in _mapping(given, where).items():
            if dataset and dataset not in self.datasets:
                hint = did_you_mean(str(dataset), self.datasets)
                raise ConfigError(f"{where}: {dataset!r} is no data set here; {hint}")
            if name is not None and not _among(name, self.runs):
                hint = did_you_mean(str(name), self.runs)
                raise ConfigError(f"{where}: {name!r} is no entry; {hint}")


def experiment_of_models(models: str, datasets: str | None, seeds: str | None) -> Experiment:
    """The experiment that ``--models=A,B --datasets=C --seeds=1,2`` asks for: a row per model.

    Example:
        >>> experiment = experiment_of_models("CpRecNextItNet,Pop", "ml-100k", "1,2")
        >>> [str(planned) for planned in experiment.planned()][:2]
        ['ml-100k, CpRecNextItNet, seed 1', 'ml-100k, Pop, seed 1']
        >>> experiment.name
        'CpRecNextItNet-Pop'
    """
    names = _names(models, "--models")
    runs = {_entry_of(name): {"model": name} for name in names}
    if len(runs) < len(names):
        raise ConfigError(f"--models={models}: two of them have one name; rename a class")
    if datasets is None:
        raise ConfigError("no data set named: add --datasets=NAME,NAME, such as --datasets=ml-100k")
    return Experiment(
        name="-".join(runs),
        about="",
        shared={},
        datasets={name: {} for name in _names(datasets, "--datasets")},
        seeds=_seeds(_names(seeds, "--seeds"), "--seeds") if seeds is not None else [SEED],
        runs=runs,
        reference=None,
    )


def _entry_of(model: str) -> str:
    """Without the module of a class of the user's: it names rows and files.

    Example:
        >>> _entry_of("SASRec"), _entry_of("my_models:MyModel"), _entry_of("DFQmy_models:MyModel")
        ('SASRec', 'MyModel', 'DFQMyModel')
    """
    quantized = DATA_FREE_PREFIX if ":" in model and quantized_of(model) else ""
    return quantized + class_name(model)


def read_experiment(path: str | Path) -> Experiment:
    """Read an experiment from a yaml file.

    ``about`` (a sentence), ``shared`` (settings of all runs), ``datasets`` (names, or a mapping
    from name to the settings of that data set), ``seeds``, ``runs`` (a mapping from entry to
    settings, ``model`` among them, if wanted ``datasets`` and ``seeds`` that restrict the entry,
    and ``checkpoints``, a mapping such as ``{teacher_path: NAME}`` to an entry above it) and
    ``reference`` (the entry that the others are tested against, or a mapping from data set to
    entry). ``dataset`` among the shared settings stands for ``datasets`` of one.

    Raises:
        ConfigError: Not yaml, or not of that form; says where.
    """
    document = read_config_file(path)
    where = f"experiment {path}"
    for key in document:
        if key not in KEYS:
            raise ConfigError(f"{where}: unknown key {key!r}; {did_you_mean(key, KEYS)}")
    shared = dict(_mapping(document.get("shared") or {}, f"{where}: shared"))
    runs = _mapping(document.get("runs") or {}, f"{where}: runs")
    if not runs:
        raise ConfigError(f"{where}: no runs; add 'runs:' with an entry 'NAME: {{model: NAME}}'")
    one = shared.pop("dataset", None)
    datasets = _datasets(document.get("datasets", [one] if one else []), where)
    seeds = _seeds(document.get("seeds", [SEED]), f"{where}: seeds")
    entries: dict[str, dict[str, Any]] = {}
    for entry, settings in runs.items():
        place = f"{where}: runs: {entry}"
        own = dict(_mapping({} if settings is None else settings, place))
        if "model" not in {**shared, **own}:
            raise ConfigError(f"{place}: no model; add 'model: NAME'")
        for key, known in (("datasets", datasets), ("seeds", seeds)):
            wanted = own.get(key, [])
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if not isinstance(wanted, list) or not _among(value, known):
                    known_ones = ", ".join(map(str, known))
                    raise ConfigError(f"{place}: {key}: {value!r} is none of [{known_ones}]")
        if own.get("checkpoints", {}) is None:  # nothing behind the colon
            del own["checkpoints"]
        checkpoints = _mapping(own.get("checkpoints", {}), f"{place}: checkpoints")
        for key, other in checkpoints.items():
            if not _among(other, entries):
                raise ConfigError(
                    f"{place}: checkpoints: {key}: {other!r} is no entry above this one; "
                    f"{did_you_mean(str(other), entries)}"
                )
        entries[entry] = own
    experiment = Experiment(
        name=Path(path).stem,
        about=str(document.get("about") or "").strip(),
        shared=shared,
        datasets=datasets,
        seeds=seeds,
        runs=entries,
        reference=document.get("reference"),
    )
    experiment._check_reference(f"{where}: reference")
    return experiment


def names_among(text: str, known: Iterable[str], where: str) -> list[str]:
    """Comma-separated names, each of them known; a name may hold commas itself.

    Raises:
        ConfigError: A name that is none.

    Example:
        >>> names_among("tied,cprec, wide", ["tied", "untied", "cprec, wide"], "--only")
        ['tied', 'cprec, wide']
    """
    known = list(known)
    pieces = text.split(",")
    found = []
    while pieces:
        for taken in range(len(pieces), 0, -1):
            name = ",".join(pieces[:taken]).strip()
            if name in known:
                found.append(name)
                break
        else:
            wrong = pieces[0].strip()
            raise ConfigError(f"{where}: {wrong!r} is no entry; {did_you_mean(wrong, known)}")
        pieces = pieces[taken:]
    return found


def _names(text: str, where: str) -> list[str]:
    names = [name.strip() for name in text.strip().strip("[]").split(",")]
    if not all(names):
        raise ConfigError(f"{where}={text}: expected names separated by commas")
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}={text}: a name is given twice")
    return names


def _seeds(values: Any, where: str) -> list[int]:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}={values!r}: expected numbers, such as 2020,2021")
    for value in values:
        if isinstance(value, bool) or not re.fullmatch(r"\d+", str(value)):
            raise ConfigError(f"{where}: {value!r} is not a whole number")
    seeds = [int(value) for value in values]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: a seed is given twice")
    return seeds


def _among(value: Any, known: Iterable[Any]) -> bool:
    """Whether ``value``, which may be a list or anything else that yaml knows, is one of those."""
    return value in list(known)  # a list compares, a dict would hash


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected lines of the form 'key: value', not {value!r}")
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: {key!r} is not a text; put it in quotes")
    return value


def _datasets(value: Any, where: str) -> dict[str, dict[str, Any]]:
    if isinstance(value, list):
        for name in value:
            if isinstance(name, (list, dict)):
                raise ConfigError(f"{where}: datasets: expected names, not {name!r}")
        value = {str(name): {} for name in value}
    settings = _mapping(value, f"{where}: datasets")
    return {
        name: dict(_mapping({} if own is None else own, f"{where}: datasets: {name}"))
        for name, own in settings.items()
    }
