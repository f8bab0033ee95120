"""Population-based training: who is replaced, by whose copy, changed how; turns, budgets, several runners."""

import dataclasses
import json
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from autosearch.core import (
    Decision,
    History,
    Job,
    OptionError,
    Progress,
    Resources,
    RunSettings,
    State,
    Study,
    StudyError,
)
from autosearch.core.plugins import build, load
from autosearch.schedulers.pbt import PbtScheduler, lineage, perturbed
from autosearch.space import Categorical, Float, Int, Ordinal
from autosearch.tasks.synthetic import SyntheticCurves
from autosearch.testing.scheduler_kit import Draws

from .histories import decision, history, problem

PAUSED = State.PAUSED
SPACE = {"x": Float(0.0, 1.0), "rate": Float(0.05, 0.5)}


def pbt(**options: Any) -> PbtScheduler:
    return PbtScheduler(**{"population": 4, "interval": 3, "quantile": 0.25, **options})


def simulate(
    objective: Any = None, *, parallel: int = 4, trials: int | None = 12, space: Any = None, **options: Any
) -> Study:
    """A finished study with a population of 4 that is compared every 3 of 12 steps."""
    study = Study(
        space or SPACE,
        {"loss": "minimize"},
        searcher=options.pop("searcher", Draws()),
        scheduler=pbt(**options),
        budget={"trials": trials} if trials else {},
        fidelity=(1, 12),
    )
    settings = RunSettings(resources=Resources(parallel=parallel))
    load("runners", "simulated")(settings).run(study, objective or SyntheticCurves(steps=12))
    return study


class Scripted:
    """Losses by trial and step from a table; other trials are the worse the later they began."""

    max_step = 12

    def __init__(self, losses: Mapping[int, Mapping[int, float]], fails: tuple[int, ...] = ()) -> None:
        self._losses, self._fails = losses, fails
        self.order: list[tuple[int, int]] = []

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        for step in range(job.step + 1, 13):
            if job.number in self._fails:
                raise RuntimeError(f"trial {job.number} crashed")
            self.order.append((job.number, step))
            losses = self._losses.get(job.number, {})
            loss = losses.get(step, job.number / 1000)
            yield Progress({"loss": loss}, step=step, save=lambda folder: None, seconds=1.0)


# -- who is replaced -----------------------------------------------------------------------------------------------


def test_the_worst_at_a_rung_is_stopped_once_enough_came_there() -> None:
    curves = [{3: float(n)} for n in range(4)]
    paused = dict.fromkeys(range(3), PAUSED)
    assert decision(pbt(), curves[:3], states=dict.fromkeys(range(2), PAUSED)) is Decision.PAUSE
    assert decision(pbt(), curves, states=paused) is Decision.STOP
    assert decision(pbt(), [*curves[1:], curves[0]], states=paused) is Decision.PAUSE


def test_between_rungs_a_trial_goes_on() -> None:
    assert decision(pbt(), [{3: 0.0}, {3: 0.0}, {3: 0.0}, {1: 9.0, 2: 9.0}]) is Decision.CONTINUE


def test_of_equals_nobody_is_stopped() -> None:
    assert (
        decision(pbt(quantile=0.5), [{3: 1.0}] * 4, states=dict.fromkeys(range(3), PAUSED)) is Decision.PAUSE
    )


@pytest.mark.parametrize(("other", "expected"), [(5.0, Decision.STOP), (math.nan, Decision.PAUSE)])
def test_a_member_that_diverged_gives_way_to_any_that_has_not(other: float, expected: Decision) -> None:
    two = history([{3: other}, {3: math.nan}], states={0: PAUSED})
    seen = History(two.problem, [dataclasses.replace(two[0], checkpoint="somewhere"), two[1]])
    assert pbt().decide(seen, seen[1]) is expected


def test_members_are_compared_at_the_same_step() -> None:
    """Three that are further and better by now do not stop the one that comes later, and is as good as they were."""
    ahead = [{3: 2.0, 6: 0.1}, {3: 3.0, 6: 0.1}, {3: 4.0, 6: 0.1}]
    assert decision(pbt(), [*ahead, {3: 2.5}], states=dict.fromkeys(range(3), PAUSED)) is Decision.PAUSE


def test_nobody_is_stopped_where_no_successor_may_begin() -> None:
    curves = [{3: float(n)} for n in range(4)]
    paused = dict.fromkeys(range(3), PAUSED)
    assert decision(pbt(), curves, states=paused, of=problem(trials=4)) is Decision.CONTINUE
    assert decision(pbt(), curves, states=paused, of=problem(trials=5)) is Decision.STOP


def test_populations_do_not_compete_with_each_other() -> None:
    curves = [{3: float(n)} for n in range(4)]
    states = dict.fromkeys(range(4), PAUSED)
    assert decision(pbt(), [*curves, {3: 9.0}], states=states) is Decision.PAUSE


# -- who takes the place -------------------------------------------------------------------------------------------


