"""What people see of a found layer: source that runs by itself, a drawn graph, the report's section."""

import importlib.util
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autosearch.core import OptionError, Study
from autosearch.methods.evonorm.drawing import graph_svg, layer_drawings, layer_section
from autosearch.methods.evonorm.graph_layer import GraphLayer
from autosearch.methods.evonorm.graphs import PUBLISHED, Graph, published, random_graph
from autosearch.methods.evonorm.layout import layout
from autosearch.methods.evonorm.source import formula, to_source
from autosearch.reporting.material import Code

from .test_searcher import SPACE, TWO, Scored


def loaded(text: str, folder: Path) -> ModuleType:
    path = folder / "layer.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("found_layer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_written_source_computes_what_the_search_trained(tmp_path_factory, seed: int) -> None:
    graph = random_graph(np.random.default_rng(seed), 8, batch_statistics=True)
    compare(graph, tmp_path_factory.mktemp("source"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_layers_are_written_as_well(name: str, tmp_path: Path) -> None:
    compare(published(name), tmp_path)


def compare(graph: Graph, folder: Path) -> None:
    ours = GraphLayer(8, graph, group_size=4).double()
    theirs = loaded(to_source(graph, group_size=4), folder).FoundLayer(8).double()
    assert set(ours.state_dict()) == set(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 8, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        one, other = ours.train(training)(x), theirs.train(training)(x)
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_the_source_needs_torch_only_and_says_what_it_computes() -> None:
    text = to_source(published("s0"), "Found")
    assert set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)) == {"torch"}
    assert formula(published("s0")).splitlines() == [
        "    n1 = v1 * x",
        "    n2 = sigmoid(n1)",
        "    n3 = x * n2",
        "    n4 = std of x over the group",
        "    n5 = n3 / n4",
    ]
    assert formula(published("s0")) in text
    with pytest.raises(OptionError, match="identifier"):
        to_source(published("s0"), "no name")


def test_the_drawing_holds_every_living_node_and_edge() -> None:
    graph = published("b0", 10)
    root = ET.fromstring(graph_svg(graph, "a <b>"))
    space = "{http://www.w3.org/2000/svg}"
    texts = [node.text for node in root.iter(f"{space}text")]
    assert texts[0] == "a <b>"
    assert sorted(texts[1:]) == sorted(["x", "v1", *(node.operation for _, node in graph.steps)])
    edges = root.findall(f"{space}path")
    assert len(edges) == sum(len(node.inputs) for _, node in graph.steps)


@pytest.mark.parametrize("seed", range(20))
def test_lines_and_boxes_of_a_row_keep_apart(seed: int) -> None:
    graph = random_graph(np.random.default_rng(seed), 10, batch_statistics=True)
    places = layout(graph, 120.0)
    half: dict[int, list[tuple[float, float]]] = {row: [] for row in range(places.rows)}
    for x, row in places.boxes.values():
        half[row].append((x, 60.0))
    for source, target, lanes in places.lines:
        rows = range(places.boxes[source][1] + 1, places.boxes[target][1])
        assert len(lanes) == len(rows)
        for x, row in zip(lanes, rows, strict=True):
            half[row].append((x, 12.0))
    for items in half.values():
        items.sort()
        for (x, a), (y, b) in itertools.pairwise(items):
            assert y - x >= a + b - 1e-6
        assert not items or (items[0][0] >= 0 and items[-1][0] <= places.width)


def test_the_report_shows_the_best_layers_and_why_others_were_turned_away(tmp_path: Path) -> None:
    storage = tmp_path / "study.journal"
    with Study(SPACE, TWO, searcher="random", budget={"trials": 30}, storage=storage) as study:
        study.run(Scored(), runner="inline")
        section = layer_section(study.history)
        assert study.front
        files = layer_drawings(study.history, study.front[0])
    assert set(files) == {"layer.svg", "layer.py"}
    table, code, turned = section.parts
    assert table.columns == ["trial", "a", "b", "layer"]
    assert isinstance(code, Code)
    assert "class Layer" in code.text
    rejected = sum("rejected" in trial.data for trial in study.history)
    assert turned.rows == [("static", rejected)]
    assert f"{rejected} of 30" in section.lead


def test_studies_of_other_things_get_no_section() -> None:
    study = Study({"op1": [1, 2]}, {"loss": "minimize"}, searcher="random")
    assert layer_section(study.history) is None
    trial = study.ask()
    study.tell(trial, 0.5)
    assert layer_section(study.history) is None
    assert layer_drawings(study.history, study.history[0]) == {}
