"""What every searcher must pass: run your own through it.

from autosearch.testing.searcher_kit import SearcherKit

class TestMine(SearcherKit):
    def searcher(self):
        return MySearcher(points=7)
"""

import json
import pickle
import random
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autosearch.core import Decision, History, Study, Suggestion, Trial
from autosearch.core.protocols import Searcher
from autosearch.space import Config, SearchSpace
from autosearch.testing.searcher_cases import ENDLESS, HISTORIES, SPACES, Case, Fates, goals, grow, measure


class SearcherKit:
    """Tests of one searcher on every kind of space and history; collected by pytest from a subclass called `Test…`.

    Attributes:
        repeats: whether it may suggest a configuration that a trial has. If not, it ends where a finite space does.
        draws: whether studies of different seeds get different suggestions.
        spaces: names of the spaces to ask it in, of `searcher_cases.SPACES`.
        objectives: numbers of objectives that it takes.
        histories: names of the histories to ask it after, of `searcher_cases.HISTORIES`.
        trials: length of the studies that are run and replayed.
        most_calls: Python function calls that one suggestion may cost.
    """

    repeats = False
    draws = True
    spaces: Sequence[str] = tuple(SPACES)
    objectives: Sequence[int] = (1, 2)
    histories: Sequence[str] = tuple(HISTORIES)
    trials = 14
    most_calls = 2_000_000

    def searcher(self) -> Searcher:
        """A fresh searcher. To be overridden."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each case; found by pytest, which need not be imported for it."""
        if "case" in metafunc.fixturenames:
            cases = [Case(s, m, h) for s in self.spaces for m in self.objectives for h in self.histories]
            metafunc.parametrize("case", cases, ids=str)
        elif "place" in metafunc.fixturenames:
            places = [(s, m) for s in self.spaces for m in self.objectives]
            metafunc.parametrize("place", places, ids=[f"{s}-{m}" for s, m in places])

    # -- one question --------------------------------------------------------------------------------------

    def test_suggestions_are_legal_and_change_nothing(self, case: Case) -> None:
        history = case.build()
        trials, events, problem = list(history), history.events, history.problem
        before = _global_state()
        suggestions = self._ask(self.searcher(), history, 3)
        _require(not _changed(before), f"it changed global state: {', '.join(_changed(before))}")
        unchanged = len(history) == len(trials) and all(a is b for a, b in zip(history, trials, strict=True))
        _require(
            unchanged and (history.events, history.problem) == (events, problem), "it changed the history"
        )
        for suggestion in suggestions:
            self._check_legal(history, suggestion)
        self._check_count(history, suggestions, 3)

    def test_a_fresh_searcher_says_the_same_as_a_long_lived_one(self, case: Case) -> None:
        history, old = case.build(), self.searcher()
        other = Case("nested", case.objectives, "one").build(seed=5) if "nested" in self.spaces else history
        for earlier in (other, history, *(history.as_of(trial) for trial in history[::3])):
            self._ask(old, earlier, 1)
        fresh = _plain(self._ask(self.searcher(), history, 2))
        _require(_plain(self._ask(old, history, 2)) == fresh, "it depends on what it was asked before")
        # Loaded anew the same history consists of other objects.
        _require(
            _plain(self._ask(self.searcher(), case.build(), 2)) == fresh,
            "it depends on more than the history",
        )

    def test_none_asked_is_none_suggested(self) -> None:
        case = Case(self.spaces[0], self.objectives[0], "one")
        _require(
            self.searcher().suggest(case.build(), 0) == [], "it suggests something when asked for nothing"
        )

    def test_the_cost_of_a_suggestion_is_bounded(self) -> None:
        for name in ("nested", "constrained"):
            if name not in self.spaces:
                continue
            history = grow(SPACES[name](), self.objectives[0], ("complete",) * 40, (), seed=1)
            with CountedCalls() as counted:
                self._ask(self.searcher(), history, 1)
            _require(
                counted.calls <= self.most_calls,
                f"{name}: one suggestion took {counted.calls:,} calls, allowed are {self.most_calls:,}",
            )

    def test_studies_of_different_seeds_differ(self) -> None:
        if not self.draws:
            return
        for name in [name for name in self.spaces if name in ENDLESS]:
            history = Case(name, self.objectives[0], "empty").build()
            other = History(replace(history.problem, seed=history.problem.seed + 1))
            mine, theirs = (_plain(self._ask(self.searcher(), h, 3)) for h in (history, other))
            _require(mine != theirs, f"{name}: seeds 0 and 1 give the same suggestions")

    # -- whole studies -------------------------------------------------------------------------------------

    def test_every_trial_can_be_suggested_again_from_what_it_had_seen(self, place: tuple[str, int]) -> None:
        name, objectives = place
        study = self._run(SPACES[name](), objectives, self.trials)
        searcher = self.searcher()
        for trial in study.history:
            if trial.info.get("reason") in ("first", "queued"):
                continue
            index, size = trial.batch
            again = self._ask(searcher, study.history.as_of(trial), size)
            _require(len(again) > index, f"trial {trial.number} of a batch of {size} is not suggested again")
            config = study.problem.space.complete(again[index].config)
            _require(
                config == trial.config,
                f"trial {trial.number}: suggested was {trial.config}, now from the same history {config}",
            )

    def test_a_finite_space_is_exhausted_without_repeating(self) -> None:
        if self.repeats:
            return
        for name in [name for name in ("finite", "point") if name in self.spaces]:
            space = SPACES[name]()
            everything = _all_keys(space)
            study = self._run(space, self.objectives[0], 2 * len(everything) + 4)
            seen = [space.key(trial.config) for trial in study.history]
            _require(len(set(seen)) == len(seen), f"{name}: a configuration was tried twice")
            _require(
                set(seen) == everything,
                f"{name}: {len(everything) - len(seen)} configurations were never tried",
            )

    def _run(self, space: SearchSpace, objectives: int, trials: int) -> Study:
        """A study of up to `trials` trials on three workers, whose trials end out of order and in every way."""
        fates = Fates()
        study = Study(
            space,
            goals(objectives),
            constraints=["size <= 0.7"],
            searcher=self.searcher(),
            scheduler=fates,
            seed=3,
            workers=3,
        )
        running: list[Trial] = []
        while len(study.history) < trials or running:
            free = min(3 - len(running), trials - len(study.history))
            started = study.ask(free) if free else []
            running += started
            if not running:
                break
            # The newest of three ends first, then the oldest: results come out of order.
            trial = running.pop(-1 if len(study.history) % 3 == 0 else 0)
            _end(study, fates, trial)
        return study

    # -- checks --------------------------------------------------------------------------------------------

    def _ask(self, searcher: Searcher, history: History, n: int) -> list[Suggestion]:
        suggestions = searcher.suggest(history, n)
        _require(
            isinstance(suggestions, list), f"suggest must return a list, got {type(suggestions).__name__}"
        )
        _require(len(suggestions) <= n, f"{len(suggestions)} suggestions where {n} were asked for")
        return suggestions

    def _check_legal(self, history: History, suggestion: Suggestion) -> None:
        space = history.problem.space
        completed = space.validate(suggestion.config)
        _require(
            completed == suggestion.config, f"{suggestion.config} is not whole; it should be {completed}"
        )
        text = json.dumps(dict(suggestion.info), allow_nan=False)
        _require("reason" in suggestion.info, f"info must give the `reason`, got {text}")
        parent = suggestion.parent
        known = parent is None or (0 <= parent < len(history) and history[parent].checkpoint is not None)
        _require(known, f"parent {parent} has no checkpoint")

    def _check_count(self, history: History, suggestions: Sequence[Suggestion], n: int) -> None:
        space = history.problem.space
        if self.repeats:
            _require(len(suggestions) == n, f"{len(suggestions)} suggestions where {n} were asked for")
            return
        tried = {space.key(trial.config) for trial in history}
        keys = [space.key(suggestion.config) for suggestion in suggestions]
        _require(len(set(keys)) == len(keys), "one call suggests a configuration twice")
        _require(not tried & set(keys), "it suggests a configuration that a trial has")
        if len(suggestions) < n:
            left = _all_keys(space) - tried - set(keys)
            _require(
                not left, f"{len(suggestions)} of {n} suggestions, though {len(left)} configurations are left"
            )