def test_a_child_starts_from_the_best_member_s_checkpoint_and_says_what_changed() -> None:
    losses = {n: dict.fromkeys(range(1, 13), float(n)) for n in range(4)}
    study = simulate(Scripted(losses), trials=5)
    child = study.history[4]
    assert (child.parent, child.info["replaces"]) == (0, 3)
    assert study.history[3].state is State.STOPPED
    assert study.history[3].step == 3
    before, after = child.info["changed"]["rate"]
    assert (before, after) == (study.history[0].config["rate"], child.config["rate"])
    assert child.transitions[0].step in (3, 6)


def test_steps_are_counted_along_the_line_of_descent() -> None:
    study = simulate(trials=16)
    children = [trial for trial in study.history if trial.parent is not None]
    assert children
    for child in children:
        begun = child.transitions[0].step
        assert begun > 0
        assert child.reports[0].step == begun + 1
        assert all(trial.step == 12 for trial in study.history.complete)
    last = children[-1]
    line = lineage(study.history, last.number)
    assert (line[0].parent, line[-1]) == (None, last)
    starts = [trial.transitions[0].step for trial in line]
    assert starts == sorted(starts)


def test_what_a_parent_has_learnt_passes_to_its_child() -> None:
    """The curves' checkpoint holds the progress made: a child's first loss is below that of any beginner."""
    study = simulate(trials=16, vary=("rate",), resample=0.0)
    child = next(trial for trial in study.history if trial.parent is not None)
    assert child.config["x"] == study.history[child.parent].config["x"]
    gap = (child.config["x"] - 0.3) ** 2
    fresh = math.exp(-child.config["rate"])
    assert child.reports[0].metrics["loss"] - gap < fresh


def test_a_failed_member_is_replaced() -> None:
    study = simulate(Scripted({}, fails=(1,)), trials=6)
    assert study.history[1].state is State.FAILED
    assert study.history[5].info["replaces"] == 1
    assert study.history[5].state is State.COMPLETE


def test_a_population_that_dies_out_is_followed_by_another() -> None:
    study = simulate(Scripted({}, fails=(1, 2)), parallel=1, trials=9, quantile=0.5, population=2)
    assert all(trial.state.finished for trial in study.history)
    assert len(study.history) == 9
    assert study.history.complete


def test_only_real_numbers_vary_unless_told_otherwise() -> None:
    space = {"lr": Float(1e-4, 1.0, log=True), "width": Int(1, 64), "opt": Categorical(["a", "b", "c"])}
    study = simulate(trials=20, space=space)
    children = [trial for trial in study.history if trial.parent is not None]
    assert any(child.config["lr"] != study.history[child.parent].config["lr"] for child in children)
    for child in children:
        parent = study.history[child.parent].config
        assert (child.config["width"], child.config["opt"]) == (parent["width"], parent["opt"])


def test_a_child_keeps_the_input_constraints() -> None:
    from autosearch.space import SearchSpace

    space = SearchSpace(SPACE, ["x + rate <= 0.5"])
    study = simulate(trials=30, space=space, factors=(0.5, 2.0))
    children = [trial for trial in study.history if trial.parent is not None]
    assert len(children) > 5
    assert all(child.config["x"] + child.config["rate"] <= 0.5 for child in children)


# -- changing ------------------------------------------------------------------------------------------------------


def test_a_number_is_multiplied_and_kept_within_its_bounds() -> None:
    rng = np.random.default_rng(0)
    lr = Float(1e-4, 1.0, log=True)
    assert {round(float(perturbed(lr, 0.1, rng)), 6) for _ in range(50)} == {0.08, 0.12}
    assert {perturbed(lr, 1.0, rng) for _ in range(50)} == {0.8, 1.0}
    assert perturbed(Float(0.0, 1.0, grid=0.25), 0.5, rng, (1.4,)) == 0.75


def test_a_small_whole_number_moves_all_the_same() -> None:
    rng = np.random.default_rng(0)
    assert {perturbed(Int(1, 64), 2, rng) for _ in range(50)} == {1, 3}
    assert {perturbed(Int(8, 64, grid=8), 16, rng) for _ in range(50)} == {8, 24}


def test_an_ordinal_moves_by_one_place_and_a_categorical_not_at_all() -> None:
    rng = np.random.default_rng(0)
    assert {perturbed(Ordinal([1, 4, 9]), 4, rng) for _ in range(50)} == {1, 9}
    assert {perturbed(Ordinal([1, 4, 9]), 1, rng) for _ in range(50)} == {1, 4}
    assert perturbed(Categorical(["a", "b"]), "a", rng) == "a"


# -- turns ---------------------------------------------------------------------------------------------------------


