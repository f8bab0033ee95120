import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autosearch.core import (
    Budget,
    Decision,
    Failure,
    History,
    OptionError,
    Progress,
    RepeatedFailureError,
    Retries,
    State,
    Study,
    StudyError,
    Suggestion,
)
from autosearch.space import Categorical, Float, SearchSpace, SpaceError, Subspace

from .conftest import SPACE, DrawSearcher, ScriptedScheduler, Ticks
from .memory_record import ListRecord

Make = Callable[..., Study]


def test_ask_and_tell_find_the_best(make_study: Make) -> None:
    study = make_study()
    for _ in range(5):
        trial = study.ask()
        study.tell(trial, {"loss": (trial.config["x"] - 0.3) ** 2, "note": "text is left out"})  # type: ignore[operator, dict-item]
    losses = [trial.metrics["loss"] for trial in study.history]
    assert study.best.metrics["loss"] == min(losses)
    assert study.best.values == (min(losses),)
    assert [trial.number for trial in study.history] == [0, 1, 2, 3, 4]


def test_what_a_notebook_shows_of_a_study_and_a_trial_fits_a_line(make_study: Make) -> None:
    study = make_study()
    assert repr(study).endswith(": no trials>")
    for _ in range(3):
        study.tell(study.ask(), {"loss": 0.5})
    assert repr(study) == f"<Study {study.name!r}: 3 complete>"
    shown = repr(study.best)
    assert shown.startswith("Trial(number=0, config={")
    assert "metrics={'loss': 0.5}" in shown
    assert len(shown) < 400


def test_maximized_objectives_are_flipped_once(make_study: Make) -> None:
    study = make_study(objectives={"accuracy": "maximize"})
    for value in (0.2, 0.9, 0.5):
        study.tell(study.ask(), value)
    assert study.best.metrics == {"accuracy": 0.9}
    assert study.best.values == (-0.9,)


def test_a_batch_knows_its_place_and_what_it_had_seen(make_study: Make) -> None:
    study = make_study()
    study.tell(study.ask(), 1.0)
    batch = study.ask(3)
    assert [trial.batch for trial in batch] == [(0, 3), (1, 3), (2, 3)]
    assert {trial.seen for trial in batch} == {2}
    assert [trial.state for trial in study.history] == [State.COMPLETE] + [State.RUNNING] * 3


def test_replay_from_what_a_trial_had_seen_gives_its_configuration(make_study: Make) -> None:
    study = make_study()
    for size in (1, 2, 3, 1):
        for trial in study.ask(size):
            study.report(trial, {"loss": 0.5}, step=1)
            study.tell(trial)
    for trial in study.history:
        index, size = trial.batch
        replayed = DrawSearcher().suggest(study.history.as_of(trial), size)[index]
        assert study.problem.space.complete(replayed.config) == trial.config
        assert replayed.info == trial.info


def test_as_of_hides_everything_later(make_study: Make) -> None:
    study = make_study()
    first = study.ask()
    study.report(first, {"loss": 3.0}, step=1)
    second = study.ask()
    study.report(first, {"loss": 2.0}, step=2)
    study.tell(first)
    view = study.history.as_of(study.history[second.number])
    assert len(view) == 1
    assert view[0].state is State.RUNNING
    assert view[0].values is None
    assert [report.step for report in view[0].reports] == [1]
    assert view[0].metrics == {"loss": 3.0}
    assert study.history[0].values == (2.0,)


def test_stop_pause_and_thaw(make_study: Make) -> None:
    scheduler = ScriptedScheduler({(0, 1): Decision.STOP, (1, 1): Decision.PAUSE})
    study = make_study(scheduler=scheduler)
    first, second = study.ask(2)
    assert study.report(first, {"loss": 1.0}, step=1) is Decision.STOP
    assert study.tell(first).state is State.STOPPED
    assert study.report(second, {"loss": 1.0}, step=1) is Decision.PAUSE
    assert study.tell(second, checkpoint="folder").state is State.PAUSED
    scheduler.thaw = [Suggestion(resume=1, until=3)]
    again = study.ask()
    assert (again.number, again.state, again.until) == (1, State.RUNNING, 3)
    job = study.job(again)
    assert (job.checkpoint, job.step, job.attempt, job.until) == (Path("folder"), 1, 0, 3)
    assert study.report(again, {"loss": 0.5}, step=2) is Decision.CONTINUE
    assert study.report(again, {"loss": 0.4}, step=3) is Decision.STOP
    assert study.tell(again).state is State.COMPLETE
    assert [t.state.value for t in study.history[1].transitions] == [
        "running",
        "paused",
        "running",
        "complete",
    ]


