"""The baseline that training-free metrics have to beat: train the architectures that they rank first."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from autosearch.core import History, Objective, OptionError, Problem, Stage, Suggestion
from autosearch.methods.robot.knowledge import Memory
from autosearch.methods.robot.scoring import STAGE, Scored, Scoring, read_scores, scoring_stage
from autosearch.searchers.unseen import Tried


class TopKSearcher:
    """Trains architectures in the order of one training-free metric, or of the average rank by several.

    Args:
        metrics: one or several; higher is taken for better.
        architecture: the name under which the architecture stands in the space.
        enumerate: spaces of at most so many combinations are scored as a whole; None: 20,000 where scores are read from
            a table, as many as `pool` where networks are built for them.
        pool: architectures that are sampled and scored of a larger one; None: 2,000 of a table, 200 networks.
        block: networks that one trial of the scoring stage scores.
        batch: examples that each network sees when it is scored.

    Raises:
        OptionError: no metric is named.
    """

    def __init__(
        self,
        *,
        metrics: tuple[str, ...],
        architecture: str = "architecture",
        enumerate: int | None = None,  # noqa: A002 - what users write
        pool: int | None = None,
        block: int = 25,
        batch: int = 64,
    ) -> None:
        if not metrics:
            raise OptionError("metrics: name at least one.", "metrics")
        self.scoring = Scoring(metrics, batch, block)
        self.memory = Memory(architecture, enumerate, pool)
        self._tried = Tried()

    def check(self, problem: Problem) -> None:
        """Refuse spaces in which more than architectures is searched.

        Raises:
            OptionError: naming the other parameters.
        """
        parts = self.memory.parts(problem.space)
        if parts.others is not None:
            raise OptionError(
                f"top_k ranks architectures only; fix {', '.join(parts.others.searched)}.", "method"
            )

    def stages_for(self, problem: Problem, objective: Objective) -> Sequence[Stage]:
        """The stage that scores the architectures."""
        size = self.memory.size(read=isinstance(objective, Scored))
        return [scoring_stage(objective, self.memory.pool(problem.space, size), self.scoring)]

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """The next `n` architectures down the ranking that no trial has.

        Raises:
            OptionError: no architecture has a score by one of the metrics.
        """
        pool = self.memory.scored(history)
        S, names, _ = read_scores(history.stages.get(STAGE, History(history.problem)), len(pool))
        missing = [name for name in self.scoring.metrics if name not in names]
        if missing:
            raise OptionError(
                f"no architecture has a score by {', '.join(missing)}; known: {', '.join(names) or 'none'}.",
                "metrics",
            )
        columns = S[:, [names.index(name) for name in self.scoring.metrics]]
        ranks = np.apply_along_axis(rankdata, 0, np.where(np.isfinite(columns), columns, -np.inf))
        tried = self._tried.keys(history)
        about = " and ".join(self.scoring.metrics)
        suggestions: list[Suggestion] = []
        for place, row in enumerate(np.argsort(-ranks.mean(axis=1), kind="stable").tolist()):
            if len(suggestions) == n:
                break
            if history.problem.space.key(pool.configs[row]) not in tried:
                info = {"searcher": "top_k", "reason": f"place {place + 1} by {about}"}
                suggestions.append(Suggestion(pool.configs[row], info=info))
        return suggestions
