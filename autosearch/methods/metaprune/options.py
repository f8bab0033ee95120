"""Settings of the metanetwork and its training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autosearch.core import OptionError, plugins
from autosearch.methods.metaprune.goals import Goal, Removed, Sparse
from autosearch.methods.metaprune.metanetwork import MetaNetwork
from autosearch.methods.pruning import PruneOptions
from autosearch.tasks.training import TrainingTask

_LOSSES = ("removed", "sparsity")


@dataclass(frozen=True, kw_only=True)
class MetaOptions:
    """Settings; the defaults are those of small networks on a CPU.

    Attributes:
        data_models: networks that are trained to learn from, those held out included.
        held_out: of them, on which the state of the metanetwork is chosen.
        initial: share of MACs that data models keep when they are pruned at first.
        layers, hidden, residual: of the metanetwork.
        epochs: of meta-training: one step for each data model.
        batches: of training data in a step.
        loss: what meta-training minimises: `removed`, the loss of the network that is left when channels go at a
            speed-up between the lowest and the highest of `speed_ups` and that is then trained for `ahead` epochs; or
            `sparsity`, the paper's loss and sparsity of the changed network.
        ahead: see `loss`; 0 for none.
        lr, milestone: of meta-training, see `MetaTrainer`.
        strength, alpha: of the loss `sparsity`.
        chosen_from: how many states of the metanetwork the choice is among, evenly over the meta-epochs.
        settle: epochs of training between the metanetwork and the pruning, in the choice.
        speed_ups: at which the choice measures.
    """

    data_models: int = 5
    held_out: int = 1
    initial: float = 0.8
    layers: int = 4
    hidden: int = 16
    residual: float = 0.05
    epochs: int = 40
    batches: int = 4
    loss: str = "removed"
    ahead: int = 1
    lr: float = 2e-3
    milestone: int | None = None
    strength: float = 0.1
    alpha: float = 16.0
    chosen_from: int = 4
    settle: int = 0
    speed_ups: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0)

    def __post_init__(self) -> None:
        for name in ("data_models", "held_out", "layers", "epochs", "batches", "chosen_from"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}: at least 1, got {getattr(self, name)}.", name)
        if self.held_out >= self.data_models:
            raise OptionError(f"held_out: fewer than the {self.data_models} data models.", "held_out")
        if not 0 < self.initial <= 1:
            raise OptionError(f"initial: a share in (0, 1], got {self.initial}.", "initial")
        for name in ("settle", "ahead"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name}: at least 0, got {getattr(self, name)}.", name)
        if self.loss not in _LOSSES:
            raise OptionError(f"loss: one of {', '.join(_LOSSES)}, got {self.loss!r}.", "loss")
        if len(self.speed_ups) < 2 or any(s <= 1 for s in self.speed_ups):
            raise OptionError("speed_ups: two or more, all above 1.", "speed_ups")
        if list(self.speed_ups) != sorted(set(self.speed_ups)):
            raise OptionError("speed_ups: in increasing order.", "speed_ups")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "MetaOptions":
        """From a mapping of a study file.

        Raises:
            OptionError: one is unknown or refused.
        """
        problems = plugins.check_options(cls, values)
        if problems:
            raise OptionError(f"{problems[0].option}: {problems[0]}", problems[0].option)
        return cls(**plugins.coerce_options(cls, values))

    @property
    def choices(self) -> list[int]:
        """Meta-epochs after which a state is kept for the choice."""
        count = min(self.chosen_from, self.epochs)
        return sorted({round(self.epochs * (i + 1) / count) for i in range(count)})

    def goal(self, task: TrainingTask, pruning: PruneOptions) -> Goal:
        """What meta-training minimises; `task` trains what is left, `pruning` says how channels go."""
        if self.loss == "sparsity":
            return Sparse(task.loss(), self.strength, self.alpha)
        return Removed(task, pruning, (self.speed_ups[0], self.speed_ups[-1]), self.ahead)

    def build(self, family: Mapping[str, Any]) -> MetaNetwork:
        """A fresh metanetwork."""
        return MetaNetwork(family, layers=self.layers, hidden=self.hidden, residual=self.residual)
