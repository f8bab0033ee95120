"""A found layer as a file that needs torch and nothing else, written for people."""

from autosearch.core.errors import OptionError
from autosearch.methods.evonorm.graphs import Graph, Node

_HEAD = '''"""A normalisation-activation layer, found by a search over graphs of primitive operations.

Before the channels' weight and bias it computes, with v0 and v1 a trained value a channel (from 0 and from 1):

{formula}

Put it in place of a normalisation and the activation behind it. Its weights should not decay.
"""

import torch
from torch import nn


class {name}(nn.Module):
    """y = weight * {output} + bias for (n, channels, h, w) features.

    Args:
        channels: c.
        group_size: channels of a group, where the layer has groups; the next smaller size that divides the channels.
        eps: added under roots of moments; least size of divisors and of what is under logarithms and roots.
        momentum: weight of the newest batch in running moments, where the layer has any.
    """

    def __init__(self, channels: int, group_size: int = {group_size}, eps: float = {eps!r}, momentum: float = 0.1):
        super().__init__()
        self.channels, self.eps, self.momentum = channels, eps, momentum
        self.groups = channels // next(g for g in range(min(group_size, channels), 0, -1) if channels % g == 0)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
'''
_FORWARD = """
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = features.to(torch.promote_types(features.dtype, torch.float32))
{lines}
        y = {output}.expand_as(x) * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return y.to(features.dtype)
"""
_MOMENT = """
    @staticmethod
    def moment(a: torch.Tensor, dims: tuple, kind: str) -> torch.Tensor:
        if kind == "mean":
            return a.mean(dims, keepdim=True)
        if kind == "std":
            a = a - a.mean(dims, keepdim=True)
        return a.square().mean(dims, keepdim=True)
"""
_OVER = {
    "wh": """
    def over_space(self, a: torch.Tensor, kind: str) -> torch.Tensor:
        found = self.moment(a, (2, 3), kind)
        return found if kind == "mean" else (found + self.eps).sqrt()
""",
    "whc": """
    def over_layer(self, a: torch.Tensor, kind: str) -> torch.Tensor:
        found = self.moment(a, (1, 2, 3), kind)
        return found if kind == "mean" else (found + self.eps).sqrt()
""",
    "whg": """
    def over_groups(self, a: torch.Tensor, kind: str) -> torch.Tensor:
        parts = a.expand(-1, self.channels, -1, -1).unflatten(1, (self.groups, -1))
        found = self.moment(parts, (2, 3, 4), kind)
        found = found if kind == "mean" else (found + self.eps).sqrt()
        return found.expand_as(parts[:, :, :, :1, :1]).flatten(1, 2)
""",
    "bwh": """
    def over_batch(self, a: torch.Tensor, kind: str, running: torch.Tensor) -> torch.Tensor:
        found = running.view(1, -1, 1, 1)
        if self.training:
            found = self.moment(a, (0, 2, 3), kind)
            with torch.no_grad():
                running.lerp_(found.detach().expand(1, self.channels, 1, 1).flatten(), self.momentum)
        return found if kind == "mean" else (found + self.eps).sqrt()
""",
}
_METHODS = {"wh": "over_space", "whc": "over_layer", "whg": "over_groups", "bwh": "over_batch"}
_SIGN = {"add": "+", "mul": "*"}
_GUARDED = {
    "div": "{a} / torch.where({b} < 0, {b}.clamp(max=-self.eps), {b}.clamp(min=self.eps))",
    "log": "{a}.sign() * {a}.abs().clamp(min=self.eps).log()",
    "sqrt": "{a}.sign() * {a}.abs().clamp(min=self.eps).sqrt()",
    "max": "torch.maximum({a}, {b})",
    "neg": "-{a}",
}
_WORDS = {"bwh": "batch", "wh": "space", "whc": "layer", "whg": "group"}


def to_source(graph: Graph, name: str = "FoundLayer", *, group_size: int = 8, eps: float = 1e-5) -> str:
    """The text of a Python module with the layer as a class `name`, equal to `GraphLayer`; state dicts differ in names.

    Raises:
        OptionError: if the name is no Python identifier.
    """
    if not name.isidentifier():
        raise OptionError(f"name: must be a Python identifier, got {name!r}.", "name")
    steps = graph.steps
    output = steps[-1][0]
    text = _HEAD.format(name=name, formula=formula(graph), output=output, group_size=group_size, eps=eps)
    starts = {"v0": "zeros", "v1": "ones"}
    for weights in (v for v in starts if v in graph.active):
        text += f"        self.{weights} = nn.Parameter(torch.{starts[weights]}(channels))\n"
    for step, node in steps:
        if node.operation.endswith("_bwh"):
            start = "zeros" if node.operation.startswith("mean") else "ones"
            text += f'        self.register_buffer("running_{step}", torch.{start}(channels))\n'
    lines = [f"        {v} = self.{v}.view(1, -1, 1, 1)" for v in starts if v in graph.active]
    if "zero" in graph.active:
        lines.append("        zero = x.new_zeros(1, 1, 1, 1)")
    lines += [f"        {step} = {_expression(step, node)}" for step, node in steps]
    text += _FORWARD.format(lines="\n".join(lines), output=output)
    sets = dict.fromkeys(node.operation.partition("_")[2] for _, node in steps)
    used = [over for over in sets if over]
    return text + (_MOMENT if used else "") + "".join(_OVER[over] for over in used)


def _expression(step: str, node: Node) -> str:
    kind, _, over = node.operation.partition("_")
    a, b = node.inputs[0], node.inputs[-1]
    if over:
        running = f", self.running_{step}" if over == "bwh" else ""
        return f'self.{_METHODS[over]}({a}, "{kind}"{running})'
    if kind in _SIGN:
        return f"{a} {_SIGN[kind]} {b}"
    if kind in _GUARDED:
        return _GUARDED[kind].format(a=a, b=b)
    return f"{a}.{kind}()"


def formula(graph: Graph) -> str:
    """The layer as lines of mathematics, one for each step."""
    return "\n".join(f"    {step} = {_words(node)}" for step, node in graph.steps)


def _words(node: Node) -> str:
    kind, _, over = node.operation.partition("_")
    a, b = node.inputs[0], node.inputs[-1]
    if over:
        return f"{kind} of {a} over the {_WORDS[over]}"
    if kind in (*_SIGN, "div"):
        return f"{a} {({**_SIGN, 'div': '/'})[kind]} {b}"
    return f"-{a}" if kind == "neg" else f"{kind}({', '.join(node.inputs)})"
