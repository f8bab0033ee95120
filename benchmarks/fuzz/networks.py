"""Networks of every make, sensible or not, for the reader that turns a network into a graph."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from autosearch.methods.metaprune.tracing import trace
from autosearch.methods.pruning import PruningError


class Residual(nn.Module):
    """The sum, product or concatenation of two branches."""

    def __init__(self, left: nn.Module, right: nn.Module, how: str) -> None:
        super().__init__()
        self.left, self.right, self.how = left, right, how

    def forward(self, x: torch.Tensor) -> Any:
        left, right = self.left(x), self.right(x)
        if self.how == "add":
            return left + right
        if self.how == "multiply":
            return left * right
        return torch.cat([left, right], dim={"channels": 1, "last": -1}[self.how])


class Odd(nn.Module):
    """One of the things that people write in a forward."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Any) -> Any:
        return ODD[self.kind](self, x)


ODD: dict[str, Callable[[Any, Any], Any]] = {
    "branch": lambda m, x: x if x.sum() > 0 else -x,
    "loop": lambda m, x: sum(x for _ in range(x.shape[0])),
    "tuple": lambda m, x: (x, x),
    "dict": lambda m, x: {"out": x},
    "none": lambda m, x: None,
    "raise": lambda m, x: (_ for _ in ()).throw(RuntimeError("no")),
    "recursion": lambda m, x: m(x),
    "numpy": lambda m, x: torch.as_tensor(x.numpy()),
    "item": lambda m, x: x * x.max().item(),
    "index": lambda m, x: x[:, ::2],
    "permute": lambda m, x: x.transpose(1, -1),
    "reshape": lambda m, x: x.reshape(-1),
    "chunk": lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "shuffle": lambda m, x: x.view(x.shape[0], 2, -1).transpose(1, 2).reshape(x.shape),
    "parameter": lambda m, x: x * m.scale[0],
    "in place": lambda m, x: x.add_(1),
    "state": lambda m, x: x + m.seen.add_(1),
    "constant": lambda m, x: x + torch.ones(1),
    "empty": lambda m, x: x[:0],
    "softmax": lambda m, x: x.softmax(1),
    "einsum": lambda m, x: torch.einsum("b...->b...", x),
    "same": lambda m, x: x + x,
}
_WIDTHS = st.sampled_from([1, 2, 3, 4, 6, 8])
_OPERATIONS = (
    "conv", "conv", "depthwise", "grouped", "linear", "linear", "norm", "norm", "layer norm", "group norm", "instance",
    "pool", "global", "flatten", "relu", "prelu", "dropout", "residual", "residual", "shared", "transposed", "lstm",
    "attention", "embedding", "odd", "odd", "wrong", "lazy", "bare parameter", "upsample",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A network and a batch, to be made; most fit together, some do not."""

    plan: list[Any]
    shape: tuple[int, ...]

    def build(self) -> tuple[nn.Module, torch.Tensor]:
        torch.manual_seed(0)
        layers = _Layers(self.shape[1], flat=len(self.shape) == 2)
        return layers.of(self.plan), torch.randn(self.shape)


@st.composite
def networks(draw: st.DrawFn) -> Recipe:
    flat = draw(st.booleans())
    width = draw(_WIDTHS)
    shape = (draw(st.sampled_from([2, 1, 3])), width) if flat else (2, width, 6, 6)
    return Recipe(_plan(draw, draw(st.integers(1, 6)), depth=2), shape)


def _plan(draw: st.DrawFn, length: int, depth: int) -> list[Any]:
    plan: list[Any] = []
    for _ in range(length):
        kind = draw(st.sampled_from(_OPERATIONS))
        if kind == "residual":
            if depth:
                how = draw(st.sampled_from(["add", "add", "multiply", "channels", "last"]))
                plan.append((kind, how, _plan(draw, draw(st.integers(0, 2)), depth - 1)))
        elif kind == "odd":
            plan.append((kind, draw(st.sampled_from(sorted(ODD)))))
        else:
            plan.append((kind, draw(_WIDTHS)))
    return plan


class _Layers:
    """Makes modules and keeps in mind how wide the tensor between them is."""

    def __init__(self, width: int, *, flat: bool) -> None:
        self.width, self.flat = width, flat
        self._shared: nn.Module | None = None

    def of(self, plan: list[Any]) -> nn.Sequential:
        return nn.Sequential(*[self._layer(*step) for step in plan])

    def _layer(self, kind: str, *given: Any) -> nn.Module:
        if kind == "residual":
            return self._residual(*given)
        if kind == "odd":
            return Odd(given[0])
        return self._simple(kind, given[0])

    def _residual(self, how: str, plan: list[Any]) -> nn.Module:
        before, flat = self.width, self.flat
        left = self.of(plan)
        right: nn.Module = nn.Identity()
        if self.width != before and flat == self.flat and how != "channels":
            right = nn.Linear(before, self.width) if flat else nn.Conv2d(before, self.width, 1)
        if how in ("channels", "last"):
            self.width += before
        return Residual(left, right, how)

    def _simple(self, kind: str, out: int) -> nn.Module:
        width, flat = self.width, self.flat
        if kind in ("conv", "depthwise", "grouped", "transposed") and not flat:
            groups = {"depthwise": width, "grouped": 2 if width % 2 == 0 else 1}.get(kind, 1)
            self.width = out * groups
            make = nn.ConvTranspose2d if kind == "transposed" else nn.Conv2d
            return make(width, self.width, 3, padding=1, groups=groups, bias=out % 2 == 0)
        if kind == "linear":
            self.width = out
            return nn.Linear(width, out)
        if kind == "flatten":
            if not flat:
                self.width, self.flat = 36 * width, True
            return nn.Flatten()
        if kind == "global" and not flat:
            self.flat = True
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        if kind == "shared":
            self._shared = self._shared or nn.Linear(width, width)
            return self._shared
        if kind == "attention":
            return nn.TransformerEncoderLayer(width, 1, 4, batch_first=True)
        return _FIXED[kind](width, out, flat) if kind in _FIXED else nn.Identity()


_FIXED: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "norm": lambda width, out, flat: nn.BatchNorm1d(width) if flat else nn.BatchNorm2d(width),
    "layer norm": lambda width, out, flat: nn.LayerNorm(width if flat else [width, 6, 6]),
    "group norm": lambda width, out, flat: nn.GroupNorm(1 if width % 2 else 2, width),
    "instance": lambda width, out, flat: nn.InstanceNorm2d(width, affine=True),
    "pool": lambda width, out, flat: nn.MaxPool2d(2, 1, 0),
    "relu": lambda width, out, flat: nn.ReLU(inplace=out % 2 == 0),
    "prelu": lambda width, out, flat: nn.PReLU(width),
    "dropout": lambda width, out, flat: nn.Dropout(0.5),
    "lstm": lambda width, out, flat: nn.LSTM(width, out),
    "embedding": lambda width, out, flat: nn.Embedding(width, out),
    "wrong": lambda width, out, flat: nn.Linear(width + 1, out),
    "lazy": lambda width, out, flat: nn.LazyLinear(out),
    "bare parameter": lambda width, out, flat: nn.ParameterList([torch.zeros(out)]),
    "upsample": lambda width, out, flat: nn.Upsample(scale_factor=2),
}


def judge(recipe: Recipe) -> bool:
    """Trace it; a graph must give back every weight, and tracing must leave the network as it was."""
    model, inputs = recipe.build()
    state = _copied(model)
    training = model.training
    try:
        schema = trace(model, inputs)
    except PruningError:
        return False
    finally:
        if model.training != training:
            raise ValueError("the network is in another mode than before")
    now = _copied(model)
    changed = [name for name in state if not torch.equal(state[name], now[name])]
    if [name for name in changed if "seen" not in name]:
        raise ValueError(f"tracing has changed {changed}")
    graph = schema.to_graph(now)
    again = schema.from_graph(graph)
    wrong = [name for name in again if not torch.allclose(again[name], now[name])]
    if wrong:
        raise ValueError(f"the graph gives back other weights: {wrong}")
    return True


def _copied(model: nn.Module) -> dict[str, torch.Tensor]:
    lazy = torch.nn.parameter.UninitializedTensorMixin
    return {name: value.clone() for name, value in model.state_dict().items() if not isinstance(value, lazy)}


torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
