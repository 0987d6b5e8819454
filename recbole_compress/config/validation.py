"""Refusing keys that nobody reads and values that nobody can use, before any work is done."""

from __future__ import annotations

import difflib
import importlib.util
import numbers
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_compress.config.schema import Declared, owners_of_key
from recbole_compress.errors import ConfigError, UnknownKeyError, WrongValueError
from recbole_compress.limits import ABOVE_ZERO, SHARE, Limit, check_limits
from recbole_compress.near_names import did_you_mean

__all__ = [
    "check_eval_args",
    "check_heeded",
    "check_keys",
    "check_metrics",
    "check_numbers",
    "check_transform",
]

# Of RecBole's keys and of ours that every model reads; others are checked where they are read.
_LIMITS = {
    "epochs": Limit(0),
    "train_batch_size": Limit(1),
    "eval_batch_size": Limit(1),
    "learning_rate": ABOVE_ZERO,
    "weight_decay": Limit(0),
    "train_time_limit": ABOVE_ZERO,
    "threads": Limit(1),
    "MAX_ITEM_LIST_LENGTH": Limit(1),
    "embedding_size": Limit(1),
    "hidden_size": Limit(1),
    "pq_splits": Limit(1),
    "seed": Limit(0, 2**32 - 1),
    "initializer_range": Limit(0),
    "calibration_sequences": Limit(1),
    "stopping_step": Limit(0),
    "eval_score_bytes": Limit(0),
    "metric_decimal_place": Limit(0),
}
# What RecBole knows, but for sparse_adam, whose gradients no model here makes; of all else it
# says a word in the log and takes Adam.
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")
_LEFT_OUT = ("valid_and_test", "valid_only", "test_only")
_MODE = re.compile(r"full|labeled|(uni|pop)[1-9]\d*")
# RecBole's transforms of a batch, and the share that each of them reads.
_SHARE_OF_TRANSFORM = {
    "mask_itemseq": "mask_ratio",
    "inverse_itemseq": None,
    "crop_itemseq": "eta",
    "reorder_itemseq": "beta",
    "user_defined": None,
}

# These are dicts with fixed keys; a typo inside would silently leave the default in place.
_FIXED_INNER_KEYS = {
    "eval_args": ("split", "group_by", "order", "mode"),
    "clip_grad_norm": ("max_norm", "norm_type", "error_if_nonfinite", "foreach"),
    "train_neg_sample_args": ("distribution", "sample_num", "alpha", "dynamic", "candidate_num"),
}


def check_keys(
    given: Mapping[str, Any],
    schema: Mapping[str, Declared],
    source_of_key: Mapping[str, str],
    texts: Mapping[str, str] | None = None,
    model: str = "this model",
) -> dict[str, Any]:
    """Check everything that the user gave against the schema.

    Args:
        given: Keys and values.
        schema: From :func:`~recbole_compress.config.schema.load_schema`.
        source_of_key: ``"command line"``, ``"config_dict"`` or a file name, for the message.
        texts: What was written, for values that came as text: a key that wants a str gets it as
            it stands, so that ``--user_inter_num_interval=[5,inf)`` and ``[5,10]`` both arrive.
        model: Name of the model, for the message.

    Returns:
        The values as the keys want them: texts where a str is wanted, tuples as lists.

    Raises:
        UnknownKeyError: A key that is not in the schema.
        WrongValueError: A wrong type, or a text that is none of the choices.
        ConfigError: An unknown key inside a value.

    Example:
        >>> check_keys({"epochs": 3}, {"epochs": Declared(types=("int",))}, {})
        {'epochs': 3}
        >>> check_keys({"epoch": 3}, {"epochs": Declared()}, {"epoch": "a.yaml"})
        Traceback (most recent call last):
            ...
        recbole_compress.errors.UnknownKeyError: epoch (a.yaml): unknown key; did you mean 'epochs'?
    """
    checked = {}
    for key, value in given.items():
        where = f" ({source_of_key[key]})" if key in source_of_key else ""
        if key not in schema:
            hint = _hint(key, schema, model)
            raise UnknownKeyError(f"{key}{where}: unknown key; {hint}", key, hint)
        declared = schema[key]
        value = _as_wanted(value, declared.types, (texts or {}).get(key))
        expected = None
        if not _fits(value, declared.types):
            expected = f"expected {_expected(declared.types)}"
        elif declared.choices and isinstance(value, str) and value not in declared.choices:
            expected = did_you_mean(value, declared.choices)
        if expected:
            raise WrongValueError(f"{key}={value!r}{where}: {expected}", key, expected)
        for inner in value if key in _FIXED_INNER_KEYS and isinstance(value, dict) else ():
            if inner not in _FIXED_INNER_KEYS[key]:
                hint = did_you_mean(str(inner), _FIXED_INNER_KEYS[key])
                raise ConfigError(f"{key}: unknown key {inner!r} inside{where}; {hint}")
        checked[key] = value
    return checked


def _hint(key: str, schema: Mapping[str, Declared], model: str) -> str:
    owners = owners_of_key(key)
    if owners:
        return f"it is a key of {', '.join(owners)}, not of {model}"
    folded = {known.lower(): known for known in schema}
    near = [folded[k] for k in difflib.get_close_matches(key.lower(), folded, n=2, cutoff=0.7)]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "no known key comes near"


def _as_wanted(value: Any, types: tuple[str, ...], text: str | None) -> Any:
    if _fits(value, types):
        return value
    if isinstance(value, tuple) and "list" in types:
        return list(value)
    if text is not None and "str" in types and not {"list", "dict"} & set(types):
        return text
    return value


def _fits(value: Any, types: tuple[str, ...]) -> bool:
    return not types or any(_is_a(value, name) for name in types)


