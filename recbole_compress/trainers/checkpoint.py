"""Checkpoints that hold data only: written whole or not at all, read without running code.

The dictionary is RecBole's own (``config``, ``epoch``, ``state_dict``, ``optimizer``, …) with a few
keys more, so RecBole's loaders read it. What RecBole does differently and why it cannot stay:
pickle protocol 4 and numpy scalars are refused by torch's weights-only load, and the pickled
``Config`` drags the model class along. ``pickled_checkpoint`` reads RecBole's own all the same.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import warnings
import zipfile
from typing import Any

import numpy as np
import torch
import yaml
from recbole.config.configurator import Config as RecBoleConfig
from recbole.utils import EvaluatorType, InputType, ModelType
from torch import nn

from recbole_compress.changed_defaults import CHANGED_DEFAULTS, meant_before
from recbole_compress.errors import CheckpointError, first_line
from recbole_compress.files import replacing
from recbole_compress.trainers.pickled_checkpoint import load_pickled

__all__ = [
    "ALLOWED_CLASSES",
    "allow_in_recbole",
    "checkpoint_size",
    "item_map_fingerprint",
    "knows_other_items",
    "load_checkpoint",
    "other_parameter_data",
    "plain_config",
    "save_checkpoint",
    "weights_fingerprint",
]


class _SavedConfig(RecBoleConfig):
    """RecBole's config as a file may hold it: what was saved, and never made by a call.

    A weights-only load calls any class it may name, with what the file says, and RecBole's own
    evaluates the texts that it is called with.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        raise pickle.UnpicklingError("Unsupported call of a config")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__class__ = RecBoleConfig


# All that a checkpoint may name besides tensors and plain Python values: none of them runs code
# when it is made or called. ``allow_in_recbole`` lets RecBole's own ``torch.load`` accept the same.
ALLOWED_CLASSES = [
    (_SavedConfig, f"{RecBoleConfig.__module__}.{RecBoleConfig.__qualname__}"),
    *(ModelType, InputType, EvaluatorType, yaml.FullLoader),
]

_CONFIG_PARTS = (
    "model",
    "dataset",
    "parameters",
    "external_config_dict",
    "internal_config_dict",
    "final_config_dict",
)


def allow_in_recbole() -> None:
    """Let a weights-only ``torch.load`` anywhere in the process accept :data:`ALLOWED_CLASSES`."""
    torch.serialization.add_safe_globals(ALLOWED_CLASSES)


def plain_config(config) -> RecBoleConfig:
    """A copy of ``config`` as RecBole's own class, without references to model classes."""
    plain = RecBoleConfig.__new__(RecBoleConfig)
    for key in _CONFIG_PARTS:
        plain.__dict__[key] = _plain(vars(config)[key])
    plain.__dict__["yaml_loader"] = yaml.FullLoader
    return plain


def _plain(value: Any) -> Any:
    """Numpy scalars to Python numbers, containers recursively; the rest as it is.

    Equal texts become one object, which a pickle holds once: a config has keys in several dicts.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is str:
        return sys.intern(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value


def other_parameter_data(model: Any) -> dict[str, Any]:
    """What RecBole keeps of a model beside its weights, without the model's own layers.

    RecBole's feature models name their embedding layer there, and it holds the data set. The
    layer's weights are in the ``state_dict``; whoever makes the model again makes the layer too.

    Args:
        model: One of RecBole's or ours.

    Example:
        >>> class Model(nn.Linear):
        ...     def other_parameter(self):
        ...         return {"layer": self, "layers": [self], "offset": 3}
        >>> other_parameter_data(Model(2, 2))
        {'offset': 3}
    """
    own = {id(module) for module in model.modules()}
    return {
        name: value
        for name, value in model.other_parameter().items()
        if not _is_of_layers(value, own)
    }


def _is_of_layers(value: Any, own: set[int]) -> bool:
    """Whether ``value`` is a layer out of ``own``, or a container of nothing else."""
    if isinstance(value, nn.Module):
        return id(value) in own
    if isinstance(value, dict):
        value = list(value.values())
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(_is_of_layers(item, own) for item in value)
    )


def item_map_fingerprint(dataset) -> str:
    """Hash of the item tokens in id order: two data sets with one hash share their item ids."""
    tokens = dataset.field2id_token[dataset.iid_field]
    return hashlib.sha256("\n".join(map(str, tokens)).encode()).hexdigest()


def knows_other_items(
    noted: str | None, dataset: Any, *, unknown: bool, n_items: int | None = None
) -> bool:
    """Whether a checkpoint is of other items, or of other ids for them, than there are here.

    Args:
        noted: :func:`item_map_fingerprint` of its items; None if it does not say.
        dataset: The items here; or their fingerprint, where no more is left of them.
        unknown: What to answer if that is not known of one of the two.
        n_items: How many items the checkpoint has, padding included, to compare that, too.

    Example:
        >>> from types import SimpleNamespace
        >>> tokens = {"item_id": ["[PAD]", "a", "b"]}
        >>> here = SimpleNamespace(iid_field="item_id", item_num=3, field2id_token=tokens)
        >>> knows_other_items(item_map_fingerprint(here), here, unknown=True)
        False
        >>> knows_other_items(None, here, unknown=False, n_items=4)
        True
    """
    if n_items is not None and n_items != dataset.item_num:
        return True
    if noted is None or dataset is None:
        return unknown
    return noted != (dataset if isinstance(dataset, str) else item_map_fingerprint(dataset))


def weights_fingerprint(model: nn.Module) -> str:
    """Hash of everything that a model stores: two models with one hash give the same answers.

    Example:
        >>> first, second = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> weights_fingerprint(first) == weights_fingerprint(second)
        False
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_checkpoint(state: dict[str, Any], path: str) -> None:
    """Write ``state`` to a temporary name beside ``path``, then rename it.

    Raises:
        CheckpointError: The file cannot be written (a full disk, say). What was at ``path`` before
            is still there, and nothing half-written stays behind.
    """
    try:
        with replacing(path, "wb") as file:
            torch.save(_plain(state), file, pickle_protocol=2)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        kept = "the checkpoint of before is untouched" if os.path.exists(path) else "nothing saved"
        reason = first_line(error)
        raise CheckpointError(f"{path}: cannot be written ({reason}); {kept}") from error


