"""The evolution of layers: parents, window, front, surrogate, re-ranking; all of it a function of the history."""

import itertools
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autosearch.core import Decision, Job, OptionError, Progress, RunSettings, SpaceError, State, Study
from autosearch.core.plugins import build
from autosearch.methods.evonorm.features import features, identity, works
from autosearch.methods.evonorm.graphs import PUBLISHED, Graph, published, random_graph
from autosearch.methods.evonorm.rejection import RejectedError
from autosearch.methods.evonorm.searcher import EvoNormSearcher

SPACE = {"layer": {"use": "evonorm", "nodes": 5}}
TWO = {"a": "maximize", "b": "maximize"}


class Scored:
    """Layers scored without training: more different operations are better, and one that never works is rejected."""

    max_step = 3

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        graph = Graph.from_config(job.config["layer"])
        if not works(graph):
            raise RejectedError("static", "on demand")
        kinds = len({node.operation for _, node in graph.steps})
        for step in range(job.step + 1, 4):
            metrics = {"a": kinds + 0.1 * step, "b": -len(graph.steps) + 0.1 * step}
            yield Progress(metrics, step, save=lambda folder: (folder / "state").touch(), seconds=1.0)


def run(
    trials: int = 60, output: Path | None = None, seed: int = 0, goals: Any = None, **options: Any
) -> Study:
    searcher = EvoNormSearcher(**{"population": 4, "tournament": 3, **options})
    study = Study(SPACE, goals or TWO, searcher=searcher, budget={"trials": trials}, seed=seed)
    study.run(Scored(), runner="simulated", settings=RunSettings(output=output))
    return study


def graph_of(trial: Any) -> Graph:
    return Graph.from_config({n.removeprefix("layer."): v for n, v in trial.config.items()})


@pytest.mark.parametrize("options", [{}, {"surrogate": 2}, {"proxy": 1, "rerank": 2}], ids=str)
def test_every_suggestion_follows_from_what_it_had_seen(options: dict[str, Any], tmp_path: Path) -> None:
    study = run(14 if "surrogate" in options else 40, tmp_path, **options)
    for trial in study.history[::5]:
        fresh = EvoNormSearcher(**{"population": 4, "tournament": 3, **options})
        again = fresh.suggest(study.history.as_of(trial), 1)[0]
        assert study.problem.space.validate(again.config) == trial.config
        assert (again.parent, again.info) == (trial.parent, trial.info)


def test_no_layer_is_trained_twice() -> None:
    study = run(80)
    keys = [identity(graph_of(trial)) for trial in study.history]
    assert len(set(keys)) == len(keys)


def test_layers_that_compute_the_same_are_one() -> None:
    same = [
        ("tanh x", "neg x; tanh n1; neg n2"),
        ("max x zero", "add x zero; mul v1 zero; max n2 n1"),
        ("std_whg x", "std_whg x; mean_whg n1"),
    ]
    for one, other in same:
        assert Graph.parse(one).key() != Graph.parse(other).key()
        assert identity(Graph.parse(one)) == identity(Graph.parse(other))
    rng = np.random.default_rng(0)
    graphs = [Graph.parse(pair[0]) for pair in same] + [published(name) for name in PUBLISHED]
    graphs += [Graph.parse(text) for text in ("mul x v0", "mul x v1", "rms_whc x", "rms_whg x", "mean_bwh x")]
    assert len({identity(graph) for graph in graphs}) == len(graphs)
    for graph in (random_graph(rng, 6, batch_statistics=True) for _ in range(50)):
        assert identity(graph) == identity(graph.padded(9))


def test_rejected_layers_are_never_parents() -> None:
    history = run(80).history
    rejected = {t.number for t in history if t.state is State.STOPPED}
    parents = {t.info["parent"] for t in history if t.info.get("reason") == "mutation"}
    assert rejected
    assert parents
    assert not parents & rejected


def test_children_are_two_mutations_away_and_half_of_them_fresh() -> None:
    history = run(120).history
    reasons = [trial.info["reason"] for trial in history]
    children = [t for t in history if t.info["reason"] == "mutation"]
    assert 0.3 < reasons.count("fresh") / (reasons.count("fresh") + len(children)) < 0.7
    for trial in children:
        parent = graph_of(history[trial.info["parent"]])
        changed = sum(a != b for a, b in zip(parent.nodes, graph_of(trial).nodes, strict=True))
        assert 1 <= changed <= 2


