"""What commands print: plain text on a pipe, tables on a terminal, JSON where asked."""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from autosearch.core import History, Problem, Trial


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    DONE = 0
    FAULT = 1
    BAD_INPUT = 2
    ALL_FAILED = 3
    NOT_FEASIBLE = 4
    INTERRUPTED = 130


_ours: ContextVar[TextIO | None] = ContextVar("autosearch_output", default=None)


@contextmanager
def alone() -> Iterator[None]:
    """A span in which standard output is this module's alone: what a user's code prints goes to standard error."""
    token = _ours.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _ours.reset(token)


def out(text: str = "") -> None:
    """A line on standard output, at once."""
    print(text, file=_ours.get() or sys.stdout, flush=True)


def note(text: str) -> None:
    """A line on standard error: what is said about the work, as opposed to its result."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def error(fault: Exception) -> int:
    """Print an error the way its kind asks for; returns the exit code."""
    from autosearch.core import RepeatedFailureError

    if isinstance(fault, RepeatedFailureError):
        note(fault.traceback.rstrip() or "(no traceback)")
        note(f"autosearch: {fault}")
        return Exit.ALL_FAILED
    for line in str(fault).splitlines():
        note(line)
    return Exit.BAD_INPUT


def json_out(value: Any) -> None:
    """A JSON document on standard output; numbers that JSON lacks become null."""
    out(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def json_line(value: Any) -> None:
    """A JSON document in one line."""
    out(json.dumps(_plain(value), ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def show(value: Any) -> str:
    """A value as people read it: numbers with six digits at most."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `3 min 20 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table: drawn by rich on a terminal, tab-separated on a pipe."""
    if not sys.stdout.isatty():
        out("\t".join(columns))
        for row in rows:
            out("\t".join(show(cell) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        # Text, not markup: names and values may hold brackets.
        drawn.add_row(*(Text(show(cell)) for cell in row))
    Console().print(drawn)


def trial_json(trial: "Trial") -> dict[str, Any]:
    """A trial as every `--json` shows it."""
    return {
        "number": trial.number,
        "state": trial.state.value,
        "config": dict(trial.config),
        "metrics": dict(trial.metrics),
        "feasible": trial.feasible,
        "step": trial.step,
        "seconds": round(trial.seconds, 3),
        "attempts": list(trial.attempts),
        "checkpoint": trial.checkpoint,
        "failure": None
        if trial.failure is None
        else {"cause": trial.failure.cause, "message": trial.failure.message},
        "info": dict(trial.info),
        "data": dict(trial.data),
    }


def last_lines(history: "History", notes: Mapping[str, Any]) -> list[str]:
    """What the last stage made of the winner, empty without one."""
    from autosearch.core.stages import last_of_winner

    last = last_of_winner(history)
    if last is None:
        return []
    best, stage, found = last
    lines = [f"finally, from trial {best.number}: {goals(stage.problem, found)}"]
    lines += [f"  {name}: {show(value)}" for name, value in found.config.items()]
    others = {k: v for k, v in found.metrics.items() if k not in stage.problem.metric_names}
    if others:
        lines.append(
            "  also measured: " + ", ".join(f"{name} {show(value)}" for name, value in others.items())
        )
    test = notes.get("finally") or {}
    if (test.get("from"), test.get("trial")) == (best.number, found.number):
        lines.append("  test: " + ", ".join(f"{name} {show(v)}" for name, v in test["metrics"].items()))
    if found.checkpoint:
        lines.append(f"  checkpoint: {found.checkpoint}")
    return lines


def goals(problem: "Problem", trial: "Trial") -> str:
    """The objectives of a trial in one piece: `val_accuracy 0.9861`."""
    names = problem.metric_names
    return ", ".join(f"{name} {show(trial.metrics[name])}" for name in names if name in trial.metrics)
