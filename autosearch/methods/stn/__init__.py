"""Self-tuning networks: hyperparameters that adapt while the network trains."""

from autosearch.methods.stn.convert import Converted, convert
from autosearch.methods.stn.hyper import Hyperparameters, Tuned
from autosearch.methods.stn.replay import ScheduleReplay, Trajectory
from autosearch.methods.stn.settings import PRESETS, Settings
from autosearch.methods.stn.tuner import DeltaSTN, StepInfo

__all__ = [
    "PRESETS",
    "Converted",
    "DeltaSTN",
    "Hyperparameters",
    "ScheduleReplay",
    "Settings",
    "StepInfo",
    "Trajectory",
    "Tuned",
    "convert",
]
