"""Every choice on every axis, by the name it has in the config.

A new method is one class on a lower floor and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from recbole_compress.backbones import GRU4Rec, NextItNet, Pointer, SASRec
from recbole_compress.backbones.base import Backbone
from recbole_compress.backbones.readout import LastPosition, Readout, SoftAttentionReadout
from recbole_compress.embeddings import (
    BlockwiseEmbedding,
    DenseEmbedding,
    ItemBlocks,
    ItemEmbedding,
    LowRankEmbedding,
    ProductQuantizedEmbedding,
    TensorTrainEmbedding,
)
from recbole_compress.errors import ConfigError
from recbole_compress.functional.item_blocks import attenuated_dims, block_sizes, rank_by_frequency
from recbole_compress.functional.product_codes import quantile_codes
from recbole_compress.functional.scattered_rows import scattering_factor
from recbole_compress.functional.tensor_train_shapes import choose_shape
from recbole_compress.heads import (
    ItemHead,
    LowRankHead,
    PointerHead,
    TiedCodesHead,
    TiedHead,
    TiedTwoLevelHead,
    TwoLevelHead,
    UntiedHead,
)
from recbole_compress.near_names import did_you_mean

__all__ = [
    "BACKBONES",
    "ITEM_EMBEDDINGS",
    "ITEM_HEADS",
    "LOG_PROB_HEADS",
    "READOUTS",
    "REPEATS",
    "Assembly",
]


class Assembly:
    """Builds the parts of one model from its config; the parts themselves never see a config.

    Args:
        config: Mapping with the keys of ``properties/model/<Model>.yaml``.
        item_counts: Train-split frequencies, ``(n_items,)``, id 0 is padding.
        item_vectors: From a width to vectors ``(n_items - 1, width)`` that tell from the train
            split which items are alike; asked only by what needs them.

    Raises:
        ConfigError: A name or a value that the axis does not have, from :meth:`build`.
    """

    def __init__(
        self,
        config: Any,
        item_counts: Tensor,
        item_vectors: Callable[[int], Tensor] | None = None,
    ) -> None:
        self.config = _Noting(config)
        self.item_counts = item_counts
        self.item_vectors = item_vectors
        self.n_items = len(item_counts)
        self.dim: int = self.config["embedding_size"]
        self.init_std: float = self.config["initializer_range"]

    @property
    def keys_read(self) -> frozenset[str]:
        """The keys that the parts built so far have asked for."""
        return frozenset(self.config.asked)

    @cached_property
    def item_blocks(self) -> ItemBlocks:
        """One partition for the input and the output side, so that it is stored once."""
        sizes = block_sizes(
            self.item_counts, self.config["item_block_cutoffs"], self.config["n_item_blocks"]
        )
        return ItemBlocks(sizes, rank_by_frequency(self.item_counts))

    @cached_property
    def block_dims(self) -> tuple[int, ...]:
        return attenuated_dims(
            self.dim,
            len(self.item_blocks.sizes),
            self.config["block_attenuation"],
            self.config["item_block_dims"],
        )

    def tensor_train(self, stp_factor: int) -> TensorTrainEmbedding:
        """The table whose shape the config gives; a wanted size replaces the ranks."""
        ratio, size_bytes = self.config["tt_ratio"], self.config["tt_bytes"]
        if ratio is not None and size_bytes is not None:
            raise ConfigError(f"tt_ratio={ratio}, tt_bytes={size_bytes}: give one of them")
        for key, value, such_as in (("tt_ratio", ratio, 30), ("tt_bytes", size_bytes, 200_000)):
            if value is not None and not value > 0:  # what is no number is not above 0 either
                raise ConfigError(f"{key}={value}: choose a number above 0, such as {such_as}")
        max_numbers = None if size_bytes is None else size_bytes / torch.float32.itemsize
        if ratio is not None:
            max_numbers = self.n_items * self.dim / ratio
        shape = choose_shape(
            self.n_items - 1,
            self.dim,
            ranks=self.config["tt_ranks"],
            max_numbers=max_numbers,
            row_shape=self.config["tt_row_shape"],
            col_shape=self.config["tt_col_shape"],
            n_cores=self.config["tt_cores"],
            stp_factor=stp_factor,
        )
        name = self.config["tt_item_order"]
        if name not in ITEM_ORDERS:
            raise ConfigError(f"tt_item_order={name!r}: {did_you_mean(str(name), ITEM_ORDERS)}")
        factor = ITEM_ORDERS[name](self.n_items - 1, shape.rows)
        return TensorTrainEmbedding(self.n_items, shape, self.init_std, factor)

    def product_quantized(self) -> ProductQuantizedEmbedding:
        """The table whose codes the train split gives."""
        assert self.item_vectors is not None
        n_codes = self.config["pq_codes"]
        codes = quantile_codes(self.item_vectors(self.config["pq_splits"]), n_codes)
        return ProductQuantizedEmbedding(codes, n_codes, self.dim, self.init_std)

    @cached_property
    def item_embedding(self) -> ItemEmbedding:
        return self._choose("item_embedding", ITEM_EMBEDDINGS)

    @cached_property
    def pointer(self) -> Pointer | None:
        # Checkpoints of before there were pointers have no such key.
        return None if self.config["repeats"] is None else self._choose("repeats", REPEATS)

    @cached_property
    def item_head(self) -> ItemHead:
        head = self._choose("item_head", ITEM_HEADS)
        return head if self.pointer is None else PointerHead(head)

    @cached_property
    def backbone(self) -> Backbone:
        return self._choose("backbone", BACKBONES)

    @cached_property
    def readout(self) -> Readout:
        return self._choose("readout", READOUTS)

    def _choose(self, axis: str, builders: dict[str, Callable[[Assembly], Any]]) -> Any:
        name = self.config[axis]
        if name not in builders:
            raise ConfigError(f"{axis}={name!r}: {did_you_mean(str(name), builders)}")
        try:
            return builders[name](self)
        except ConfigError:
            raise
        # The floors below know nothing of configs.
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"{axis}={name}: {error}") from error


class _Noting:
    """A config, and which of its keys were asked for."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return self._config[key]