def test_a_trial_is_complete_at_the_largest_fidelity(make_study: Make) -> None:
    study = make_study(fidelity=(1, 4), scheduler=ScriptedScheduler({(0, 4): Decision.STOP}))
    trial = study.ask()
    for step in (1, 2, 3):
        assert study.report(trial, {"loss": 1.0 / step}) is Decision.CONTINUE
    assert study.report(trial, {"loss": 0.25}) is Decision.STOP
    assert study.tell(trial).values == (0.25,)


def test_a_child_starts_at_its_parents_checkpoint(make_study: Make) -> None:
    scheduler = ScriptedScheduler()
    study = make_study(scheduler=scheduler)
    parent = study.ask()
    study.report(parent, {"loss": 1.0}, step=5, checkpoint="parent-folder")
    study.tell(parent)
    scheduler.thaw = [Suggestion({"x": 0.5, "n": 2}, parent=0)]
    child = study.ask()
    job = study.job(child)
    assert (job.checkpoint, job.step) == (Path("parent-folder"), 5)
    study.report(child, {"loss": 0.9})
    assert study.history[1].reports[0].step == 6


def test_a_parent_without_checkpoint_is_refused(make_study: Make) -> None:
    scheduler = ScriptedScheduler()
    study = make_study(scheduler=scheduler)
    study.tell(study.ask(), 1.0)
    scheduler.thaw = [Suggestion({"x": 0.5, "n": 2}, parent=0)]
    with pytest.raises(StudyError, match="trial 0 as parent, which has no checkpoint"):
        study.ask()


def test_a_suggestion_outside_the_space_is_refused_by_name(make_study: Make) -> None:
    class Wild:
        def suggest(self, history: object, n: int) -> list[Suggestion]:
            return [Suggestion({"x": 7.0, "n": 2})]

    with pytest.raises(StudyError, match="Wild suggested a configuration outside the space"):
        make_study(searcher=Wild()).ask()


@pytest.mark.parametrize(
    ("metrics", "cause"),
    [({"loss": math.nan}, "nan"), ({"loss": math.inf}, "nan"), ({"other": 1.0}, "invalid"), ({}, "invalid")],
)
def test_results_without_a_finite_objective_are_failures(
    make_study: Make, metrics: dict[str, float], cause: str
) -> None:
    study = make_study()
    trial = study.tell(study.ask(), metrics)
    assert trial.state is State.FAILED
    assert trial.failure is not None
    assert trial.failure.cause == cause
    with pytest.raises(StudyError, match="no feasible complete trial"):
        _ = study.best


def test_an_error_text_about_memory_is_an_oom(make_study: Make) -> None:
    study = make_study()
    failure = study.tell(study.ask(), error="CUDA out of memory").failure
    assert failure == Failure("oom", "CUDA out of memory")


def test_constraints_decide_what_is_feasible(make_study: Make) -> None:
    study = make_study(constraints=["size <= 10"])
    study.tell(study.ask(), {"loss": 0.1, "size": 11})
    study.tell(study.ask(), {"loss": 0.5, "size": 10})
    study.tell(study.ask(), {"loss": 0.2, "size": math.nan})
    study.tell(study.ask(), {"loss": 0.2})
    assert [trial.feasible for trial in study.history] == [False, True, False, False]
    assert study.history[0].violations == (1.0,)
    assert study.history[3].failure is not None
    assert study.best.number == 1


def test_several_objectives_have_a_front_and_no_best(make_study: Make) -> None:
    study = make_study(objectives={"loss": "minimize", "speed": "maximize"})
    for loss, speed in ((1.0, 1.0), (2.0, 3.0), (2.0, 2.0), (0.5, 0.5)):
        study.tell(study.ask(), {"loss": loss, "speed": speed})
    assert [trial.number for trial in study.front] == [0, 1, 3]
    with pytest.raises(StudyError, match="Use `front`"):
        _ = study.best
    with pytest.raises(StudyError, match="Give a mapping"):
        study.tell(study.ask(), 1.0)


