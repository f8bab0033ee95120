"""Regularised evolution: tournaments among the newest results, children by the space's own small moves."""

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from autosearch.core.errors import OptionError
from autosearch.core.history import History
from autosearch.core.ranking import ranks
from autosearch.core.records import Problem, State, Suggestion, Trial
from autosearch.core.seeds import derive_rng
from autosearch.searchers.random import random_suggestion
from autosearch.searchers.sobol import SobolSearcher
from autosearch.searchers.unseen import Tried, draw_unseen
from autosearch.space import Config, SearchSpace, SpaceError, Value

_TRIES = 32  # children that may repeat a trial before a configuration is drawn at random instead


class EvolutionSearcher:
    """Changes the winner of a tournament among the newest complete trials; never repeats a trial.

    Real et al. 2019, "Regularized evolution for image classifier architecture search", section 3: a population of
    the newest results, so that a lucky measurement dies out with age. Differs from the paper: with outcome
    constraints the tournament follows Deb's rule (feasible first, then the smaller violation); with several
    objectives its winner is a random member of its front; suggestions know the trials that still run.

    Ends when a finite space is exhausted.

    Args:
        population: measured trials before the first child (measured: complete, or stopped after a report of
            every objective; those still running count too).
        window: newest complete trials that may become parents; None: all.
        tournament: trials drawn from the window for each parent: a number, or below 1 a share of it.
        moves: small moves from parent to child, one after the other.
        crossover: probability that a child mixes two winners before it moves.
        fresh: probability that a random configuration replaces the child.
        winner: with several objectives, a random member of the tournament's front (`pareto`), or the trial
            with the best mean value (`mean`, for objectives on one scale).
        initial: where the first population comes from.
    """

    def __init__(
        self,
        population: int = 10,
        window: int | None = 100,
        tournament: float = 0.5,
        *,
        moves: int = 1,
        crossover: float = 0.0,
        fresh: float = 0.0,
        winner: Literal["pareto", "mean"] = "pareto",
        initial: Literal["sobol", "random"] = "sobol",
    ) -> None:
        for name, number in (("population", population), ("window", window), ("moves", moves)):
            if number is not None and number < 1:
                raise OptionError(f"{name} must be at least 1, got {number}.", name)
        for name, share in (("crossover", crossover), ("fresh", fresh)):
            if not 0 <= share <= 1:
                raise OptionError(f"{name} must lie between 0 and 1, got {share}.", name)
        if not (0 < tournament < 1 or (tournament >= 1 and tournament == int(tournament))):
            raise OptionError(
                f"tournament must be a share between 0 and 1 or a whole number of trials, got {tournament}.",
                "tournament",
            )
        for name, choice, known in (
            ("winner", winner, ("pareto", "mean")),
            ("initial", initial, ("sobol", "random")),
        ):
            if choice not in known:
                raise OptionError(f"{name} must be {' or '.join(known)}, got {choice!r}.", name)
        self.population, self.window, self.tournament = population, window, tournament
        self.moves, self.crossover, self.fresh = moves, crossover, fresh
        self.winner, self.initial = winner, initial
        self._sobol = SobolSearcher()
        self._tried = Tried()

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """Up to `n` configurations that no trial has; `info` names parent and reason.

        Raises:
            SpaceError: hardly any configuration meets the constraints.
        """
        tried = self._tried.keys(history)
        suggestions: list[Suggestion] = []
        for i in range(n):
            found = self._suggestion(history, len(history) + i, i, tried)
            if found is None:
                break
            tried.add(history.problem.space.key(found.config))
            suggestions.append(found)
        return suggestions

    def _suggestion(
        self, history: History, number: int, ahead: int, tried: set[Hashable]
    ) -> Suggestion | None:
        """One suggestion, for trial `number`, with `ahead` others of the same batch before it."""
        problem = history.problem
        rng = derive_rng(problem.seed, "evolution", number)
        living = self.living(history)
        young = sum(map(measured, history.finished)) + len(history.pending) + ahead < self.population
        if young or not living:
            found = self._initial(problem, number)
            if problem.space.key(found.config) not in tried:
                return found
            reason = "initial"
        elif rng.random() < self.fresh:
            reason = "fresh"
        else:
            for _ in range(_TRIES):
                child = self.child(problem, living, rng)
                if child is not None and problem.space.key(child.config) not in tried:
                    return child
            reason = "random: every child repeated a trial"
        config = draw_unseen(problem.space, rng, tried)
        return None if config is None else Suggestion(config, info={"reason": reason})

    def _initial(self, problem: Problem, number: int) -> Suggestion:
        if self.initial == "random":
            return random_suggestion(problem, number, "initial")
        found = self._sobol.suggestion(problem, number)
        return Suggestion(found.config, info={"reason": "initial", "design": found.info["reason"]})

    # -- the steps, for searchers built on this one --------------------------------------------------------

    def living(self, history: History) -> list[Trial]:
        """The trials that may become parents, oldest first."""
        complete = [trial for trial in history.complete if trial.values]
        return complete if self.window is None else complete[-self.window :]

    def select(self, living: Sequence[Trial], rng: np.random.Generator) -> Trial:
        """The winner of one tournament among `living`."""
        wanted = self.tournament if self.tournament >= 1 else math.ceil(self.tournament * len(living))
        entrants = rng.choice(len(living), size=min(int(wanted), len(living)), replace=False)
        drawn: list[Trial] = [living[int(i)] for i in entrants]
        values = np.array([trial.values for trial in drawn], dtype=float)
        if self.winner == "mean":
            values = values.mean(axis=1, keepdims=True)
        rank = ranks(values, np.array([trial.violation for trial in drawn]))
        best = np.flatnonzero(rank == rank.min())
        chosen = int(rng.choice(best))
        return drawn[chosen]

    def child(self, problem: Problem, living: Sequence[Trial], rng: np.random.Generator) -> Suggestion | None:
        """One child of tournament winners, which may repeat a trial; None where no move leads anywhere."""
        parent = self.select(living, rng)
        config: Config = parent.config
        info: dict[str, object] = {"reason": "mutation", "parent": parent.number}
        if rng.random() < self.crossover:
            mate = self.select(living, rng)
            mixed = mix(problem.space, config, mate.config, rng)
            if mixed is not None:
                config, info = mixed, {**info, "reason": "crossover", "mate": mate.number}
        for _ in range(self.moves):
            moved = problem.space.neighbours(config, rng, 1)
            if not moved:
                return None
            config = moved[0]
        return Suggestion(config, info=info)


