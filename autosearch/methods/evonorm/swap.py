"""Put a normalisation-activation layer in place of every normalisation and activation that belong together.

Pairs are found in the data flow, by tracing, not by name: an activation may be a module, one shared by several places,
or a function. Every module is traced for itself, inner ones first, so that a network that cannot be traced as a whole
still gives up the pairs inside its blocks.
"""

import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import fx, nn

from autosearch.core import plugins
from autosearch.core.errors import OptionError
from autosearch.methods.evonorm.rewriting import rewrite
from autosearch.space import did_you_mean

Factory = Callable[[int], nn.Module]

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d, nn.GroupNorm)
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.PReLU, nn.Hardswish, nn.Mish,
    nn.Tanh, nn.Softplus,
)  # fmt: skip
FUNCTIONS = frozenset({
    F.relu, F.relu_, torch.relu, torch.relu_, F.relu6, F.silu, F.gelu, F.elu, F.elu_, F.selu, F.celu, F.leaky_relu,
    F.hardswish, F.mish, F.softplus, torch.tanh, F.tanh, torch.selu,
})  # fmt: skip
METHODS = frozenset({"relu", "relu_", "tanh", "tanh_"})


@dataclass(frozen=True, slots=True)
class Left:
    """A normalisation that stayed: its name in the network, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Swap:
    """What `swap_norm_act` did.

    Attributes:
        model: the network, which now has the new layers.
        replaced: names of the normalisations that were replaced with the activations behind them.
        linear: names of those replaced where no activation follows.
        left: those that stayed.
    """

    model: nn.Module
    replaced: tuple[str, ...]
    linear: tuple[str, ...]
    left: tuple[Left, ...]

    def __str__(self) -> str:
        lines = [f"replaced {len(self.replaced)} pairs and {len(self.linear)} without activation"]
        lines += [f"left {entry.name}: {entry.reason}" for entry in self.left]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Pair:
    norm: fx.Node
    activation: fx.Node


class _Tracer(fx.Tracer):
    """Takes every module of torch's, and every one without children, as a whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        childless = next(m.children(), None) is None
        return childless or super().is_leaf_module(m, module_qualified_name)


def swap_norm_act(
    model: nn.Module,
    layer: str | Factory = "evonorm_s0",
    *,
    linear: bool = False,
    initialize: bool = True,
) -> Swap:
    """Replace normalisation-activation pairs for images by `layer`; what cannot be replaced is listed.

    The network is changed in place. Where an activation is a function or a module used in several places, the module
    whose code calls it gets another `forward`, traced by `torch.fx`; it stays an instance of its class.

    Args:
        model: batch, instance and group norms of images in it are looked at.
        layer: name in the plug-in group `autosearch.layers`, or any callable from channels to a module.
        linear: also replace norms that no activation follows, by the layer's `linear(channels)`; without it they
            stay, and a network may keep its dependence on the batch there.
        initialize: take over weight, bias and, where both have one, the running variance.

    Raises:
        OptionError: if there is no such layer, or it has no linear form.
    """
    make = _factory(layer)
    if linear and not hasattr(make, "linear"):
        raise OptionError(
            "linear: this layer has no form without activation (`layer.linear(channels)`).", "linear"
        )
    work = _Swapping(model, make, initialize=initialize)
    work.run()
    return Swap(model, tuple(work.replaced), tuple(work.settle(linear=linear)), tuple(work.left))


def _factory(layer: str | Factory) -> Factory:
    if not isinstance(layer, str):
        return layer
    known = plugins.registered("layers")
    if layer not in known and ":" not in layer:
        hint = did_you_mean(layer, known)
        raise OptionError(f"no layer {layer!r}.{hint} Known: {', '.join(known)}.", "layer")
    found: Factory = plugins.load("layers", layer)
    return found


