"""Structured pruning: networks that really become smaller."""

from autosearch.learning.costs import count_macs, measure_latency
from autosearch.methods.pruning.attention import AttentionLayout
from autosearch.methods.pruning.costs import count_params
from autosearch.methods.pruning.criteria import Context, Criterion, GroupSparsity
from autosearch.methods.pruning.errors import PruningError
from autosearch.methods.pruning.groups import Group, Groups, Member, find_groups
from autosearch.methods.pruning.pruning import Pruned, PruneOptions, Pruner, load_pruned, prune
from autosearch.methods.pruning.recalibration import recalibrate
from autosearch.methods.pruning.shrink import Slot, masked, shrink

__all__ = [
    "AttentionLayout",
    "Context",
    "Criterion",
    "Group",
    "GroupSparsity",
    "Groups",
    "Member",
    "PruneOptions",
    "Pruned",
    "Pruner",
    "PruningError",
    "Slot",
    "count_macs",
    "count_params",
    "find_groups",
    "load_pruned",
    "masked",
    "measure_latency",
    "prune",
    "recalibrate",
    "shrink",
]
