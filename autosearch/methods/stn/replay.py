"""A recorded course of hyperparameters, played again in an ordinary training run."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from autosearch.core.errors import OptionError


@dataclass(frozen=True)
class Trajectory:
    """Values of hyperparameters over a run, each kept until the next.

    Attributes:
        steps: length of the run.
        at: steps from which on values hold, rising from 0.
        values: of each hyperparameter at these.
        dropouts: hyperparameter that is the rate, by the path of the module.
    """

    steps: int
    at: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    dropouts: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.at or self.at[0] != 0 or any(a >= b for a, b in zip(self.at, self.at[1:], strict=False)):
            raise OptionError("schedule: its steps must rise from 0.", "at")
        for name, values in self.values.items():
            if len(values) != len(self.at):
                raise OptionError(
                    f"schedule: {name} has {len(values)} values for {len(self.at)} steps.", name
                )

    @classmethod
    def read(cls, definition: Mapping[str, Any]) -> Self:
        """From what `definition` gave.

        Raises:
            OptionError: if a part is missing or does not fit.
        """
        for key in ("steps", "at", "values"):
            if key not in definition:
                raise OptionError(
                    f"schedule: {key!r} is missing; it is what `schedule()` of a tuner returns.", key
                )
        return cls(
            int(definition["steps"]),
            tuple(map(int, definition["at"])),
            {name: tuple(map(float, values)) for name, values in definition["values"].items()},
            dict(definition.get("dropouts", {})),
        )

    def definition(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "steps": self.steps,
            "at": list(self.at),
            "values": {name: list(values) for name, values in self.values.items()},
            "dropouts": dict(self.dropouts),
        }

    def __call__(self, step: float) -> dict[str, float]:
        """Values at a step of the recorded run."""
        i = max(0, bisect.bisect_right(self.at, step) - 1)
        return {name: values[i] for name, values in self.values.items()}

    def thinned(self, points: int) -> "Trajectory":
        """With at most `points` values each, evenly over those recorded."""
        if len(self.at) <= points:
            return self
        chosen = sorted({round(i * (len(self.at) - 1) / (points - 1)) for i in range(points)})
        return Trajectory(
            self.steps,
            tuple(self.at[i] for i in chosen),
            {name: tuple(values[i] for i in chosen) for name, values in self.values.items()},
            self.dropouts,
        )


class Recorder:
    """Keeps a course in bounded memory: beyond `limit` entries it keeps every other one, and takes half as many."""

    limit = 4000

    def __init__(self, names: Sequence[str], values: Sequence[float]) -> None:
        self._names = list(names)
        self._stride = 1
        self._seen = 0
        self._at = [0]
        self._rows = [list(values)]

    def add(self, step: int, values: Sequence[float]) -> None:
        """Values that hold from `step` on."""
        self._seen += 1
        if self._seen % self._stride:
            return
        self._at.append(step)
        self._rows.append(list(values))
        if len(self._at) > self.limit:
            self._at, self._rows = self._at[::2], self._rows[::2]
            self._stride *= 2

    def trajectory(self, steps: int, dropouts: Mapping[str, str]) -> Trajectory:
        """What was recorded in a run of `steps`."""
        columns = zip(*self._rows, strict=True)
        values = {name: tuple(column) for name, column in zip(self._names, columns, strict=True)}
        return Trajectory(steps, tuple(self._at), values, dropouts)

    def state_dict(self) -> dict[str, Any]:
        """All that is kept."""
        return {
            "stride": self._stride,
            "seen": self._seen,
            "at": list(self._at),
            "rows": [list(r) for r in self._rows],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._stride, self._seen = state["stride"], state["seen"]
        self._at, self._rows = list(state["at"]), [list(row) for row in state["rows"]]


class ScheduleReplay:
    """Sets a plain network's dropout and weight decay as a self-tuning run once had them; no validation, no responses.

        replay = ScheduleReplay(schedule, model, optimizer, total_steps=5000)
        for x, y in loader:
            loss = criterion(model(x), y)  # replay.values has what is not the network's, such as label smoothing
            …
            optimizer.step()
            replay.step()

    Args:
        schedule: what `DeltaSTN.schedule` returned.
        model: network with modules of the same paths.
        optimizer: whose weight decay follows, where the schedule has one.
        total_steps: length of this run, over which the schedule is stretched; None for that of the recorded one.

    Attributes:
        values: of the next step.

    Raises:
        OptionError: if the schedule does not fit the network.
    """

    def __init__(
        self,
        schedule: Mapping[str, Any],
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        total_steps: int | None = None,
    ) -> None:
        self.trajectory = Trajectory.read(schedule)
        self._stretch = self.trajectory.steps / total_steps if total_steps else 1.0
        modules = dict(model.named_modules())
        self._drops: list[tuple[Any, str]] = []
        for path, name in self.trajectory.dropouts.items():
            if path not in modules:
                raise OptionError(
                    f"schedule: sets the dropout of {path!r}, which the network does not have.", path
                )
            self._drops.append((modules[path], name))
        self._optimizer = optimizer
        if optimizer is not None:
            self._decay_scales = decay_scales(optimizer)
        self._step = 0
        self.values: dict[str, float] = {}
        self._show()

    def step(self) -> dict[str, float]:
        """Call after each `optimizer.step()`; returns the values of the next step."""
        self._step += 1
        self._show()
        return self.values

    def _show(self) -> None:
        self.values = self.trajectory(self._step * self._stretch)
        for module, name in self._drops:
            setattr(module, "p" if hasattr(module, "p") else "dropout", self.values[name])
        if self._optimizer is not None and "weight_decay" in self.values:
            set_weight_decay(self._optimizer, self._decay_scales, self.values["weight_decay"])

    def state_dict(self) -> dict[str, int]:
        """The step."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on at a saved step."""
        self._step = state["step"]
        self._show()


def decay_scales(optimizer: torch.optim.Optimizer) -> list[float]:
    """Each group's share of the weight decay: its `decay_scale`, else relative to the largest; 1 if all are 0."""
    groups = optimizer.param_groups
    largest = max((float(group.get("weight_decay", 0.0)) for group in groups), default=0.0)
    return [
        float(group.get("decay_scale", group.get("weight_decay", 0.0) / largest if largest else 1.0))
        for group in groups
    ]


def set_weight_decay(optimizer: torch.optim.Optimizer, scales: Sequence[float], value: float) -> None:
    """Set the weight decay of every group to its share of `value`."""
    for group, scale in zip(optimizer.param_groups, scales, strict=True):
        group["weight_decay"] = value * scale