def _is_a(value: Any, type_name: str) -> bool:
    if type_name == "None":
        return value is None
    if isinstance(value, (bool, np.bool_)):  # True is an int to Python, not to a user
        return type_name == "bool"
    kinds = {
        "int": numbers.Integral,
        "float": numbers.Real,
        "str": str,
        "list": list,
        "tuple": tuple,
        "dict": dict,
    }
    return type_name in kinds and isinstance(value, kinds[type_name])


def _expected(types: tuple[str, ...]) -> str:
    spelled = ["bool (True or False)" if name == "bool" else name for name in types]
    return " or ".join(spelled)


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Numbers that torch or RecBole would refuse in the middle of the work.

    Raises:
        ConfigError: One outside its range; names it.
    """
    dropouts = {key: SHARE for key in settings if key.endswith(("dropout_prob", "dropout"))}
    limits = {**_LIMITS, **dropouts}
    there = [key for key in limits if isinstance(settings.get(key), numbers.Real)]
    check_limits(settings, {key: limits[key] for key in there})
    if how := settings.get("clip_grad_norm"):
        longest = how.get("max_norm")
        if not _is_a(longest, "float") or not ABOVE_ZERO.holds(longest):
            raise ConfigError(
                f"clip_grad_norm: max_norm={longest!r}: expected {ABOVE_ZERO}, "
                "such as {max_norm: 5}"
            )


def check_heeded(settings: Mapping[str, Any]) -> None:
    """Values without effect: RecBole only warns about them, or this package ignores them.

    Raises:
        ConfigError: One of these; names it.

    Example:
        >>> check_heeded({"learner": "adam"})
        >>> check_heeded({"learner": "lion"})  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: learner='lion': choose one of adagrad, adam and so on
    """
    learner = settings.get("learner")
    if isinstance(learner, str) and learner.lower() not in _LEARNERS:
        raise ConfigError(f"learner={learner!r}: {did_you_mean(learner, _LEARNERS)}")
    if settings.get("log_wandb") and importlib.util.find_spec("wandb") is None:
        raise ConfigError("log_wandb=True: wandb is missing; pip install wandb, or leave it out")


def check_transform(settings: Mapping[str, Any]) -> None:
    """A transform of the batches, with the share that it needs: RecBole's first batch fails else.

    Raises:
        ConfigError: An unknown one, or one without its share between 0 and 1.

    Example:
        >>> check_transform({"transform": "crop_itemseq", "eta": 0.6})
        >>> check_transform({"transform": "crop_itemseq"})  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: transform='crop_itemseq': needs eta; add --eta=0.6
    """
    name = settings.get("transform")
    if name is None:
        return
    if name not in _SHARE_OF_TRANSFORM:
        raise ConfigError(f"transform={name!r}: {did_you_mean(str(name), _SHARE_OF_TRANSFORM)}")
    share = _SHARE_OF_TRANSFORM[name]
    if share is None:
        return
    if not isinstance(settings.get(share), numbers.Real):
        raise ConfigError(f"transform={name!r}: needs {share}; add --{share}=0.6 or such")
    check_limits(settings, {share: SHARE})


def check_eval_args(eval_args: Mapping[str, Any]) -> None:
    """How sequences are split: what RecBole would notice when the data set is there.

    Raises:
        ConfigError: None of the ways that there are; names them.

    Example:
        >>> check_eval_args({"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"})
    """
    split = eval_args.get("split", {"RS": [0.8, 0.1, 0.1]})  # what RecBole fills in
    ways = list(split.items()) if isinstance(split, dict) else []
    way, how = ways[0] if len(ways) == 1 else ("", None)
    shares = how if way == "RS" and isinstance(how, (list, tuple)) else []
    divided = len(shares) == 3 and all(isinstance(s, (int, float)) and s >= 0 for s in shares)
    if not (way == "LS" and how in _LEFT_OUT) and not (divided and shares[0] > 0):
        raise ConfigError(
            f"eval_args: split={split}: choose {{'LS': one of {', '.join(_LEFT_OUT)}}} or "
            "{'RS': [train, valid, test]}, such as {'RS': [0.8, 0.1, 0.1]}"
        )
    for key, choices in (("order", ("TO", "RO")), ("group_by", ("user", "none", None))):
        if eval_args.get(key, choices[0]) not in choices:
            found = str(eval_args[key])
            raise ConfigError(f"eval_args: {key}={found!r}: {did_you_mean(found, choices[:2])}")
    mode = eval_args.get("mode", "full")
    for each in mode.values() if isinstance(mode, dict) else [mode]:
        if not _MODE.fullmatch(str(each)):
            raise ConfigError(
                f"eval_args: mode={each!r}: choose full, labeled, or a number of sampled items, "
                "such as uni100 or pop100"
            )


def check_metrics(metrics: list[str], topk: list[int], valid_metric: str, ranking: bool) -> None:
    """The metric that early stopping watches must be among those that are computed.

    RecBole notices after the first epoch, with a ``KeyError``.

    Raises:
        ConfigError: It is not; says what is computed. Or a ``topk`` that counts nothing.
    """
    if not all(_is_a(k, "int") and k > 0 for k in topk):
        raise ConfigError(f"topk={topk}: expected whole numbers from 1 on")
    computed = list(metrics)
    if ranking:  # of the top k, but for one of all ranks
        cut = [metric for metric in metrics if metric.lower() != "gauc"]
        computed = [*(f"{metric}@{k}" for k in topk for metric in cut), *(set(metrics) - set(cut))]
    if valid_metric.lower() not in {name.lower() for name in computed}:
        raise ConfigError(
            f"valid_metric={valid_metric!r}: not computed with metrics={metrics}"
            + (f" and topk={topk}" if ranking else "")
            + f"; {did_you_mean(valid_metric, computed)}, or extend them"
        )
