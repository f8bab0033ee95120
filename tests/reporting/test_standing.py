import dataclasses
import io
import time

import pytest
from rich.console import Console

from autosearch.core import Failure, History, State, Study
from autosearch.reporting import facts
from autosearch.reporting.live import LiveView
from autosearch.reporting.standing import Tally, lines

from .conftest import TWO
from .histories import make_history


def shown(history: History, **more: float) -> dict[str, str]:
    return dict(lines(history, Tally.of(history), **more))


def test_every_kind_of_study_has_its_lines(any_history: History) -> None:
    found = shown(any_history)
    assert found["trials"]
    assert found["time"]


def test_a_tally_kept_event_by_event_equals_one_of_the_whole(any_history: History) -> None:
    tally = Tally()
    for trial in any_history:
        tally.put(dataclasses.replace(trial, state=State.RUNNING, values=None, failure=None))
    for trial in any_history.finished:
        tally.put(trial)
    for trial in any_history.pending:
        tally.put(trial)
    whole = Tally.of(any_history)
    assert +tally.counts == +whole.counts
    assert {t.number for t in tally.front} == {t.number for t in any_history.front}
    assert tally.failures == whole.failures


def test_with_one_objective_the_front_is_the_incumbent(history: History) -> None:
    best = history.incumbent
    assert best is not None
    assert Tally.of(history).front == [best]
    assert shown(history)["best"].startswith(f"trial {best.number}, accuracy")


def test_several_objectives_show_the_size_of_the_front_and_its_ends() -> None:
    history = make_history(60, objectives=TWO)
    best = max(t.metrics["accuracy"] for t in history.front)
    assert shown(history)["front"].startswith(f"{len(history.front)} trials: accuracy to {best:.6g}")


def test_the_last_decision_says_who_suggested_it_and_after_how_many_results(history: History) -> None:
    last = history[-1]
    results = facts.results_seen(history, last)
    assert results == sum(t.finished is not None and t.finished < last.seen for t in history)
    words = shown(history)["last"]
    start = "trial 59 from gaussian process by log noisy expected improvement (explore)"
    assert words.startswith(f"{start} after {results} results, expected ")


def test_failures_are_grouped_by_cause_not_repeated() -> None:
    history = make_history(8, states=[State.FAILED])
    other = dataclasses.replace(history[7], failure=Failure("nan", "the result is not finite"))
    found = lines(mixed := History(history.problem, [*history[:7], other]), Tally.of(mixed))
    failures = [words for label, words in found if label == "failed"]
    assert len(failures) == 2
    assert failures[0].startswith("7 x oom: CUDA out of memory")
    assert [(g.cause, len(g.trials)) for g in facts.failure_groups(mixed)] == [("oom", 7), ("nan", 1)]


def test_the_remaining_time_follows_the_pace_so_far() -> None:
    history = make_history(40, states=[State.COMPLETE])
    problem = dataclasses.replace(
        history.problem, budget=dataclasses.replace(history.problem.budget, trials=80)
    )
    assert "about 1 min 40 s left" in shown(history.with_problem(problem), elapsed_s=100.0)["time"]


def test_the_pace_names_workers_only_where_there_are_several() -> None:
    history = make_history(40, states=[State.COMPLETE])
    one = history.with_problem(dataclasses.replace(history.problem, workers=1))
    two = history.with_problem(dataclasses.replace(history.problem, workers=2))
    assert shown(one, elapsed_s=60.0)["time"].endswith("40 trials a minute")
    assert shown(two, elapsed_s=60.0)["time"].endswith("20 trials a minute on each of 2 workers")


def test_a_design_without_any_success_reads_as_a_sentence() -> None:
    study = Study(
        {"x": {"type": "float", "low": 0.0, "high": 1.0}}, {"loss": "minimize"}, searcher="bayesian"
    )
    for letter in "abcdefghijkl":
        study.tell(study.ask(), error=f"{letter} went wrong")
    words = shown(study.history)["last"]
    assert words == "trial 11 from initial design prolonged, as no trial has succeeded after 11 results"


def live_study() -> Study:
    return Study(
        {"lr": {"type": "float", "low": 0.0, "high": 1.0}},
        {"loss": "minimize"},
        searcher="random",
        budget={"trials": 5},
    )


def test_the_live_block_follows_a_study_and_shows_names_as_they_are() -> None:
    study, out = live_study(), io.StringIO()
    view = LiveView(study, Console(file=out, force_terminal=True, width=100))
    with view:
        study.listeners.append(view)
        for i in range(3):
            trial = study.ask()
            study.report(trial, {"loss": 1.0 / (i + 1)})
            study.tell(trial, {"loss": 1.0 / (i + 1)}) if i else study.tell(trial, error="[red]boom[/red]")
        study.note("look [bold]here[/bold]")
    text = out.getvalue()
    assert "look [bold]here[/bold]" in text
    assert "[red]boom[/red]" in text
    assert "2 complete, 1 failed; budget 5" in text
    assert "trial 2, loss 0.333333" in text


def test_labels_are_never_cut_and_long_words_end_in_an_ellipsis() -> None:
    study, out = live_study(), io.StringIO()
    study.tell(study.ask(), error="a very long message " * 20)
    console = Console(file=out, width=60)
    console.print(LiveView(study, console).render())
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    [failed] = [line for line in lines if line.startswith("failed")]
    assert failed.rstrip().endswith("…")


def test_a_listener_call_costs_microseconds() -> None:
    study = live_study()
    study.set_budget(dataclasses.replace(study.problem.budget, trials=None))
    for _ in range(200):
        study.tell(study.ask(), {"loss": 1.0})
    view = LiveView(study, Console(file=io.StringIO(), force_terminal=True, width=100))
    trial = study.ask()
    begun = time.perf_counter()
    for _ in range(1000):
        view("report", trial, "continue")
    # 20 results a second at 1 % leave 500 microseconds each.
    assert (time.perf_counter() - begun) / 1000 < 1e-4
    begun = time.perf_counter()
    for _ in range(20):
        view.render()
    assert (time.perf_counter() - begun) / 20 == pytest.approx(0, abs=5e-3)
