"""Response of multi-head attention: its projections answer, attention itself is written out."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autosearch.methods.stn.layers import Response, Slot, dropped


class AttentionResponse(Response):
    """Of `nn.MultiheadAttention` with keys and values as wide as queries.

    Attributes:
        tuned: name of the hyperparameter that is the dropout of attention weights; None leaves the layer's own.
    """

    tuned: str | None = None

    def make_slots(self, layer: Any, *, tied: bool) -> list[Slot]:
        wide = layer.embed_dim
        projections = [
            Slot(layer, "in_proj_weight", "in_proj_bias", rows=(i * wide, (i + 1) * wide), tied=tied)
            for i in range(3)
        ]
        return [*projections, Slot(layer.out_proj, "weight", "bias", tied=tied)]

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,  # noqa: FBT001, FBT002 - the signature of the layer
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,  # noqa: FBT001, FBT002
        is_causal: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As the plain layer."""
        layer, values = self.layer, self.signal.values
        if self.signal.gains is None and (self.tuned is None or values is None):
            plain: tuple[torch.Tensor, torch.Tensor | None] = self.plain(
                query,
                key,
                value,
                key_padding_mask=key_padding_mask,
                need_weights=need_weights,
                attn_mask=attn_mask,
                average_attn_weights=average_attn_weights,
                is_causal=is_causal,
            )
            return plain
        inputs = (query, key, value)
        if not layer.batch_first:
            inputs = (query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1))
        q, k, v = (
            torch.unflatten(
                self.affine(i, x, functional.linear, first=True), -1, (layer.num_heads, -1)
            ).transpose(1, 2)
            for i, x in enumerate(inputs)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        for mask in (_by_pairs(attn_mask, scores), _by_keys(key_padding_mask)):
            if mask is not None:
                scores = scores + _added(mask, scores.dtype)
        weights = scores.softmax(-1)
        kept = weights
        if self.tuned is not None and values is not None and layer.training:
            kept = dropped(weights, values[self.tuned].view(-1, 1, 1, 1))
        elif layer.training:
            kept = functional.dropout(weights, layer.dropout)
        out = self.affine(3, (kept @ v).transpose(1, 2).flatten(2), functional.linear, first=True)
        if not layer.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, weights.mean(1) if average_attn_weights else weights


def _by_pairs(mask: torch.Tensor | None, scores: torch.Tensor) -> torch.Tensor | None:
    """(L, S) or (B · heads, L, S) as it broadcasts over (B, heads, L, S)."""
    if mask is None or mask.ndim == 2:
        return mask
    return mask.view(scores.shape[0], -1, *mask.shape[1:])


def _by_keys(mask: torch.Tensor | None) -> torch.Tensor | None:
    return None if mask is None else mask[:, None, None, :]


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if mask.dtype is not torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)


class EncoderResponse(Response):
    """Of `nn.TransformerEncoder` and its layers: no fused kernel, which would pass by the modules inside."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the plain module."""
        if self.signal.gains is None:
            return self.plain(*args, **kwargs)
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            return self.plain(*args, **kwargs)
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def supports(layer: nn.MultiheadAttention) -> bool:
    """Whether the layer has only the parts that the response knows."""
    return bool(
        layer._qkv_same_embed_dim
        and layer.bias_k is None
        and layer.bias_v is None
        and not layer.add_zero_attn
        and layer.in_proj_weight.requires_grad == layer.out_proj.weight.requires_grad
    )
