"""Meta pruning: a metanetwork that makes networks easy to prune (Liu et al. 2025)."""

from autosearch.methods.metaprune.goals import DataModel, Removed, Sparse
from autosearch.methods.metaprune.meta_training import MetaTrainer, meta_loss
from autosearch.methods.metaprune.metanetwork import MetaNetwork
from autosearch.methods.metaprune.schema import Graph, GraphSchema, state_of
from autosearch.methods.metaprune.tracing import trace

__all__ = [
    "DataModel",
    "Graph",
    "GraphSchema",
    "MetaNetwork",
    "MetaTrainer",
    "Removed",
    "Sparse",
    "meta_loss",
    "state_of",
    "trace",
]
