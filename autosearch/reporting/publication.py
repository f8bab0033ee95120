"""What the driver puts into the dashboard: notes, pictures, checkpoints, and the figures that it does not draw."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autosearch.core import AutosearchError, History, Study, Trial, plugins
from autosearch.core.ranking import best_trials
from autosearch.reporting import facts, notes
from autosearch.reporting.drawing import learning_curve_svg

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autosearch.core import Predictor

EVERY_S = 60.0
LEAST_FITTED = 10
MOST_TRIAL_NOTES, MOST_PICTURED = 200, 5
# Figures are redrawn when there are a quarter more results: an append-only record then stays small however long the
# study is.
_GROWTH = 1.25
DRAWINGS = "drawings"
CARD_HEIGHT = 440  # pixels: the dashboard cuts off what is higher
# What a method folder registers under `autosearch.drawings`: (history, trial) -> file name -> content.
Drawer = Callable[[History, Trial], Mapping[str, bytes]]


class Board(Protocol):
    """Where things are put: the dashboard's side of a record. What stands there already is not written again."""

    def note(self, parts: Iterable[str]) -> None:
        """The study's note; parts that did not change cost nothing."""
        ...

    def trial_note(self, number: int, text: str) -> None:
        """A trial's note."""
        ...

    def figure(self, name: str, text: str) -> None:
        """A plotly figure as JSON under a name of letters, digits, `-` and `_`."""
        ...

    def artifact(self, number: int, filename: str, content: bytes | Path) -> None:
        """A file beside a trial; a folder is packed."""
        ...


class Publication:
    """A listener that keeps the dashboard's notes, pictures and figures up to date, at most once a minute.

    Args:
        study: that it belongs to.
        board: where to put things.
        study_yaml: the resolved study file.
        searcher: its name.
        every_s: least seconds between two updates.
        clock: seconds.
    """

    def __init__(
        self,
        study: Study,
        board: Board,
        *,
        study_yaml: str = "",
        searcher: str = "",
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study, self._board = study, board
        self._yaml, self._searcher = study_yaml, searcher
        self._every_s, self._clock = every_s, clock
        self._next = clock() + every_s
        self._drawn = 0

    def __call__(self, event: str, trial: Trial | None, text: str) -> None:  # noqa: ARG002 - a listener's signature
        if event in ("begin", "finish", "pause") and self._clock() >= self._next:
            self.publish()
            self._next = self._clock() + self._every_s

    def conclude(self) -> None:
        """Bring the dashboard up to date for the last time, with the surrogate's quality where there is one."""
        searched = self._study.problem.space.searched
        make = getattr(self._study.searcher, "predictor", None) if searched else None
        predictor = None
        # Of a study that was cut short, people want their terminal back.
        if (
            make is not None
            and self._study.budget_spent
            and len(self._study.history.complete) >= LEAST_FITTED
        ):
            with contextlib.suppress(AutosearchError):
                predictor = make(self._study.history)
        self.publish(predictor=predictor, over=True)

    def publish(self, *, predictor: "Predictor | None" = None, over: bool = False) -> None:
        """Bring the dashboard up to date.

        Args:
            predictor: for the figure of the surrogate's quality.
            over: whether this is the last time: everything is drawn, the best checkpoint is attached.
        """
        history = self._study.history
        state = notes.study_state(
            history, self._study.name, searcher=self._searcher, over=over and self._study.budget_spent
        )
        self._board.note([state, notes.study_file(self._yaml)])
        self._note_trials(history)
        finished = len(history.finished)
        if not finished or (not over and finished < _GROWTH * self._drawn):
            return
        self._drawn = finished
        for name, figure in missing_figures(history, predictor).items():
            self._board.figure(name, figure.to_json())
        self._picture(history, over=over)

    def _note_trials(self, history: History) -> None:
        for trial in noteworthy(history):
            self._board.trial_note(trial.number, notes.trial_note(history, trial))

    def _picture(self, history: History, *, over: bool) -> None:
        best = best_trials(history, MOST_PICTURED)
        for trial in best:
            picture = learning_curve_svg(history.problem, trial)
            if picture:
                self._board.artifact(trial.number, "learning-curve.svg", picture.encode())
        for trial in best[:1]:
            for name, content in drawings(history, trial).items():
                self._board.artifact(trial.number, name, content)
            if over and trial.checkpoint and Path(trial.checkpoint).is_dir():
                self._board.artifact(trial.number, "checkpoint.zip", Path(trial.checkpoint))


def noteworthy(history: History) -> list[Trial]:
    """The trials that get a note: incumbents, the front, failures, then the newest; at most 200."""
    first = [*facts.incumbents(history)[-50:], *history.front[:50], *history.failed[-50:]]
    chosen = {trial.number: trial for trial in first}
    for trial in reversed(history.finished):
        if len(chosen) >= MOST_TRIAL_NOTES:
            break
        chosen.setdefault(trial.number, trial)
    return [chosen[number] for number in sorted(chosen)]


def missing_figures(history: History, predictor: "Predictor | None" = None) -> "dict[str, go.Figure]":
    """Figures that the dashboard does not draw itself, by name."""
    from autosearch.reporting import figures
    from autosearch.reporting.material import Remembered, foreign_sections

    found: dict[str, go.Figure] = {}
    if len(history.problem.objectives) > 1 and any(len(t.reports) > 1 for t in history):
        for index, goal in enumerate(history.problem.objectives):
            found[f"learning-curves-{index}"] = figures.learning_curves(history, goal.metric)
    if history.problem.constraints:
        found["constraints"] = figures.constraints(history)
    if figures.fidelity_trust(history):
        found["short-and-long-runs"] = figures.fidelity_correlation(history)
    if predictor is not None:
        kept = Remembered(predictor)
        for index in range(len(history.problem.objectives)):
            found[f"surrogate-{index}"] = figures.cross_validation(history, kept, index)
    for i, section in enumerate(foreign_sections(history)):
        drawn = [part for part in section.parts if hasattr(part, "to_json")]
        found |= {f"section-{i}-{j}": figure for j, figure in enumerate(drawn)}
    for figure in found.values():
        figure.update_layout(height=min(CARD_HEIGHT, figure.layout.height or CARD_HEIGHT))
    return found


def drawings(history: History, trial: Trial) -> dict[str, bytes]:
    """Pictures that methods draw of a trial (a layer, an architecture), by file name."""
    found: dict[str, bytes] = {}
    for name in plugins.registered(DRAWINGS):
        drawer: Drawer = plugins.load(DRAWINGS, name)
        found |= drawer(history, trial)
    return found
