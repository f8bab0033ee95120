"""A layer search from its task: rejected layers end as stopped, others are measured on every anchor, and resume."""

from pathlib import Path
from typing import Any

import pytest

from autosearch.core import Job, OptionError, RunSettings, SpaceError, State, Study
from autosearch.core.plugins import build
from autosearch.methods.evonorm.graphs import Graph, published
from autosearch.methods.evonorm.rejection import RejectedError
from autosearch.methods.evonorm.task import LayerSearch

SPACE = {"layer": {"use": "evonorm", "nodes": 6}}
GOALS = {"val_accuracy_residual": "maximize", "val_accuracy_plain": "maximize"}


def task(**options: Any) -> LayerSearch:
    """Two anchors on tiny digits, 12 steps."""
    defaults: dict[str, Any] = {
        "anchors": ("residual", "plain"),
        "steps": 12,
        "report_every": 4,
        "image_size": 4,
        "train_size": 128,
        "val_size": 100,
        "rejection": {"quality_steps": 4, "quality_factor": 0.1, "stability_steps": 1},
    }
    return LayerSearch(**{**defaults, **options})


def config(graph: Graph, nodes: int = 6) -> dict[str, Any]:
    return {"layer": graph.padded(nodes).to_config()}


def run(graph: Graph, made: LayerSearch | None = None, **job: Any) -> list[Any]:
    return list((made or task()).run(Job(0, config(graph), 1, **job)))


def test_every_anchor_is_measured_at_every_report() -> None:
    progress = run(published("s0"))
    assert [p.step for p in progress] == [4, 8, 12]
    metrics = progress[-1].metrics
    assert set(metrics) == set(task().metrics)
    mean = (metrics["val_accuracy_residual"] + metrics["val_accuracy_plain"]) / 2
    assert metrics["val_accuracy"] == pytest.approx(mean)
    assert Graph.parse(progress[-1].data["layer"]).key() == published("s0").key()


def test_a_trial_that_is_resumed_ends_with_the_same_numbers(tmp_path: Path) -> None:
    whole = run(published("b0"))
    stream = task().run(Job(0, config(published("b0")), 1))
    first = next(stream)
    first.save(tmp_path)
    stream.close()
    rest = run(published("b0"), checkpoint=tmp_path, step=4)
    for one, other in zip(whole[1:], rest, strict=True):
        assert {k: v for k, v in one.metrics.items() if k != "seconds"} == {
            k: v for k, v in other.metrics.items() if k != "seconds"
        }


def test_a_trial_ends_where_it_is_told_to() -> None:
    assert [p.step for p in run(published("s0"), until=8)] == [4, 8]


def test_test_metrics_come_from_the_checkpoint(tmp_path: Path) -> None:
    made = task()
    progress = run(published("s0"), made)
    progress[-1].save(tmp_path)
    found = made.finish(Job(0, config(published("s0")), 1, checkpoint=tmp_path))
    assert set(found) == {"test_accuracy_residual", "test_accuracy_plain", "test_accuracy"}
    assert 0 <= found["test_accuracy"] <= 1


@pytest.mark.parametrize(
    ("graph", "options", "check"),
    [
        ("neg x", {}, "static"),
        (
            "sigmoid x; mul n1 x",
            {"rejection": {"quality_steps": 2, "quality_factor": 9.9, "stability_steps": 0}},
            "quality",
        ),
        ("sigmoid x; mul n1 x", {"rejection": {"quality_steps": 0, "stability_norm": 1e-6}}, "stability"),
        ("square x; square n1; exp n2; mul n3 x", {"checks": ()}, "quality"),
    ],
)
def test_each_check_turns_layers_away(graph: str, options: dict[str, Any], check: str) -> None:
    with pytest.raises(RejectedError) as caught:
        run(Graph.parse(graph), task(**options))
    assert caught.value.check == check


@pytest.mark.parametrize("runner", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_rejected_trial_is_stopped_with_its_reason_and_does_not_end_the_study(runner: str) -> None:
    study = Study(SPACE, GOALS, searcher="random", budget={"trials": 6})
    for text in ("neg x", "neg x; neg n1", "tanh v1", "exp v1"):
        study.enqueue({f"layer.{k}": v for k, v in Graph.parse(text).padded(6).to_config().items()})
    study.enqueue({f"layer.{k}": v for k, v in published("s0", 6).to_config().items()})
    study.run(task(), trials=5, runner=runner, settings=RunSettings())
    rejected = study.history[:4]
    assert {trial.state for trial in rejected} == {State.STOPPED}
    assert all("static: " in trial.data["rejected"] for trial in rejected)
    assert all(trial.values is None and trial.failure is None and not trial.reports for trial in rejected)
    assert study.history[4].state is State.COMPLETE
    assert len(study.front) == 1


def test_rejections_are_read_back_from_the_record(tmp_path: Path) -> None:
    storage = tmp_path / "study.journal"
    with Study(SPACE, GOALS, searcher="random", budget={"trials": 1}, storage=storage) as study:
        study.enqueue({f"layer.{k}": v for k, v in Graph.parse("neg x").padded(6).to_config().items()})
        study.run(task(), runner="inline")
    with Study(SPACE, GOALS, searcher="random", budget={"trials": 1}, storage=storage) as study:
        assert study.history[0].state is State.STOPPED
        assert "only scales and shifts" in study.history[0].data["rejected"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"anchors": []}, "anchors"),
        ({"anchors": ["plain", "plain"]}, "anchors"),
        ({"anchors": ["plane"]}, "anchors"),
        ({"steps": 0}, "steps"),
        ({"rejection": {"quality": 3}}, "rejection"),
        ({"rejection": {"quality_steps": -1}}, "quality_steps"),
        ({"checks": ["quantity"]}, "checks"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        build("tasks", {"method": "layer_search", **options})
    assert caught.value.option == named


def test_a_space_without_a_layer_is_refused() -> None:
    for space in ({"lr": [0.1, 0.2]}, {**SPACE, "lr": [0.1, 0.2]}):
        study = Study(space, GOALS, searcher="random", budget={"trials": 1})
        with pytest.raises(SpaceError, match="use: evonorm"):
            task().check(study.problem)
    study = Study(SPACE, {"accuracy": "maximize"}, searcher="random")
    with pytest.raises(SpaceError, match="no such metric"):
        task().check(study.problem)
