from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosearch.core import Budget, Decision, Goal, Job, Progress, Stage, State, Study, StudyError
from autosearch.core.stages import last_stages, open_stage, ordered, run_stages, winner
from autosearch.space import Float, SearchSpace

from .conftest import DrawSearcher, Ticks

SPACE = SearchSpace({"block": Float(0.0, 1.0)})


class Score:
    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        yield Progress({}, data={"table": [job.number]})


class Final:
    def stages(self, problem: object) -> list[Stage]:
        return [stage("train", ("score",), (Goal("loss"),)), stage("score")]

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        yield Progress({"loss": 1.0})


class PlainRunner:
    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, study: Study, objective: Score | Final) -> None:
        self.ran.append(study.name)
        while trials := study.next(1):
            for progress in objective.run(study.job(trials[0])):
                study.report(trials[0], {"loss": 0.5} if study.problem.objectives else progress.metrics)
            study.tell(trials[0], data=progress.data)


def stage(name: str, needs: tuple[str, ...] = (), goals: tuple[Goal, ...] = ()) -> Stage:
    return Stage(name, SPACE, Score(), DrawSearcher(), Budget(trials=2), goals, needs)


def test_stages_stand_behind_what_they_need() -> None:
    names = [s.name for s in ordered([stage("c", ("a", "b")), stage("a"), stage("b", ("a",))])]
    assert names == ["a", "b", "c"]


def test_what_a_stage_s_running_trial_costs_counts_before_it_reports(
    make_study: Callable[..., Study],
) -> None:
    clock = Ticks()
    study = make_study(clock=clock, budget={"cost": 2.0}, price_per_hour=3600.0)
    sub = open_stage(study, stage("score"))
    sub.use_clock(clock)
    study.history.stages = {"score": sub.history}
    trial = sub.ask()
    clock.now += 1.5
    sub.report(trial, {"loss": 1.0})
    assert not sub.out_of_time
    clock.now += 0.6
    assert sub.out_of_time


@pytest.mark.parametrize("stages", [[stage("a", ("b",)), stage("b", ("a",))], [stage("a", ("x",))]])
def test_circles_and_unknown_needs_are_refused(stages: list[Stage]) -> None:
    with pytest.raises(StudyError, match="need each other or an unknown stage"):
        ordered(stages)


def test_a_stage_given_twice_is_refused() -> None:
    with pytest.raises(StudyError, match="every name once"):
        ordered([stage("a"), stage("a")])


def test_stages_run_first_once_and_are_read_from_the_history(make_study: Callable[..., Study]) -> None:
    study = make_study(budget={"trials": 1})
    runner = PlainRunner()
    run_stages(study, Final(), runner)
    assert runner.ran == ["study/score", "study/train"]
    table = [trial.data["table"] for trial in study.history.stages["score"]]
    assert table == [[0], [1]]
    assert study.history.stages["score"][0].state is State.COMPLETE
    assert study.history.stages["score"][0].values == ()
    assert study.history.stages["train"][0].values == (0.5,)
    assert len(study.history) == 0
    again = PlainRunner()
    run_stages(study, Final(), again)
    assert again.ran == []


def test_an_objective_is_told_what_its_stages_found(make_study: Callable[..., Study]) -> None:
    class Asking(Final):
        def staged(self, histories: dict[str, object]) -> Final:
            seen.append({name: len(history) for name, history in histories.items()})
            return self

    seen: list[dict[str, int]] = []
    study = make_study(budget={"trials": 1})
    study.run(Asking(), runner=PlainRunner())
    assert seen == [{"score": 2, "train": 2}]


def test_a_stage_keeps_as_many_checkpoints_as_it_asks_for(make_study: Callable[..., Study]) -> None:
    kept = Stage("train", SPACE, Score(), DrawSearcher(), Budget(trials=2), (Goal("loss"),), keep=5)
    assert open_stage(make_study(budget={"trials": 1}), kept).least_kept == 5


