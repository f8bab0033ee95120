"""What a report is made of: the material it reads, and the parts that its sections consist of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import plotly.graph_objects as go

from autosearch.core import AutosearchError, History, Predictor, ResolveError, plugins
from autosearch.reporting.figures import ImportanceTable
from autosearch.space import Config

SECTIONS = "report_sections"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report.

    Attributes:
        columns: heads.
        rows: cells; numbers are set flush right.
        caption: what it shows, in a sentence.
        folded: shown after a click.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be copied: a study file, a command."""

    text: str
    caption: str = ""
    folded: bool = False


Part: TypeAlias = go.Figure | Table | Code | str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report with a heading.

    Attributes:
        title: heading.
        parts: figures, tables, code, paragraphs, in order.
        lead: how to read it, one or two sentences.
    """

    title: str
    parts: Sequence[Part]
    lead: str = ""


# What a method folder registers under the entry point group `autosearch.report_sections`.
SectionMaker = Callable[[History], Section | None]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a report reads.

    Attributes:
        history: the study, with its stages.
        name: of the study.
        location: of its record.
        notes: what the driver noted: `study_file`, `versions`, `origin`, `test`.
        predictor: the searcher's, None without one.
        about_predictor: whose it is where it is not the searcher's, or why there is none, in a sentence.
        importance: PED-ANOVA's table; empty where there are too few trials.
        study_yaml: the resolved study file as text.
        written: when the report is made, as text.
    """

    history: History
    name: str
    location: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
    predictor: Predictor | None = None
    about_predictor: str = ""
    importance: ImportanceTable = field(default_factory=dict)
    study_yaml: str = ""
    written: str = ""


class Remembered:
    """A predictor whose costly answers are computed once."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._left_out: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._shares: dict[str, float] | None = None

    def predict(self, configs: Sequence[Config]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, each (n, m)."""
        return self._predictor.predict(configs)

    def cross_validate(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observed, predicted mean and standard deviation of left-out results, each (n, m)."""
        if self._left_out is None:
            self._left_out = self._predictor.cross_validate()
        return self._left_out

    def importances(self) -> dict[str, float]:
        """Share of the variation that each searched parameter explains."""
        if self._shares is None:
            self._shares = self._predictor.importances()
        return self._shares


def foreign_sections(history: History) -> list[Section]:
    """Sections that methods have registered and that apply to this study; one that fails says so in its place."""
    found: list[Section] = []
    for name in plugins.registered(SECTIONS):
        try:
            maker: SectionMaker = plugins.load(SECTIONS, name)
            section = maker(history)
        except ResolveError as error:
            section = Section(name, [f"This section cannot be loaded: {error}"])
        except (AutosearchError, ValueError, KeyError, TypeError, IndexError, ArithmeticError) as error:
            section = Section(name, [f"This section could not be made: {type(error).__name__}: {error}"])
        if section is not None:
            found.append(section)
    return found
