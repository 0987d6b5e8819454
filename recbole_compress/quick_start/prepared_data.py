"""A data set, split into loaders."""

from recbole.data import get_dataloader
from recbole.data.utils import create_samplers

__all__ = ["prepare_data"]


def prepare_data(config, dataset):
    """Split ``dataset`` into train, valid and test loaders, as RecBole's ``data_preparation`` does.

    RecBole's own would first unpickle whatever lies at a default path; this never does.
    """
    splits = dataset.build()
    samplers = create_samplers(config, dataset, splits)
    return tuple(
        get_dataloader(config, phase)(
            config, split, sampler, shuffle=config["shuffle"] and phase == "train"
        )
        for phase, split, sampler in zip(("train", "valid", "test"), splits, samplers, strict=True)
    )
