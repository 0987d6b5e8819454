"""Models of every kind, made without a data set."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction

from recbole_compress.config import Config
from recbole_compress.data.catalogue import Catalogue
from recbole_compress.data.item_vectors import state_will_be_loaded

N_ITEMS, N_USERS, LENGTH = 60, 9, 6
SMALL = {
    "MAX_ITEM_LIST_LENGTH": LENGTH,
    "split_files": "never",
    "use_gpu": False,
}
STOCK = {
    "SASRec": {"hidden_size": 16, "inner_size": 32},
    "GRU4Rec": {"hidden_size": 24, "embedding_size": 16},
    "NARM": {"hidden_size": 16, "embedding_size": 16},
    "Caser": {"embedding_size": 16},
    "STAMP": {"embedding_size": 16},
    "BERT4Rec": {"hidden_size": 16, "inner_size": 32},
    "LightSANs": {"hidden_size": 16, "inner_size": 32},
    "NextItNet": {"embedding_size": 16, "block_num": 2, "dilations": [1, 2]},
}
OURS = {
    "CpRecNextItNet": {"embedding_size": 16, "dilations": [1, 2]},
    "CpRecGRU4Rec": {"embedding_size": 16, "hidden_size": 24},
    "CpRecSASRec": {"embedding_size": 16, "inner_size": 32},
    "TTSASRec": {"embedding_size": 16, "inner_size": 32, "tt_ranks": 4},
}
VARIANTS = {
    "dense_untied": {"item_embedding": "dense", "item_head": "untied", "output_bias": True},
    "low_rank": {"item_embedding": "low_rank", "item_head": "low_rank", "low_rank_dim": 8},
    "tied_two_level": {"item_embedding": "blockwise", "item_head": "tied_two_level"},
    "codes": {"item_embedding": "product_quantized", "item_head": "tied_codes", "pq_splits": 4},
    "pointer": {"repeats": "pointer"},
}


def made(name: str, **settings):
    """A model in evaluation mode, its weights large enough to tell items apart."""
    given = {**SMALL, **STOCK.get(name, {}), **OURS.get(name, {}), **settings}
    config = Config(name, "nowhere", config_dict=given)
    torch.manual_seed(1)
    with state_will_be_loaded():
        model = config.model_class(config, Catalogue(config, N_ITEMS, N_USERS))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return config, model.eval()


def some_requests(model, n: int = 7):
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, LENGTH + 1, (n,), generator=generator)
    items = torch.randint(1, N_ITEMS, (n, LENGTH), generator=generator)
    items = items * (torch.arange(LENGTH) < lengths[:, None])
    return Interaction(
        {
            model.ITEM_SEQ: items,
            model.ITEM_SEQ_LEN: lengths,
            model.USER_ID: torch.ones(n, dtype=torch.long),
            model.ITEM_ID: items[:, 0],
            model.NEG_ITEM_ID: items[:, 0].flip(0),
        }
    )


def scores_of(model, n: int = 7):
    with torch.no_grad():
        return model.full_sort_predict(some_requests(model, n)).reshape(n, -1)
