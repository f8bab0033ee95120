"""A steppable, rewindable PyTorch learner; checkpoints; optimizers; learning-rate schedules."""

from autosearch.learning.averaging import WeightAverage
from autosearch.learning.checkpoints import (
    CheckpointError,
    export_weights,
    load_checkpoint,
    plain_snapshot,
    save_checkpoint,
)
from autosearch.learning.learner import Stateful, StepOptions, TorchLearner
from autosearch.learning.lr_family import LR_POINTS, LrFamily
from autosearch.learning.lr_schedules import LR_SCHEDULES, LrSchedule, Recorded, build_lr_schedule, peak_lr
from autosearch.learning.optimizers import OPTIMIZERS, build_optimizer, parameter_groups
from autosearch.learning.random_state import RandomState
from autosearch.learning.streams import Batch, BatchStream
from autosearch.learning.wrapping import LearnerWrapper, TrainingLearner

__all__ = [
    "LR_POINTS",
    "LR_SCHEDULES",
    "OPTIMIZERS",
    "Batch",
    "BatchStream",
    "CheckpointError",
    "LearnerWrapper",
    "LrFamily",
    "LrSchedule",
    "RandomState",
    "Recorded",
    "Stateful",
    "StepOptions",
    "TorchLearner",
    "TrainingLearner",
    "WeightAverage",
    "build_lr_schedule",
    "build_optimizer",
    "export_weights",
    "load_checkpoint",
    "parameter_groups",
    "peak_lr",
    "plain_snapshot",
    "save_checkpoint",
]