def test_retries_follow_the_cause(make_study: Make) -> None:
    study = make_study(retries=Retries(crash=1, oom=0, preempted=2))
    trial = study.ask()
    assert study.fail(trial, Failure("crash", "boom")).state is State.RUNNING
    again = study.ask()
    assert (again.number, again.attempts) == (trial.number, ("crash",))
    assert study.job(again).attempt == 1
    assert study.fail(again, Failure("crash", "boom")).state is State.FAILED
    other = study.ask()
    assert other.number == 1
    assert study.fail(other, Failure("oom", "too large")).state is State.FAILED


def test_reports_that_an_attempt_repeats_replace_the_lost_ones(make_study: Make) -> None:
    study = make_study()
    trial = study.ask()
    study.report(trial, {"loss": 3.0}, step=1, checkpoint="one")
    study.report(trial, {"loss": 2.0}, step=2)
    study.report(trial, {"loss": 9.0}, step=3)
    study.fail(trial, Failure("crash", "boom"))
    again = study.ask()
    assert study.job(again).step == 1
    study.report(again, {"loss": 1.5})
    curve = study.history[0].curve
    assert [(report.step, report.metrics["loss"]) for report in curve] == [(1, 3.0), (2, 1.5)]
    assert len(study.history[0].reports) == 4


def test_a_bug_in_the_first_trials_ends_the_study(make_study: Make) -> None:
    study = make_study(retries=Retries(crash=0))
    for _ in range(3):
        study.fail(study.ask(), Failure("crash", "NameError: x", "the traceback"))
    with pytest.raises(RepeatedFailureError, match="all failed alike: NameError") as caught:
        study.ask()
    assert caught.value.traceback == "the traceback"


def test_different_failures_do_not_end_the_study(make_study: Make) -> None:
    study = make_study(retries=Retries(crash=0))
    for text in ("a", "a", "b"):
        study.fail(study.ask(), Failure("crash", text))
    assert study.ask().number == 3


def test_unfinished_trials_go_on_first_in_a_new_session(make_study: Make) -> None:
    before = make_study()
    done, lost, paused = before.ask(3)
    before.tell(done, 1.0)
    before.report(lost, {"loss": 1.0}, step=2, checkpoint="lost-2")
    before.report(lost, {"loss": 0.9}, step=3)
    record = before.record
    assert isinstance(record, ListRecord)
    after = make_study(record.trials)
    assert after.ask().number == lost.number
    again = after.history[lost.number]
    assert (again.attempts, after.job(again).step) == (("interrupted",), 2)
    assert after.ask().number == paused.number
    assert after.ask().number == 3


def test_study_time_goes_on_over_sessions(make_study: Make) -> None:
    clock = Ticks()
    study = make_study(clock=clock, budget={"minutes": 1})
    trial = study.ask()
    clock.now += 40
    study.tell(trial, 1.0)
    record = study.record
    assert isinstance(record, ListRecord)
    later = make_study(record.trials, clock=Ticks(), budget={"minutes": 1})
    assert later.elapsed_s == 40
    assert not later.out_of_time
    assert later.history[0].seconds == 40


def test_study_time_goes_on_after_a_pause_and_a_kill(tmp_path: Path) -> None:
    def opened(scheduler: ScriptedScheduler, clock: Ticks) -> Study:
        return Study(
            SPACE,
            {"loss": "minimize"},
            searcher=DrawSearcher(),
            scheduler=scheduler,
            storage=tmp_path / "s.journal",
            clock=clock,
        )

    clock = Ticks()
    with opened(ScriptedScheduler({(0, 1): Decision.PAUSE}), clock) as study:
        first, second = study.ask(2)
        clock.now += 10
        study.report(first, {"loss": 1.0}, step=1)
        study.tell(first)
        clock.now += 90
        study.tell(second, 1.0)
        study.start([Suggestion(resume=0)])
        clock.now += 40
        study.report(0, {"loss": 0.5}, step=2)
        assert study.elapsed_s == 140
    with opened(ScriptedScheduler(), Ticks()) as later:
        assert later.elapsed_s == 140
        assert later.history[0].seconds == 50


