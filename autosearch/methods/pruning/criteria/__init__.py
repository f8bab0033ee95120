"""What says how much a channel matters: one file each."""

from autosearch.methods.pruning.criteria.base import Context, Criterion, build_criterion
from autosearch.methods.pruning.criteria.bn_scale import BnScale
from autosearch.methods.pruning.criteria.depgraph import DepGraph, GroupSparsity
from autosearch.methods.pruning.criteria.magnitude import Magnitude
from autosearch.methods.pruning.criteria.random import Random
from autosearch.methods.pruning.criteria.taylor import Taylor

__all__ = [
    "BnScale",
    "Context",
    "Criterion",
    "DepGraph",
    "GroupSparsity",
    "Magnitude",
    "Random",
    "Taylor",
    "build_criterion",
]