def test_only_the_newest_layers_of_the_window_are_parents() -> None:
    study = run(100, window=3)
    for trial in study.history:
        if trial.info["reason"] == "mutation":
            newest = [t.number for t in study.history.as_of(trial).complete][-3:]
            assert trial.info["parent"] in newest


def test_the_winner_is_drawn_from_the_front_only() -> None:
    searcher = EvoNormSearcher(tournament=50)
    living = searcher.living(run(80).history)
    values = np.array([t.values for t in living])
    front = {
        t.number
        for t, v in zip(living, values, strict=True)
        if not any((w <= v).all() and (w < v).any() for w in values)
    }
    rng = np.random.default_rng(0)
    assert {searcher.select(living, rng).number for _ in range(200)} == front
    mean = EvoNormSearcher(tournament=50, winner="mean").select(living, rng)
    assert sum(mean.values) == values.sum(axis=1).min()


# -- the surrogate -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_surrogate_turns_to_better_layers_than_chance_does() -> None:
    """The score rises with what the features hold, so it can be learnt: better on average over three seeds."""

    def reached(surrogate: int) -> float:
        found = [
            run(40, seed=seed, goals={"a": "maximize"}, surrogate=surrogate).history for seed in range(3)
        ]
        return float(np.mean([np.mean([-t.values[0] for t in h.complete[-10:]]) for h in found]))

    assert reached(12) > reached(1) + 0.3


def test_children_that_fail_the_static_check_are_not_suggested_beside_a_surrogate() -> None:
    history = run(8, surrogate=2).history
    assert len(history.complete) == 8
    assert len(run(40).history.complete) < 28


def test_trials_are_not_chosen_from_what_others_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Initial layers are drawn by number alone: without numbers of their own, neighbours would share nearly all."""
    drawn: list[set[str]] = []
    ordinary = EvoNormSearcher._suggestion

    def watched(self: EvoNormSearcher, history: Any, number: int, *rest: Any) -> Any:
        found = ordinary(self, history, number, *rest)
        if len(drawn) <= len(history):
            drawn.append(set())
        drawn[-1].add(identity(Graph.from_config({n[6:]: v for n, v in found.config.items()})))
        return found

    monkeypatch.setattr(EvoNormSearcher, "_suggestion", watched)
    run(3, surrogate=4, population=10)
    assert len(drawn) == 3
    assert all(len(one & other) < len(one) / 3 for one, other in itertools.pairwise(drawn))


def test_features_are_numbers_of_the_unit_interval_and_blind_to_dead_nodes() -> None:
    rng = np.random.default_rng(0)
    graphs = [random_graph(rng, 8, batch_statistics=True) for _ in range(60)]
    graphs += [published(name) for name in PUBLISHED]
    rows = np.array([features(g) for g in graphs])
    assert np.isfinite(rows).all()
    assert ((rows >= 0) & (rows <= 1)).all()
    assert np.array_equal(features(published("s0")), features(published("s0", 10)))
    assert len(np.unique(rows[-8:], axis=0)) == 8


# -- ranking again -------------------------------------------------------------------------------------------------


def test_the_best_layers_go_on_from_their_checkpoints_at_the_end(tmp_path: Path) -> None:
    history = run(40, tmp_path, proxy=2, rerank=3).history
    ordinary, again = history[:37], history[37:]
    assert all(t.parent is None and t.until == 2 for t in ordinary)
    assert all(t.step == 2 for t in ordinary if t.state is State.COMPLETE)
    assert len({t.parent for t in again}) == 3
    assert [t.transitions[0].step for t in again] == [2] * 3
    assert [t.step for t in again] == [3] * 3
    best = max(t.metrics["a"] + t.metrics["b"] for t in ordinary if t.state is State.COMPLETE)
    assert max(history[t.parent].metrics["a"] + history[t.parent].metrics["b"] for t in again) >= best - 1
    for trial in again:
        assert graph_of(trial) == graph_of(history[trial.parent])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"surrogate": 0}, "surrogate"),
        ({"proxy": 0}, "proxy"),
        ({"rerank": -1}, "rerank"),
        ({"rerank": 2}, "rerank"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        build("searchers", {"method": "evonorm", **options})
    assert caught.value.option == named


def test_a_problem_it_cannot_work_on_is_refused() -> None:
    with pytest.raises(SpaceError, match="use: evonorm"):
        Study({"lr": [0.1, 0.2]}, TWO, searcher="evonorm")
    with pytest.raises(OptionError, match="budget"):
        Study(SPACE, TWO, searcher=EvoNormSearcher(proxy=1, rerank=5), budget={"trials": 5})
