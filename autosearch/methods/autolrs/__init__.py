"""AutoLRS: the learning rate found while the network trains (Jin et al. 2021)."""

from autosearch.methods.autolrs.scheduler import AutoLRS, StepInfo
from autosearch.methods.autolrs.settings import PRESETS, Settings

__all__ = ["PRESETS", "AutoLRS", "Settings", "StepInfo"]
