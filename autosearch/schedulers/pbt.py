"""Population-based training (Jaderberg et al. 2017, "Population Based Training of Neural Networks", algorithm 1).

Words: a *founder* is a trial from the searcher; a *member* is a founder or whoever stands in its place; a *rung* is a
multiple of `interval`, where members are compared and may be replaced.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autosearch.core import Decision, History, OptionError, Problem, State, StudyError, Suggestion, Trial
from autosearch.core.seeds import derive_rng
from autosearch.schedulers.ladder import Ladder, Rung, newly_reached
from autosearch.schedulers.options import UNBOUNDED, check_at_least, fidelities
from autosearch.space import Categorical, Config, Float, Int, Ordinal, SearchSpace, Value
from autosearch.space.parameters import Searched

_TRIES = 32  # changes that may break an input constraint before the parent's values are taken as they are
_ROUNDS = 10  # comparisons in a trial's life where no interval is given


@dataclass
class Population:
    """The members that began together, as one history shows them.

    Attributes:
        founders: how many have begun.
        alive: numbers of its unfinished trials.
        vacant: numbers of its stopped and failed trials whose place nobody has taken yet.
    """

    founders: int = 0
    alive: set[int] = field(default_factory=set)
    vacant: list[int] = field(default_factory=list)


class PbtScheduler:
    """Trains a population; at each rung its worst members give way to changed copies of its best.

    A member is stopped when it is seen to be among the worst `quantile` of all that came to the highest rung on
    which it stands with enough others (truncation selection), or if its value is NaN. At each rung members pause,
    and go on in their turn, those furthest behind first: so one worker trains a whole population, and many workers
    never wait for each other. In the place of a stopped or failed member begins a trial with a `parent`, drawn among
    the best `quantile` of such a rung: it starts from the parent's newest checkpoint, weights and fidelity included,
    with the parent's configuration, in which the parameters of `vary` are changed. Its `info` says whose place it
    takes and what was changed. Steps are counted along the line of descent, seconds of each trial are its own.

    Founders come from the searcher. A population that has come to its end, or leaves workers free, is followed by
    another one, as long as the budget lasts. Where no new trial may begin, those there are run to their end.

    With several objectives the order at a rung is the non-dominated rank; infeasible trials stand behind feasible
    ones.

    Differs from the paper: members are compared by what each measured at the same step, not by what is newest, so
    that those that wait for a worker are not the losers. Who came first to a rung is judged there at a later report,
    once others have come.

    Args:
        population: members.
        interval: steps between rungs; default: a tenth of `max`.
        quantile: share of the members that is replaced, and of those that replace, at most 0.5.
        vary: parameters that change between parent and child; default: every searched real number. What shapes the
            network must not be among them: a child has its parent's weights.
        resample: probability that a parameter is drawn anew instead of perturbed.
        factors: one of them, drawn at random, multiplies a number that is perturbed. An ordinal moves by one place; a
            categorical changes only where it is drawn anew.
        max: step at which a trial is complete; default: the study's. One of them is required.
    """

    def __init__(
        self,
        *,
        population: int = 10,
        interval: int | None = None,
        quantile: float = 0.2,
        vary: tuple[str, ...] | None = None,
        resample: float = 0.25,
        factors: tuple[float, ...] = (0.8, 1.2),
        max: int | None = None,  # noqa: A002 - the word of the study file
    ) -> None:
        check_at_least("population", population, 2)
        check_at_least("interval", interval, 1)
        check_at_least("max", max, 1)
        if not 0 < quantile <= 0.5:
            raise OptionError(f"quantile must lie above 0 and be 0.5 at most, got {quantile:g}.", "quantile")
        if quantile * population < 1:
            raise OptionError(
                f"quantile {quantile:g} of a population of {population} is less than one member: nobody would "
                f"ever be replaced. Raise one of them.",
                "quantile",
            )
        if not 0 <= resample <= 1:
            raise OptionError(f"resample must lie between 0 and 1, got {resample:g}.", "resample")
        if not factors or not all(0 < factor < math.inf for factor in factors):
            raise OptionError(f"factors must be positive numbers, got {list(factors)}.", "factors")
        self._size, self._interval, self._quantile = population, interval, quantile
        self._vary, self._resample, self._factors, self._max = vary, resample, factors, max
        self._home: list[int] = []
        self._climbs: list[tuple[int, ...]] = []
        self._populations: list[Population] = []
        self._steps: tuple[int, ...] = ()
        self._ladder = self._new_ladder()

    def check(self, problem: Problem) -> None:
        """Refuse a problem without an end, and one in which nothing would change.

        Raises:
            OptionError: naming the option that helps.
        """
        last = fidelities(None, self._max, problem)[1]
        if last == UNBOUNDED:
            raise OptionError("pbt needs to know when a trial is complete: give `max`.", "max")
        if self._interval is not None and self._interval >= last:
            raise OptionError(
                f"interval is {self._interval}, but a trial is complete at step {last}: members would never be "
                f"compared. Lower it.",
                "interval",
            )
        searched = problem.space.searched
        for name in self._vary or ():
            if name not in searched:
                raise OptionError(
                    f"vary: {name!r} is no searched parameter. They are {', '.join(searched)}.", "vary"
                )
        if not self._varied(problem.space):
            raise OptionError(
                "pbt changes real numbers only, unless told otherwise, and none is searched. Name parameters in "
                "`vary`.",
                "vary",
            )

    def milestones(self, problem: Problem) -> tuple[int, ...]:
        last = fidelities(None, self._max, problem)[1]
        every = self._interval or max(1, last // _ROUNDS)
        return tuple(range(every, last, every))

    def decide(self, history: History, trial: Trial) -> Decision:
        self._look(history)
        room = self._room(history, self._home[trial.number])
        if room <= 0:
            return Decision.CONTINUE
        vacant = sum(len(population.vacant) for population in self._populations if population.alive)
        if room > vacant and self._loses(history, trial):
            return Decision.STOP
        reached = newly_reached(trial, self._climbs[trial.number])
        return Decision.CONTINUE if reached is None else Decision.PAUSE

    def propose(self, history: History, n: int) -> list[Suggestion]:
        """Lets paused members go on and fills vacant places, those furthest behind first."""
        self._look(history)
        open_ended = self._unlimited(history)
        found: list[Suggestion] = []
        for home, population in enumerate(self._populations):
            if population.founders < self._size and open_ended:
                continue  # its founders come first
            turns = [(*self._turn(history, home, number), number) for number in population.alive]
            if open_ended:
                turns += [(*self._turn(history, home, number), number) for number in population.vacant]
            for *_, number in sorted(turns):
                if len(found) == n:
                    return found
                found += self._action(history, home, number)
        return found

    # -- who stands where ----------------------------------------------------------------------------------

    def _look(self, history: History) -> None:
        """Work out populations and rungs of `history`."""
        steps = self.milestones(history.problem)
        if steps != self._steps:
            self._steps, self._ladder = steps, self._new_ladder()
        self._home, self._climbs, self._populations = [], [], []
        founders, taken = 0, {t.info.get("replaces") for t in history if t.parent is not None}
        for trial in history:
            if trial.parent is None:
                home, start = founders // self._size, 0
                founders += 1
            else:
                home, start = self._home[trial.parent], trial.transitions[0].step
            if home == len(self._populations):
                self._populations.append(Population())
            population = self._populations[home]
            population.founders += trial.parent is None
            if not trial.state.finished:
                population.alive.add(trial.number)
            elif trial.state is not State.COMPLETE and trial.number not in taken:
                population.vacant.append(trial.number)
            self._home.append(home)
            self._climbs.append(tuple(step for step in steps if step > start))
        self._ladder.look(history)

    def _new_ladder(self) -> Ladder:
        return Ladder(lambda number: self._climbs[number], lambda number: self._home[number])

    def _unlimited(self, history: History) -> bool:
        """Whether a new trial may begin."""
        limit = history.problem.budget.trials
        return limit is None or len(history) < limit

    def _room(self, history: History, home: int) -> float:
        """How many trials may begin besides the founders that a population waits for."""
        limit = history.problem.budget.trials
        missing = self._size - self._populations[home].founders
        return math.inf if limit is None else limit - len(history) - missing

    def _loses(self, history: History, trial: Trial) -> bool:
        """Whether a member gives way to a copy of a better one."""
        home, number = self._home[trial.number], trial.number
        values = history.problem.signed(trial.reports[-1].metrics) or (math.nan,)
        if any(map(math.isnan, values)):
            return bool(self._parents(history, home, number))
        rung = next((r for r in self._rungs(home) if number in r and self._replaced(r)), None)
        if rung is None or rung.place(number) < len(rung) - self._replaced(rung):
            return False
        return any(n in rung and rung.place(n) < rung.place(number) for n in self._populations[home].alive)

    def _replaced(self, rung: Rung) -> int:
        """How many of those that came to a rung are replaced."""
        return int(self._quantile * len(rung))

    def _rungs(self, home: int) -> list[Rung]:
        """The rungs of a population that somebody reached, highest first."""
        rungs = (self._ladder.rung(home, step) for step in reversed(self._steps))
        return [rung for rung in rungs if len(rung)]

    def _turn(self, history: History, home: int, number: int) -> tuple[int, int]:
        """Order of turns: by step, then those that stand best, who are then the first for others to be judged by."""
        step = history[number].step
        rung = next((rung for rung in self._rungs(home) if number in rung), None)
        return step, len(history) if rung is None else rung.place(number)

    # -- what happens next ---------------------------------------------------------------------------------

    def _action(self, history: History, home: int, number: int) -> list[Suggestion]:
        """What the turn of a paused or replaced trial brings; nothing where it runs, or has no possible parent."""
        trial = history[number]
        if trial.state is State.PAUSED:
            if trial.checkpoint is None:
                raise StudyError(
                    f"pbt: trial {number} paused at step {trial.step} without a checkpoint, so neither it nor a child "
                    f"can go on from there. Let the training code save checkpoints, and give the study an output."
                )
            return [Suggestion(resume=number)]
        if not trial.state.finished:
            return []
        parents = self._parents(history, home, number)
        if not parents:
            return []
        rng = derive_rng(history.problem.seed, "pbt", number)
        parent = history[parents[int(rng.integers(len(parents)))]]
        config, changed = self._explore(history.problem.space, parent.config, rng)
        return [
            Suggestion(config, parent=parent.number, info={"reason": "pbt", "replaces": number, **changed})
        ]

    def _parents(self, history: History, home: int, number: int) -> list[int]:
        """Members that may take the place of `number`: the best at the highest rung that enough have reached."""
        rungs = self._rungs(home)
        for rung in [*filter(self._replaced, rungs), *rungs]:
            last = rung.place(number) if number in rung else len(rung)
            better = [n for n in rung.best(len(rung)) if rung.place(n) < last]
            alive = [n for n in better if n in self._populations[home].alive and history[n].checkpoint]
            if alive:
                return alive[: self._replaced(rung) or 1]
        return []

    def _varied(self, space: SearchSpace) -> Sequence[str]:
        if self._vary is not None:
            return self._vary
        return [name for name in space.searched if isinstance(space.parameters[name], Float)]

    def _explore(
        self, space: SearchSpace, config: Config, rng: np.random.Generator
    ) -> tuple[dict[str, Value], dict[str, object]]:
        """A changed configuration, and what was changed, as `{"changed": {name: [before, after]}}`."""
        names = [name for name in self._varied(space) if name in config]
        for _ in range(_TRIES):
            drawn = space.sample(rng, 1)[0]
            values = {name: value for name, value in drawn.items() if name in space.searched}
            values |= {name: value for name, value in config.items() if name in space.searched}
            for name in names:
                parameter = space.parameters[name]
                if rng.random() < self._resample:
                    values[name] = drawn.get(name, values[name])
                elif isinstance(parameter, Searched):
                    values[name] = perturbed(parameter, values[name], rng, self._factors)
            child = space.complete(values)
            if space.satisfies(child):
                changes = {n: [config[n], child[n]] for n in names if n in child and child[n] != config[n]}
                return child, {"changed": changes}
        return dict(config), {"changed": {}}


def perturbed(
    parameter: Searched, value: Value, rng: np.random.Generator, factors: Sequence[float] = (0.8, 1.2)
) -> Value:
    """`value` times a random factor within the bounds; the next place of an ordinal; a categorical as it is.

    A whole number moves by one step at least.
    """
    if isinstance(parameter, Float | Int) and isinstance(value, int | float):
        factor = factors[int(rng.integers(len(factors)))]
        target = value * factor
        least = parameter.grid or (1 if isinstance(parameter, Int) else 0)
        if abs(target - value) < least:
            target = value + math.copysign(least, factor - 1)
        inside = min(max(target, parameter.low), parameter.high)
        return parameter.from_unit(float(parameter.to_unit_array([inside])[0]))
    if isinstance(parameter, Ordinal) and not isinstance(parameter, Categorical):
        place = parameter.choices.index(value) + (1 if rng.random() < 0.5 else -1)
        return parameter.choices[min(max(place, 0), len(parameter.choices) - 1)]
    return value


def lineage(history: History, number: int) -> list[Trial]:
    """The trials whose checkpoints `number` goes back to, founder first, itself last.

    Each began at its `transitions[0].step`; together they are the path of the hyperparameters.
    """
    line = [history[number]]
    while (parent := line[0].parent) is not None:
        line.insert(0, history[parent])
    return line
