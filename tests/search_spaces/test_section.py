"""What the report shows of architectures."""

import numpy as np
import pytest

from autosearch.core import Study
from autosearch.core.opening import resolve_space
from autosearch.reporting.figures.graphs import Graph, graphs
from autosearch.space import nest
from search_spaces.section import architecture_section, describe, draw
from tests.search_spaces.test_spaces import SPACES


def studied(space: dict, objectives: dict) -> Study:
    study = Study(space, objectives, searcher="random", budget={"trials": 4})
    for _ in range(4):
        trial = study.ask()
        study.tell(trial, {name: float(trial.number) for name in objectives})
    return study


@pytest.mark.parametrize("name", SPACES)
def test_architectures_of_every_space_are_drawn_and_spelt(name: str) -> None:
    space = resolve_space({"architecture": {"use": name}})
    for config in space.sample(np.random.default_rng(0), 3):
        architecture = nest(config)["architecture"]
        assert describe(architecture)
        panels = draw(architecture)
        figure = graphs("t", panels)
        drawn = sum(trace.mode == "lines" for trace in figure.data)
        assert drawn == sum(len(panel.edges) for panel in panels)
        for panel in panels:
            order = list(panel.nodes)
            assert all(order.index(a) < order.index(b) for a, b, _ in panel.edges)


def test_the_best_trials_architecture_is_drawn_and_the_others_are_listed() -> None:
    study = studied({"architecture": {"use": "nasbench201"}, "lr": [0.1, 0.01]}, {"loss": "minimize"})
    figure, table = architecture_section(study.history).parts
    assert "Trial 0: architecture (nasbench201)" in figure.layout.title.text
    assert [row[0] for row in table.rows] == [0, 1, 2, 3]
    assert table.rows[0][2].startswith("|")


def test_of_several_objectives_the_front_is_shown() -> None:
    study = studied({"net": {"use": "elastic_resnet"}}, {"loss": "minimize", "size": "minimize"})
    section = architecture_section(study.history)
    assert [row[:2] for row in section.parts[-1].rows] == [[0, "net"]]


def test_a_study_without_architectures_has_no_section() -> None:
    assert architecture_section(studied({"lr": [0.1, 0.01]}, {"loss": "minimize"}).history) is None


def test_edges_that_do_the_same_share_a_colour_and_one_line_of_the_legend() -> None:
    panel = Graph(
        "g", {"a": "a", "b": "b", "c": "c"}, [("a", "b", "conv"), ("b", "c", "conv"), ("a", "c", "<skip>")]
    )
    lines = [trace for trace in graphs("t", [panel, panel]).data if trace.mode == "lines"]
    assert sum(bool(trace.showlegend) for trace in lines) == 2
    assert len({trace.line.color for trace in lines if trace.legendgroup == "conv"}) == 1
    assert lines[2].name == "&lt;skip&gt;"
    assert max(abs(y - lines[2].y[0]) for y in lines[2].y) > 0  # it passes over another node, so it is an arc