def checkpoint_size(state: dict[str, Any]) -> int:
    """Bytes of the file that :func:`save_checkpoint` would write.

    Example:
        >>> checkpoint_size({"weight": torch.zeros(1000)}) > 4000
        True
    """
    written = io.BytesIO()
    torch.save(_plain(state), written, pickle_protocol=2)
    return written.tell()


def load_checkpoint(path: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of this package or of RecBole.

    Raises:
        CheckpointError: A file that is missing, damaged, or names anything that does more than make
            data; nothing of it has been executed.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: there is no such checkpoint")
    with open(path, "rb") as file:
        start = file.read(2)
    if start and start != b"PK" and start[:1] != b"\x80":  # torch's zip files, and its old pickles
        raise CheckpointError(f"{path}: is no checkpoint; give the .pth file that a training wrote")
    try:
        state = _read(path, device)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, {_refusal(error)}") from error
    except Exception as error:  # a damaged zip, a truncated record, a wrong magic number …
        reason = first_line(error)
        raise CheckpointError(f"{path}: damaged or no checkpoint at all ({reason})") from error
    if not isinstance(state, dict) or "state_dict" not in state or "config" not in state:
        raise CheckpointError(f"{path}: not a RecBole checkpoint (no 'config' and 'state_dict')")
    config, catalogue = state["config"], state.get("catalogue") or {}
    if not isinstance(config, RecBoleConfig) or not set(_CONFIG_PARTS) <= set(vars(config)):
        raise CheckpointError(f"{path}: not a RecBole checkpoint ('config' is none of RecBole's)")
    if not isinstance(catalogue, dict) or not all(type(n) is int for n in catalogue.values()):
        raise CheckpointError(f"{path}: damaged ('catalogue' does not say how many items it has)")
    _say_what_was_meant(state["config"])
    return state


def _read(path: str, device: torch.device | str) -> Any:
    # Not the context manager of torch: leaving it would take the list from the process again.
    allow_in_recbole()
    try:
        with warnings.catch_warnings():  # of RecBole's protocol, on the way to the other reader
            warnings.simplefilter("ignore")
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError:
        if not zipfile.is_zipfile(path):  # of no torch that RecBole runs on today
            raise
        state = load_pickled(path, device)
        return {**_plain(state), "config": plain_config(state["config"])}


def _say_what_was_meant(config: Any) -> None:
    """Have a config say the values that it has by defaults of before, in place: whoever makes it
    again from what was given would have those of today."""
    known = getattr(config, "final_config_dict", {})
    for key, value in meant_before(known).items():
        if key in config.external_config_dict:  # not by default
            continue
        known.setdefault(key, value)
        if CHANGED_DEFAULTS[key].is_read(known):
            config.external_config_dict[key] = value
        if known.get("part_of"):  # a first phase of a run that is as old
            known["part_of"].setdefault(key, value)


def _refusal(error: Exception) -> str:
    """The one sentence of torch's long message that says what was found."""
    text = str(error)
    for line in text.splitlines():
        if "GLOBAL" in line or "Unsupported" in line:
            found = line.strip()
            return f"it holds more than data ({found[:160]}); only load files that you trust"
    return "damaged, or it holds more than data"