def test_one_worker_trains_the_whole_population_abreast() -> None:
    objective = Scripted({})
    simulate(objective, parallel=1, trials=30)
    order = [(number, (step - 1) // 3) for number, step in objective.order if number < 4]
    laps = [lap for (number, lap), before in zip(order[1:], order, strict=False) if (number, lap) != before]
    assert laps == sorted(laps)


def test_as_many_workers_as_members_never_wait() -> None:
    study = simulate(Scripted({}), parallel=4, trials=4)
    assert study.elapsed_s == pytest.approx(12.0)
    study = simulate(SyntheticCurves(steps=12), parallel=4, trials=8)
    assert study.elapsed_s <= 24.0


def test_founders_come_first_then_the_best_go_on_first() -> None:
    def paused(curves: Sequence[dict[int, float]]) -> History:
        seen = history(curves, states=dict.fromkeys(range(len(curves)), PAUSED))
        return History(seen.problem, [dataclasses.replace(trial, checkpoint="somewhere") for trial in seen])

    curves = [{3: 2.0}, {3: 0.5}, {3: 1.0}]
    assert pbt().propose(paused(curves), 4) == []
    assert [s.resume for s in pbt().propose(paused([*curves, {2: 9.0}]), 3)] == [3, 1, 2]


def test_without_checkpoints_it_says_what_to_do() -> None:
    together = history([{3: float(n)} for n in range(4)], states=dict.fromkeys(range(4), PAUSED))
    with pytest.raises(StudyError, match="without a checkpoint"):
        pbt().propose(together, 1)


# -- the paper's example -------------------------------------------------------------------------------------------


class Toy:
    """Section 3.3, figure 2: maximise Q(t) = 1.2 - t0^2 - t1^2 by ascent on a surrogate with weights h.

    The founders see one coordinate each, (1, 0) and (0, 1): neither alone comes beyond 1.2 - 0.81.
    """

    max_step = 200

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        theta = np.array([0.9, 0.9])
        if job.checkpoint is not None:
            theta = np.array(json.loads((job.checkpoint / "theta.json").read_text()))
        weights = np.array([job.config["h0"], job.config["h1"]])
        for step in range(job.step + 1, 201):
            theta = theta - 0.02 * weights * theta
            saved = theta.tolist()
            yield Progress(
                {"q": 1.2 - float(theta @ theta)},
                step=step,
                save=lambda folder, saved=saved: (
                    (folder / "theta.json").write_text(json.dumps(saved)) and None
                ),
                seconds=1.0,
            )


@pytest.mark.parametrize("parallel", [1, 2])
def test_on_the_paper_s_example_a_population_reaches_what_no_member_can(parallel: int) -> None:
    def best(scheduler: Any) -> float:
        study = Study(
            {"h0": Float(0.0, 1.0), "h1": Float(0.0, 1.0)},
            {"q": "maximize"},
            searcher="random",
            scheduler=scheduler,
            budget={"trials": 40},
            fidelity=(1, 200),
        )
        study.enqueue({"h0": 1.0, "h1": 0.0})
        study.enqueue({"h0": 0.0, "h1": 1.0})
        load("runners", "simulated")(RunSettings(resources=Resources(parallel=parallel))).run(study, Toy())
        first = [t for t in study.history.complete if lineage(study.history, t.number)[0].number < 2]
        return max(t.metrics["q"] for t in first)

    alone = best("none")
    together = best({"method": "pbt", "population": 2, "interval": 5, "quantile": 0.5})
    assert alone == pytest.approx(0.39, abs=0.01)
    assert together > 1.15


# -- runners, options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_it_runs_with_real_checkpoints(runner: str, tmp_path: Any) -> None:
    with Study(
        SPACE,
        {"loss": "minimize"},
        searcher="random",
        scheduler={"method": "pbt", "population": 3, "interval": 2, "quantile": 0.34, "max": 8},
        budget={"trials": 7},
        storage=tmp_path / "study.journal",
    ) as study:
        settings = RunSettings(resources=Resources(parallel=2 if runner == "ray" else 1), output=tmp_path)
        study.run(SyntheticCurves(steps=8), runner=runner, settings=settings)
        children = [trial for trial in study.history if trial.parent is not None]
        assert children
        assert all(trial.state in (State.COMPLETE, State.STOPPED) for trial in study.history)
        assert all(trial.step == 8 for trial in study.history.complete)
        assert [t.reports[0].step - t.transitions[0].step for t in children] == [1] * len(children)
        left = {path.name for path in (tmp_path / "checkpoints" / "study").iterdir()}
        assert len(left) == 1, "only the best trial's checkpoint stays"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"population": 1}, "population"),
        ({"population": 4, "quantile": 0.1}, "quantile"),
        ({"quantile": 0.6}, "quantile"),
        ({"interval": 0}, "interval"),
        ({"resample": 1.5}, "resample"),
        ({"factors": [0.0]}, "factors"),
        ({"factors": []}, "factors"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        build("schedulers", {"method": "pbt", **options})
    assert caught.value.option == named


@pytest.mark.parametrize(
    ("options", "named"),
    [({"max": None}, "max"), ({"interval": 27}, "interval"), ({"vary": ("y",)}, "vary")],
)
def test_a_problem_it_cannot_work_on_is_refused(options: dict[str, Any], named: str) -> None:
    of = problem(fidelity=(1, None if "max" in options else 27))
    with pytest.raises(OptionError) as caught:
        pbt(**options).check(of)
    assert caught.value.option == named


def test_a_space_without_real_numbers_needs_names_to_vary() -> None:
    with pytest.raises(OptionError, match="vary"):
        Study({"width": Int(1, 8)}, {"loss": "minimize"}, scheduler={"method": "pbt", "max": 9})
