"""The default searcher: chooses one from the problem and says why."""

from typing import Any

from autosearch.core import plugins
from autosearch.core.errors import StudyError
from autosearch.core.history import History
from autosearch.core.protocols import Predictor, Searcher, Stage
from autosearch.core.records import Problem, Suggestion
from autosearch.space import SearchSpace

# After 80 trials over 60 to 100 parameters a Gaussian process was ahead of evolution by factors of 1.5 to 20 on four
# functions, and with five objectives by half of the dominated volume; of still more parameters nothing was measured.
_MOST_DIMENSIONS = 100


class AutoSearcher:
    """Chooses the searcher from the problem; every suggestion's `info` says which and why.

    | problem | searcher |
    |---|---|
    | no objective (a stage) | sobol |
    | most parameters belong to subspaces with moves of their own (architectures) | evolution |
    | more than 100 parameters | evolution |
    | any other | bayesian |

    The choice depends on space and objectives only, so it never changes within a study.
    """

    def __init__(self) -> None:
        self._built: dict[str, Searcher] = {}

    def reason(self, problem: Problem) -> str:
        """The choice and why, in one line."""
        name, why = choose(problem)
        return f"{name}: {why}"

    def check(self, problem: Problem) -> None:
        """Raises what the chosen searcher raises."""
        self._optional(problem, "check", None)

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """What the chosen searcher suggests, with `why` in each `info`."""
        why = self.reason(history.problem)
        return [
            Suggestion(s.config, s.parent, s.until, s.resume, {**s.info, "why": why})
            for s in self._chosen(history.problem).suggest(history, n)
        ]

    def predictor(self, history: History) -> Predictor:
        """The chosen searcher's surrogate.

        Raises:
            StudyError: it has none.
        """
        chosen: Any = self._chosen(history.problem)
        if not hasattr(chosen, "predictor"):
            raise StudyError(f"predictor: auto chose {self.reason(history.problem)}, which has no surrogate.")
        predictor: Predictor = chosen.predictor(history)
        return predictor

    def stages(self, problem: Problem) -> list[Stage]:
        """The chosen searcher's stages."""
        return list(self._optional(problem, "stages", []))

    def needs_checkpoints(self, history: History) -> set[int]:
        """Trials that the chosen searcher may start from."""
        chosen: Any = self._chosen(history.problem)
        return set(chosen.needs_checkpoints(history)) if hasattr(chosen, "needs_checkpoints") else set()

    def _optional(self, problem: Problem, name: str, missing: Any) -> Any:
        method = getattr(self._chosen(problem), name, None)
        return missing if method is None else method(problem)

    def _chosen(self, problem: Problem) -> Searcher:
        name, _ = choose(problem)
        if name not in self._built:
            self._built[name] = plugins.build("searchers", name)
        return self._built[name]


def choose(problem: Problem) -> tuple[str, str]:
    """Name of the searcher for `problem`, and why."""
    d, m = problem.space.dimensions, len(problem.objectives)
    if m == 0:
        return "sobol", "nothing to optimise, so the space is covered evenly"
    own = _with_own_moves(problem.space)
    if 2 * own > d:
        return "evolution", f"{own} of {d} parameters belong to an architecture with moves of its own"
    if d > _MOST_DIMENSIONS:
        return "evolution", f"{d} parameters are too many for a Gaussian process"
    return (
        "bayesian",
        f"{d} parameter{'s' * (d != 1)} and {m} objective{'s' * (m != 1)} suit a Gaussian process",
    )


def _with_own_moves(space: SearchSpace) -> int:
    return sum(len(group.searched) for group in space.groups if group.subspace.neighbours is not None)
