"""Which channels of a network can only be removed together.

The coupling is Torch-Pruning's dependency graph (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning", section
3); what is built on it here are plain values that survive the removal of channels, so a network is traced once.

| symbol | meaning |
|---|---|
| unit | channels that go together: one channel, one of each group of a grouped convolution, or one attention head |
| member | a slot touched by a group, with the indices that each unit occupies there |
| group | units numbered from 0 and the members that hold them |
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from autosearch.learning.costs import run
from autosearch.methods.pruning.attention import AttentionLayout, find_attention, head_count, with_stand_ins
from autosearch.methods.pruning.errors import PruningError
from autosearch.methods.pruning.recurrent import ignored, stand_in_for_recurrent
from autosearch.methods.pruning.shrink import Slot, shrink, width


@dataclass(frozen=True, slots=True)
class Member:
    """A slot of a group: `units[u]` are the indices that unit u has there."""

    slot: Slot
    units: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that are coupled.

    Attributes:
        name: of the module whose outputs they are.
        members: the slots that lose channels with it.
        ids: number of each unit in the unpruned network.
        kind: channels or heads.
    """

    name: str
    members: tuple[Member, ...]
    ids: tuple[int, ...]
    kind: str = "channels"

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups of a network that may be pruned, and the width of every slot they touch."""

    groups: tuple[Group, ...]
    widths: Mapping[Slot, int]

    def kept(self, alive: Sequence[Collection[int]]) -> dict[Slot, list[int]]:
        """What is left of every slot that loses something, when of group g the units `alive[g]` (positions) stay."""
        gone: dict[Slot, set[int]] = {}
        for group, stay in zip(self.groups, alive, strict=True):
            lost = set(range(len(group))) - set(stay)
            for member in group.members if lost else ():
                gone.setdefault(member.slot, set()).update(i for unit in lost for i in member.units[unit])
        return {
            slot: [i for i in range(self.widths[slot]) if i not in indices] for slot, indices in gone.items()
        }

    def narrowed(self, alive: Sequence[Collection[int]]) -> "Groups":
        """The groups of the network that is left."""
        kept = self.kept(alive)
        place = {slot: {old: new for new, old in enumerate(indices)} for slot, indices in kept.items()}
        groups = []
        for group, stay in zip(self.groups, alive, strict=True):
            units = sorted(stay)
            members = tuple(
                Member(m.slot, tuple(_moved(m.units[u], place.get(m.slot)) for u in units))
                for m in group.members
            )
            groups.append(Group(group.name, members, tuple(group.ids[u] for u in units), group.kind))
        widths = {slot: len(kept.get(slot, range(n))) for slot, n in self.widths.items()}
        return Groups(tuple(groups), widths)


def _moved(indices: tuple[int, ...], place: Mapping[int, int] | None) -> tuple[int, ...]:
    return indices if place is None else tuple(place[i] for i in indices)


def find_groups(
    model: nn.Module,
    example_inputs: Any,
    *,
    ignore: Collection[str] = (),
    attention: Mapping[str, AttentionLayout | Mapping[str, Any]] | None = None,
) -> Groups:
    """The groups of `model`, found by running it once on `example_inputs`.

    What the network returns keeps its size, so its last layers are in no group.

    Args:
        model: stays unchanged.
        example_inputs: a tensor, a tuple of positional or a mapping of named arguments.
        ignore: names of modules that stay whole, and with them all that is coupled to their outputs.
        attention: layouts of attention blocks that are not recognised, by the name of the block.

    Raises:
        PruningError: the network cannot be traced, holds weights that are shared or used twice, or does not run after
            a removal that the trace promises; the module is named.
    """
    names = dict(model.named_modules())
    for name in ignore:
        if name not in names:
            raise PruningError(f"ignore: the network has no module {name!r}.")
    refuse_shared(model, ignore)
    layouts = find_attention(model, attention or {})
    try:
        traced = with_stand_ins(model, layouts).eval()
    except RuntimeError as error:  # of deepcopy: a module holds a tensor that was computed
        raise PruningError(f"the network cannot be copied: {str(error).splitlines()[0]}") from error
    whole = stand_in_for_recurrent(traced, ignore)
    graph = _trace(traced, example_inputs, ignore)
    found = _channel_groups(traced, graph, layouts, ignore, whole)
    found += [
        _heads(name, model.get_submodule(name), layout)
        for name, layout in layouts.items()
        if name not in ignore
    ]
    outputs = shapes(run(model, example_inputs))
    groups = [group for group in found if _prunable(model, example_inputs, group, outputs)]
    slots = {member.slot for group in groups for member in group.members}
    return Groups(tuple(groups), {slot: width(model, slot) for slot in sorted(slots)})


# -- the trace -----------------------------------------------------------------------------------------------


def shapes(output: Any) -> list[tuple[int, ...]]:
    """Shapes of all tensors in nested containers."""
    if isinstance(output, torch.Tensor):
        return [tuple(output.shape)]
    if isinstance(output, Mapping):
        return [shape for value in output.values() for shape in shapes(value)]
    return [shape for value in output for shape in shapes(value)] if isinstance(output, tuple | list) else []


def refuse_shared(model: nn.Module, ignore: Collection[str] = ()) -> None:
    """Refuse weights that two modules share, unless both are in `ignore`, and weights that are computed from others.

    Raises:
        PruningError: there are such weights; the module is named.
    """
    seen: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = seen.setdefault(id(parameter), name)
        if first != name and not {first.rpartition(".")[0], name.rpartition(".")[0]} <= set(ignore):
            raise PruningError(
                f"{name}: shares its values with {first}; removing channels would separate them. "
                "List both modules in 'ignore' to leave them whole."
            )
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise PruningError(
                f"{name}: its weights are computed from others (a parametrisation such as weight_norm); call "
                "torch.nn.utils.parametrize.remove_parametrizations on it before."
            )
        if any(isinstance(p, UninitializedParameter) for p in module.parameters(recurse=False)):
            raise PruningError(
                f"{name}: {type(module).__name__} has no weights yet; run the network once before."
            )


def _trace(model: nn.Module, inputs: Any, ignore: Collection[str]) -> Any:
    calls: dict[str, int] = {}
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)  # the library would unpack a tensor along its batch first

    def counting(name: str) -> Any:
        def count(*_: Any) -> None:
            calls[name] = calls.get(name, 0) + 1

        return count

    named = [(name, m) for name, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    try:
        hooks = [module.register_forward_hook(counting(name)) for name, module in named]
    except RuntimeError as error:
        raise PruningError(
            f"the network cannot be traced: {error}. Give the one it was compiled from."
        ) from error
    own = {id(p) for m in model.modules() if _known(m) for p in m.parameters(recurse=False)}
    free = [(p, _last_axis(p)) for p in model.parameters() if id(p) not in own and p.dim()]
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # a trace of gradients; this is a copy
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            graph = torch_pruning.DependencyGraph().build_dependency(
                model, inputs, unwrapped_parameters=free, verbose=False
            )
    except Exception as error:
        # The library tries the inputs as one argument after a failure, whose error then hides the one that counts.
        first = error.__context__ or error
        text = (str(first).strip().splitlines() or [""])[0]
        raise PruningError(
            f"the network cannot be traced on the example inputs: {type(first).__name__}: {text}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    joint = [name for name, m in named if isinstance(m, nn.MultiheadAttention) and not ignored(name, ignore)]
    if joint:
        raise PruningError(
            f"{joint[0]}: nn.MultiheadAttention cannot be pruned as it is; take it apart with `split_attention` (as "
            "`prune` does), or list it in 'ignore' to leave it whole."
        )
    twice = [name for name, count in calls.items() if count > 1 and not ignored(name, ignore)]
    if twice:
        raise PruningError(
            f"{twice[0]}: is used {calls[twice[0]]} times in one pass, so its channels have several partners at once. "
            "List it in 'ignore' to leave it whole."
        )
    return graph


def _known(module: nn.Module) -> bool:
    kind = torch_pruning.ops.module2type(module)
    return bool(kind != torch_pruning.ops.OPTYPE.ELEMENTWISE)


def _last_axis(parameter: nn.Parameter) -> int:
    """The axis of a parameter that stands alone along which channels lie: the last one longer than 1."""
    return max((i for i, size in enumerate(parameter.shape) if size > 1), default=parameter.dim() - 1)


# -- from the graph to groups --------------------------------------------------------------------------------


def _channel_groups(
    model: nn.Module,
    graph: Any,
    layouts: Mapping[str, AttentionLayout],
    ignore: Collection[str],
    whole: Collection[str],
) -> list[Group]:
    modules = dict(model.named_modules())
    inside = {module for name in ignore if name in modules for module in modules[name].modules()}
    fixed = {module for name in whole for module in modules[name].modules()}
    names = {module: name for name, module in modules.items()}
    axes = {id(parameter): f"dim{_last_axis(parameter)}" for parameter in model.parameters()}
    found = []
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding)
    for raw in graph.get_all_groups(root_module_types=kinds):
        root = raw[0].dep.target.module
        rows: list[tuple[Slot, list[int], list[int]]] = []
        free = root not in inside
        for item in raw:
            module = item.dep.target.module
            out = "out" in item.dep.handler.__name__
            if isinstance(module, nn.Parameter):
                rows.append((Slot(graph._param_to_name[module], axes[id(module)]), item.idxs, item.root_idxs))
            elif module in names and _known(module):  # else an operation such as a concatenation
                free = free and not (
                    module in fixed
                    or (module in inside and (out or not isinstance(module, _ConvNd | nn.Linear)))
                )
                rows.append((Slot(names[module], _axis(module, out=out)), item.idxs, item.root_idxs))
        if free and not names[root].endswith(".enter"):
            found.append(_group(model, names[root], rows, layouts))
    return found


def _axis(module: nn.Module, *, out: bool) -> str:
    if isinstance(module, _ConvNd) and module.groups == module.out_channels == module.in_channels > 1:
        return "channels"
    if isinstance(module, _ConvNd | nn.Linear):
        return "out" if out else "in"
    return "channels"


def _group(
    model: nn.Module,
    name: str,
    rows: list[tuple[Slot, list[int], list[int]]],
    layouts: Mapping[str, AttentionLayout],
) -> Group:
    unit = _units(model, rows)
    count = max(unit.values()) + 1
    members: dict[Slot, list[list[int]]] = {}
    for slot, indices, roots in rows:
        for real in _real(slot, layouts):
            units = members.setdefault(real, [[] for _ in range(count)])
            for index, root in zip(indices, roots, strict=True):
                if root is not None and index not in units[unit[root]]:
                    units[unit[root]].append(index)
    made = tuple(Member(s, tuple(tuple(sorted(u)) for u in units)) for s, units in members.items())
    return Group(_real(Slot(name, "out"), layouts)[0].module, made, tuple(range(count)))


def _real(slot: Slot, layouts: Mapping[str, AttentionLayout]) -> list[Slot]:
    """The slots of the network that a slot of the traced copy stands for."""
    block, _, own = slot.module.rpartition(".")
    if block in layouts and own == "enter":
        return [Slot(_join(block, name), slot.axis) for name in layouts[block].inputs]
    if block in layouts and own == "leave":
        return [Slot(_join(block, layouts[block].output), slot.axis)]
    return [slot]


def _join(block: str, name: str) -> str:
    return f"{block}.{name}" if block else name


def _units(model: nn.Module, rows: list[tuple[Slot, list[int], list[int]]]) -> dict[int, int]:
    """Root channel -> unit: channels at the same place within the groups of a grouped layer go together."""
    parent = {root: root for _, _, roots in rows for root in roots if root is not None}

    def find(x: int) -> int:
        while parent[x] != x:
            x = parent[x]
        return x

    modules = dict(model.named_modules())
    for slot, indices, roots in rows:
        module = modules.get(slot.module)
        blocks = _blocks(module, slot.axis)
        if blocks == 1:
            continue
        size = width(model, slot) // blocks
        first: dict[int, int] = {}
        for index, root in zip(indices, roots, strict=True):
            if root is not None:
                other = first.setdefault(index % size, root)
                low, high = sorted((find(root), find(other)))
                parent[high] = low
    numbers: dict[int, int] = {}
    return {root: numbers.setdefault(find(root), len(numbers)) for root in sorted(parent)}


def _blocks(module: nn.Module | None, axis: str) -> int:
    if isinstance(module, _ConvNd) and axis != "channels":
        return module.groups
    return module.num_groups if isinstance(module, nn.GroupNorm) else 1


def _heads(name: str, block: nn.Module, layout: AttentionLayout) -> Group:
    heads = head_count(block)
    output = getattr(block, layout.output)
    size = output.in_features // heads
    members = [
        Member(
            Slot(_join(name, own), "out"),
            tuple(
                tuple(
                    part * heads * size + head * size + i
                    for part in range(getattr(block, own).out_features // output.in_features)
                    for i in range(size)
                )
                for head in range(heads)
            ),
        )
        for own in layout.inputs
    ]
    columns = tuple(tuple(head * size + i for i in range(size)) for head in range(heads))
    members.append(Member(Slot(_join(name, layout.output), "in"), columns))
    members.append(Member(Slot(name, "heads"), tuple((head,) for head in range(heads))))
    return Group(name, tuple(members), tuple(range(heads)), "heads")


# -- the check -----------------------------------------------------------------------------------------------


def _prunable(model: nn.Module, inputs: Any, group: Group, outputs: list[tuple[int, ...]]) -> bool:
    """Whether the network runs without one unit of the group; False where what it returns would change its size."""
    if len(group) < 2:
        return False
    widths = {member.slot: width(model, member.slot) for member in group.members}
    kept = Groups((group,), widths).kept([range(1, len(group))])
    try:
        changed = shapes(run(shrink(model, kept), inputs))
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        text = str(error).strip().splitlines()
        raise PruningError(
            f"{group.name}: the network does not run without one of its channels ({text[-1] if text else ''}); "
            "sizes may be written out in its forward, or they meet the network's own input. List it in 'ignore' to "
            "leave it whole."
        ) from error
    return changed == outputs
