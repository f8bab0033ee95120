import dataclasses
import re

import pytest

from autosearch.core import Failure, Goal, History, plugins
from autosearch.reporting.material import Material, Remembered, Section
from autosearch.reporting.page import report_html
from autosearch.space import Categorical, SearchSpace

from .conftest import TWO
from .histories import LinePredictor, make_history

EVIL = "</script><img src=x onerror=alert(1)>"
NAME = "</script><img/src=x>"  # names hold no blanks


def material(history: History, **more: object) -> Material:
    values = {"name": "digits", "location": "/data/study.journal", "study_yaml": "study: digits\n", **more}
    return Material(history, **values)  # type: ignore[arg-type]


def body_of(page: str) -> str:
    """The page without plotly.js, which mentions addresses that it never opens."""
    start = page.index("<script>", page.index('id="figures"'))
    return page[:start] + page[page.index("</script>", start) :]


def test_every_kind_of_study_gets_a_page(any_history: History) -> None:
    page = report_html(material(any_history))
    assert page.startswith("<!doctype html>")
    assert "<h2>Health checks</h2>" in page
    assert "<h2>Origin</h2>" in page


def test_the_page_needs_no_network_and_holds_plotly_once(history: History) -> None:
    page = report_html(material(history, predictor=LinePredictor(history)))
    assert not re.search(r"<link|<img|<iframe|src=|@import|url\(", body_of(page))
    assert page.count("plotly.js v") == 1


def test_a_page_of_a_thousand_trials_stays_under_six_megabytes() -> None:
    history = make_history(1000, 12, reports=20)
    page = report_html(material(history, predictor=LinePredictor(history)))
    assert len(page.encode()) < 6_000_000


def test_texts_that_look_like_markup_cannot_leave_their_place() -> None:
    base = make_history(20, 1)
    space = SearchSpace({NAME: Categorical([EVIL, "b"])})
    problem = dataclasses.replace(base.problem, space=space, objectives=(Goal(EVIL),))
    trials = [
        dataclasses.replace(
            t,
            config={NAME: EVIL},
            metrics={EVIL: 1.0 + t.number},
            values=(1.0 + t.number,) if t.values else None,
            failure=None if t.failure is None else Failure("crash", EVIL, EVIL),
            info={"reason": EVIL},
        )
        for t in base
    ]
    notes = {"origin": {"command": [EVIL], "folder": EVIL}, "versions": {EVIL: EVIL}}
    page = report_html(
        material(History(problem, trials), name=EVIL, location=EVIL, notes=notes, study_yaml=EVIL)
    )
    assert "<img" not in body_of(page)
    # One element each for the figures, plotly and the page's own script, and no more ends than beginnings.
    assert page.count("</script>") == 3


def test_several_objectives_and_constraints_bring_their_sections() -> None:
    page = report_html(material(make_history(60, objectives=TWO, constraint=True)))
    assert "<h2>Pareto front</h2>" in page
    assert "<h2>Constraints</h2>" in page


def test_one_objective_leaves_those_sections_out(history: History) -> None:
    page = report_html(material(history))
    assert "<h2>Pareto front</h2>" not in page
    assert "<h2>Constraints</h2>" not in page


def test_the_headline_says_value_gain_and_budget(history: History) -> None:
    page = report_html(material(history, notes={"test": {"trial": -1, "metrics": {}}}))
    best = history.incumbent
    assert best is not None
    assert f"{best.metrics['accuracy']:.6g}" in page
    assert "gain over first configuration" in page
    assert "gain over random choice" in page
    assert "60 of 60" in page


def test_the_page_says_how_to_reproduce_the_best(history: History) -> None:
    best = history.incumbent
    assert best is not None
    page = report_html(material(history, notes={"origin": {"study_file": "/data/my study.yaml"}}))
    command = f"autosearch export &#x27;/data/my study.yaml&#x27; --trial {best.number} best-trial"
    assert command in page


def test_why_there_is_no_surrogate_is_said(history: History) -> None:
    assert "Sobol has none." in report_html(material(history, about_predictor="Sobol has none."))


def test_a_method_adds_its_section_through_an_entry_point(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = {
        "mine": lambda history: Section("My method", [f"{len(history)} schedules found"]),
        "silent": lambda history: None,
        "broken": lambda history: 1 / 0,
    }
    monkeypatch.setattr(plugins, "registered", lambda kind: makers if kind == "report_sections" else {})
    monkeypatch.setattr("autosearch.reporting.sections.registered", plugins.registered)
    monkeypatch.setattr(plugins, "load", lambda kind, name: makers[name])
    page = report_html(material(history))
    assert "<h2>My method</h2>" in page
    assert "60 schedules found" in page
    assert "This section could not be made: ZeroDivisionError" in page
    assert "<h2>silent</h2>" not in page


def test_costly_answers_of_a_predictor_are_asked_for_once(history: History) -> None:
    class Counting(LinePredictor):
        asked = 0

        def cross_validate(self):  # type: ignore[no-untyped-def]
            self.asked += 1
            return super().cross_validate()

    predictor = Counting(history)
    kept = Remembered(predictor)
    report_html(material(history, predictor=kept))
    assert predictor.asked == 1