class _Swapping:
    """One replacement, module by module."""

    def __init__(self, model: nn.Module, make: Factory, *, initialize: bool) -> None:
        self._model, self._make, self._initialize = model, make, initialize
        self.replaced: list[str] = []
        self.left: list[Left] = []
        self._reasons: dict[str, str] = {}
        self._made: set[int] = set()  # norms inside of new layers are none of the network's
        paths = (module for _, module in model.named_modules(remove_duplicate=False))
        self._places = Counter(map(id, paths))
        graph = _trace(model)
        self._calls: Counter[str] = Counter(_targets(graph)) if graph is not None else Counter()

    def run(self) -> None:
        """Replace every pair."""
        for name, module in sorted(
            self._model.named_modules(), key=lambda item: -item[0].count(".") - bool(item[0])
        ):
            if next(module.children(), None) is not None:
                self._inside(module, name)

    def settle(self, *, linear: bool) -> list[str]:
        """List every norm that is left, or with `linear` replace those that nothing activates."""
        model = self._model
        graph = _trace(model)
        done: list[str] = []
        for name, norm in _norms(model):
            if id(norm) in self._made:
                continue
            reason = self._reasons.get(name) or self._why(model, graph, name)
            if linear and reason == _NOT_ACTIVATED and self._places[id(norm)] == 1:
                _put(model, name, self._built(norm, self._make.linear))  # type: ignore[attr-defined]
                done.append(name)
            else:
                self.left.append(Left(name, reason))
        return done

    def _inside(self, module: nn.Module, prefix: str) -> None:
        """Replace the pairs that the module's own code shows."""
        graph = _trace(module)
        if graph is None:
            return
        pairs = [pair for pair in _pairs(module, graph) if self._may(module, graph, pair, prefix)]
        private = [pair for pair in pairs if self._is_private(module, graph, pair, prefix)]
        for pair in private:
            self._replace(module, str(pair.norm.target), prefix)
            before = module.get_submodule(str(pair.activation.target))
            _put(module, str(pair.activation.target), nn.Identity().train(before.training))
        if len(private) < len(pairs):
            self._rewrite(module, prefix)

    def _rewrite(self, module: nn.Module, prefix: str) -> None:
        """Another forward pass for `module`, in which the activations of pairs are not called any more."""
        problem = _cannot_rewrite(module)
        graph = _trace(module, keep=not problem)
        if graph is None:
            return
        pairs = [pair for pair in _pairs(module, graph) if self._may(module, graph, pair, prefix)]
        for pair in pairs:
            name = _join(prefix, str(pair.norm.target))
            if problem:
                self._reasons[name] = problem
                continue
            pair.activation.replace_all_uses_with(pair.norm)
            graph.erase_node(pair.activation)
            self._replace(module, str(pair.norm.target), prefix)
        if not problem:
            graph.lint()
            rewrite(module, graph)

    def _may(self, module: nn.Module, graph: fx.Graph, pair: _Pair, prefix: str) -> bool:
        """Whether a pair can be replaced at all; the reason is kept where not."""
        target = str(pair.norm.target)
        norm, name = module.get_submodule(target), _join(prefix, target)
        if id(norm) in self._made:
            return False
        times = max(_targets(graph).count(target), self._calls[name])
        if times > 1 or self._places[id(norm)] > 1:
            self._reasons[name] = "it normalises in several places, and one layer cannot follow all"
            return False
        if isinstance(norm, nn.GroupNorm) and not _behind_conv(module, pair.norm):
            self._reasons[name] = (
                "what it normalises may be no images: no 2-d convolution stands in front of it"
            )
            return False
        return True

    def _is_private(self, module: nn.Module, graph: fx.Graph, pair: _Pair, prefix: str) -> bool:
        """Whether the activation is a module that nothing else uses."""
        if pair.activation.op != "call_module":
            return False
        target = str(pair.activation.target)
        times = max(_targets(graph).count(target), self._calls[_join(prefix, target)])
        return times == 1 and self._places[id(module.get_submodule(target))] == 1

    def _replace(self, module: nn.Module, target: str, prefix: str) -> None:
        _put(module, target, self._built(module.get_submodule(target), self._make))
        self.replaced.append(_join(prefix, target))

    def _built(self, norm: nn.Module, make: Factory) -> nn.Module:
        """The new layer in place of `norm`, on its device, in its precision and mode."""
        made = make(_channels(norm)).train(norm.training)
        state = {**dict(norm.named_parameters()), **dict(norm.named_buffers())}
        like = next((t for t in state.values() if t.is_floating_point()), None)
        if like is not None:
            made.to(like.device, like.dtype)
        if self._initialize:
            own = made.state_dict()
            with torch.no_grad():
                for name in ("weight", "bias", "running_var"):
                    if name in own and name in state and own[name].shape == state[name].shape:
                        own[name].copy_(state[name])
        self._made.update(map(id, made.modules()))
        return made

    def _why(self, model: nn.Module, graph: fx.Graph | None, name: str) -> str:
        """Why a norm for which no pair was found stayed."""
        nodes = (
            [] if graph is None else [n for n in graph.nodes if n.op == "call_module" and n.target == name]
        )
        if not nodes:
            return "the code around it cannot be traced, so what follows it is unknown"
        users = _users(model, nodes[0])
        if len(users) > 1 and any(_activates(model, user) for user in users):
            return f"its output is used in {len(users)} places, not all of which activate it"
        behind = [model.get_submodule(str(user.target)) for user in users if user.op == "call_module"]
        unknown = [type(m).__name__ for m in behind if not type(m).__module__.startswith("torch.nn")]
        if unknown:
            return f"{unknown[0]}, which follows it, is not known to be an activation"
        return _NOT_ACTIVATED