def _end(study: Study, fates: Fates, trial: Trial) -> None:
    """Every fifth trial fails, every seventh is stopped, the others are complete."""
    if trial.number % 5 == 4:
        study.tell(trial, error=ValueError(f"trial {trial.number} crashed"))
        return
    fates.decision = Decision.STOP if trial.number % 7 == 6 else Decision.CONTINUE
    study.report(trial, measure(study.problem.space, trial.config), step=1)
    study.tell(trial)


def _all_keys(space: SearchSpace) -> set[Hashable]:
    """The keys of all feasible configurations of a finite space.

    Raises:
        AssertionError: the space is not finite, so that a searcher cannot have exhausted it.
    """
    size = space.size
    if size is None:
        raise AssertionError("fewer suggestions than asked for in an endless space")
    cells: Iterator[Config | None] = iter(space.grid(size))
    return {space.key(config) for config in cells if config is not None}


def _plain(suggestions: Sequence[Suggestion]) -> list[tuple[Any, ...]]:
    return [(dict(s.config), s.parent, s.until, s.resume) for s in suggestions]


class CountedCalls:
    """Counts Python function calls in this thread; counts, unlike clocks, do not depend on the machine's load."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> "CountedCalls":
        self._before = sys.getprofile()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._before)

    def _count(self, frame: object, event: str, argument: object) -> None:  # noqa: ARG002
        self.calls += event == "call"


def _global_state() -> dict[str, Any]:
    """What no searcher may change, by name; torch's only where it is loaded."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global state is the subject
    state: dict[str, Any] = {"random": random.getstate(), "numpy": pickle.dumps(numpy_state)}
    torch = sys.modules.get("torch")
    if torch is not None:
        state["torch"] = torch.get_rng_state().numpy().tobytes()
        state["torch threads"] = torch.get_num_threads()
        state["torch dtype"] = torch.get_default_dtype()
    return state


def _changed(before: dict[str, Any]) -> list[str]:
    now = _global_state()
    return [name for name, value in before.items() if now[name] != value]


def _require(holds: bool, message: str) -> None:  # noqa: FBT001
    """Fail the test with `message`; works without pytest and under `python -O`."""
    if not holds:
        raise AssertionError(message)
