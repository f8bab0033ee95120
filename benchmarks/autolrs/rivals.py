"""Optimizers that ask for no lr schedule, or for no learning rate: Schedule-Free and Prodigy.

Packages of this benchmark alone: `pip install schedulefree==1.4.1 prodigyopt==1.1.2`.

Sources: Defazio et al. 2024, "The Road Less Scheduled"; Mishchenko and Defazio 2024, "Prodigy".
"""

from typing import Any

import torch

from autosearch.learning import TrainingLearner, build_lr_schedule
from autosearch.learning.optimizers import parameter_groups
from autosearch.tasks.training import TrainingTask

_WARMUP = 0.05  # share of the run, as the authors of Schedule-Free advise
_RECALIBRATION = 50  # batches, as their example for batch norm has it


def schedule_free(task: TrainingTask, seed: int, steps: int, lr: float | None) -> TrainingLearner:
    """The learner after `steps` steps of Schedule-Free, at the weights that are to be evaluated.

    Args:
        task: what is trained.
        seed: of the run.
        steps: of the run.
        lr: learning rate for the Schedule-Free form of the task's own optimizer; None: the AdamW form with its default.
    """
    import schedulefree

    learner = task.learner(seed)
    groups = parameter_groups(learner.model, task.weight_decay)
    own: dict[str, Any] = {} if lr is None else {"lr": lr}
    kind = schedulefree.SGDScheduleFree if lr and task.optimizer == "sgd" else schedulefree.AdamWScheduleFree
    optimizer = kind(groups, warmup_steps=round(_WARMUP * steps), **own)
    _train(learner, optimizer, "constant", steps)
    optimizer.eval()
    if any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in learner.model.modules()):
        with torch.no_grad():
            for _ in range(_RECALIBRATION):
                learner.loss(learner.model, next(learner.batches))
    return learner


def prodigy(task: TrainingTask, seed: int, steps: int) -> TrainingLearner:
    """The learner after `steps` steps of Prodigy with its defaults and a cosine, as its authors advise."""
    import prodigyopt

    learner = task.learner(seed)
    optimizer = prodigyopt.Prodigy(parameter_groups(learner.model, task.weight_decay))
    _train(learner, optimizer, "cosine", steps)
    return learner


def _train(learner: Any, optimizer: torch.optim.Optimizer, schedule: str, steps: int) -> None:
    learner.optimizer = optimizer
    learner.lr_schedule = build_lr_schedule(schedule, steps)
    learner.adjust({"lr": float(optimizer.param_groups[0]["lr"])})
    if hasattr(optimizer, "train"):
        optimizer.train()
    learner.advance(steps)
