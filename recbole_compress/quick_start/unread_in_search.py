"""Keys of a search that its models do not ask for: trials that differ in them alone are the same.

Found before the first trial, by making the models of all choices for a catalogue that nobody has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from recbole_compress.errors import ConfigError
from recbole_compress.models import CompressedRecommender
from recbole_compress.quick_start.from_checkpoint import made_anew
from recbole_compress.quick_start.host_models import trainer_class
from recbole_compress.quick_start.unread_settings import keys_of_some_choice
from recbole_compress.trainers.random_state import untouched
from recbole_compress.tuning.space import Space

__all__ = ["without_unread"]

_N_ITEMS, _N_USERS = 1_009, 101
# A model is small here, and made in some hundredths of a second.
_MOST_MODELS = 200


@dataclass(frozen=True)
class _Made:
    """What was chosen among names, and the keys that the model read; None if it is not known."""

    names: Mapping[str, str]
    read: frozenset[str] | None


def without_unread(config: Any, space: Space, of_the_user: bool) -> Space:
    """The space without keys that no trial reads; prints what only some trials read.

    Args:
        config: What all trials have in common.
        space: Its values are possible ones.
        of_the_user: Whether it was written for this search. The one that comes with a model is for
            all of its choices, and what the given ones do not read is left out.

    Raises:
        ConfigError: The user's own space varies what no trial reads.
    """
    if not issubclass(config.model_class, CompressedRecommender):
        return space
    searched, given = {d.key for d in space}, config.external_config_dict
    keys = sorted(keys_of_some_choice() & {*searched, *given})
    made = list(_models(config, space)) if keys else []
    known = [model for model in made if model.read is not None]
    idle = {key: [model for model in known if key not in (model.read or ())] for key in keys}
    never = {key for key in keys if idle[key] and len(idle[key]) == len(made)}
    unread = [dimension for dimension in space if dimension.key in never]
    chosen = _chosen(config, made)
    if unread and of_the_user:
        raise ConfigError(
            f"{unread[0].where}: {', '.join(d.key for d in unread)}: not read with {chosen}, so "
            "trials would be the same; take it out, or search the choice that reads it too"
        )
    for key in keys:
        if key in never:
            what = "left out" if key in searched else f"{given[key]} changes nothing"
            print(f"note: {key} is not read with {chosen}: {what}")
        elif key in searched and idle[key]:
            when = _when(idle[key], known)
            print(f"note: {key} is not read with {when}: trials that differ in it alone are equal")
    return space.without(never)


def _models(config: Any, space: Space) -> Iterator[_Made]:
    """A model for every combination of names in the space; none if there are too many."""
    # Which table, which head: a choice among parts is one among names, numbers are a part's own.
    named = {
        dimension.key: dimension.probes()
        for dimension in space
        if all(isinstance(value, str) for value in dimension.probes())
    }
    if math.prod(map(len, named.values())) > _MOST_MODELS:
        return
    for values in itertools.product(*named.values()):
        names = dict(zip(named, values, strict=True))
        yield _Made(names, _keys_read(config.with_values(**names, device=torch.device("cpu"))))


def _keys_read(config: Any) -> frozenset[str] | None:
    catalogue = {"n_items": _N_ITEMS, "n_users": _N_USERS}
    try:
        if trainer_class(config).needs_source:
            catalogue["n_source_items"] = _N_ITEMS
        with untouched():
            return getattr(made_anew(config, catalogue), "keys_of_choices", None)
    except Exception:  # a trial of these choices makes the model with its data, and says so
        return None


def _when(idle: list[_Made], known: list[_Made]) -> str:
    """The names that go with not being read, whatever the others are."""
    names = {pair for model in idle for pair in model.names.items()}
    read = {pair for model in known if model not in idle for pair in model.names.items()}
    alone = " or ".join(f"{key}={name}" for key, name in sorted(names - read))
    return alone or "some of the choices"


def _chosen(config: Any, made: list[_Made]) -> str:
    """What there is of each part in the search."""
    axes = ("item_embedding", "item_head", "backbone", "readout")
    names = {axis: sorted({m.names.get(axis, config[axis]) for m in made}) for axis in axes}
    return ", ".join(f"{axis}={' or '.join(of_axis)}" for axis, of_axis in names.items())
