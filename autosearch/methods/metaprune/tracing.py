"""From a network to its schema: which channel every number belongs to, followed through a `torch.fx` trace.

Of every tensor between layers it is known which node each place along its feature axis belongs to. A convolution or a
linear layer makes new nodes and the edges to them; what works element by element hands nodes on; an addition keeps the
nodes of the branch that was computed last and ties the other branch to it by constant edges.
"""

import contextlib
import inspect
import io
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from autosearch.learning.costs import evaluating
from autosearch.methods.metaprune.schema import NORM, GraphSchema, Slot
from autosearch.methods.pruning import PruningError
from autosearch.methods.pruning.attention import AttentionLayout, find_attention, head_count
from autosearch.methods.pruning.groups import refuse_shared

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
_STRANGE = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


@dataclass(frozen=True, slots=True)
class Features:
    """Nodes along the feature axis of a tensor.

    Attributes:
        nodes: (size,) node of each place; after a flattening each node has several places in a row.
        axis: which axis of the tensor.
        made: when the nodes were made: later ones stand for a sum.
    """

    nodes: torch.Tensor
    axis: int
    made: int


class _Tracer(fx.Tracer):
    """Keeps attention blocks whole."""

    def __init__(self, whole: Mapping[str, AttentionLayout]) -> None:
        super().__init__()
        self._whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self._whole or super().is_leaf_module(m, module_qualified_name)


def trace(
    model: nn.Module,
    example_inputs: torch.Tensor,
    *,
    attention: Mapping[str, AttentionLayout | Mapping[str, Any]] | None = None,
) -> GraphSchema:
    """The schema of a network that takes one tensor.

    Args:
        model: stays unchanged.
        example_inputs: a batch.
        attention: layouts of attention blocks that are not recognised.

    Raises:
        PruningError: the network cannot be traced, or holds an operation or a parameter whose channels are not known;
            it is named.
    """
    refuse_shared(model)
    layouts = find_attention(model, attention or {})
    tracer = _Tracer(layouts)
    try:
        # A stand-in for an argument that is left out would not be None, and lead another way through the code.
        arguments = list(inspect.signature(model.forward).parameters.values())[1:]
        left_out = {a.name: a.default for a in arguments if a.default is not inspect.Parameter.empty}
        module = fx.GraphModule(model, tracer.trace(model, left_out))
        # What fails is said below; torch prints it besides.
        with torch.no_grad(), evaluating(model), contextlib.redirect_stderr(io.StringIO()):
            ShapeProp(module).propagate(example_inputs)
    except Exception as error:
        text = str(error).strip().splitlines()
        raise PruningError(
            f"the network cannot be traced by torch.fx: {type(error).__name__}: {text[0] if text else ''}. Data that "
            "decide which way the forward takes cannot be followed."
        ) from error
    return _Builder(model, layouts).build(module.graph)


