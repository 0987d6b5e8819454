"""Where the yaml files are: ours, and RecBole's own."""

from __future__ import annotations

import functools
from pathlib import Path

import recbole

__all__ = [
    "RECBOLE_PROPERTIES",
    "dataset_yaml",
    "hyper_file",
    "model_yaml",
    "overall_yaml",
    "properties_folder",
    "recbole_yaml",
    "recipe_yaml",
    "tune_yaml",
]

RECBOLE_PROPERTIES = Path(recbole.__file__).resolve().parent / "properties"


@functools.cache
def properties_folder() -> Path:
    """Our ``properties/``: inside the installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: The installation is incomplete.

    Example:
        >>> (properties_folder() / "model" / "CpRecNextItNet.yaml").is_file()
        True
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "properties", package.parent / "properties"):
        if (folder / "overall.yaml").is_file():  # "properties" alone is too common a name
            return folder
    raise FileNotFoundError(f"{package}: its yaml files (properties/) are missing; reinstall it")


def overall_yaml() -> Path | None:
    """Our keys that hold for every run."""
    return _existing(properties_folder() / "overall.yaml")


def model_yaml(name: str) -> Path | None:
    """The keys of our model ``name``, or None where we have no such model."""
    return _existing(properties_folder() / "model" / f"{name}.yaml")


def dataset_yaml(name: str) -> Path | None:
    """Our settings for the data set ``name``, or None."""
    return _existing(properties_folder() / "dataset" / f"{name}.yaml")


def recipe_yaml(name: str) -> Path | None:
    """Defaults of the training recipe ``name``, or None where it has none of its own."""
    return _existing(properties_folder() / "recipe" / f"{name}.yaml")


def hyper_file(name: str) -> Path | None:
    """The search space of our model ``name``, or None."""
    return _existing(properties_folder() / "hyper" / f"{name}.hyper")


def tune_yaml() -> Path:
    """What the ``tune`` command is told; no settings of a run."""
    return properties_folder() / "tune.yaml"


def recbole_yaml(name: str) -> Path | None:
    """RecBole's own yaml file, such as ``"model/SASRec"`` or ``"overall"``, or None."""
    return _existing(RECBOLE_PROPERTIES / f"{name}.yaml")


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
