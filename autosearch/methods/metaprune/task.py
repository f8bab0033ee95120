"""`run: {task: meta_prune, …}`: pruning behind a metanetwork that was learnt on networks of the same kind."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from torch import nn

from autosearch.core import Budget, Goal, History, OptionError, Problem, Stage
from autosearch.learning import CheckpointError
from autosearch.methods.metaprune.metanetwork import MetaNetwork
from autosearch.methods.metaprune.options import MetaOptions
from autosearch.methods.metaprune.stages import METANETWORK, Choice, DataModels, MetaTraining, batches_of
from autosearch.methods.metaprune.tracing import trace
from autosearch.methods.pruning.task import PruneTask
from autosearch.space import Int, Ordinal, SearchSpace


@dataclass(frozen=True, kw_only=True)
class MetaPruneTask(PruneTask):
    """As the task `prune`, with a network that a metanetwork has made easier to prune.

    Three stages come first: `data_models` trains networks to learn from, `meta_training` trains the metanetwork, and
    `choice` picks the state of it that leaves the best curve of quality over speed-up on held-out networks. With
    `metanetwork`, the file that an earlier study left, they are skipped. Then each trial changes the dense network,
    trains it for `epochs_before`, prunes it and trains what is left.

    All arguments are listed at `PruneTask`; these come on top. Differs from the paper: there is no training between
    the metanetwork and the removal unless `epochs_before` asks for it; after the removal it was measured to serve more.

    Attributes:
        metanetwork: file of a trained metanetwork, whose family must be that of the network.
        meta: settings of the stages, see `MetaOptions`.
    """

    metanetwork: str | Path | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            _ = self.meta_options
        except OptionError as error:
            raise OptionError(f"meta.{error}", "meta") from error

    @property
    def meta_options(self) -> MetaOptions:
        """Settings of the stages."""
        return MetaOptions.of(self.meta)

    def stages(self, problem: Problem) -> list[Stage]:
        """Those of the dense network, and the three of the metanetwork where none is given."""
        found = super().stages(problem)
        if self.metanetwork is not None:
            return found
        options, dense = self.meta_options, self.dense
        models = DataModels(
            network=self.network,
            epochs=self.epochs,
            train=self.train,
            target={"macs": options.initial},
            ignore=self.ignore,
            data_dir=self.data_dir,
            folder=self.folder,
        )
        after = self.fine_tuning(self.epochs).trained_by(())
        indices = SearchSpace({"index": Int(0, options.data_models - 1)})
        epochs = SearchSpace({"epoch": Ordinal(options.choices)})
        goal = Goal("val_accuracy", maximize=True) if dense.own_metric == "accuracy" else Goal("val_loss")
        count = options.data_models
        return [
            *found,
            Stage("data_models", indices, models, "grid", Budget(trials=count), (goal,), keep=count),
            Stage(
                "meta_training",
                SearchSpace({}),
                MetaTraining(after, options, self.options, self.ignore),
                "random",
                Budget(trials=1),
                (Goal("loss"),),
                needs=("data_models",),
                keep=1,
            ),
            Stage(
                "choice",
                epochs,
                Choice(after, options, self.options, self.ignore),
                "grid",
                Budget(trials=len(options.choices)),
                (Goal("auc", maximize=True),),
                needs=("data_models", "meta_training"),
                keep=1,
            ),
        ]

    def staged(self, histories: Mapping[str, History]) -> Self:
        """The task with what the stages have trained."""
        task = super().staged(histories)
        if self.metanetwork is not None or "choice" not in histories:
            return task
        best = histories["choice"].incumbent
        if best is None or best.checkpoint is None:
            raise CheckpointError(
                "the stage choice left no metanetwork; does the study have an output folder?"
            )
        path = Path(best.checkpoint) / METANETWORK
        return dataclasses.replace(task, metanetwork=path).trained_by(self._methods)

    def check(self, problem: Problem) -> None:
        """As the task `prune`; a given metanetwork must be of the network's family.

        Raises:
            PruningError: it is of another one, or no metanetwork can be read.
        """
        super().check(problem)
        if self.metanetwork is not None:
            self._changed(self.dense.learner(0).model)

    def dense_network(self, seed: int) -> tuple[nn.Module, dict[str, float]]:
        """The network as the metanetwork changes it, and the metrics of the one that it was."""
        model, metrics = super().dense_network(seed)
        return self._changed(model), metrics

    def _changed(self, model: nn.Module) -> nn.Module:
        if self.metanetwork is None:
            raise CheckpointError("meta_prune: there is no metanetwork; its stages have not run.")
        path = Path(self.metanetwork)
        if not path.is_absolute() and self.folder is not None:
            path = Path(self.folder) / path
        device = next(model.parameters()).device
        example = batches_of(self.dense, 1, 0)[0][0]
        return MetaNetwork.load(path).to(device).easier(model, trace(model, example))
