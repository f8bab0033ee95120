"""AutoML for PyTorch: hyperparameters, architectures and learning-rate schedules from one study.

Names load when they are first used, so `import autosearch` costs milliseconds and changes no global state.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autosearch.compose import load
    from autosearch.core import (
        AutosearchError,
        Budget,
        Decision,
        Goal,
        History,
        Job,
        Problem,
        Progress,
        Resources,
        Stage,
        State,
        Study,
        Suggestion,
        Trial,
    )
    from autosearch.embedding import SearchCV
    from autosearch.methods.autolrs import AutoLRS
    from autosearch.methods.evonorm import swap_norm_act
    from autosearch.methods.pruning import load_pruned, prune
    from autosearch.methods.robot.metrics import score
    from autosearch.methods.stn import DeltaSTN
    from autosearch.runners.ray_search import RayTuneSearcher
    from autosearch.runners.session import get_checkpoint, report
    from autosearch.searchers.optuna_sampler import OptunaSampler
    from autosearch.space import (
        Categorical,
        Derived,
        Fixed,
        Float,
        Int,
        Ordinal,
        Prior,
        SearchSpace,
        Subspace,
    )

__version__ = "0.1.0"

_HOMES = {
    "autosearch.compose": ("load",),
    "autosearch.core": (
        "AutosearchError",
        "Budget",
        "Decision",
        "Goal",
        "History",
        "Job",
        "Problem",
        "Progress",
        "Resources",
        "Stage",
        "State",
        "Study",
        "Suggestion",
        "Trial",
    ),
    "autosearch.embedding": ("SearchCV",),
    "autosearch.methods.autolrs": ("AutoLRS",),
    "autosearch.methods.stn": ("DeltaSTN",),
    "autosearch.methods.robot.metrics": ("score",),
    "autosearch.methods.evonorm": ("swap_norm_act",),
    "autosearch.methods.pruning": ("load_pruned", "prune"),
    "autosearch.runners.ray_search": ("RayTuneSearcher",),
    "autosearch.runners.session": ("get_checkpoint", "report"),
    "autosearch.searchers.optuna_sampler": ("OptunaSampler",),
    "autosearch.space": (
        "Categorical",
        "Derived",
        "Fixed",
        "Float",
        "Int",
        "Ordinal",
        "Prior",
        "SearchSpace",
        "Subspace",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [*_HOME, "__version__"]  # noqa: PLE0604 - names from a table, all strings


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'autosearch' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
