"""Checkpoints as RecBole itself pickles them, read without running anything that they name.

RecBole pickles its ``Config``, and with it the class of the model, numpy numbers and enums, in a
protocol that torch's weights-only load refuses. Here every name in a file is looked up in a short
list of what only makes data; any other name ends the reading. Classes of models are never
imported: their names are kept.
"""

from __future__ import annotations

import collections
import pickle
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from recbole.utils import EvaluatorType, InputType, ModelType

__all__ = ["load_pickled"]


def load_pickled(path: str, device: torch.device | str = "cpu") -> Any:
    """What RecBole's ``Trainer`` saved, its config as a plain object with the same attributes.

    Args:
        path: A zip file as ``torch.save`` writes them, no TorchScript.
        device: Where its tensors go.

    Raises:
        pickle.UnpicklingError: It names something else; the message says what.
    """
    reading = types.ModuleType("reading_of_data")
    reading.__dict__.update(Unpickler=_DataUnpickler)
    return torch.load(path, map_location=device, weights_only=False, pickle_module=reading)


class _DataUnpickler(pickle.Unpickler):
    """Knows the names below; torch adds those of its storages."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("recbole.model."):
            return f"{module}.{name}"
        if (module, name) == ("yaml.loader", "FullLoader"):  # how RecBole read its yaml files
            return name
        if (module, name) == ("recbole.config.configurator", "Config"):
            return type(name, (), {})  # of this reading alone: a file may set attributes of it
        if (module, name) not in _MAKERS:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        make = _MAKERS[module, name]
        return lambda *arguments: make(*arguments)  # of this reading alone, for the same reason


def _number(dtype: np.dtype, raw: bytes) -> Any:
    """The Python number of a numpy scalar."""
    if dtype.kind not in "biuf":
        raise pickle.UnpicklingError(f"GLOBAL numpy scalar of type {dtype}")
    return np.frombuffer(raw, dtype)[0].item()


_MAKERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("recbole.utils.enum_type", "ModelType"): ModelType,
    ("recbole.utils.enum_type", "InputType"): InputType,
    ("recbole.utils.enum_type", "EvaluatorType"): EvaluatorType,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
