"""The report and the dashboard in a real browser: `make test-browser`."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autosearch.core import Goal, Study
from autosearch.record.dashboard import make_server, open_storage
from autosearch.record.open import open_journal
from autosearch.record.publish import DashboardBoard
from autosearch.reporting.material import Material
from autosearch.reporting.page import report_html
from autosearch.reporting.publication import Publication

from .conftest import TWO
from .histories import LinePredictor, make_history

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EVIL = "<img src=x onerror=window.hurt=1>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, with a home of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium; name one in $CHROMIUM")
    home = str(tmp_path_factory.mktemp("home"))
    environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=FLAGS, env=environment)
        yield chromium
        chromium.close()


class Page:
    """A page that keeps every error and every request to elsewhere."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": 1300, "height": 900}, **options)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))


# -- report ------------------------------------------------------------------------------------------------


def written_report(folder: Path, **more: Any) -> str:
    history = make_history(120, 6, objectives=TWO, constraint=True)
    material = Material(history, more.pop("name", "demo"), predictor=LinePredictor(history), **more)
    path = folder / "report.html"
    path.write_text(report_html(material), encoding="utf-8")
    return path.as_uri()


def drawn(page: Any) -> int:
    page.wait_for_function("document.documentElement.dataset.ready === '1'", timeout=60_000)
    return int(page.locator(".plot .main-svg").count())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_of_the_report_is_drawn_without_errors_or_network(
    browser: Any, tmp_path: Path, scheme: str
) -> None:
    seen = Page(browser, color_scheme=scheme)
    address = written_report(tmp_path)
    seen.page.goto(address)
    assert drawn(seen.page) >= seen.page.locator(".plot").count() > 10
    assert seen.page.locator(".failed-plot").count() == 0
    assert seen.errors == []
    assert seen.requests == [address]


def test_the_report_is_light_on_light_and_dark_on_dark(browser: Any, tmp_path: Path) -> None:
    address = written_report(tmp_path)
    grounds = {}
    for scheme in ("light", "dark"):
        page = Page(browser, color_scheme=scheme).page
        page.goto(address)
        drawn(page)
        colour = "() => getComputedStyle(document.body).backgroundColor"
        ink = "() => getComputedStyle(document.querySelector('.plot .gtitle')).fill"
        grounds[scheme] = sum(numbers(page.evaluate(colour))), sum(numbers(page.evaluate(ink)))
    assert grounds["light"][0] > 700 > 3 * grounds["light"][1]
    assert grounds["dark"][0] < 120 < grounds["dark"][1] / 3


def test_the_buttons_of_a_figure_stand_on_its_own_ground(browser: Any, tmp_path: Path) -> None:
    page = Page(browser).page
    page.goto(written_report(tmp_path))
    drawn(page)
    ground = "() => getComputedStyle(document.querySelector('.modebar-group')).backgroundColor"
    assert page.evaluate(ground) == "rgba(0, 0, 0, 0)"


def numbers(colour: str) -> list[float]:
    return [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]


def test_no_text_of_a_study_runs_in_the_report(browser: Any, tmp_path: Path) -> None:
    seen = Page(browser)
    seen.page.goto(written_report(tmp_path, name=EVIL, study_yaml=EVIL, location=EVIL))
    drawn(seen.page)
    assert seen.page.evaluate("() => window.hurt") is None
    assert seen.page.locator("h1").inner_text() == EVIL


def test_nothing_in_the_report_is_wider_than_a_narrow_screen(browser: Any, tmp_path: Path) -> None:
    page = Page(browser).page
    page.set_viewport_size({"width": 420, "height": 900})
    page.goto(written_report(tmp_path))
    drawn(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 421


def test_a_printed_figure_fits_the_paper(browser: Any, tmp_path: Path) -> None:
    page = Page(browser, color_scheme="dark").page
    page.goto(written_report(tmp_path))
    drawn(page)
    printed = page.pdf(format="A4")
    assert len(printed) > 50_000
    page.emulate_media(media="print")
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("() => document.querySelector('.plot .main-svg').clientWidth") <= 700
    ink = page.evaluate("() => getComputedStyle(document.querySelector('.plot .gtitle')).fill")
    assert sum(numbers(ink)) < 300


# -- dashboard ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a served study with constraints, in which an infeasible trial has the best value."""
    folder = tmp_path_factory.mktemp("dashboard")
    for name, objectives in (("one", (Goal("accuracy", maximize=True),)), ("two", TWO)):
        history = make_history(80, 6, objectives=objectives, constraint=True)
        record = open_journal(str(folder / "study.journal"), name, history.problem)
        record.begin_all(list(history))
        study = Study(
            history.problem.space,
            history.problem.objectives,
            constraints=history.problem.constraints,
            searcher="random",
            budget={"trials": 80},
            record=record,
        )
        board = DashboardBoard(record, folder / "artifacts")
        Publication(study, board, study_yaml="study: demo\n").publish(
            predictor=LinePredictor(study.history), over=True
        )
        study.close()
    storage = open_storage(str(folder / "study.journal"))
    with make_server(
        storage, artifacts=folder / "artifacts", report=lambda: "<!doctype html><h1>report</h1>"
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("study", [0, 1])
@pytest.mark.parametrize("tail", ["", "/analytics", "/trials", "/smartSelection", "/note"])
def test_every_page_of_the_dashboard_loads_without_errors(
    browser: Any, dashboard: str, study: int, tail: str
) -> None:
    seen = Page(browser)
    seen.page.goto(f"{dashboard}/dashboard/studies/{study}{tail}")
    seen.page.wait_for_load_state("networkidle")
    seen.page.get_by_text("one" if study == 0 else "two").first.wait_for(timeout=20_000)
    assert seen.errors == []
    assert all(address.startswith((dashboard, "data:", "blob:")) for address in seen.requests)


def test_an_infeasible_trial_is_not_ranked_best(browser: Any, dashboard: str) -> None:
    history = make_history(80, 6, objectives=(Goal("accuracy", maximize=True),), constraint=True)
    best = history.incumbent
    complete = [t for t in history.complete if t.values]
    assert best is not None
    assert min(complete, key=lambda t: t.values or ()).number != best.number, "the example has no trap"
    page = Page(browser).page
    page.goto(f"{dashboard}/dashboard/studies/0")
    page.get_by_text(f"Best Trial (number={best.number})").wait_for(timeout=20_000)


def test_our_own_figures_and_the_note_are_shown(browser: Any, dashboard: str) -> None:
    page = Page(browser).page
    page.goto(f"{dashboard}/dashboard/studies/1")
    for title in ("learning curves: latency", "surrogate on left-out results", "constraints"):
        page.locator(".gtitle", has_text=title).first.wait_for(timeout=20_000)
    page.goto(f"{dashboard}/dashboard/studies/1/note")
    page.get_by_role("heading", name="Study file").wait_for(timeout=20_000)
    page.get_by_role("link", name="Report").click()
    page.get_by_role("heading", name="report").wait_for(timeout=20_000)


def test_a_learning_curve_is_shown_beside_its_trial(browser: Any, dashboard: str) -> None:
    best = make_history(80, 6, objectives=(Goal("accuracy", maximize=True),), constraint=True).incumbent
    assert best is not None
    page = Page(browser).page
    page.goto(f"{dashboard}/dashboard/studies/0/trials?numbers={best.number}")
    page.get_by_text("learning-curve.svg").wait_for(timeout=20_000)
    picture = page.locator("img[src*='/artifacts/']").first
    picture.wait_for(timeout=20_000)
    page.wait_for_function("() => document.querySelector(\"img[src*='/artifacts/']\").naturalWidth > 0")