ITEM_EMBEDDINGS: dict[str, Callable[[Assembly], ItemEmbedding]] = {
    "dense": lambda a: DenseEmbedding(a.n_items, a.dim, a.init_std),
    "low_rank": lambda a: LowRankEmbedding(a.n_items, a.dim, a.config["low_rank_dim"], a.init_std),
    "blockwise": lambda a: BlockwiseEmbedding(
        a.item_blocks, a.dim, a.block_dims, a.config["head_block_projection"], a.init_std
    ),
    "tensor_train": lambda a: a.tensor_train(stp_factor=1),
    "semi_tensor_train": lambda a: a.tensor_train(a.config["stp_factor"]),
    "product_quantized": lambda a: a.product_quantized(),
}

ITEM_HEADS: dict[str, Callable[[Assembly], ItemHead]] = {
    "tied": lambda a: TiedHead(a.item_embedding),
    "untied": lambda a: UntiedHead(
        a.n_items, a.dim, bias=a.config["output_bias"], init_std=a.init_std
    ),
    "low_rank": lambda a: LowRankHead(
        a.n_items,
        a.dim,
        a.config["low_rank_dim"],
        bias=a.config["output_bias"],
        init_std=a.init_std,
    ),
    "two_level": lambda a: TwoLevelHead(
        a.item_blocks, a.dim, tail_dims=a.block_dims[1:], init_std=a.init_std
    ),
    "tied_two_level": lambda a: TiedTwoLevelHead(a.item_embedding, init_std=a.init_std),
    "tied_codes": lambda a: TiedCodesHead(a.item_embedding, init_std=a.init_std),
}

# Of these the scores are log-probabilities already; a pointer makes them so of any.
LOG_PROB_HEADS = frozenset({"two_level", "tied_two_level"})

# From the number of items and the rows of every core to the factor that makes rows of ids.
ITEM_ORDERS: dict[str, Callable[[int, Sequence[int]], int]] = {
    "scattered": scattering_factor,
    "by_id": lambda n_items, row_modes: 1,
}

BACKBONES: dict[str, Callable[[Assembly], Backbone]] = {
    "nextitnet": lambda a: NextItNet(
        a.dim,
        dilations=a.config["dilations"],
        kernel_size=a.config["kernel_size"],
        residual_block=a.config["residual_block"],
        layer_sharing=a.config["layer_sharing"],
        dropout=a.config["hidden_dropout_prob"],
    ),
    "gru4rec": lambda a: GRU4Rec(
        a.dim,
        hidden_size=a.config["hidden_size"],
        num_layers=a.config["num_layers"],
        dropout=a.config["dropout_prob"],
    ),
    "sasrec": lambda a: SASRec(
        a.dim,
        num_layers=a.config["n_layers"],
        num_heads=a.config["n_heads"],
        inner_size=a.config["inner_size"],
        max_length=a.config["MAX_ITEM_LIST_LENGTH"],
        hidden_dropout=a.config["hidden_dropout_prob"],
        attention_dropout=a.config["attn_dropout_prob"],
        layer_sharing=a.config["layer_sharing"],
    ),
}

REPEATS: dict[str, Callable[[Assembly], Pointer | None]] = {
    "none": lambda a: None,
    "pointer": lambda a: Pointer(a.dim, a.config["MAX_ITEM_LIST_LENGTH"]),
}

READOUTS: dict[str, Callable[[Assembly], Readout]] = {
    "last": lambda a: LastPosition(),
    "soft_attention": lambda a: SoftAttentionReadout(a.dim),
}
