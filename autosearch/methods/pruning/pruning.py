"""Structured pruning of anybody's network: channels and heads are removed, the network becomes smaller and faster."""

import fnmatch
import json
import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.learning.costs import count_macs, measure_latency
from autosearch.methods.pruning.attention import (
    AttentionLayout,
    SplitAttention,
    has_joint_attention,
    split_attention,
)
from autosearch.methods.pruning.costs import (
    Estimate,
    count_params,
    latency_share,
)
from autosearch.methods.pruning.criteria import Context, Criterion, build_criterion
from autosearch.methods.pruning.errors import PruningError
from autosearch.methods.pruning.groups import Groups, find_groups
from autosearch.methods.pruning.recalibration import recalibrate
from autosearch.methods.pruning.selection import Alive, least_units, select
from autosearch.methods.pruning.shrink import Slot, from_json, shrink, to_json

METRICS = ("macs", "params", "latency")
_FORMAT = 1
_ROUNDING = 1e-9
_STRUCTURE, _WEIGHTS = "pruned.json", "weights.pt"


@dataclass(frozen=True, slots=True)
class Pruned:
    """A pruned network and what it costs beside the one it came from.

    Attributes:
        model: the smaller network, in the mode of the original.
        kept: slot -> indices of the original network that are left.
        before: macs, params and, where it was a target, latency (seconds) of the original.
        after: the same of `model`.
    """

    model: nn.Module
    kept: Mapping[Slot, list[int]]
    before: Mapping[str, float]
    after: Mapping[str, float]

    def speed_up(self, metric: str = "macs") -> float:
        """How many times cheaper the network has become."""
        return self.before[metric] / self.after[metric]

    def save(self, folder: str | Path) -> Path:
        """Write the kept indices as JSON and the weights as plain tensors; no code, so loading runs none."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / _WEIGHTS)
        split = has_split_attention(self.model)
        structure = {"format": _FORMAT, "split_attention": split, "kept": to_json(self.kept)}
        costs = {"before": dict(self.before), "after": dict(self.after)}
        (folder / _STRUCTURE).write_text(json.dumps({**structure, **costs}, indent=1))
        return folder


def has_split_attention(model: nn.Module) -> bool:
    """Whether `nn.MultiheadAttention` was taken apart in it."""
    return any(isinstance(module, SplitAttention) for module in model.modules())


def load_pruned(model: nn.Module, folder: str | Path) -> nn.Module:
    """The pruned network that was saved in `folder`, from `model`, a fresh one of the original size.

    Raises:
        PruningError: the files are missing or damaged, or do not fit the network.
    """
    folder = Path(folder)
    try:
        data = json.loads((folder / _STRUCTURE).read_text())
        state = torch.load(folder / _WEIGHTS, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise PruningError(f"{folder}: no readable pruned network: {error}") from error
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise PruningError(f"{folder / _STRUCTURE}: written by another version (format {_FORMAT} is read).")
    small = shrink(split_attention(model) if data["split_attention"] else model, from_json(data["kept"]))
    try:
        small.load_state_dict(state)
    except RuntimeError as error:
        raise PruningError(
            f"{folder}: the weights do not fit this network: {str(error).splitlines()[0]}"
        ) from error
    return small


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """How to prune; see `prune`."""

    criterion: str | Mapping[str, Any] | Criterion = "magnitude"
    target: Mapping[str, float] = field(default_factory=lambda: {"macs": 0.5})
    scope: str = "global"
    ratios: Mapping[str, float] = field(default_factory=dict)
    steps: int = 1
    floor: float = 0.5
    min_units: int = 1
    round_to: int = 1

    def __post_init__(self) -> None:
        build_criterion(self.criterion)
        if not isinstance(self.target, Mapping):
            raise OptionError(
                f"target: shares by metric, such as {{'macs': 0.5}}, got {self.target!r}.", "target"
            )
        for metric, share in self.target.items():
            if metric not in METRICS:
                raise OptionError(f"target.{metric}: one of {', '.join(METRICS)}.", "target")
            if not isinstance(share, Real) or not 0 < share <= 1:
                raise OptionError(
                    f"target.{metric}: the share that may be left, in (0, 1], got {share!r}.", "target"
                )
        if self.scope not in ("global", "layer"):
            raise OptionError(f"scope: global or layer, got {self.scope!r}.", "scope")
        if not 0 <= self.floor <= 1:
            raise OptionError(f"floor: in [0, 1], got {self.floor}.", "floor")
        for name in ("steps", "min_units", "round_to"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}: at least 1, got {getattr(self, name)}.", name)


def prune(  # noqa: PLR0913 - what a user may say, all by name
    model: nn.Module,
    example_inputs: Any,
    *,
    criterion: str | Mapping[str, Any] | Criterion = "magnitude",
    target: Mapping[str, float] | None = None,
    scope: str = "global",
    ratios: Mapping[str, float] | None = None,
    steps: int = 1,
    floor: float = 0.5,
    min_units: int = 1,
    round_to: int = 1,
    ignore: Collection[str] = (),
    attention: Mapping[str, AttentionLayout | Mapping[str, Any]] | None = None,
    batches: Sequence[Any] = (),
    loss: Callable[[nn.Module, Any], torch.Tensor] | None = None,
    fine_tune: Callable[[nn.Module, int], object] | None = None,
    seed: int = 0,
) -> Pruned:
    """A smaller copy of `model` without the channels and heads that matter least; `model` itself is not touched.

    Args:
        model: any network that runs on the example inputs; what it returns keeps its size.
        example_inputs: a tensor, a tuple of positional or a mapping of named arguments, on the model's device.
        criterion: random, magnitude (`p` 1 or 2), bn_scale, taylor, depgraph, `{method: NAME, …options}`, or an
            object with `scores(model, groups, context)`.
        target: shares that may be left of `macs`, `params` or `latency` (measured on the model's device); all hold.
            Half of the MACs without it, or nothing but `ratios` if those are given.
        scope: `global` ranks all channels together, `layer` takes the same share of every group.
        ratios: pattern of module names -> share of channels that goes there, beside the target.
        steps: rounds; importance is computed anew after each.
        floor: with scope `global`, each group keeps at least this share of the channels that scope `layer` would leave
            it; 0 lets the ranking narrow a layer to `min_units`.
        min_units: channels (or heads) that stay in each group at least.
        round_to: counts of channels left are multiples of it, as some devices like them.
        ignore: modules that stay whole.
        attention: layouts of attention blocks that are not recognised.
        batches: training data for criteria that need it, and to measure the statistics of batch normalisation anew
            on the pruned network; each is what `loss` takes, its first part is the network's input.
        loss: mean loss of a network on a batch.
        fine_tune: called with the network and the number of the round after each round; trains it in place.
        seed: of random criteria.

    Raises:
        PruningError: the network or the target does not allow it; the message names the module.
        OptionError: an option is out of range.
    """
    wanted = target if target is not None else {} if ratios else {"macs": 0.5}
    options = PruneOptions(
        criterion=criterion, target=wanted, scope=scope, ratios=dict(ratios or {}), steps=steps,
        floor=floor, min_units=min_units, round_to=round_to,
    )  # fmt: skip
    pruner = Pruner(model, example_inputs, options, ignore=ignore, attention=attention, seed=seed)
    for step in range(1, steps + 1):
        pruner.step(step / steps, batches, loss)
        if batches:
            recalibrate(pruner.model, batches)
        if fine_tune is not None:
            fine_tune(pruner.model, step - 1)
    return pruner.result()


class Pruner:
    """A network on its way to a target, for loops that train between the rounds.

    Args:
        model: of the original size; not touched.
        example_inputs: as for `prune`.
        options: criterion, target and their like.
        ignore: modules that stay whole.
        attention: layouts of attention blocks that are not recognised.
        seed: of random criteria.

    Attributes:
        model: the network as it now is; may be trained in place.
        groups: what may still be pruned in it.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        options: PruneOptions,
        *,
        ignore: Collection[str] = (),
        attention: Mapping[str, AttentionLayout | Mapping[str, Any]] | None = None,
        seed: int = 0,
    ) -> None:
        self.options, self.seed, self._inputs = options, seed, example_inputs
        self.criterion = build_criterion(options.criterion)
        if has_joint_attention(model):
            model = split_attention(model)
        self.groups = find_groups(model, example_inputs, ignore=ignore, attention=attention)
        if not self.groups.groups:
            raise PruningError(
                "no channels of the network can be removed: all are ignored or are its outputs."
            )
        self.model = shrink(model, {})
        self._dense = shrink(model, {})
        self._original = self.groups
        self._estimate = Estimate(model, example_inputs, self.groups)
        self.kept: dict[Slot, list[int]] = {}
        self.before = self._costs()

    def step(
        self,
        part: float,
        batches: Sequence[Any] = (),
        loss: Callable[[nn.Module, Any], torch.Tensor] | None = None,
    ) -> None:
        """Prune `part` of the way: of a target share s, `s ** part` is left; of a ratio r, `1 - (1 - r) ** part` goes.

        Raises:
            PruningError: as for `prune`.
        """
        if not 0 < part <= 1:
            raise OptionError(f"part: in (0, 1], got {part}.", "part")
        scores = self.criterion.scores(self.model, self.groups, Context(batches, loss, self.seed))
        target = {metric: share**part for metric, share in self.options.target.items()}
        alive = select(
            self.groups,
            scores,
            target,
            self._shares,
            scope=self.options.scope,
            fixed=self._fixed(part),
            least=self._least,
            round_to=self.options.round_to,
        )
        self.model = shrink(self.model, self.groups.kept(alive))
        self.groups = self.groups.narrowed(alive)
        self.kept = self._original.kept(self.alive)

    @cached_property
    def _least(self) -> list[int]:
        """Units that stay in each group at least."""
        options = self.options
        if options.scope != "global" or not options.floor or not options.target:
            return [options.min_units] * len(self._original.groups)
        return least_units(
            self._original,
            options.target,
            lambda alive: self._left(alive, self._dense, self._original),
            fixed=self._named(1.0),
            floor=options.floor,
            low=options.min_units,
        )

    def restore(self, alive: Sequence[Sequence[int]]) -> None:
        """Take the shape that `alive` of a pruner of the same network described; its weights are the original's.

        Raises:
            PruningError: the description is of another network.
        """
        groups = self._original.groups
        if len(alive) != len(groups) or any(max(ids) >= len(g) for ids, g in zip(alive, groups, strict=True)):
            raise PruningError("what is left of the groups was recorded for another network.")
        self.kept = self._original.kept(alive)
        self.model = shrink(self._dense, self.kept)
        self.groups = self._original.narrowed(alive)

    def result(self) -> Pruned:
        """The network as it now is, with its costs counted and measured."""
        return Pruned(self.model, self.kept, self.before, self._costs())

    def _named(self, part: float) -> dict[str, int]:
        """Units of the original that go from the groups that the ratios name."""
        wanted = {}
        for pattern, ratio in self.options.ratios.items():
            if not 0 <= ratio < 1:
                raise PruningError(f"ratios.{pattern}: a share of channels in [0, 1), got {ratio}.")
            matched = [group for group in self._original.groups if fnmatch.fnmatchcase(group.name, pattern)]
            if not matched:
                names = ", ".join(group.name for group in self._original.groups)
                raise PruningError(f"ratios.{pattern}: no group of that name. There are {names}.")
            for group in matched:
                wanted[group.name] = int((1 - (1 - ratio) ** part) * len(group) + _ROUNDING)
        return wanted

    def _fixed(self, part: float) -> dict[str, int]:
        """Units that still go from them."""
        named = self._named(part)
        pairs = zip(self.groups.groups, self._original.groups, strict=True)
        gone = {first.name: len(first) - len(now) for now, first in pairs}
        return {name: max(0, count - gone[name]) for name, count in named.items()}

    @property
    def alive(self) -> list[list[int]]:
        """Numbers, in the unpruned network, of the units that are left of each group."""
        return [list(group.ids) for group in self.groups.groups]

    def _shares(self, alive: Alive) -> Mapping[str, float]:
        return self._left(alive, self.model, self.groups)

    def _left(self, alive: Alive, model: nn.Module, groups: Groups) -> Mapping[str, float]:
        """Cost shares of a choice among the `groups` of `model`."""
        ids = [[group.ids[u] for u in stay] for group, stay in zip(groups.groups, alive, strict=True)]
        left = self._estimate.shares(ids)
        if "latency" in self.options.target:
            left["latency"] = latency_share(shrink(model, groups.kept(alive)), self._dense, self._inputs)
        return left

    def _costs(self) -> dict[str, float]:
        costs = {"macs": count_macs(self.model, self._inputs), "params": float(count_params(self.model))}
        if "latency" in self.options.target:
            costs["latency"] = measure_latency(self.model, self._inputs)
        return costs
