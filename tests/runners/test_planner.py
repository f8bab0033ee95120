"""Suggestions from a thread: fresh ones where they come in time, stale ones that say so where they do not."""

import threading
import time
from typing import Any

import pytest

from autosearch.core import History, Study, Suggestion
from autosearch.runners.ray.planner import Planner
from autosearch.space import Float


class Searcher:
    """Suggests x = number of trials seen / 100, once it is let."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.seconds, self.seen = seconds, []  # type: ignore[var-annotated]
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        self.seen.append(history.events)
        self.gate.wait(5)
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return [Suggestion({"x": (len(history) + i) / 100}) for i in range(n)]


def make(searcher: Any, workers: int, **options: Any) -> tuple[Study, Planner]:
    study = Study({"x": Float(0, 1)}, {"loss": "minimize"}, searcher=searcher, workers=workers, **options)
    return study, Planner(study, workers)


def test_a_quick_searcher_s_suggestions_have_seen_everything() -> None:
    study, planner = make(Searcher(), 2)
    first = planner.next(2, idle=True)
    assert [t.config["x"] for t in first] == [0.0, 0.01]
    study.tell(first[0], 1.0)
    (third,) = planner.next(1, idle=False)
    assert third.seen == third.event
    assert "stale" not in third.info


def test_a_slow_searcher_keeps_nobody_waiting_and_what_a_new_result_made_stale_is_asked_again() -> None:
    searcher = Searcher()
    study, planner = make(searcher, 2)
    first, _second = planner.next(2, idle=True)
    searcher.gate.clear()
    began = time.monotonic()
    assert planner.next(1, idle=False) == []
    assert time.monotonic() - began < 0.5
    study.tell(first, 1.0)
    searcher.gate.set()
    trials: list[Any] = []
    while not trials:
        trials = planner.next(1, idle=False)
    assert trials[0].seen == searcher.seen[-1] == trials[0].event
    assert len(searcher.seen) == 3


def test_where_a_fresh_one_takes_too_long_a_stale_one_is_used_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("autosearch.runners.ray.planner.PATIENCE_S", 0.1)
    searcher = Searcher()
    study, planner = make(searcher, 3)
    first, second = planner.next(2, idle=True)
    searcher.seconds = 0.15
    assert planner.next(1, idle=False) == []
    while not (trials := planner.next(1, idle=False)):
        study.report(second, {"loss": 1.0})
        time.sleep(0.01)
    assert trials[0].info["stale"] > 0
    assert trials[0].seen == trials[0].event - trials[0].info["stale"]
    del first


def test_a_stale_one_that_does_not_know_of_a_trial_is_never_used() -> None:
    searcher = Searcher(seconds=0.05)
    study, planner = make(searcher, 3)
    while not planner.next(1, idle=True):
        continue
    assert planner.next(1, idle=False) == []
    study.start([Suggestion({"x": 0.5})])
    while not (trials := planner.next(1, idle=False)):
        time.sleep(0.01)
    assert trials[0].config["x"] == 0.02


def test_with_one_worker_nothing_is_made_ahead() -> None:
    searcher = Searcher(seconds=0.02)
    study, planner = make(searcher, 1)
    while not (trials := planner.next(1, idle=True)):
        continue
    asked = len(searcher.seen)
    planner._seconds = 100.0
    planner.prepare()
    study.tell(trials[0], 1.0)
    planner.prepare()
    time.sleep(0.05)
    assert len(searcher.seen) == asked


def test_where_making_one_takes_too_long_it_is_made_while_all_workers_are_busy_and_used_at_once() -> None:
    searcher = Searcher()
    study, planner = make(searcher, 2)
    first, _second = planner.next(2, idle=True)
    planner._seconds = 100.0
    planner.prepare()
    searcher.gate.clear()
    time.sleep(0.05)
    planner.prepare()
    study.tell(first, 1.0)
    planner.prepare()
    assert len(searcher.seen) == 2
    planner._seconds = 100.0  # as if it had taken long
    (third,) = planner.next(1, idle=False)
    assert third.config["x"] == 0.02
    assert third.info["stale"] == 1
    assert third.seen == third.event - 1


def test_one_made_ahead_is_made_anew_where_a_trial_has_begun_since() -> None:
    searcher = Searcher()
    study, planner = make(searcher, 3)
    planner.next(2, idle=True)
    planner._seconds = 100.0
    planner.prepare()
    study.start([Suggestion({"x": 0.5})])
    for _ in range(2):
        time.sleep(0.05)
        planner._seconds = 100.0
        planner.prepare()
    time.sleep(0.05)
    planner._seconds = 100.0
    (trial,) = planner.next(1, idle=False)
    assert trial.config["x"] == 0.03
    assert len(searcher.seen) == 3


def test_an_exhausted_searcher_is_asked_again_after_news_only() -> None:
    study, planner = make(Searcher(), 2, budget={"trials": 1})
    (only,) = planner.next(2, idle=True)
    assert planner.next(1, idle=False) == []
    assert planner.exhausted
    study.tell(only, 1.0)
    assert not planner.exhausted


def test_what_the_searcher_raises_reaches_the_driver() -> None:
    searcher = Searcher()
    searcher.error = RuntimeError("broken")
    _, planner = make(searcher, 2)
    with pytest.raises(RuntimeError, match="broken"):
        planner.next(1, idle=True)