class _Builder:
    """Walks along a trace and writes the table."""

    def __init__(self, model: nn.Module, layouts: Mapping[str, AttentionLayout]) -> None:
        self._layouts = layouts
        self._modules = dict(model.named_modules())
        self._parameters = dict(model.named_parameters())
        self._buffers = dict(model.named_buffers())
        self._slots: list[Slot] = []
        self._ends: dict[int, list[torch.Tensor]] = {}
        self._counts: dict[int, int] = {}
        self._constant: list[torch.Tensor] = []
        self._ports: dict[int, int] = {}
        self._blocks: list[tuple[int, int]] = []
        self._nodes = 0
        self._used: set[str] = set()
        self._known: dict[fx.Node, Any] = {}

    def build(self, graph: fx.Graph) -> GraphSchema:
        for node in graph.nodes:
            try:
                self._known[node] = self._visit(node)
            except PruningError:
                raise
            except _STRANGE as error:  # arguments of a kind, or in an order, that no rule here expects
                raise PruningError(
                    f"{node.name}: how {node.target} is used here cannot be followed ({type(error).__name__}: {error})."
                ) from error
        if not self._slots:
            raise PruningError("the network has no weights: there is nothing to prune.")
        placed = {slot.name for slot in self._slots}
        left = [name for name in self._parameters if name not in placed]
        if left:
            raise PruningError(
                f"{left[0]}: no channels of the trace hold this parameter, so the graph would lose it."
            )
        ports = max(self._ports.values(), default=0) + 1 if self._ports else 1
        slots = [self._resolved(slot, ports) for slot in self._slots]
        ends = {k: torch.cat(parts, dim=1) for k, parts in self._ends.items()}
        constants = {}
        if self._constant:
            rows = torch.cat(self._constant)
            constants[1] = (rows, torch.ones(len(rows), 1))
        return GraphSchema(tuple(slots), self._nodes, ports, ends, constants, tuple(self._blocks))

    def _resolved(self, slot: Slot, ports: int) -> Slot:
        """A slot with its columns counted from the start of a node; biases stand behind all norms."""
        if slot.kind != "node":
            return slot
        column = torch.where(slot.column < 0, len(NORM) * ports - 1 - slot.column, slot.column)
        return Slot(slot.name, slot.shape, slot.kind, slot.rows, column, slot.trainable)

    # -- making nodes, edges and slots ---------------------------------------------------------------------

    def _new(self, count: int) -> torch.Tensor:
        nodes = torch.arange(self._nodes, self._nodes + count)
        self._blocks.append((self._nodes, self._nodes + count))
        self._nodes += count
        return nodes

    def _edges(self, kernel: int, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        first = self._counts.get(kernel, 0)
        self._ends.setdefault(kernel, []).append(torch.stack([source.reshape(-1), target.reshape(-1)]))
        self._counts[kernel] = first + source.numel()
        return torch.arange(first, first + source.numel())

    def _node_slot(
        self, name: str, nodes: torch.Tensor, column: int | torch.Tensor, *, trainable: bool = True
    ) -> None:
        tensor = self._parameters[name] if trainable else self._buffers[name]
        columns = column if isinstance(column, torch.Tensor) else torch.full((len(nodes),), column)
        if tensor.numel() != len(nodes):
            raise PruningError(
                f"{name}: has {tensor.numel()} numbers for {len(nodes)} channels; the graph holds one for each."
            )
        self._slots.append(Slot(name, tuple(tensor.shape), "node", nodes.clone(), columns, trainable))

    def _weight_slot(self, name: str, kernel: int, edges: torch.Tensor) -> None:
        """A weight whose last `kernel` numbers, row by row, are the features of `edges`."""
        shape = tuple(self._parameters[name].shape)
        rows = edges.reshape(-1, 1).expand(-1, kernel).reshape(-1)
        if math.prod(shape) != len(rows):
            raise PruningError(f"{name}: has {math.prod(shape)} numbers, the graph has room for {len(rows)}.")
        columns = torch.arange(kernel).repeat(len(edges.reshape(-1)))
        self._slots.append(Slot(name, shape, str(kernel), rows, columns))

    def _bias(self, name: str, nodes: torch.Tensor, which: int = 0) -> None:
        if name in self._parameters:
            self._node_slot(name, nodes, -1 - which)

    def _claim(self, name: str) -> None:
        if name in self._used:
            raise PruningError(
                f"{name}: is used twice in one pass; its numbers would need two places in the graph."
            )
        self._used.add(name)

    # -- the walk ------------------------------------------------------------------------------------------

    def _visit(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._input(node)
        if node.op == "get_attr":
            return self._attribute(node)
        if node.op == "call_module":
            return self._module(node, str(node.target))
        if node.op == "output":
            return None
        return self._operation(node)

    def _input(self, node: fx.Node) -> Features | None:
        meta = node.meta.get("tensor_meta")
        if meta is None or not meta.dtype.is_floating_point:
            return None  # tokens: an embedding will make the nodes
        axis = 1 if len(meta.shape) != 3 else 2
        return Features(self._new(meta.shape[axis]), axis, self._nodes)

    def _attribute(self, node: fx.Node) -> Any:
        name = str(node.target)
        return ("parameter", name) if name in self._parameters else None

    def _of(self, node: Any, what: str) -> Features:
        found = self._known.get(node) if isinstance(node, fx.Node) else None
        if not isinstance(found, Features):
            raise PruningError(f"{what}: the channels of its input are not known.")
        return found

    def _module(self, node: fx.Node, name: str) -> Any:
        module = self._modules[name]
        if any(True for _ in module.parameters()):
            self._claim(name)
        if name in self._layouts:
            return self._attend(self._of(node.args[0], name), name, module, self._layouts[name])
        if isinstance(module, _RECURRENT):
            raise PruningError(f"{name}: {type(module).__name__} has no graph here.")
        if isinstance(module, _ConvNd):
            return self._convolve(self._of(node.args[0], name), name, module)
        if isinstance(module, nn.Linear):
            return self._linear(self._of(node.args[0], name), name, module)
        if isinstance(module, nn.Embedding):
            return self._embed(name, module, node)
        if isinstance(module, _NORMS):
            return self._normalise(self._of(node.args[0], name), name, module)
        if isinstance(module, nn.Flatten):
            return self._flatten(node, node.args[0])
        if any(True for _ in module.parameters()):
            raise PruningError(
                f"{name}: {type(module).__name__} has parameters whose channels are not known."
            )
        return self._passed(node, node.args[0])

    def _convolve(self, given: Features, name: str, conv: _ConvNd) -> Features:
        if conv.transposed:
            raise PruningError(f"{name}: transposed convolutions have no graph here.")
        kernel, groups = math.prod(conv.kernel_size), conv.groups
        out = self._new(conv.out_channels)
        inside = given.nodes.reshape(groups, 1, -1)
        target = out.reshape(groups, -1, 1)
        source, target = _pairs(inside, target)  # (groups, out / groups, in / groups)
        self._weight_slot(f"{name}.weight", kernel, self._edges(kernel, source, target))
        self._bias(f"{name}.bias", out)
        return Features(out, given.axis, self._nodes)

    def _linear(self, given: Features, name: str, linear: nn.Linear) -> Features:
        distinct = torch.unique_consecutive(given.nodes)
        places, rest = divmod(len(given.nodes), len(distinct))
        if rest or not torch.equal(given.nodes, distinct.repeat_interleave(places)):
            raise PruningError(f"{name}: its inputs are no whole channels in a row.")
        out = self._new(linear.out_features)
        source, target = _pairs(distinct[None, :], out[:, None])
        self._weight_slot(f"{name}.weight", places, self._edges(places, source, target))
        self._bias(f"{name}.bias", out)
        return Features(out, given.axis, self._nodes)

    def _embed(self, name: str, embedding: nn.Embedding, node: fx.Node) -> Features:
        axis = len(node.meta["tensor_meta"].shape) - 1
        return self._table(f"{name}.weight", embedding.num_embeddings, embedding.embedding_dim, axis)

    def _table(self, name: str, entries: int, width: int, axis: int) -> Features:
        """A table of vectors: its entries are nodes that are tied to each channel, like inputs of which one is 1."""
        tokens, out = self._new(entries), self._new(width)
        source, target = _pairs(tokens[:, None], out[None, :])
        self._weight_slot(name, 1, self._edges(1, source, target))
        return Features(out, axis, self._nodes)

    def _normalise(self, given: Features, name: str, norm: nn.Module) -> Features:
        distinct = torch.unique_consecutive(given.nodes)
        if len(distinct) != len(given.nodes):
            raise PruningError(f"{name}: normalises channels after they were flattened.")
        taken = torch.tensor([self._ports.get(int(i), -1) + 1 for i in distinct])
        for i, port in zip(distinct.tolist(), taken.tolist(), strict=True):
            self._ports[i] = port
        buffers = dict(norm.named_buffers(recurse=False))
        for column, part in enumerate(NORM):
            full = f"{name}.{part}" if name else part
            if full in self._parameters:
                self._node_slot(full, given.nodes, len(NORM) * taken + column)
            elif buffers.get(part) is not None:
                self._node_slot(full, given.nodes, len(NORM) * taken + column, trainable=False)
        return given

    def _attend(self, given: Features, name: str, block: nn.Module, layout: AttentionLayout) -> Features:
        """Inner channels are nodes with three biases; an edge to one of them holds its query, key and value weights."""
        output = getattr(block, layout.output)
        inner = self._new(output.in_features)
        kernel = sum(getattr(block, own).out_features for own in layout.inputs) // len(inner)
        if kernel != _QKV or head_count(block) == 0:
            raise PruningError(f"{name}: queries, keys and values of one size are expected.")
        source, target = _pairs(given.nodes[None, :], inner[:, None])
        edges = self._edges(kernel, source, target)  # (inner * outer,)
        table = edges.reshape(len(inner), len(given.nodes))
        part = 0
        for own in layout.inputs:
            layer = getattr(block, own)
            parts = layer.out_features // len(inner)
            rows = table.repeat(parts, 1).reshape(-1)
            columns = torch.arange(part, part + parts).repeat_interleave(table.numel())
            weight = f"{name}.{own}.weight"
            self._slots.append(Slot(weight, tuple(layer.weight.shape), str(kernel), rows, columns))
            if layer.bias is not None:
                which = -2 - torch.arange(part, part + parts).repeat_interleave(len(inner))
                self._node_slot(f"{name}.{own}.bias", inner.repeat(parts), which)
            part += parts
        return self._linear(Features(inner, given.axis, self._nodes), f"{name}.{layout.output}", output)

    # -- operations ----------------------------------------------------------------------------------------

    def _operation(self, node: fx.Node) -> Any:
        target = node.target
        tensors = [a for a in node.args if isinstance(a, fx.Node) and self._known.get(a) is not None]
        if target in _ADDITIONS or target == "add":
            return self._add(node, tensors)
        if target in (torch.cat, torch.concat):
            return self._concatenate(node)
        if target in (torch.flatten, "flatten"):
            return self._flatten(node, node.args[0])
        if target in ("size", getattr) or (
            target is operator.getitem and not isinstance(self._given(node), Features | tuple)
        ):
            return None
        if target is operator.getitem:
            return self._given(node)  # slices of a table of positions, or of a batch or length
        if len(tensors) > 1:
            raise PruningError(f"{node.name}: how {target} combines channels is not known.")
        return self._passed(node, tensors[0] if tensors else None)

    def _given(self, node: fx.Node) -> Any:
        first = node.args[0] if node.args else None
        return self._known.get(first) if isinstance(first, fx.Node) else None

    def _passed(self, node: fx.Node, source: Any) -> Any:
        """What works on each channel alone: the feature axis keeps its length, or goes where pooled axes were."""
        given = self._known.get(source) if isinstance(source, fx.Node) else None
        if not isinstance(given, Features):
            return given
        shape = _shape(node)
        if shape is None:
            return None
        for axis in (given.axis, len(shape) - 1, 1):
            if axis < len(shape) and shape[axis] == len(given.nodes):
                return Features(given.nodes, axis, given.made)
        if math.prod(shape[1:]) % len(given.nodes) == 0 and len(shape) == 2:
            return self._flatten(node, source)
        raise PruningError(f"{node.name}: where the channels are after {node.target} is not known.")

    def _flatten(self, node: fx.Node, source: Any) -> Features:
        given, shape = self._of(source, node.name), _shape(node)
        if shape is None or len(shape) != 2 or given.axis != 1:
            return self._same_axis(node, given, shape)
        return Features(given.nodes.repeat_interleave(shape[1] // len(given.nodes)), 1, given.made)

    def _same_axis(self, node: fx.Node, given: Features, shape: tuple[int, ...] | None) -> Features:
        if shape is not None and shape[-1] == len(given.nodes):
            return Features(given.nodes, len(shape) - 1, given.made)
        raise PruningError(f"{node.name}: where the channels are after flattening is not known.")

    def _concatenate(self, node: fx.Node) -> Features:
        parts = [self._of(part, node.name) for part in node.args[0]]  # type: ignore[union-attr]
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        shape = _shape(node)
        if shape is None or not isinstance(axis, int) or axis % len(shape) != parts[0].axis:
            raise PruningError(f"{node.name}: concatenates along another axis than that of the channels.")
        nodes = torch.cat([part.nodes for part in parts])
        return Features(nodes, parts[0].axis, max(part.made for part in parts))

    def _add(self, node: fx.Node, tensors: list[fx.Node]) -> Any:
        known = [self._known[t] for t in tensors]
        for i, value in enumerate(known):
            if isinstance(value, tuple):  # a parameter that stands alone, such as learned positions
                name = value[1]
                self._claim(name)
                shape = tuple(self._parameters[name].shape)
                known[i] = self._table(name, math.prod(shape[:-1]), shape[-1], 0)
        features = [value for value in known if isinstance(value, Features)]
        if len(features) < 2:
            return features[0] if features else None
        first, second = sorted(features, key=lambda f: f.made)[-2:]
        if len(first.nodes) != len(second.nodes):
            raise PruningError(
                f"{node.name}: adds tensors of {len(first.nodes)} and {len(second.nodes)} channels."
            )
        if not torch.equal(first.nodes, second.nodes):
            self._constant.append(self._edges(1, first.nodes, second.nodes))
        axis = max(f.axis for f in features)
        return Features(second.nodes, axis, second.made)


_QKV = 3
_ADDITIONS: tuple[Callable[..., Any], ...] = (operator.add, operator.iadd, torch.add)


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if meta is not None and hasattr(meta, "shape") else None


def _pairs(source: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both broadcast to all pairs."""
    shape = torch.broadcast_shapes(source.shape, target.shape)  # type: ignore[no-untyped-call]
    return source.expand(shape), target.expand(shape)
