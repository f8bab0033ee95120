"""The live view: one block on the terminal that follows a running study."""

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autosearch.core import Study, Trial
from autosearch.reporting.listening import own
from autosearch.reporting.standing import Tally, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

# Twice a second: a block takes about two milliseconds to lay out, and nobody reads faster.
PER_SECOND = 2.0
_STYLES = {"best": "bold green", "front": "bold green", "failed": "red", "last": "dim", "stage": "cyan"}


class LiveView:
    """A listener that keeps a block of lines up to date while it is entered.

    Args:
        study: the one to follow.
        console: where to draw; standard output without.
    """

    def __init__(self, study: Study, console: Console | None = None) -> None:
        self._study = study
        self._tally = Tally.of(study.history)
        self._lock = threading.Lock()
        self._console = console or Console()
        self._live = Live(
            console=self._console,
            get_renderable=self.render,
            refresh_per_second=PER_SECOND,
            # What training code prints would otherwise be laid out, and marked up, by rich.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: str, trial: Trial | None, text: str) -> None:
        if trial is None:
            self.line(f"note: {text}")
        elif event != "report" and own(self._study, trial):
            with self._lock:
                self._tally.put(trial)

    def line(self, text: str) -> None:
        """A line above the block."""
        self._console.print(Text(text))

    def render(self) -> RenderableType:
        """The block as it stands."""
        with self._lock:
            found = lines(self._study.history, self._tally, elapsed_s=self._study.elapsed_s)
            done = sum(n for state, n in self._tally.counts.items() if state.finished)
        return Group(*self._parts(found, done))

    def _parts(self, found: list[tuple[str, str]], done: int) -> "Iterator[RenderableType]":
        goals = ", ".join(f"{goal.direction} {goal.metric}" for goal in self._study.problem.objectives)
        yield Text.assemble((self._study.name, "bold"), "  ", (goals, "dim"))
        share = self._share(done)
        if share is not None:
            yield ProgressBar(total=1.0, completed=share, width=min(60, self._console.width - 2))
        grid = Table.grid(padding=(0, 2), expand=True)
        # The labels have the width that they need; the words get what is left of the line.
        grid.add_column(style="dim", no_wrap=True, width=max((len(label) for label, _ in found), default=1))
        grid.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
        for label, words in found:
            # Text, not markup: names and messages may hold brackets.
            grid.add_row(label, Text(" ".join(words.split()), style=_STYLES.get(label, "")))
        yield grid

    def _share(self, done: int) -> float | None:
        """How much of the budget is spent, by the limit that is nearest."""
        budget = self._study.problem.budget
        shares = []
        if budget.trials:
            shares.append(done / budget.trials)
        if budget.minutes:
            shares.append(self._study.elapsed_s / 60 / budget.minutes)
        return min(1.0, max(shares)) if shares else None
