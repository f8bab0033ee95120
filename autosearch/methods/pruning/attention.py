"""Heads of attention, which a dependency graph of channels cannot see.

An attention block is described by its layout: the linear layers that make queries, keys and values, and the one that
takes the mixed values back. Whole heads are removed from these together. For the trace of the rest of the network each
block is replaced by two linear layers of the same outer sizes.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autosearch.methods.pruning.errors import PruningError
from autosearch.methods.pruning.shrink import HEAD_NAMES


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """Where the heads of an attention block lie.

    Attributes:
        inputs: names, within the block, of linear layers whose outputs are heads: `("qkv",)` or `("q", "k", "v")`. The
            outputs of each are ordered as (part, head, dimension); the parts of a joint layer are found from sizes.
        output: name of the linear layer whose inputs are (head, dimension).
    """

    inputs: tuple[str, ...]
    output: str


class SplitAttention(nn.Module):
    """What `nn.MultiheadAttention` computes, in linear layers of which heads can be removed.

    Takes the same arguments and returns the same pair; the weights of attention are not returned. Heads keep their
    size when others are removed, which `nn.MultiheadAttention` cannot express.
    """

    # Read by nn.TransformerEncoderLayer before it takes its fused path, which does not apply here.
    batch_first = False
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        if attention.bias_k is not None or attention.add_zero_attn:
            raise PruningError("nn.MultiheadAttention with add_bias_kv or add_zero_attn cannot be pruned.")
        width = attention.embed_dim
        self.heads = attention.num_heads
        self.dropout = attention.dropout
        self.first = attention.batch_first
        joint = attention.in_proj_weight
        if joint is not None:
            weights = list(torch.split(joint.detach(), width))
        else:
            parts = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
            weights = [part.detach() for part in parts]
        bias = attention.in_proj_bias
        biases = [None] * 3 if bias is None else list(torch.split(bias.detach(), width))
        self.query, self.key, self.value = (
            _linear(weight, b) for weight, b in zip(weights, biases, strict=True)
        )
        own = attention.out_proj
        self.output = _linear(own.weight.detach(), None if own.bias is None else own.bias.detach())

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = False,  # noqa: FBT001, FBT002, ARG002 - the signature of nn.MultiheadAttention
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,  # noqa: FBT001, FBT002, ARG002
        is_causal: bool = False,  # noqa: FBT001, FBT002, ARG002 - a hint; the mask itself is given as well
    ) -> tuple[torch.Tensor, None]:
        """Mixed values, shaped as `query`, and None in place of the weights."""
        single = query.dim() == 2
        if single:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
        elif not self.first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        parts = zip((self.query, self.key, self.value), (query, key, value), strict=True)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer, x in parts)
        mask = self._mask(attn_mask, key_padding_mask, q)
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0
        )
        out: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        if single:
            return out.squeeze(0), None
        return (out if self.first else out.transpose(0, 1)), None

    def _mask(
        self, mask: torch.Tensor | None, padding: torch.Tensor | None, q: torch.Tensor
    ) -> torch.Tensor | None:
        total: torch.Tensor | None = None
        if mask is not None:
            total = _additive(mask, q.dtype)
            if total.dim() == 3:
                total = total.view(q.shape[0], -1, *total.shape[1:])
                if total.shape[1] != self.heads:
                    raise PruningError("a mask for each head does not fit after heads were removed.")
        if padding is not None:
            own = _additive(padding, q.dtype)[:, None, None, :]
            total = own if total is None else total + own
        return total


def blank_linear(inputs: int, outputs: int, *, like: torch.Tensor, bias: bool = True) -> nn.Linear:
    """A linear layer of zeros, of a tensor's type and device; draws nothing from the caller's random state."""
    layer = nn.Linear(inputs, outputs, bias=bias, device="meta", dtype=like.dtype).to_empty(
        device=like.device
    )
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer = blank_linear(weight.shape[1], weight.shape[0], like=weight, bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)


def split_attention(model: nn.Module) -> nn.Module:
    """A copy of `model` in which every `nn.MultiheadAttention` computes the same as a `SplitAttention`."""
    plain = copy.deepcopy(model)
    for name, module in list(plain.named_modules()):
        if isinstance(module, nn.MultiheadAttention):
            replace(plain, name, SplitAttention(module).train(module.training))
    return plain


def has_joint_attention(model: nn.Module) -> bool:
    """Whether some part of it is a `nn.MultiheadAttention`."""
    return any(isinstance(module, nn.MultiheadAttention) for module in model.modules())


LAYOUTS = (
    AttentionLayout(("qkv",), "projection"),
    AttentionLayout(("qkv",), "proj"),
    AttentionLayout(("query", "key", "value"), "output"),
    AttentionLayout(("q_proj", "k_proj", "v_proj"), "out_proj"),
    AttentionLayout(("q", "k", "v"), "o"),
    AttentionLayout(("c_attn",), "c_proj"),
)


def find_attention(
    model: nn.Module, given: Mapping[str, AttentionLayout | Mapping[str, Any]]
) -> dict[str, AttentionLayout]:
    """The attention blocks of a network: those `given`, and those with a usual layout and a count of heads.

    Raises:
        PruningError: a given layout does not fit its module.
    """
    found = {}
    for name, layout in given.items():
        wanted = layout if isinstance(layout, AttentionLayout) else _layout(name, layout)
        block = dict(model.named_modules()).get(name)
        if block is None or not _fits(block, wanted):
            raise PruningError(
                f"attention.{name}: {'no such module' if block is None else type(block).__name__} with a count of "
                f"heads ({', '.join(HEAD_NAMES)}) and linear layers {', '.join((*wanted.inputs, wanted.output))}."
            )
        found[name] = wanted
    for name, module in model.named_modules():
        usual = next((each for each in LAYOUTS if _fits(module, each) and _alone(module, each)), None)
        if name not in found and usual is not None:
            found[name] = usual
    return found


def _layout(name: str, given: Mapping[str, Any]) -> AttentionLayout:
    if set(given) != {"inputs", "output"}:
        raise PruningError(
            f"attention.{name}: give 'inputs' (names of linear layers) and 'output' (one name)."
        )
    return AttentionLayout(tuple(given["inputs"]), given["output"])


def _fits(block: nn.Module, layout: AttentionLayout) -> bool:
    layers = [getattr(block, name, None) for name in (*layout.inputs, layout.output)]
    heads = head_count(block)
    if not heads or not all(isinstance(layer, nn.Linear) for layer in layers):
        return False
    inner = layers[-1].in_features  # type: ignore[union-attr]
    return inner % heads == 0 and all(layer.out_features % inner == 0 for layer in layers[:-1])  # type: ignore[union-attr]


def _alone(block: nn.Module, layout: AttentionLayout) -> bool:
    """Whether the block holds no other weights; one that does is more than attention."""
    own = {id(p) for name in (*layout.inputs, layout.output) for p in getattr(block, name).parameters()}
    return all(id(parameter) in own for parameter in block.parameters())


def head_count(block: nn.Module) -> int:
    """Heads of a block, 0 where it names none."""
    return next((n for name in HEAD_NAMES if isinstance(n := getattr(block, name, None), int)), 0)


class StandIn(nn.Module):
    """Two linear layers with the outer sizes of an attention block; takes the block's first input."""

    def __init__(self, block: nn.Module, layout: AttentionLayout) -> None:
        super().__init__()
        first, last = getattr(block, layout.inputs[0]), getattr(block, layout.output)
        like, bias = last.weight, last.bias is not None
        self.enter = blank_linear(first.in_features, last.in_features, like=like)
        self.leave = blank_linear(last.in_features, last.out_features, like=like, bias=bias)
        self.pair = isinstance(block, SplitAttention)
        self.batch_first, self.in_proj_bias, self._qkv_same_embed_dim = False, None, False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Shaped as the block's output."""
        y = self.leave(self.enter(next(iter((*args, *kwargs.values())))))
        return (y, None) if self.pair else y


def with_stand_ins(model: nn.Module, layouts: Mapping[str, AttentionLayout]) -> nn.Module:
    """A copy of `model` with a stand-in for each attention block."""
    changed = copy.deepcopy(model)
    for name, layout in layouts.items():
        replace(changed, name, StandIn(changed.get_submodule(name), layout))
    return changed


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where the one called `name` is, in place."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
