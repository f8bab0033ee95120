"""The task of a layer search: a trial turns a layer away cheaply, or trains every anchor network with it."""

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Literal

from autosearch.core import Decision, Job, OptionError, Problem, Progress
from autosearch.core.seeds import derive_seed
from autosearch.learning import (
    CheckpointError,
    RandomState,
    TorchLearner,
    build_lr_schedule,
    load_checkpoint,
    save_checkpoint,
)
from autosearch.methods.evonorm.anchors import anchor_arguments
from autosearch.methods.evonorm.graph_layer import GraphFactory
from autosearch.methods.evonorm.graphs import Graph
from autosearch.methods.evonorm.layers import GROUP_SIZE
from autosearch.methods.evonorm.rejection import (
    RejectedError,
    Rejection,
    check_quality,
    check_stability,
    check_static,
)
from autosearch.space import SpaceError
from autosearch.tasks.image_classification import ImageClassification

STATIC, QUALITY, STABILITY = "static", "quality", "stability"
CHECKS = (STATIC, STABILITY, QUALITY)


class LayerSearch:
    """Trains the anchors with the layer that a configuration's graph describes; measures validation accuracies.

    Reports `val_accuracy_ANCHOR` and `val_loss_ANCHOR` of each anchor, `val_accuracy`, their mean, and `seconds`; the
    step is that of the optimizer, the same for all anchors. A layer that fails a check ends its trial as stopped,
    without values, with the reason in the trial's `data`. The first anchor pays for the check of quality, whose steps
    count as its first.

    Training is the paper's: SGD with Nesterov momentum 0.9 and constant learning rate.

    Args:
        layer: name under which the space `evonorm` stands.
        dataset: name of the images.
        anchors: `residual`, `inverted`, `plain`, or networks of the image task.
        steps: optimizer steps for each anchor.
        report_every: steps between reports; default: a third of `steps`.
        batch_size: examples in a step.
        lr: learning rate.
        lr_schedule: constant or cosine.
        weight_decay: of weight matrices.
        group_size: channels of a group in aggregations over groups.
        checks: which are made; always in the order static, stability, quality, each much dearer than the one before.
        rejection: options of the checks, see `Rejection`.
        image_size: pixels a side, None for the data's own.
        train_size: examples to train on, None for all.
        val_size: examples to validate on, None for all.
        data_dir: folder of datasets.
        device: cpu, cuda, or auto.
    """

    reusable = True

    def __init__(  # noqa: PLR0913 - the words of the study file
        self,
        *,
        layer: str = "layer",
        dataset: str = "digits",
        anchors: tuple[str, ...] = ("residual", "inverted", "plain"),
        steps: int = 300,
        report_every: int | None = None,
        batch_size: int = 64,
        lr: float = 0.1,
        lr_schedule: Literal["constant", "cosine"] = "constant",
        weight_decay: float = 1e-4,
        group_size: int = GROUP_SIZE,
        checks: tuple[Literal["static", "stability", "quality"], ...] = CHECKS,  # type: ignore[assignment]
        rejection: Mapping[str, Any] | None = None,
        image_size: int | None = None,
        train_size: int | None = None,
        val_size: int | None = None,
        data_dir: str | Path | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        if not anchors or len(set(anchors)) < len(anchors):
            raise OptionError(f"anchors: at least one, each once, got {list(anchors)}.", "anchors")
        if steps < 1:
            raise OptionError(f"steps: at least 1, got {steps}.", "steps")
        self.layer, self.anchors, self.max_step = layer, anchors, steps
        self._every = min(report_every or -(-steps // 3), steps)
        self._lr_schedule, self._group_size, self._checks = lr_schedule, group_size, checks
        try:
            self.rejection = Rejection(**(rejection or {}))
        except TypeError as error:
            raise OptionError(f"rejection: {error}", "rejection") from error
        self._tasks = {
            name: ImageClassification(
                dataset=dataset,
                **anchor_arguments(name),
                optimizer="nesterov",
                batch_size=batch_size,
                lr=lr,
                lr_schedule=lr_schedule,
                weight_decay=weight_decay,
                image_size=image_size,
                train_size=train_size,
                val_size=val_size,
                data_dir=data_dir,
                device=device,
            )
            for name in anchors
        }

    @property
    def metrics(self) -> tuple[str, ...]:
        """Everything that a report holds."""
        each = (f"val_{kind}_{name}" for name in self.anchors for kind in ("accuracy", "loss"))
        return (*each, "val_accuracy", "seconds")

    def check(self, problem: Problem) -> None:
        """Refuse a study that this task cannot run.

        Raises:
            SpaceError: if the space holds no layer, holds something else, or an objective is not measured.
            DataError: if data files are missing.
        """
        names = [n for n in problem.space.parameters if not n.startswith(f"{self.layer}.")]
        if names or f"{self.layer}.op1" not in problem.space.parameters:
            found = f"{names[0]!r} is none of it" if names else "it is missing"
            raise SpaceError(
                f"this task searches a layer and nothing else, and {found}. "
                f"Write `space: {{{self.layer}: {{use: evonorm}}}}`.",
                ("space",),
            )
        for metric in problem.metric_names:
            if metric not in self.metrics:
                raise SpaceError(
                    f"the task reports no such metric. It reports {', '.join(self.metrics)}.",
                    ("objectives", metric),
                )
        next(iter(self._tasks.values())).check_data()

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        """Check the layer, then train all anchors side by side; goes on from `job.checkpoint` where there is one.

        Raises:
            RejectedError: if the layer is turned away.
        """
        graph = self.graph(job.config)
        begun = time.perf_counter()
        learners: dict[str, TorchLearner] = {}
        step, seconds = 0, 0.0
        if job.checkpoint is None:
            if STATIC in self._checks:
                check_static(graph, affine=self.rejection.affine)
            self._stability(graph, job.seed)
            learners = self._learners(graph, job.seed)
            self._quality(learners)
        else:
            learners = self._learners(graph, job.seed)
            step, seconds = self._restore(learners, job)
        end = self.max_step if job.until is None else min(self.max_step, job.until)
        while True:
            step = min(step + self._every, end) if step < end else step
            metrics = self._trained(learners, step)
            metrics["seconds"] = seconds + time.perf_counter() - begun
            save = _saver(learners, step, metrics["seconds"])
            yield Progress(metrics, step, save, data={"layer": str(graph)} if step >= end else {})
            if step >= end:
                return

    def finish(self, job: Job) -> dict[str, float]:
        """Test accuracies of the anchors whose checkpoint stands in `job`.

        Raises:
            CheckpointError: if there is none.
        """
        if job.checkpoint is None:
            raise CheckpointError(
                f"trial {job.number} has no checkpoint: test metrics need the trained weights."
            )
        learners = self._learners(self.graph(job.config), job.seed)
        self._restore(learners, job)
        found: dict[str, float] = {}
        for name, learner in learners.items():
            task = self._tasks[name]
            data = task.load().to(task.torch_device)
            measured = learner.measure(functools.partial(task.measure, split=data.test, data=data))
            found[f"test_accuracy_{name}"] = measured["accuracy"]
        found["test_accuracy"] = sum(found.values()) / len(learners)
        return found

    def graph(self, config: Mapping[str, Any]) -> Graph:
        """The layer that a nested configuration describes."""
        return Graph.from_config(config[self.layer])

    # -- steps of a trial ----------------------------------------------------------------------------------

    def _learners(self, graph: Graph, seed: int) -> dict[str, TorchLearner]:
        return {name: self.learner(name, graph, seed) for name in self.anchors}

    def learner(self, anchor: str, graph: Graph, seed: int) -> TorchLearner:
        """A fresh learner of one anchor with the layer."""
        learner = self.task(anchor, graph).learner(derive_seed(seed, "anchor", anchor))
        learner.lr_schedule = build_lr_schedule(self._lr_schedule, self.max_step)
        return learner

    def task(self, anchor: str, graph: Graph) -> ImageClassification:
        """The task that trains one anchor with the layer."""
        return dataclasses.replace(self._tasks[anchor], norm=GraphFactory(graph, self._group_size))

    def _quality(self, learners: Mapping[str, TorchLearner]) -> None:
        if QUALITY not in self._checks:
            return
        name = self.anchors[0]
        learner = learners[name]
        check_quality(
            learner,
            lambda: learner.evaluate()["val_accuracy"],
            self._tasks[name].load().classes,
            self.rejection,
        )

    def _stability(self, graph: Graph, seed: int) -> None:
        if STABILITY not in self._checks:
            return
        task = self.task(self.anchors[0], graph)
        learner = task.learner(derive_seed(seed, STABILITY))
        with RandomState(derive_seed(seed, STABILITY), learner.device).active():
            check_stability(learner.model, task.loss(), next(learner.batches), self.rejection)

    def _trained(self, learners: Mapping[str, TorchLearner], step: int) -> dict[str, float]:
        """Metrics of all anchors at `step`; those that are behind are trained up to it."""
        metrics: dict[str, float] = {}
        for name, learner in learners.items():
            try:
                if learner.step < step:
                    learner.advance(step - learner.step)
            except FloatingPointError:
                raise RejectedError(
                    QUALITY, f"the loss of {name} is not finite by step {step}", step
                ) from None
            measured = learner.evaluate()
            metrics[f"val_accuracy_{name}"] = measured["val_accuracy"]
            metrics[f"val_loss_{name}"] = measured["val_loss"]
        metrics["val_accuracy"] = sum(metrics[f"val_accuracy_{name}"] for name in learners) / len(learners)
        return metrics

    def _restore(self, learners: Mapping[str, TorchLearner], job: Job) -> tuple[int, float]:
        """Step and seconds to go on from; from another trial's checkpoint the weights and the data order go on too."""
        state = load_checkpoint(Path(str(job.checkpoint)))
        if set(state.get("learners", ())) != set(learners):
            raise CheckpointError(f"{job.checkpoint} holds no checkpoint of these anchors.")
        for name, learner in learners.items():
            learner.restore(state["learners"][name])
        return state["step"], state["seconds"]


def _saver(learners: Mapping[str, TorchLearner], step: int, seconds: float) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        snapshots = {name: learner.snapshot() for name, learner in learners.items()}
        save_checkpoint(folder, {"step": step, "seconds": seconds, "learners": snapshots})

    return save
