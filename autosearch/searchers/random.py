"""Random search: every trial's configuration from the study's seed and the trial's number alone."""

from autosearch.core.history import History
from autosearch.core.records import Problem, Suggestion
from autosearch.core.seeds import derive_rng


class RandomSearcher:
    """Uniformly random feasible configurations; never ends, and may repeat itself in a finite space.

    Bergstra and Bengio 2012, "Random search for hyper-parameter optimization". Users' priors are not consulted.
    """

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """`n` suggestions; the one for trial `k` depends on the seed and `k` only.

        Raises:
            SpaceError: hardly any configuration meets the constraints.
        """
        first = len(history)
        return [random_suggestion(history.problem, first + i) for i in range(n)]


def random_suggestion(problem: Problem, number: int, reason: str = "random") -> Suggestion:
    """What random search runs as trial `number`; searchers that fall back to it say why in `reason`.

    Raises:
        SpaceError: hardly any configuration meets the constraints.
    """
    config = problem.space.sample(derive_rng(problem.seed, "random", number), 1)[0]
    return Suggestion(config, info={"reason": reason})
