"""`run: {task: prune, …}`: compressed forms of one network as trials of a study."""

import copy
import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from autosearch.core import (
    Budget,
    Decision,
    Goal,
    History,
    Job,
    Objective,
    OptionError,
    Problem,
    Progress,
    SpaceError,
    Stage,
    plugins,
)
from autosearch.learning import CheckpointError, load_checkpoint, plain_snapshot, save_checkpoint
from autosearch.methods.pruning.compression import Compression
from autosearch.methods.pruning.pruning import PruneOptions
from autosearch.space import SearchSpace, did_you_mean
from autosearch.space.errors import report
from autosearch.tasks.training import TrainingMethod, TrainingTask, corners, metric_problems

_STAGE = "dense"
_OWN = ("macs_share", "params_share", "n2n")


@dataclass(frozen=True, kw_only=True)
class PruneTask:
    """Prunes a trained network, trains what is left, and reports quality and costs after each epoch.

    Reports what the network's own task reports, of the pruned network, and `macs`, `macs_share`, `params_share` (of the
    unpruned network's), `latency_ms` of one example on this device, and for classifiers `n2n`, the reward of N2N
    learning. The step is the epoch, those before pruning included.

    In a space, `target.macs` and the like set one share, `ratios.NAME` the ratio of one group of channels, and
    `train.NAME` an argument of the training.

    Attributes:
        network: the dense network as the task that trains it, such as `{task: image_classification, model: resnet}`.
        checkpoint: its weights: a checkpoint of that task (a folder), or a file of a `state_dict`; without it a stage
            named dense trains it first.
        epochs: of training after pruning, all rounds together.
        train: arguments of the training after pruning in place of the network's, such as `lr`.
        criterion: which channels go, see `autosearch.prune`.
        target: shares of macs, params or latency that may be left.
        scope: global or layer.
        ratios: pattern of module names -> share of channels that goes there.
        steps: rounds of pruning, with training after each.
        floor: in [0, 1]: how far a global ranking may narrow a group, see `autosearch.prune`.
        min_units: channels or heads that stay in each group.
        round_to: counts of channels left are multiples of it.
        ignore: modules that stay whole.
        epochs_before: of training before anything goes, with the penalty of the criterion if it has one (depgraph,
            bn_scale).
        distill: weight in [0, 1] of the unpruned network's answers in the loss.
        temperature: of those answers.
        data_dir: folder of datasets.
        folder: that files of the user's code are relative to.
    """

    network: Mapping[str, Any]
    checkpoint: str | Path | None = None
    epochs: int = 5
    train: Mapping[str, Any] = field(default_factory=dict)
    criterion: str | Mapping[str, Any] = "magnitude"
    target: Mapping[str, float] = field(default_factory=dict)
    scope: str = "global"
    ratios: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1
    floor: float = 0.5
    min_units: int = 1
    round_to: int = 1
    ignore: tuple[str, ...] = ()
    epochs_before: int = 0
    distill: float = 0.0
    temperature: float = 2.0
    data_dir: str | Path | None = None
    folder: str | Path | None = None

    reusable: ClassVar[bool] = True
    from_winner: ClassVar[tuple[str, ...]] = ("network", "checkpoint")
    _methods: ClassVar[tuple[TrainingMethod, ...]] = ()  # of an instance: set by `trained_by`

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("steps", 1), ("epochs_before", 0)):
            if getattr(self, name) < low:
                raise OptionError(f"{name}: at least {low}, got {getattr(self, name)}.", name)
        if self.steps > self.epochs:
            raise OptionError(f"steps: {self.steps} rounds need as many epochs, got {self.epochs}.", "steps")
        if not 0 <= self.distill <= 1:
            raise OptionError(f"distill: in [0, 1], got {self.distill}.", "distill")
        if not self.temperature > 0:
            raise OptionError(f"temperature: above 0, got {self.temperature}.", "temperature")
        for pattern, ratio in _flat(self.ratios).items():
            if not isinstance(ratio, int | float) or not 0 <= ratio < 1:
                raise OptionError(f"ratios.{pattern}: a share in [0, 1), got {ratio!r}.", "ratios")
        _ = self.options, self.dense
        self.fine_tuning(self.epochs)

    @staticmethod
    def after(objective: Objective, job: Job) -> dict[str, Any]:
        """The winner's network and its weights, for `finally`.

        Raises:
            OptionError: its task trains no network.
        """
        if not isinstance(objective, TrainingTask):
            raise OptionError("prunes what a training task has trained; this study runs none.", "task")
        task = objective.with_config(job.config)
        values = {f.name: getattr(task, f.name) for f in dataclasses.fields(task)}
        kind = f"{type(task).__module__}:{type(task).__qualname__}"
        return {"network": {"task": kind, **values}, "checkpoint": job.checkpoint}

    # -- what it is made of --------------------------------------------------------------------------------

    @property
    def options(self) -> PruneOptions:
        """How trials prune."""
        ratios = _flat(self.ratios)
        return PruneOptions(
            criterion=self.criterion,
            target=self.target or ({} if ratios else {"macs": 0.5}),
            scope=self.scope,
            ratios=ratios,
            steps=self.steps,
            floor=self.floor,
            min_units=self.min_units,
            round_to=self.round_to,
        )

    @property
    def dense(self) -> TrainingTask:
        """The task that trains the unpruned network.

        Raises:
            OptionError: it is none that trains a network, or its arguments are wrong.
        """
        return self._task({})

    def fine_tuning(self, epochs: int) -> TrainingTask:
        """The task that trains a pruned network, for so many epochs."""
        return self._task({**self.train, "epochs": epochs}).trained_by(self._methods)

    def _task(self, changes: Mapping[str, Any]) -> TrainingTask:
        definition = dict(self.network)
        name = definition.pop("task", None)
        if not isinstance(name, str):
            raise OptionError("network: needs `task: NAME`, the task that trains it.", "network")
        for key, value in (("data_dir", self.data_dir), ("folder", self.folder)):
            if value is not None:
                definition.setdefault(key, value)
        try:
            task = plugins.build("tasks", {"method": name, **definition})
        except OptionError as error:
            raise OptionError(f"network.{error}", "network") from error
        if not isinstance(task, TrainingTask):
            raise OptionError(f"network: task {name!r} trains no network.", "network")
        known = {f.name for f in dataclasses.fields(task)}
        for key in changes:
            if key not in known:
                raise OptionError(
                    f"train.{key}: the task {name} has no such argument.{did_you_mean(key, known)}", "train"
                )
        try:
            return task.with_config(changes)
        except OptionError as error:
            raise OptionError(f"train.{error}", "train") from error

    @property
    def max_step(self) -> int:
        """Epochs of a whole trial."""
        return self.epochs_before + self.epochs

    def with_config(self, config: Mapping[str, Any]) -> Self:
        """The task with a nested configuration's values in place of its arguments; mappings are merged.

        Raises:
            OptionError: a value is refused.
        """
        names = {f.name for f in dataclasses.fields(self)}
        values: dict[str, Any] = {}
        for name, value in config.items():
            if name in names:
                own = getattr(self, name)
                merged = isinstance(own, Mapping) and isinstance(value, Mapping)
                values[name] = (
                    {**_flat(own), **_flat(value)}
                    if merged and name == "ratios"
                    else ({**own, **value} if merged else value)
                )
        problems = plugins.check_options(type(self), {"network": self.network, **values})
        if problems:
            raise OptionError(f"{problems[0].option}: {problems[0]}", problems[0].option)
        coerced = plugins.coerce_options(type(self), values)
        return dataclasses.replace(self, **coerced).trained_by(self._methods)

    def trained_by(self, methods: Sequence[TrainingMethod]) -> Self:
        """The same task whose training after pruning passes through `methods`, the first one innermost."""
        task = copy.copy(self)
        object.__setattr__(task, "_methods", tuple(methods))  # no argument, so no field of the dataclass
        return task

    # -- the stage -----------------------------------------------------------------------------------------

    def stages(self, problem: Problem) -> list[Stage]:  # noqa: ARG002
        """Training of the dense network, where there is no checkpoint of it."""
        if self.checkpoint is not None:
            return []
        dense = self.dense
        accuracy = dense.own_metric == "accuracy"
        goal = Goal("val_accuracy", maximize=True) if accuracy else Goal("val_loss")
        return [
            Stage(
                _STAGE,
                SearchSpace({}),
                dense,
                searcher="random",
                budget=Budget(trials=1),
                goals=(goal,),
                keep=1,
            )
        ]

    def staged(self, histories: Mapping[str, History]) -> Self:
        """The task with the weights that the stage has trained."""
        if self.checkpoint is not None or _STAGE not in histories:
            return self
        done = [trial for trial in histories[_STAGE].complete if trial.checkpoint is not None]
        if not done:
            raise CheckpointError("the stage dense left no checkpoint; does the study have an output folder?")
        return dataclasses.replace(self, checkpoint=done[0].checkpoint).trained_by(self._methods)

    @property
    def training_before(self) -> TrainingTask:
        """The task that trains the network before anything goes."""
        return self.fine_tuning(max(1, self.epochs_before))

    def dense_network(self, seed: int) -> tuple[nn.Module, dict[str, float]]:  # noqa: ARG002 - one for all trials
        """The unpruned network with its weights, and its validation metrics.

        Args:
            seed: of the trial, for networks that are not the same in all trials.

        Raises:
            CheckpointError: there is no checkpoint, or one of another network.
        """
        if self.checkpoint is None:
            raise CheckpointError("prune: no checkpoint of the dense network; its stage has not run.")
        path = Path(self.checkpoint)
        if not path.is_absolute() and self.folder is not None:
            path = Path(self.folder) / path
        learner = self.dense.learner(0)
        if path.is_dir():
            learner.inherit(plain_snapshot(load_checkpoint(path)["learner"]), 0)
            model = learner.evaluated_model
        else:
            model = learner.model
            try:
                model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            except (OSError, RuntimeError, EOFError, ValueError) as error:
                text = str(error).splitlines()[0]
                raise CheckpointError(f"checkpoint {path}: no weights of this network: {text}") from error
        return copy.deepcopy(model), learner.evaluate()

    # -- the objective -------------------------------------------------------------------------------------

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        """Training before, then rounds of pruning and training; goes on from `job.checkpoint` where there is one."""
        state = None
        if job.checkpoint is not None:
            state = load_checkpoint(job.checkpoint)
            if state.get("task") != type(self).__name__ or state["trial"] != job.number:
                raise CheckpointError(
                    f"{job.checkpoint} holds no checkpoint of this trial; pruned forms do not mix."
                )
        compression = Compression(self.with_config(job.config), job.seed)
        if state is not None:
            compression.restore(state["compression"])
        end = compression.task.max_step if job.until is None else min(compression.task.max_step, job.until)
        while compression.epoch < end:
            metrics = compression.advance()
            yield Progress(
                metrics, compression.epoch, _saver(compression, job, self, end), data=compression.notes()
            )

    def finish(self, job: Job) -> dict[str, float]:
        """Test metrics of the trial whose checkpoint stands in `job`; nothing is trained."""
        if job.checkpoint is None:
            raise CheckpointError(
                f"trial {job.number} has no checkpoint: test metrics need the trained weights."
            )
        compression = Compression(self.with_config(job.config), job.seed)
        compression.restore(load_checkpoint(job.checkpoint)["compression"])
        return compression.test_metrics()

    # -- checks --------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> tuple[str, ...]:
        """Everything that a report holds."""
        dense = self.dense
        own = _OWN if dense.own_metric == "accuracy" else tuple(name for name in _OWN if name != "n2n")
        return (*dense.metrics, *own)

    def check(self, problem: Problem) -> None:
        """Refuse a study that this task cannot run, with every reason and its place in the study file.

        Raises:
            SpaceError: for parameters, values or metrics that the task does not know.
            DataError: if data files are missing.
        """
        lines = metric_problems(problem, self.metrics)
        for name, parameter in problem.space.parameters.items():
            for value in corners(parameter):
                try:
                    self._with_value(name, value)
                except OptionError as error:
                    lines.append(f"space.{name}: {error}")
                    break
        if lines:
            places = (line.partition(": ") for line in lines)
            raise report([SpaceError(text, tuple(place.split(".", 1))) for place, _, text in places])
        self.dense.check_data()

    def _with_value(self, name: str, value: Any) -> Self:
        first, _, rest = name.partition(".")
        names = [f.name for f in dataclasses.fields(self)]
        if first not in names or first in ("network", "checkpoint", "data_dir", "folder"):
            raise OptionError(f"the task has no argument of that name.{did_you_mean(first, names)}", name)
        return self.with_config({first: {rest: value} if rest else value})


def _saver(compression: Compression, job: Job, task: PruneTask, end: int) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        state = {"task": type(task).__name__, "trial": job.number, "compression": compression.snapshot()}
        save_checkpoint(folder, state)
        if compression.epoch >= end:
            compression.save_network(folder)

    return save


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found
