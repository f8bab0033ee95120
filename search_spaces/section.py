"""The report's section on architectures: the best one drawn, the best few spelt in a line."""

from collections.abc import Callable, Mapping
from typing import Any

from autosearch.core import History, Trial
from autosearch.core.ranking import best_trials
from autosearch.reporting.figures.graphs import Graph, graphs
from autosearch.reporting.material import Section, Table
from autosearch.space import nest
from search_spaces import cells, darts, elastic, nasbench201, transnas

_SHOWN = 10
Architecture = Mapping[str, Any]


def architecture_section(history: History) -> Section | None:
    """The best trials' architectures; None where none is of a space that ships."""
    several = len(history.problem.objectives) > 1
    chosen = list(history.front)[:_SHOWN] if several else list(best_trials(history, _SHOWN))
    found = {t.number: architectures for t in chosen if (architectures := architectures_of(t))}
    if not found:
        return None
    rows = [
        [number, place, describe(architecture)]
        for number, architectures in found.items()
        for place, architecture in architectures.items()
    ]
    number, best = next(iter(found.items()))
    drawn = [
        graphs(f"Trial {number}: {place} ({architecture['space']})", draw(architecture))
        for place, architecture in best.items()
    ]
    table = Table(("trial", "placed under", "architecture"), rows, f"The best {len(found)} architectures.")
    return Section("Architectures", [*drawn, table], "Data flow from left to right; colours are operations.")


def architectures_of(trial: Trial) -> dict[str, Architecture]:
    """Every architecture of a shipped space in a trial's configuration, by the name that it is placed under."""
    found: dict[str, Architecture] = {}
    for name, value in trial.config.items():
        place, dot, last = name.rpartition(".")
        if dot and last == "space" and value in _SPACES:
            part: Any = nest(trial.config)
            for key in place.split("."):
                part = part[key]
            found[place] = part
    return found


def describe(architecture: Architecture) -> str:
    """The architecture in a line, as its space spells it."""
    return _SPACES[architecture["space"]][0](architecture)


def draw(architecture: Architecture) -> list[Graph]:
    """The architecture as graphs."""
    return _SPACES[architecture["space"]][1](architecture)


def _cell(architecture: Architecture) -> list[Graph]:
    nodes = {"0": "input", "1": "1", "2": "2", "3": "output"}
    edges = []
    for edge in cells.EDGES:
        source, target = cells.ends(edge)
        if architecture[edge] != "none":
            edges.append((str(source), str(target), str(architecture[edge])))
    return [Graph("cell", nodes, edges)]


def _darts(architecture: Architecture) -> list[Graph]:
    panels = []
    for cell, inputs in darts.to_genotype(architecture).items():
        nodes = {"0": "cell before last", "1": "last cell"}
        nodes |= {str(node): str(node) for node in darts.NODES}
        edges = [(str(source), str(2 + i // 2), name) for i, (name, source) in enumerate(inputs)]
        panels.append(Graph(f"{cell} cell", nodes, edges))
    return panels


def _chain(title: str, labels: list[str]) -> Graph:
    nodes = {str(i): label for i, label in enumerate(labels)}
    return Graph(title, nodes, [(str(i), str(i + 1), "") for i in range(len(labels) - 1)])


def _stack(architecture: Architecture) -> list[Graph]:
    labels = []
    for widen, stride in transnas.modules_of(architecture):
        words = [*(["channels ×2"] if widen > 1 else []), *(["half the image"] if stride > 1 else [])]
        labels.append(", ".join(words) or "same shapes")
    return [_chain("modules", labels)]


def _mobile(architecture: Architecture) -> list[Graph]:
    return [
        _chain(f"stage {i}", [f"{kernel}×{kernel}, expansion {expansion}" for kernel, expansion in stage])
        for i, stage in enumerate(elastic.mobile_blocks(architecture), start=1)
    ]


def _resnet(architecture: Architecture) -> list[Graph]:
    labels = [
        f"{blocks} blocks of {channels} channels" for blocks, channels in elastic.resnet_stages(architecture)
    ]
    return [_chain("stages", labels)]


_SPACES: dict[Any, tuple[Callable[[Architecture], str], Callable[[Architecture], list[Graph]]]] = {
    nasbench201.NAME: (nasbench201.to_text, _cell),
    darts.NAME: (darts.to_text, _darts),
    transnas.MICRO: (transnas.cell_to_text, _cell),
    transnas.MACRO: (transnas.stack_to_text, _stack),
    elastic.MOBILENET: (elastic.mobile_to_text, _mobile),
    elastic.RESNET: (elastic.resnet_to_text, _resnet),
}
