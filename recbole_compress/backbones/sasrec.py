"""Causal self-attention over the embedded sequence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_compress.backbones.base import Backbone, states_at_last
from recbole_compress.backbones.layer_sharing import n_parameter_sets, sharing_plan
from recbole_compress.near_names import did_you_mean

__all__ = ["ACTIVATIONS", "SASRec", "TransformerLayer"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
# The other schemes tell a layer's convolutions apart; a transformer layer is shared as a whole.
_LAYER_SHARING = ("none", "cross_layer", "adjacent_block")

# What changes the two branches of a layer before they are added: (which half, branch) -> branch.
Adapted = Callable[[int, Tensor], Tensor]


def _as_it_is(half: int, branch: Tensor) -> Tensor:
    return branch


class TransformerLayer(nn.Module):
    """Causal self-attention, then a feed-forward net, each followed by add-and-norm (post-LN).

    Args:
        dim: Width of the hidden states.
        num_heads: Attention heads; must divide ``dim``.
        inner_size: Width inside the feed-forward net.
        hidden_dropout: Dropout on the output of both halves.
        attention_dropout: Dropout on the attention weights.
        activation: A name in ``ACTIVATIONS``.
        layer_norm_eps: Added to the variance in both layer norms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        inner_size: int,
        hidden_dropout: float,
        attention_dropout: float,
        activation: str,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.activation = ACTIVATIONS[activation]
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.inner = nn.Linear(dim, inner_size)
        self.inner_out = nn.Linear(inner_size, dim)
        self.inner_norm = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.dropout = nn.Dropout(hidden_dropout)

    def forward(self, x: Tensor, adapted: Adapted = _as_it_is) -> Tensor:
        """``(B, L, dim) -> (B, L, dim)``; ``adapted`` changes what each half adds."""
        query, key, value = self._heads(x)
        context = F.scaled_dot_product_attention(
            query,
            key,
            value,
            is_causal=True,
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        return self._after_attention(x, context.transpose(1, 2).flatten(2), adapted)

    def last_state(self, x: Tensor, lengths: Tensor, adapted: Adapted = _as_it_is) -> Tensor:
        """``(B, L, dim) -> (B, dim)``: only the last real position asks, and is passed on."""
        query, key, value = self._heads(x)
        last = (lengths - 1).clamp(min=0)
        query = query[torch.arange(len(x), device=x.device), :, last].unsqueeze(2)
        seen = None
        if len(x) != 1 or int(last) < x.shape[1] - 1:
            column = torch.arange(x.shape[1], device=x.device)
            seen = (column <= last.unsqueeze(1)).view(len(x), 1, 1, x.shape[1])
        context = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=seen,
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        return self._after_attention(states_at_last(x, lengths), context.flatten(1), adapted)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each ``(B, num_heads, L, dim_of_head)``."""
        heads = self.query_key_value(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _after_attention(self, x: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """The rest of the layer, position by position: both ``(..., dim)``."""
        x = self.attention_norm(x + adapted(0, self.dropout(self.attention_out(context))))
        inner = self.inner_out(self.activation(self.inner(x)))
        return self.inner_norm(x + adapted(1, self.dropout(inner)))

    def macs(self, length: int, asking: int | None = None) -> int:
        """Multiply-adds for one sequence; attention counted over the full square.

        Args:
            length: Positions.
            asking: Positions whose state is computed; all where None.
        """
        asking = length if asking is None else asking
        dense = (self.attention_out, self.inner, self.inner_out)
        scores_and_context = 2 * asking * length * self.attention_out.in_features
        of_states = asking * sum(layer.weight.numel() for layer in dense)
        return length * self.query_key_value.weight.numel() + of_states + scores_and_context


class SASRec(Backbone):
    """Learned positions added to the items, then causal transformer layers.

    Equals, with RecBole's ``TransformerEncoder`` and its causal mask::

        x = dropout(layer_norm(embedded + position_embedding.weight[:L]))
        return encoder(x, causal_and_padding_mask)[-1]

    The padding mask is left out because it changes nothing: padding stands to the right of every
    real position, and the causal mask already hides all that stands to the right. Positions are
    counted from the left, so they do not move with the amount of padding either.

    Args:
        embedding_dim: Width of the items and of every hidden state.
        num_layers: Transformer layers.
        num_heads: Attention heads; must divide ``embedding_dim``.
        inner_size: Width inside the feed-forward nets.
        max_length: Number of learned positions, the longest sequence that can be read.
        hidden_dropout: Dropout on the input and on both halves of each layer.
        attention_dropout: Dropout on the attention weights.
        activation: ``gelu``, ``relu``, ``swish``, ``tanh`` or ``sigmoid``.
        layer_norm_eps: Added to the variance in every layer norm.
        layer_sharing: ``none``; ``cross_layer``, one set of weights for all layers; or
            ``adjacent_block``, one per pair of layers. Whole layers are shared, norms included.
        init_std: Standard deviation of the normal initialisation of every matrix.

    Raises:
        ValueError: An unknown activation or scheme, heads that do not divide the width; in
            ``forward``, a sequence longer than ``max_length``.

    Example:
        >>> backbone = SASRec(8, inner_size=16, max_length=5).eval()
        >>> backbone(torch.zeros(2, 5, 8), lengths=torch.tensor([5, 3])).shape
        torch.Size([2, 5, 8])

    Reference:
        Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, in RecBole's
        form. Sharing whole layers is ALBERT's: Lan et al., ICLR 2020, arXiv:1909.11942.
    """

    by_place = ("position_embedding.weight",)

    def __init__(
        self,
        embedding_dim: int,
        num_layers: int = 2,
        num_heads: int = 2,
        inner_size: int = 256,
        max_length: int = 50,
        hidden_dropout: float = 0.5,
        attention_dropout: float = 0.5,
        activation: str = "gelu",
        layer_norm_eps: float = 1e-12,
        layer_sharing: str = "none",
        init_std: float = 0.02,
    ) -> None:
        super().__init__(embedding_dim)
        if num_heads < 1 or embedding_dim % num_heads:
            raise ValueError(
                f"num_heads={num_heads}: must divide embedding_dim={embedding_dim} evenly"
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}: {did_you_mean(activation, ACTIVATIONS)}")
        plan = sharing_plan(layer_sharing, num_layers, convolutions_per_block=1)
        if layer_sharing not in _LAYER_SHARING:
            raise ValueError(
                f"layer_sharing={layer_sharing!r}: a transformer layer is shared as a whole; "
                f"choose one of {', '.join(_LAYER_SHARING)}"
            )
        self.plan = plan
        self.position_embedding = nn.Embedding(max_length, embedding_dim)
        self.norm = nn.LayerNorm(embedding_dim, eps=layer_norm_eps)
        self.dropout = nn.Dropout(hidden_dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                embedding_dim,
                num_heads,
                inner_size,
                hidden_dropout,
                attention_dropout,
                activation,
                layer_norm_eps,
            )
            for _ in range(n_parameter_sets(plan))
        )
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=init_std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    @property
    def max_length(self) -> int:
        """The longest sequence that can be read."""
        return self.position_embedding.num_embeddings

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        hidden = self._positioned(embedded)
        for i, layer in enumerate(self._layers_in_order()):
            hidden = layer(hidden, partial(self._adapted_half, i))
        return hidden

    def last_state(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        if self.training:
            return super().last_state(embedded, lengths)
        hidden = self._positioned(embedded)
        *layers, last_layer = self._layers_in_order()
        for i, layer in enumerate(layers):
            hidden = layer(hidden, partial(self._adapted_half, i))
        return last_layer.last_state(hidden, lengths, partial(self._adapted_half, len(layers)))

    def _positioned(self, embedded: Tensor) -> Tensor:
        length = embedded.shape[1]
        if length > self.max_length:
            raise ValueError(
                f"sequences of {length} positions, but only max_length={self.max_length} are "
                "learned: shorten the sequences or raise max_length and train again"
            )
        return self.dropout(self.norm(embedded + self.position_embedding.weight[:length]))

    def adapter_widths(self) -> tuple[int, ...]:
        """Two per layer: on what attention adds, and on what the feed-forward net adds."""
        return (self.embedding_dim,) * (2 * len(self.plan))

    def _adapted_half(self, layer: int, half: int, branch: Tensor) -> Tensor:
        return self._adapted(2 * layer + half, branch)

    def macs(self, length: int) -> int:
        layers = sum(layer.macs(length) for layer in self._layers_in_order())
        return layers + self._adapter_macs([length] * (2 * len(self.plan)))

    def last_state_macs(self, length: int) -> int:
        *layers, last_layer = self._layers_in_order()
        adapters = self._adapter_macs([length] * (2 * len(layers)) + [1, 1])
        products = sum(layer.macs(length) for layer in layers) + last_layer.macs(length, asking=1)
        return products + adapters

    def _layers_in_order(self) -> list[TransformerLayer]:
        return [cast(TransformerLayer, self.layers[index]) for (index,) in self.plan]