def test_minutes_and_cost_end_the_study(make_study: Make) -> None:
    clock = Ticks()
    study = make_study(clock=clock, budget={"cost": 2.0}, price_per_hour=3600.0)
    study.ask()
    clock.now += 1.5
    assert not study.out_of_time
    clock.now += 0.6
    assert study.out_of_time
    assert study.ask(1) == []


def test_the_trials_budget_is_kept_and_can_be_raised(make_study: Make) -> None:
    study = make_study(budget={"trials": 2})
    for trial in study.ask(5):
        study.tell(trial, 1.0)
    assert len(study.history) == 2
    assert study.budget_spent
    with pytest.raises(StudyError, match="the budget is spent"):
        study.ask()
    study.set_budget(Budget(trials=3))
    assert study.ask().number == 2


def test_first_configurations_come_first_and_batches_are_filled(make_study: Make) -> None:
    space = SearchSpace({"x": Float(0.0, 1.0, default=0.25), "k": Categorical(["a", "b"], default="b")})
    study = make_study(space=space)
    trials = study.ask(3)
    assert trials[0].config == {"x": 0.25, "k": "b"}
    assert trials[0].info == {"reason": "first"}
    assert len(trials) == 3


def test_children_that_a_scheduler_proposes_keep_to_the_budget(make_study: Make, tmp_path: Path) -> None:
    class Breeds(ScriptedScheduler):
        def propose(self, history: History, n: int) -> list[Suggestion]:
            return [Suggestion({"x": i / 9, "n": 1}, parent=0) for i in range(n)] if len(history) else []

    study = make_study(scheduler=Breeds(), budget={"trials": 3})
    trial = study.ask()
    study.report(trial, {"loss": 1.0}, checkpoint=tmp_path)
    study.tell(trial)
    assert len(study.ask(5)) == 2
    assert len(study.history) == 3


def test_a_queued_configuration_takes_the_place_of_no_first_one_but_its_equal(make_study: Make) -> None:
    inner = Subspace({"a": Float(0.0, 1.0)}, first=({"a": 0.25}, {"a": 0.5}, {"a": 0.75}))
    study = make_study(space=SearchSpace({"s": inner}))
    study.enqueue({"s.a": 0.125})
    study.enqueue({"s.a": 0.5})
    assert [trial.config["s.a"] for trial in study.ask(4)] == [0.125, 0.5, 0.25, 0.75]


def test_a_queued_configuration_runs_next_and_only_once(make_study: Make, tmp_path: Path) -> None:
    study = make_study(queue=tmp_path / "queue")
    study.queue.add({"x": 0.125, "n": 3})
    study.queue.add({"x": 5, "n": 3})
    (tmp_path / "queue" / "folder.json").mkdir()
    notes: list[str] = []
    study.listeners.append(lambda event, trial, text: notes.append(text) if event == "note" else None)
    trial = study.ask()
    assert trial.config == {"x": 0.125, "n": 3}
    assert [path.name for path in (tmp_path / "queue").glob("*.json")] == ["folder.json"]
    assert len(list((tmp_path / "queue").glob("*.refused"))) == 1
    assert "refused" in notes[0]
    assert study.ask().info.get("queue") is None


def test_queued_configurations_keep_to_the_budget_and_wait_for_a_larger_one(
    make_study: Make, tmp_path: Path
) -> None:
    study = make_study(queue=tmp_path, budget={"trials": 2})
    for x in (0.125, 0.25, 0.5):
        study.queue.add({"x": x, "n": 3})
    assert [trial.config["x"] for trial in study.ask(3)] == [0.125, 0.25]
    assert len(study.queue.items()) == 1
    study.set_budget(Budget(trials=3))
    assert study.ask().config["x"] == 0.5
    assert study.queue.items() == []


def test_a_crash_between_record_and_queue_queues_nothing_twice(make_study: Make, tmp_path: Path) -> None:
    study = make_study(queue=tmp_path)
    path = study.queue.add({"x": 0.125, "n": 3})
    text = path.read_text()
    study.import_queue()
    path.write_text(text)
    study.import_queue()
    assert len(study.history) == 1


def test_an_interrupted_trial_goes_on_from_its_checkpoint(make_study: Make) -> None:
    study = make_study()
    trial = study.ask()
    study.report(trial, {"loss": 1.0}, step=4)
    study.interrupt(trial, checkpoint="four")
    again = study.ask()
    assert (again.number, study.job(again).step, again.attempts) == (0, 4, ("interrupted",))


