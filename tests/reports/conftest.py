"""Models without a data set: a report needs shapes, not interactions."""

from __future__ import annotations

import importlib

import pytest
import torch

import recbole_compress  # noqa: F401 - makes RecBole importable
from recbole_compress.models import CompressedRecommender

N_ITEMS = 23
LENGTH = 7


class Settings(dict):
    """Like RecBole's ``Config``: a key that is not there reads as None."""

    def __missing__(self, key):
        return None


class Data:
    """As much of a train split as a model's constructor asks for."""

    def __init__(self, n_items: int) -> None:
        self.n_items = self.item_num = n_items

    def num(self, field: str) -> int:
        return {"item_id": self.n_items, "user_id": 5}[field]

    def item_counts(self) -> torch.Tensor:
        counts = torch.arange(self.n_items).flip(0)
        counts[0] = 0
        return counts

    def shown_items(self) -> tuple[torch.Tensor, torch.Tensor]:
        items = torch.arange(1, self.n_items)
        return items % 5, items


RECBOLE = {
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "LIST_SUFFIX": "_list",
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "NEG_PREFIX": "neg_",
    "MAX_ITEM_LIST_LENGTH": LENGTH,
    "device": torch.device("cpu"),
    "loss_type": "CE",
    "dataset": "toy",
    "seed": 2020,
}

OURS = {
    "embedding_size": 8,
    "initializer_range": 0.02,
    "item_block_cutoffs": [4, 10],
    "n_item_blocks": 3,
    "block_attenuation": 2,
    "low_rank_dim": 2,
    "tt_ranks": 2,
    "tt_cores": 2,
    "tt_item_order": "scattered",
    "stp_factor": 2,
    "pq_splits": 4,
    "pq_codes": 5,
    "head_block_projection": False,
    "output_bias": False,
    "training_targets": "all",
    "recipe": "cross_entropy",
    "dilations": [1, 4, 1, 4],
    "kernel_size": 3,
    "residual_block": "b",
    "hidden_dropout_prob": 0.1,
    "embedding_dropout_prob": 0.1,
    "hidden_size": 12,
    "num_layers": 1,
    "dropout_prob": 0.1,
    "n_layers": 2,
    "n_heads": 2,
    "inner_size": 16,
    "attn_dropout_prob": 0.1,
}

STOCK = {
    "SASRec": {
        "hidden_size": 8,
        "n_layers": 1,
        "n_heads": 2,
        "inner_size": 16,
        "hidden_dropout_prob": 0.1,
        "attn_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
    },
    "GRU4Rec": {"embedding_size": 8, "hidden_size": 12, "num_layers": 1, "dropout_prob": 0.1},
    "NextItNet": {
        "embedding_size": 8,
        "block_num": 2,
        "dilations": [1, 2],
        "kernel_size": 3,
        "reg_weight": 0.0,
    },
    "NARM": {
        "embedding_size": 8,
        "hidden_size": 12,
        "n_layers": 1,
        "dropout_probs": [0.1, 0.1],
    },
}
STOCK["BERT4Rec"] = {**STOCK["SASRec"], "mask_ratio": 0.2, "ft_ratio": 0.0}


class Toy:
    """Makes small models and keeps the settings each was made from."""

    def settings(self, **choices) -> Settings:
        given = {
            "model": "CpRecNextItNet",
            "item_embedding": "dense",
            "item_head": "untied",
            "backbone": "nextitnet",
            "readout": "last",
            "repeats": "none",
            "layer_sharing": "none",
        }
        return Settings(RECBOLE, **OURS | given | choices)

    def ours(self, n_items: int = N_ITEMS, **choices) -> CompressedRecommender:
        torch.manual_seed(0)
        return CompressedRecommender(self.settings(**choices), Data(n_items))

    def stock_settings(self, name: str) -> Settings:
        return Settings(RECBOLE, model=name, **STOCK[name])

    def stock(self, name: str, n_items: int = N_ITEMS):
        module = importlib.import_module(f"recbole.model.sequential_recommender.{name.lower()}")
        torch.manual_seed(0)
        return getattr(module, name)(self.stock_settings(name), Data(n_items))


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture(params=sorted(STOCK))
def stock_name(request) -> str:
    return request.param
