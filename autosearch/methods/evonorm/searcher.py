"""The evolution of layers: the project's own with the paper's settings, a surrogate and a re-ranking on request."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from autosearch.core import History, OptionError, Problem, State, Suggestion, Trial
from autosearch.methods.evonorm.features import features, works
from autosearch.methods.evonorm.graphs import Graph
from autosearch.methods.evonorm.space import layer_group
from autosearch.searchers.evolution import EvolutionSearcher
from autosearch.space.subspace import Group

if TYPE_CHECKING:
    from autosearch.space import Config

_FITTED = 200  # newest trials that the surrogate learns from: a fit costs their cube
_LEAST = 3  # trained and rejected layers each before the surrogate has a say; twice as many for values
_DOUBT = 0.05  # least probability to pass: no kind of layer is given up for good
_STRIDE = 1 << 20  # more than the children that any trial is chosen from
_TRIES = 32  # children for each that is wanted: nine of ten random graphs fail the static check


class EvoNormSearcher(EvolutionSearcher):
    """Evolves layers: winners of small tournaments mutate twice, half of the children are fresh random graphs.

    Liu et al. 2020, "Evolving Normalization-Activation Layers", section 3.4. A function of the history; equal layers
    are not trained twice. Rejected layers are no parents. As in the paper a mutation may change dead nodes alone, and
    the two that follow each other may undo each other; a child that equals a trial's layer is drawn again.

    The surrogate is this project's addition: of several children it picks the one with the largest product of the
    probability to pass the checks and the expected improvement, by two Gaussian processes over what is known of layers
    without training them (see `features`); children that fail the static check are not considered.

    Args:
        population: trained layers before the first child.
        window: newest trained layers that may become parents.
        tournament: layers drawn for each parent: a number, or below 1 a share of the window; of fewer than 40, 5 % is
            a single one, and nothing is selected.
        moves: mutations from parent to child.
        fresh: probability of a random graph in place of the child.
        winner: a random member of the tournament's front over the anchors, or the best mean.
        surrogate: children among which the surrogate chooses; 1 is plain evolution.
        proxy: steps of an ordinary trial; None: all of them.
        rerank: the last trials of the budget go on with the best layers from `proxy` to the end.
    """

    def __init__(
        self,
        population: int = 10,
        window: int = 2500,
        tournament: float = 0.05,
        *,
        moves: int = 2,
        fresh: float = 0.5,
        winner: Literal["pareto", "mean"] = "pareto",
        surrogate: int = 1,
        proxy: int | None = None,
        rerank: int = 0,
    ) -> None:
        super().__init__(
            population, window, tournament, moves=moves, fresh=fresh, winner=winner, initial="random"
        )
        if surrogate < 1:
            raise OptionError(f"surrogate: at least 1 child, got {surrogate}.", "surrogate")
        if proxy is not None and proxy < 1:
            raise OptionError(f"proxy: at least 1 step, got {proxy}.", "proxy")
        if rerank < 0:
            raise OptionError(f"rerank: at least 0 trials, got {rerank}.", "rerank")
        if rerank and proxy is None:
            raise OptionError("rerank: needs `proxy`, the shorter training that it goes on from.", "rerank")
        self.surrogate, self.proxy, self.rerank = surrogate, proxy, rerank

    def check(self, problem: Problem) -> None:
        """Refuse a space without a layer, and a re-ranking that has no place.

        Raises:
            SpaceError: if no layer is searched.
            OptionError: if `rerank` is as large as the budget, or there is none of trials.
        """
        layer_group(problem.space)
        limit = problem.budget.trials
        if self.rerank and (limit is None or limit <= self.rerank):
            raise OptionError(f"rerank: needs a budget of more than {self.rerank} trials.", "rerank")

    def needs_checkpoints(self, history: History) -> set[int]:
        """The layers that would be ranked again now."""
        return {trial.number for trial in self._best(history)} if self.rerank else set()

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """Up to `n` layers, or the best ones again, for longer, where the budget ends."""
        again = self._again(history, n)
        if again:
            return again
        found = super().suggest(history, n) if self.surrogate == 1 else self._chosen(history, n)
        return [dataclasses.replace(s, until=self.proxy) for s in found]

    def living(self, history: History) -> list[Trial]:
        """The trials that may become parents: of ordinary length, oldest first."""
        trained = [t for t in history.complete if t.values and t.parent is None]
        return trained if self.window is None else trained[-self.window :]

    def child(self, problem: Problem, living: Sequence[Trial], rng: np.random.Generator) -> Suggestion | None:
        """A tournament's winner after `moves` mutations, which may repeat a trial's layer."""
        parent = self.select(living, rng)
        group = layer_group(problem.space)
        inner: Config = group.inner(parent.config)
        for _ in range(self.moves):
            moved = group.subspace.neighbours(inner, rng, 1) if group.subspace.neighbours else []
            if not moved:
                return None
            inner = moved[0]
        rest = {name: parent.config[name] for name in problem.space.searched if name in parent.config}
        rest = {name: value for name, value in rest.items() if name not in group.names.values()}
        config = problem.space.complete({**rest, **group.outer(dict(inner))})
        return Suggestion(config, info={"reason": "mutation", "parent": parent.number})

    # -- the surrogate -------------------------------------------------------------------------------------

    def _chosen(self, history: History, n: int) -> list[Suggestion]:
        """Of `surrogate` children for each place, the most promising ones."""
        group = layer_group(history.problem.space)
        tried = self._tried.keys(history)
        able: list[tuple[Suggestion, Graph]] = []
        wanted = n * self.surrogate
        for i in range(_TRIES * wanted if n else 0):
            # Numbers of their own: the children of trial 7 must not be those that trial 6 left behind.
            child = self._suggestion(history, len(history) * _STRIDE + i, 0, tried)
            if child is None:
                break
            tried.add(history.problem.space.key(child.config))
            graph = Graph.from_config(group.inner(child.config))
            if works(graph):
                able.append((child, graph))
            if len(able) == wanted:
                break
        scores = self._promise(history, group, [graph for _, graph in able]) if len(able) > n else None
        if scores is None:
            return [child for child, _ in able[:n]]
        found = []
        for i in np.argsort(-scores, kind="stable")[:n]:
            child = able[i][0]
            info = {**child.info, "of": len(able), "promise": float(scores[i])}
            found.append(dataclasses.replace(child, info=info))
        return found

    def _promise(self, history: History, group: Group, children: Sequence[Graph]) -> np.ndarray | None:
        """Log of the expected gain of training each child: probability to pass times expected improvement.

        None where too few layers are known; without the improvement where too few were trained.
        """
        from autosearch.searchers.bayesian import Surrogate

        trained = {t.number: t for t in self.living(history)}
        rejected = [t for t in history.finished if t.state is State.STOPPED and "rejected" in t.data]
        known = sorted([*trained.values(), *rejected], key=lambda t: t.number)[-_FITTED:]
        pairs = [(t, Graph.from_config(group.inner(t.config))) for t in known]
        pairs = [(trial, graph) for trial, graph in pairs if works(graph)]
        passed = np.array([trial.number in trained for trial, _ in pairs], dtype=bool)
        if passed.sum() < _LEAST or (~passed).sum() < _LEAST:
            return None
        X = np.array([features(graph) for _, graph in pairs])
        among = np.array([features(graph) for graph in children])
        failing, _ = Surrogate.fit(X, (~passed).astype(float)).predict(among)
        scores: np.ndarray = np.log(np.clip(1 - failing, _DOUBT, 1.0))
        if passed.sum() >= 2 * _LEAST:
            means = [float(np.mean(trial.values)) for trial, _ in pairs if trial.values]
            scores = scores + Surrogate.fit(X[passed], np.array(means)).log_ei(among)
        return scores

    # -- the re-ranking ------------------------------------------------------------------------------------

    def _again(self, history: History, n: int) -> list[Suggestion]:
        limit = history.problem.budget.trials
        if not self.rerank or limit is None or limit - len(history) > self.rerank - len(_reranked(history)):
            return []
        chosen = [t for t in self._best(history) if t.number not in _reranked(history) and t.checkpoint]
        info = {"reason": "ranked again"}
        return [Suggestion(t.config, parent=t.number, info={**info, "layer": t.number}) for t in chosen[:n]]

    def _best(self, history: History) -> list[Trial]:
        """The `rerank` best layers of ordinary length, by the mean over the anchors.

        An order that later trials cannot change: who falls out never comes back, and may lose its checkpoint.
        """
        trained = [t for t in history.complete if t.feasible and t.values and t.parent is None]
        return sorted(trained, key=lambda t: (sum(t.values or ()), t.number))[: self.rerank]


def _reranked(history: History) -> set[int]:
    """Numbers of the trials that were begun again."""
    return {trial.parent for trial in history if trial.parent is not None}
