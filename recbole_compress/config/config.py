"""RecBole's ``Config``, strict: it refuses what it would otherwise ignore or evaluate."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from recbole.config import Config as RecBoleConfig
from recbole.evaluator import metric_types
from recbole.utils import EvaluatorType, ModelType

from recbole_compress.arguments import read_command_line
from recbole_compress.config.data_settings import check_data_settings
from recbole_compress.config.given import all_config_files, read_config_file
from recbole_compress.config.model_names import (
    find_model,
    inherited_from,
    know_classes,
    name_of,
    quantized_of,
)
from recbole_compress.config.parsed_files import parsed
from recbole_compress.config.schema import load_schema
from recbole_compress.config.validation import (
    check_eval_args,
    check_heeded,
    check_keys,
    check_metrics,
    check_numbers,
    check_transform,
)
from recbole_compress.config.values import parse_value
from recbole_compress.distributed.place import here
from recbole_compress.distributed.settings import (
    check_processes,
    name_gpus,
    process_settings,
    starts_processes,
)
from recbole_compress.errors import ConfigError, in_one_line
from recbole_compress.near_names import did_you_mean

__all__ = ["Config"]

_NAMES = ("model", "dataset")  # 2019 may be the name of a data set
_REFUSED = (
    "RecBole refuses these settings",
    (ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError),
)


class Config(RecBoleConfig):
    """All settings of one run, in RecBole's precedence: files < ``config_dict`` < command line.

    Beyond RecBole's: an unknown key, a wrong type and a value outside the declared choices are
    errors; texts are parsed and never evaluated; ``sys.argv`` is left alone; RecBole's models with
    a cross-entropy loss run without ``--train_neg_sample_args=None``.

    Args:
        model: Name or class of a model; if None, the key ``model`` of the other arguments.
        dataset: Name of a data set; if None, the key ``dataset``.
        config_file_list: yaml files, later ones stronger; ``--config_files="a.yaml b.yaml"``
            adds more.
        config_dict: Settings. Not changed.
        command_line: ``--key=value`` arguments.

    Raises:
        ConfigError: Anything that is not as it should be, in one line.

    Example:
        >>> config = Config("SASRec", "ml-100k", command_line=["--learning_rate=1e-4"])
        >>> config["learning_rate"], config["train_neg_sample_args"]["distribution"]
        (0.0001, 'none')
    """

    takes_our_defaults = True  # for RecBole's models too, see internal_defaults

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | PathLike] | str | None = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Sequence[str] | None = None,
    ) -> None:
        if config_dict is not None and not isinstance(config_dict, Mapping):
            raise ConfigError(f"config_dict={config_dict!r}: expected a dict of settings")
        settings, arguments = dict(config_dict or {}), read_command_line(command_line or [])
        files = all_config_files(config_file_list, settings, arguments)
        for source in (settings, arguments):
            source.pop("config_files", None)
        self._arguments = arguments
        self._source_of_key: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        super().__init__(model, dataset, files, settings)
        # Only needed on the way; a pickled Config holds what RecBole's does.
        del self._arguments, self._source_of_key, self._texts

    parameters: dict[str, list[str]]
    external_config_dict: dict[str, Any]

    def with_values(self, **values: Any) -> Config:
        """The same settings but for these, which nobody gave and nothing checks."""
        other = copy.copy(self)
        other.final_config_dict = {**self.final_config_dict, **values}
        return other

    # -- what the user gave ------------------------------------------------------------------

    def _init_parameters_category(self):
        super()._init_parameters_category()
        # RecBole appends to these lists, which are global: a run would change the next one's log.
        self.parameters = {name: list(keys) for name, keys in self.parameters.items()}

    def _load_config_files(self, file_list):
        merged: dict[str, Any] = {}
        for file in file_list or []:
            merged |= self._from(str(file), read_config_file(file))
        return merged

    def _load_variable_config_dict(self, config_dict):
        return self._convert_config_dict(self._from("config_dict", config_dict or {}))

    def _load_cmd_line(self):
        return self._convert_config_dict(self._from("command line", self._arguments))

    def _from(self, source: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Note where these settings come from; called from the weakest source to the strongest."""
        self._source_of_key.update(dict.fromkeys(settings, source))
        return settings

    def _convert_config_dict(self, config_dict):
        """Parse the texts among the values, without changing the caller's dict."""
        converted = dict(config_dict)
        for key, text in config_dict.items():
            if isinstance(text, str):
                self._texts[key] = text
                value = parse_value(text)
                converted[key] = text if key in _NAMES and not isinstance(value, str) else value
        return converted

    def _get_model_and_dataset(self, model, dataset):
        given = self.external_config_dict
        if given.get("model_classes") is not None:
            given["model_classes"] = know_classes(given["model_classes"])
        model = given.get("model") if model is None else model
        if isinstance(given.get("model"), type):  # a config is written into checkpoints
            given["model"] = name_of(given["model"])
        dataset = given.get("dataset") if dataset is None else dataset
        if model is None:
            raise ConfigError("no model named: add --model=NAME, such as --model=CpRecNextItNet")
        if dataset is None:
            raise ConfigError("no data set named: add --dataset=NAME, such as --dataset=ml-100k")
        if not isinstance(dataset, str):
            raise ConfigError(f"dataset={dataset!r}: expected the name of a data set")
        if isinstance(model, str):
            full_precision = quantized_of(model)
            if full_precision:  # the same model, and one step more afterwards
                given["data_free_quantization"] = True
                given["model"] = model = full_precision
            model = find_model(model)
        if not isinstance(model, type):
            raise ConfigError(f"model={model!r}: expected the name or the class of a model")
        return model.__name__, model, dataset

    # -- defaults and checks -----------------------------------------------------------------

    def _load_internal_config_dict(self, model, model_class, dataset):
        schema = load_schema(model, dataset, model_class)
        self.external_config_dict = check_keys(
            self.external_config_dict, schema, self._source_of_key, self._texts, model
        )
        # RecBole's method, which the registry has wrapped to end with our internal_defaults. It
        # goes by names, which a class derived from a model of RecBole's does not have.
        known_as = next(reversed(inherited_from(model_class)), model)
        super()._load_internal_config_dict(known_as, model_class, dataset)
        self._without_negatives_for_cross_entropy()

    def _update_internal_config_dict(self, file):
        settings = parsed(file, self.yaml_loader)
        self.internal_config_dict.update(settings or {})
        return settings

    def _without_negatives_for_cross_entropy(self):
        """RecBole's default contradicts its own cross-entropy models; users must undo it there."""
        loss = {**self.internal_config_dict, **self.external_config_dict}.get("loss_type")
        sequential = self.internal_config_dict["MODEL_TYPE"] == ModelType.SEQUENTIAL
        if loss == "CE" and sequential and not hasattr(self.model_class, "input_type"):
            self.internal_config_dict["train_neg_sample_args"] = None

    def _set_default_parameters(self):
        settings = self.final_config_dict
        metrics = settings["metrics"]
        for key in ("metrics", "topk"):
            if settings[key] == []:
                raise ConfigError(f"{key}=[]: name at least one")
        for metric in [metrics] if isinstance(metrics, str) else metrics:
            if str(metric).lower() not in metric_types:
                raise ConfigError(f"metrics: {metric!r}: {did_you_mean(str(metric), metric_types)}")
        check_numbers(settings)
        check_heeded(settings)
        check_data_settings(settings)
        check_transform(settings)
        self._order_in_time()
        if isinstance(settings["eval_args"], dict):
            check_eval_args(settings["eval_args"])
        with in_one_line(*_REFUSED):
            super()._set_default_parameters()
        ranking = settings["eval_type"] == EvaluatorType.RANKING
        check_metrics(settings["metrics"], settings["topk"], settings["valid_metric"], ranking)
        if ranking and "labeled" in settings["eval_args"]["mode"].values():
            raise ConfigError(
                f"eval_args: mode='labeled': metrics={settings['metrics']} are of ranks, which "
                "rows with labels do not have; choose metrics=[AUC] or the like, or mode full"
            )

    def _order_in_time(self):
        """``eval_args`` without an order: RecBole fills in a random one, then refuses it."""
        given, usual = self.final_config_dict["eval_args"], self.internal_config_dict["eval_args"]
        sequential = self.internal_config_dict["MODEL_TYPE"] == ModelType.SEQUENTIAL
        if sequential and isinstance(given, dict) and "order" not in given:
            self.final_config_dict["eval_args"] = {**usual, **given}

    def _init_device(self):
        settings, given = self.final_config_dict, self.external_config_dict
        if "gpu_id" in given:
            name_gpus(settings)  # before anybody asks for GPUs, which is when the list is read
        check_processes(settings, given)
        if here().is_alone and not starts_processes(settings):
            # RecBole takes the presence of this key for a run of its own in several processes.
            settings.pop("local_rank", None)
            super()._init_device()
            if not settings["use_gpu"]:  # RecBole does not look
                settings["device"] = torch.device("cpu")
        else:
            settings.update(process_settings(settings, given))

    def _set_train_neg_sample_args(self):
        with in_one_line(*_REFUSED):
            super()._set_train_neg_sample_args()

    def _set_eval_neg_sample_args(self, phase):
        with in_one_line(*_REFUSED):
            super()._set_eval_neg_sample_args(phase)