def test_time_of_stages_counts_in_the_study(make_study: Callable[..., Study]) -> None:
    study = make_study()
    sub = open_stage(study, stage("score"))
    assert sub.parent is study
    study.history.stages = {"score": sub.history}
    trial = sub.ask()
    sub.use_clock(lambda: 1e6)
    sub.tell(trial, {})
    assert study.history.spent.trials == 0
    assert study.history.elapsed_s == sub.history.elapsed_s


def goes_on(job: Job) -> Stage:
    assert job.checkpoint is not None
    return Stage(f"finally-{job.number}", SPACE, Score(), DrawSearcher(), Budget(trials=2), (Goal("loss"),))


def won(make_study: Callable[..., Study], checkpoint: Path, **options: object) -> Study:
    """A study of two trials, the second the better one, each with a checkpoint."""
    study = make_study(budget={"trials": 2}, **options)
    for loss in (0.7, 0.2):
        study.tell(study.ask(), {"loss": loss}, checkpoint=checkpoint)
    return study


def test_a_last_stage_goes_on_from_the_winner_once_the_budget_is_spent(make_study, tmp_path) -> None:
    study, runner = won(make_study, tmp_path), PlainRunner()
    study.run(Score(), runner=runner, last=goes_on)
    assert runner.ran == ["study", "study/finally-1"]
    assert [trial.values for trial in last_stages(study.history)[1]] == [(0.5,), (0.5,)]
    study.run(Score(), runner=runner, last=goes_on)
    assert runner.ran[2:] == ["study"]


def test_a_winner_that_a_larger_budget_finds_gets_a_last_stage_of_its_own(make_study, tmp_path) -> None:
    study = won(make_study, tmp_path)
    study.run(Score(), runner=PlainRunner(), last=goes_on)
    study.set_budget(Budget(trials=3))
    study.tell(study.ask(), {"loss": 0.1}, checkpoint=tmp_path)
    study.run(Score(), runner=PlainRunner(), last=goes_on)
    assert sorted(last_stages(study.history)) == [1, 2]


def test_the_winner_of_a_front_is_the_trial_that_adds_the_most_hypervolume(make_study) -> None:
    study = make_study(objectives={"loss": "minimize", "ms": "minimize"})
    for loss, ms in ((0.1, 9.0), (0.2, 2.0), (0.9, 1.0)):
        study.tell(study.ask(), {"loss": loss, "ms": ms})
    best = winner(study.history)
    assert best is not None
    assert best.number == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_whatever_comes_later_the_winner_was_among_the_keepers_all_along(values) -> None:
    objectives = {"loss": "minimize", "ms": "minimize"}
    study = Study({"x": Float(0.0, 1.0)}, objectives, searcher=DrawSearcher())
    kept: set[int] = set()
    for number, (loss, ms) in enumerate(values):
        study.tell(study.ask(), {"loss": loss, "ms": ms}, checkpoint="folder")
        kept = study.keepers(1) & {*kept, number}  # what was let go of is gone
    best = winner(study.history)
    assert best is not None
    assert best.number in kept


def test_a_last_stage_has_a_budget_of_its_own(make_study, tmp_path) -> None:
    study = won(make_study, tmp_path, price_per_hour=3600.0)
    spent = study.history.spent
    study.set_budget(Budget(trials=2, minutes=1e-9))
    assert study.out_of_time
    study.run(Score(), runner=PlainRunner(), last=goes_on)
    assert len(last_stages(study.history)[1]) == 2
    assert study.history.spent == spent


def test_a_winner_without_a_checkpoint_is_refused_with_the_way_out(make_study) -> None:
    study = make_study(budget={"trials": 1})
    study.tell(study.ask(), {"loss": 0.1})
    with pytest.raises(StudyError, match=r"trial 0, has no checkpoint.*keep\.checkpoints of at least 1"):
        study.run(Score(), runner=PlainRunner(), last=goes_on)


def test_without_a_winner_there_is_a_note_and_no_last_stage(make_study) -> None:
    study, told = make_study(budget={"trials": 1}), []
    study.listeners.append(lambda event, trial, text: told.append(text))
    study.tell(study.ask(), error="boom")
    study.run(Score(), runner=PlainRunner(), last=goes_on)
    assert any("no last stage: no feasible trial is complete" in text for text in told)
    assert last_stages(study.history) == {}