def test_telling_twice_is_an_error(make_study: Make) -> None:
    study = make_study()
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(StudyError, match="trial 0 is complete, not running"):
        study.tell(trial, 1.0)
    with pytest.raises(StudyError, match="there is no trial 7"):
        study.report(7, {"loss": 1.0})


def test_every_event_has_its_own_number(make_study: Make) -> None:
    study = make_study(scheduler=ScriptedScheduler({(1, 2): Decision.PAUSE}))
    for trial in study.ask(3):
        for step in (1, 2):
            study.report(trial, {"loss": 1.0}, step=step)
        study.tell(trial)
    events = [t.event for trial in study.history for t in trial.transitions]
    events += [r.event for trial in study.history for r in trial.reports]
    assert sorted(events) == list(range(study.history.events))


def test_finish_paused_stops_what_nothing_thaws(make_study: Make) -> None:
    study = make_study(scheduler=ScriptedScheduler({(0, 1): Decision.PAUSE}), budget={"trials": 1})
    trial = study.ask()
    study.report(trial, {"loss": 1.0}, step=1)
    study.tell(trial)
    assert not study.budget_spent
    study.finish_paused()
    assert study.budget_spent
    assert study.history[0].state is State.STOPPED


def test_keepers_are_the_unfinished_the_best_and_parents(make_study: Make) -> None:
    study = make_study()
    for value in (3.0, 1.0, 2.0):
        study.tell(study.ask(), value, checkpoint="folder")
    study.ask()
    assert study.keepers(1) == {1, 3}
    assert study.keepers(2) == {1, 2, 3}


def test_a_space_that_is_ready_takes_no_second_require(make_study: Make) -> None:
    with pytest.raises(ValueError, match="give it to the SearchSpace itself"):
        make_study(space=SPACE, require=["x < 1"])


def test_enqueue_fills_what_is_missing_from_the_incumbent(make_study: Make) -> None:
    study = make_study()
    assert study.enqueue({"x": 0.1}).config == {"x": 0.1, "n": 5}
    study.tell(study.ask(), 1.0)
    best = study.ask()
    study.tell(best, 0.5)
    assert study.enqueue({"x": 0.9}).config == {"x": 0.9, "n": best.config["n"]}


def test_a_trials_seed_depends_on_configuration_and_repetition_alone(make_study: Make) -> None:
    one, other = make_study(), make_study()
    other.tell(other.ask(), 1.0)
    seeds = [s.job(s.enqueue({"x": 0.5, "n": 3})).seed for s in (one, other)]
    assert seeds[0] == seeds[1]
    assert one.job(one.enqueue({"x": 0.5, "n": 3})).seed != seeds[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"searcher": {"method": "evolution", "popul": 3}}, r"searcher\.popul: unknown option"),
        ({"searcher": {"method": "evolution", "population": "x"}}, r"searcher\.population: .*valid integer"),
        ({"scheduler": {"method": "asha", "min": 5, "max": 2}}, r"scheduler\.min: .*must not exceed max"),
    ],
)
def test_a_wrong_option_is_named_with_whose_it_is(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Study({"x": [0, 1]}, {"loss": "minimize"}, **arguments)


def test_the_schedulers_options_set_where_a_trial_is_complete(make_study: Make) -> None:
    study = make_study(scheduler={"method": "asha", "min": 2, "max": 6}, fidelity=(None, 20))
    assert study.problem.fidelity == (2, 6)
    trial = study.ask()
    assert study.report(trial, {"loss": 1.0}, step=6) is Decision.STOP
    assert study.tell(trial).state is State.COMPLETE


@pytest.mark.parametrize("step", [-1, 2.5, float("nan"), "late", None])
def test_a_step_that_is_no_whole_number_is_refused(make_study: Make, step: object) -> None:
    with pytest.raises(StudyError, match="whole number of at least 0"):
        Progress({"loss": 1.0}, step if step is not None else [1])  # type: ignore[arg-type]
    study = make_study()
    trial = study.ask()
    if step is not None:
        with pytest.raises(StudyError, match="whole number of at least 0"):
            study.report(trial, {"loss": 1.0}, step=step)  # type: ignore[arg-type]
    study.report(trial, {"loss": 1.0})
    assert [report.step for report in study.history[0].reports] == [1]


def test_metrics_that_are_no_mapping_are_refused(make_study: Make) -> None:
    study = make_study()
    with pytest.raises(StudyError, match="mapping of names to numbers, got float"):
        study.report(study.ask(), 0.5)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="mapping of names to numbers, got float"):
        Progress(0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "place"),
    [({"a": [1, {2}]}, r"data\['a'\]\[1\]: got set"), ({"a": {1: 2}}, "keys are text, got 1")],
)
def test_data_that_is_no_json_is_refused_where_it_is_made(data: dict[str, Any], place: str) -> None:
    with pytest.raises(StudyError, match=place):
        Progress({"loss": 1.0}, data=data)
    Progress({"loss": 1.0}, data={"a": [None, True, 1, 2.0, "b", (np.float32(1),), {"c": math.nan}]})


