import dataclasses

import numpy as np

from autosearch.core import History, State, Transition, Trial
from autosearch.reporting import health
from autosearch.reporting.figures import Trust

from .histories import make_history


def titles(history: History, level: str | None = None, **more: object) -> set[str]:
    found = health.checks(history, **more)  # type: ignore[arg-type]
    return {check.title for check in found if level is None or check.level == level}


def with_values(history: History, values: list[float]) -> History:
    """The same complete trials with other values of the maximised objective."""
    complete = iter(values)
    trials = []
    for trial in history:
        if trial.values:
            value = next(complete)
            trial = dataclasses.replace(trial, values=(-value,), metrics={"accuracy": value})
        trials.append(trial)
    return History(history.problem, trials)


def all_complete(trials: int, parameters: int = 4) -> History:
    return make_history(trials, parameters, states=[State.COMPLETE])


def test_a_study_without_results_is_not_judged() -> None:
    assert titles(make_history(0)) == {"nothing to judge yet"}


def test_warnings_come_first() -> None:
    found = health.checks(make_history(12, states=[State.FAILED, State.COMPLETE]))
    order = [check.level for check in found]
    assert order == sorted(order, key=["warn", "note", "good"].index)
    assert found[0].title == "many trials fail"


def test_the_best_trials_at_a_bound_ask_for_a_wider_range() -> None:
    history = all_complete(40)
    low = 1e-4
    trials = [
        dataclasses.replace(t, config={**t.config, "lr": low}, values=(-1.0 - 0.001 * t.number,))
        if t.number % 4 == 0
        else dataclasses.replace(t, values=(0.0,))
        for t in history
    ]
    assert "lr is at the low end of its range" in titles(History(history.problem, trials), "warn")


def test_best_trials_inside_the_range_are_fine() -> None:
    assert "the ranges are wide enough" in titles(all_complete(200), "good")


def test_rarely_met_constraints_are_named() -> None:
    history = make_history(40, constraint=True, states=[State.COMPLETE])
    none = [dataclasses.replace(t, violations=(1.0,)) for t in history]
    assert "no trial is feasible" in titles(History(history.problem, none), "warn")
    few = [*none[:-2], *(dataclasses.replace(t, violations=(-1.0,)) for t in none[-2:])]
    assert "the constraints are rarely met" in titles(History(history.problem, few), "warn")


def test_inert_parameters_are_named_only_where_their_interval_says_so() -> None:
    history = all_complete(60)
    sure = {"accuracy": {"lr": (0.97, 0.9, 1.0), "optimizer": (0.01, 0.0, 0.02)}}
    unsure = {"accuracy": {**sure["accuracy"], "optimizer": (0.01, 0.0, 0.3), "momentum": (0.0, 0.0, 0.3)}}
    [found] = [c for c in health.checks(history, table=sure) if "without visible influence" in c.title]
    assert "optimizer" in found.words
    assert "lr" not in found.words.split(":")[0]
    unsure["accuracy"] |= {"p03": (0.0, 0.0, 0.3)}
    assert "parameters without visible influence" not in titles(history, table=unsure)


def test_noise_larger_than_the_differences_found_is_a_warning() -> None:
    history = all_complete(20)
    repeated = [dataclasses.replace(t, config=history[0].config) if t.number < 6 else t for t in history]
    values = [0.5, 0.7, 0.4, 0.8, 0.3, 0.9, *np.linspace(0.88, 0.9, 14)]
    noisy = with_values(History(history.problem, repeated), values)
    assert "the best trials differ by less than the noise" in titles(noisy, "warn")
    quiet = with_values(History(history.problem, repeated), [0.5] * 6 + list(np.linspace(0.6, 0.9, 14)))
    assert "the difference found is larger than the noise" in titles(quiet, "good")


def test_one_value_for_all_trials_is_suspicious() -> None:
    history = all_complete(20)
    assert "every trial has the same value" in titles(with_values(history, [0.5] * 20), "warn")


def test_a_study_that_improves_at_its_end_asks_for_more_budget() -> None:
    history = all_complete(40)
    assert "still improving when the budget ended" in titles(
        with_values(history, list(np.linspace(0, 1, 40)))
    )


def test_a_study_that_found_its_best_early_says_so() -> None:
    history = all_complete(40)
    values = [0.1, 0.2, 0.9, *[0.5] * 37]
    assert "no improvement for a long time" in titles(with_values(history, values))


def test_early_stopping_that_guesses_is_a_warning() -> None:
    history = make_history(60)
    rng = np.random.default_rng(0)
    trials: list[Trial] = []
    for t in history:
        reports = [dataclasses.replace(r, metrics={"accuracy": rng.random()}) for r in t.reports]
        trials.append(dataclasses.replace(t, reports=tuple(reports)))
    assert "early stopping is nearly a guess" in titles(History(history.problem, trials), "warn")
    assert "early stopping looks right" in titles(history, "good")


def test_a_surrogate_is_doubted_for_stated_reasons() -> None:
    history = all_complete(30)
    assert "the surrogate does not predict" in titles(history, "warn", trusts=[Trust(0.1, 0.7, 0.95, 30)])
    assert "the surrogate is too sure of itself" in titles(history, "warn", trusts=[Trust(0.9, 0.3, 0.5, 30)])
    assert "the surrogate can be trusted" in titles(history, "good", trusts=[Trust(0.9, 0.7, 0.95, 30)])


def test_idle_workers_are_noticed() -> None:
    history = all_complete(20)
    trials = [dataclasses.replace(t, started_s=100.0 * t.number, seconds=10.0) for t in history]
    assert "workers were idle" in titles(History(history.problem, trials))


def test_unfinished_trials_do_not_end_a_study_early() -> None:
    history = all_complete(40)
    rising = with_values(history, list(np.linspace(0, 1, 40)))
    running = dataclasses.replace(
        rising[39], number=40, state=State.RUNNING, values=None, transitions=(Transition(999, State.RUNNING),)
    )
    assert "still improving" in titles(History(rising.problem, [*rising, running]))