def measured(trial: Trial) -> bool:
    """Whether a finished trial says how good its configuration is: complete, or stopped while it competed.

    A trial stopped before it reported anything was turned away, and one that failed says nothing.
    """
    return trial.values is not None or (trial.state is State.STOPPED and bool(trial.reports))


def mix(
    space: SearchSpace, first: Config, second: Config, rng: np.random.Generator
) -> dict[str, Value] | None:
    """A feasible configuration with each value from one of two others; None where this draw gives none.

    A subspace with moves of its own is taken whole: its parameters make sense together only.
    """
    whole = [group.searched for group in space.groups if group.subspace.neighbours is not None]
    together = {name: names for names in whole for name in names}
    sources: dict[tuple[str, ...], Config] = {}
    values: dict[str, Value] = {}
    for name in space.searched:
        block = together.get(name, (name,))
        if block not in sources:
            sources[block] = first if rng.random() < 0.5 else second
        source = sources[block]
        # A parameter that only the other one has may become active here: its value is at hand.
        if name not in source and len(block) == 1:
            source = first if source is second else second
        if name in source:
            values[name] = source[name]
    try:
        config = space.complete(values)
    except SpaceError:
        return None  # the mixture makes a parameter active that neither of the two has
    return config if space.satisfies(config) else None
