"""The search space: parameters, conditions, input constraints, expressions, and the encoding in the unit cube."""

from autosearch.space.errors import AutosearchError, ExpressionError, InactiveError, SpaceError, Where, join
from autosearch.space.expressions import Expression
from autosearch.space.grid import Grid
from autosearch.space.nearest import did_you_mean, nearest
from autosearch.space.operators import Value
from autosearch.space.parameters import (
    Categorical,
    Derived,
    Fixed,
    Float,
    Int,
    Ordinal,
    Parameter,
    Prior,
    Searched,
)
from autosearch.space.parsing import parse_parameter
from autosearch.space.search_space import SearchSpace, nest
from autosearch.space.subspace import Config, Group, Subspace

__all__ = [
    "AutosearchError",
    "Categorical",
    "Config",
    "Derived",
    "Expression",
    "ExpressionError",
    "Fixed",
    "Float",
    "Grid",
    "Group",
    "InactiveError",
    "Int",
    "Ordinal",
    "Parameter",
    "Prior",
    "SearchSpace",
    "Searched",
    "SpaceError",
    "Subspace",
    "Value",
    "Where",
    "did_you_mean",
    "join",
    "nearest",
    "nest",
    "parse_parameter",
]