def test_an_array_of_one_number_is_that_number(make_study: Make) -> None:
    study = make_study()
    told = study.tell(study.ask(), {"loss": np.array([[0.25]]), "curve": np.zeros(3), "text": np.str_("a")})  # type: ignore[dict-item]
    assert told.metrics == {"loss": 0.25}


@pytest.mark.parametrize(
    "budget",
    [{"trials": 0}, {"trials": 2.5}, {"trials": "3"}, {"minutes": -1}, {"cost": math.nan}, {"trials": True}],
)
def test_a_budget_that_is_no_amount_is_refused(make_study: Make, budget: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=rf"budget\.{next(iter(budget))}: must be"):
        make_study(budget=budget)


@pytest.mark.parametrize("objectives", ["loss", ["loss"]])
def test_objectives_without_directions_are_refused(objectives: Any) -> None:
    with pytest.raises(OptionError, match="must be a mapping such as"):
        Study(SPACE, objectives)


def test_several_threads_may_ask_report_and_tell(tmp_path: Path) -> None:
    with Study(SPACE, {"loss": "minimize"}, searcher="random", storage=tmp_path / "s.journal") as study:

        def one(_: int) -> None:
            trial = study.ask()
            study.report(trial, {"loss": 1.0}, step=1)
            study.tell(trial, 0.5)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(one, range(40)))
        events = [t.event for trial in study.history for t in trial.transitions]
        events += [report.event for trial in study.history for report in trial.reports]
    assert sorted(events) == list(range(3 * 40))
    assert [trial.number for trial in study.history] == list(range(40))


def test_a_copy_of_a_study_has_a_lock_of_its_own() -> None:
    study = Study(SPACE, {"loss": "minimize"}, searcher="random")
    study.tell(study.ask(), 0.5)
    copy = pickle.loads(pickle.dumps(study))
    copy.tell(copy.ask(), 0.25)
    assert (len(study.history), len(copy.history)) == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resources": {"cpu": 1}}, "resources: must be a mapping with any of cpus"),
        ({"resources": [1]}, "resources: must be a mapping"),
        ({"resources": {"cpus": "1"}}, "resources.cpus: must be a number"),
        ({"trials": -1}, "budget.trials: must be a whole number of at least 1"),
        ({"minutes": "1"}, "budget.minutes: must be a number above 0"),
    ],
)
def test_what_run_is_given_wrong_is_said(options: dict[str, Any], message: str) -> None:
    study = Study(SPACE, {"loss": "minimize"}, searcher="random")
    with pytest.raises(OptionError, match=message):
        study.run(lambda config: 0.0, runner="inline", **options)


@pytest.mark.parametrize("name", ["", "a/b", " ", 3])
def test_a_name_that_a_stage_may_have_is_refused(name: Any) -> None:
    with pytest.raises(OptionError, match="name: must be text without '/'"):
        Study(SPACE, {"loss": "minimize"}, name=name)


@pytest.mark.parametrize("objective", [None, 3])
def test_an_objective_that_cannot_be_called_is_refused(objective: Any) -> None:
    with pytest.raises(StudyError, match="needs an Objective or a function"):
        Study(SPACE, {"loss": "minimize"}).run(objective, trials=1)


def test_retries_may_be_a_mapping_and_a_space_must_be_one() -> None:
    assert Study(SPACE, {"loss": "minimize"}, retries={"crash": 3}).retries == Retries(crash=3)
    with pytest.raises(SpaceError, match="must be a mapping of parameters"):
        Study([1], {"loss": "minimize"})  # type: ignore[arg-type]
