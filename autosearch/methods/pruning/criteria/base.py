"""The protocol of criteria, their names, and what several of them share.

| symbol | meaning | shape |
|---|---|---|
| `w_t[u]` | weights of member t that belong to unit u: rows of outputs, columns of inputs | `(units, m_t)` |
| `I[u]` | importance of unit u, comparable between groups | `(units,)` |
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from autosearch.core import plugins
from autosearch.core.errors import OptionError, ResolveError
from autosearch.methods.pruning.groups import Group, Groups, Member

Loss = Callable[[nn.Module, Any], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Context:
    """What a criterion may look at besides weights.

    Attributes:
        batches: some batches of training data, empty where none were given.
        loss: mean loss of a network on a batch.
        seed: of random choices.
    """

    batches: Sequence[Any] = ()
    loss: Loss | None = None
    seed: int = 0


class Criterion(Protocol):
    """Scores units; those with the lowest scores go first.

    Optional: penalty(model, groups) -> scalar tensor: what is added to the training loss before pruning, so that
    channels that can go become small.
    """

    def scores(self, model: nn.Module, groups: Groups, context: Context) -> list[torch.Tensor]:
        """One `(units,)` tensor for each group, on one scale; changes nothing of the model."""
        ...


def build_criterion(given: "str | Mapping[str, Any] | Criterion") -> Criterion:
    """A criterion from a name, `{method: NAME, …options}`, or an object, which is returned.

    A name is that of an entry point of `autosearch.criteria`, ours among them, or `package.module:Class`.

    Raises:
        OptionError: unknown name, or an option that the criterion does not take.
    """
    if not isinstance(given, str | Mapping):
        if not callable(getattr(given, "scores", None)):
            raise OptionError(
                f"criterion: a name, {{method: NAME, …options}}, or an object with `scores`, got {given!r}.",
                "criterion",
            )
        return given
    options = {} if isinstance(given, str) else dict(given)
    name = given if isinstance(given, str) else options.pop("method", None)
    if name is None:
        raise OptionError("criterion: the mapping names no `method`.", "criterion")
    try:
        made: Callable[..., Criterion] = plugins.load("criteria", str(name))
    except ResolveError as error:
        raise OptionError(f"criterion: {error}", "criterion") from error
    problems = plugins.check_options(made, options)
    if problems:
        raise OptionError(f"criterion.{problems[0].option}: {problems[0]}", "criterion")
    return made(**plugins.coerce_options(made, options))


# -- weights of units ----------------------------------------------------------------------------------------


def unit_weights(
    model: nn.Module, group: Group, *, biases: bool = False
) -> Iterable[tuple[Member, torch.Tensor]]:
    """For each member with weights, its `(units, m)` weights; differentiable.

    Convolutions and linear layers by rows or columns, scales of normalisations, embeddings, free parameters.
    """
    for member in group.members:
        for tensor, axis in _tensors(model, member, biases=biases):
            yield member, _gathered(tensor, axis, member)


def _tensors(model: nn.Module, member: Member, *, biases: bool) -> Iterable[tuple[torch.Tensor, int]]:
    slot = member.slot
    if slot.axis == "heads":
        return
    if slot.axis.startswith("dim"):
        parent, _, name = slot.module.rpartition(".")
        yield getattr(model.get_submodule(parent), name), int(slot.axis[3:])
        return
    module: Any = model.get_submodule(slot.module)
    if getattr(module, "weight", None) is None:
        return
    if isinstance(module, _ConvNd | nn.Linear):
        transposed = isinstance(module, _ConvNd) and module.transposed
        first = 1 if (slot.axis == "in") != transposed else 0
        yield module.weight, 0 if slot.axis == "channels" else first
    else:
        yield module.weight, 1 if isinstance(module, nn.Embedding) else 0
    if biases and slot.axis != "in" and getattr(module, "bias", None) is not None:
        yield module.bias, 0


def _gathered(tensor: torch.Tensor, axis: int, member: Member) -> torch.Tensor:
    size = tensor.shape[axis]
    moved = tensor.movedim(axis, 0)
    sizes = {len(unit) for unit in member.units}
    if len(sizes) == 1:
        # A grouped convolution stores one group's inputs: indices beyond it name the same place in the next group.
        index = torch.tensor(member.units, device=tensor.device) % size
        return moved[index].flatten(1)
    widest = max(sizes)
    rows = [
        nn.functional.pad(moved[torch.tensor(unit)].flatten(), (0, (widest - len(unit)) * moved[0].numel()))
        for unit in member.units
    ]
    return torch.stack(rows)


def norms(model: nn.Module, group: Group, p: float = 2.0) -> list[torch.Tensor]:
    """`sum |w|^p` of each unit, one `(units,)` tensor for each member with weights."""
    return [weights.abs().pow(p).sum(1) for _, weights in unit_weights(model, group)]


def normalised(scores: torch.Tensor) -> torch.Tensor:
    """Scores divided by the largest one, so that groups can be compared; all equal to 1 where all are zero.

    NaN stays NaN, for whoever ranks them to refuse.
    """
    top = scores.max()
    return torch.ones_like(scores) if float(top) == 0 else scores / top


def scales(model: nn.Module, group: Group) -> list[torch.Tensor]:
    """`|gamma|` of each unit in the batch normalisations of a group."""
    found = []
    for member in group.members:
        module = None if member.slot.axis != "channels" else model.get_submodule(member.slot.module)
        if isinstance(module, _BatchNorm) and module.affine:
            index = torch.tensor(member.units, device=module.weight.device)
            found.append(module.weight.detach().abs()[index].mean(1))
    return found