_NOT_ACTIVATED = "no activation follows it"


def _trace(
    module: nn.Module, *, keep: bool = False, left_out: Mapping[str, Any] | None = None
) -> fx.Graph | None:
    """What `module` computes, None where that depends on its input or cannot be seen; arguments `left_out` are fixed.

    Constants that its code makes become attributes of the module: with `keep` they stay, and move with it between
    devices.
    """
    before = set(vars(module))
    try:
        return _Tracer().trace(module, dict(left_out) if left_out else None)
    except Exception:  # noqa: BLE001 - tracing runs the user's code on stand-ins: it may fail in any way
        return None
    finally:
        for name in set(vars(module)) - before:
            constant = vars(module)[name]
            delattr(module, name)
            if keep:
                module.register_buffer(name, constant, persistent=False)


def _pairs(module: nn.Module, graph: fx.Graph) -> list[_Pair]:
    """Norms whose only user, identities apart, is an activation."""
    found = []
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(module.get_submodule(node.target), NORMS):
            continue
        users = _users(module, node)
        if len(users) == 1 and _activates(module, users[0]):
            found.append(_Pair(node, users[0]))
    return found


def _users(module: nn.Module, node: fx.Node) -> list[fx.Node]:
    """Who uses a node's value; through a single identity, who uses that."""
    users = list(node.users)
    if len(users) == 1 and users[0].op == "call_module":
        behind = module.get_submodule(str(users[0].target))
        if isinstance(behind, nn.Identity):
            return _users(module, users[0])
    return users


def _activates(module: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), ACTIVATIONS)
    if node.op == "call_function":
        return node.target in FUNCTIONS
    return node.op == "call_method" and node.target in METHODS


def _behind_conv(module: nn.Module, node: fx.Node) -> bool:
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or source.op != "call_module":
        return False
    return isinstance(module.get_submodule(str(source.target)), nn.Conv2d | nn.ConvTranspose2d)


def _cannot_rewrite(module: nn.Module) -> str:
    """Why the module's code must stay; empty where it may be replaced by what was traced."""
    graph = _trace(module)
    if graph is not None and _asks_for_arguments(module, graph):
        return "its activation is shared or a function, in code that depends on an optional argument"
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.train(not module.training)
        other = _trace(module)
    finally:
        for part, training in modes:
            part.training = training
    if other is None or str(other) != str(graph):
        return "its activation is shared or a function, in code that differs between training and evaluation"
    return ""


def _asks_for_arguments(module: nn.Module, graph: fx.Graph) -> bool:
    """Whether the code does something else where optional arguments are left out: their stand-ins are never None."""
    arguments = inspect.signature(module.forward).parameters.values()
    left_out = {a.name: a.default for a in arguments if a.default is not inspect.Parameter.empty}
    if not left_out:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arguments that the tracer cannot check
        without = _trace(module, left_out=left_out)
    return without is None or _calls(without, left_out) != _calls(graph, left_out)


def _calls(graph: fx.Graph, values: Mapping[str, Any]) -> list[str]:
    """Everything that is called, in order, but for the tracer's checks; arguments in `values` are those values."""
    checks = {node for node in graph.nodes if "_assert" in str(node.target)}
    checks |= {node for node in graph.nodes if node.users and checks.issuperset(node.users)}

    def known(node: fx.Node) -> Any:
        return values.get(str(node.target), node.name) if node.op == "placeholder" else node.name

    called = [node for node in graph.nodes if node.op != "placeholder" and node not in checks]
    return [f"{n.target}{fx.node.map_arg(n.args, known)}{fx.node.map_arg(n.kwargs, known)}" for n in called]


def _targets(graph: fx.Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_module"]


def _norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in list(model.named_modules()) if isinstance(module, NORMS))


def _channels(norm: nn.Module) -> int:
    return int(norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features)  # type: ignore[arg-type]


def _put(module: nn.Module, target: str, new: nn.Module) -> None:
    owner, _, name = target.rpartition(".")
    setattr(module.get_submodule(owner), name, new)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
