"""A data set, split into loaders."""

from recbole.data import get_dataloader
from recbole.data.utils import create_samplers

from recbole_compress.errors import ConfigError, in_one_line
from recbole_compress.trainers.masked_sequences import refuse_whole_catalogues

__all__ = ["loading", "prepare_data"]


def loading(config):
    """Around loading and splitting a data set: what RecBole refuses is told in one line."""
    return in_one_line(
        f"dataset={config['dataset']}: RecBole refuses to read it with these settings",
        (ValueError, TypeError, LookupError, NotImplementedError),
    )


def prepare_data(config, dataset):
    """Split ``dataset`` into train, valid and test loaders, as RecBole's ``data_preparation`` does.

    RecBole's own would first unpickle whatever lies at a default path; this never does.

    Raises:
        ConfigError: What RecBole refuses; more recommendations asked for than there are items; a
            sequence beside which no item is left to be sampled.
    """
    with loading(config):
        return _prepared(config, dataset)


def _prepared(config, dataset):
    splits = dataset.build()
    most = max(config["topk"] or [0])
    if most >= dataset.item_num:
        raise ConfigError(
            f"topk={config['topk']}: {config['dataset']} has {dataset.item_num - 1} items after "
            f"filtering; choose numbers up to that"
        )
    refuse_whole_catalogues(config, dataset.item_num - 1, splits)
    samplers = create_samplers(config, dataset, splits)
    return tuple(
        get_dataloader(config, phase)(
            config, split, sampler, shuffle=config["shuffle"] and phase == "train"
        )
        for phase, split, sampler in zip(("train", "valid", "test"), splits, samplers, strict=True)
    )
