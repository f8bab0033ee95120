"""Figures of a study: pure functions from a History to a `plotly.Figure` that a notebook can show.

Those about the surrogate take a `Predictor` as second argument; `importance` takes the table of PED-ANOVA.
"""

from autosearch.reporting.figures.fronts import constraints, pareto_front
from autosearch.reporting.figures.parameters import (
    ImportanceTable,
    importance,
    parallel_coordinates,
    sampled_share,
    slices,
)
from autosearch.reporting.figures.progress import learning_curves, optimisation_history, states, timeline
from autosearch.reporting.figures.trust import (
    StepTrust,
    Trust,
    cross_validation,
    fidelity_correlation,
    fidelity_trust,
    trust,
)

__all__ = [
    "ImportanceTable",
    "StepTrust",
    "Trust",
    "constraints",
    "cross_validation",
    "fidelity_correlation",
    "fidelity_trust",
    "importance",
    "learning_curves",
    "optimisation_history",
    "parallel_coordinates",
    "pareto_front",
    "sampled_share",
    "slices",
    "states",
    "timeline",
    "trust",
]
