"""Failures as data: from an exception or a line of text to a cause that policies can read."""

import re
import traceback as tracebacks
from collections import Counter
from collections.abc import Iterable

from autosearch.core.records import Failure

_OOM_MARKS = (
    "out of memory",
    "outofmemory",
    "cannot allocate memory",
    "memoryerror",
    "std::bad_alloc",
)
_OOM_WORD = re.compile(r"\boom\b")  # a word of its own: not the end of "boom"
_LONGEST_LINE = 1000
CAUSES = ("crash", "oom", "timeout", "nan", "preempted", "interrupted", "invalid")


def classify(text: str) -> str:
    """The cause that a line of text points to: `oom` where it speaks of memory, else `crash`."""
    lowered = text.lower()
    return "oom" if any(mark in lowered for mark in _OOM_MARKS) or _OOM_WORD.search(lowered) else "crash"


def from_text(text: str) -> Failure:
    """A failure that a person or a foreign program reports by a line."""
    text = text.strip() or "no reason given"
    line = _line(text)
    return Failure(classify(text), line, "" if line == text else text)


def from_exception(error: BaseException) -> Failure:
    """A failure from what training code raised: type and message in one line, with the traceback."""
    line = _line(f"{type(error).__name__}: {error}").rstrip(": ")
    cause = "oom" if isinstance(error, MemoryError) else classify(f"{type(error).__name__} {error}")
    if isinstance(error, FloatingPointError):
        cause = "nan"
    # An exception class may say what it is, so that a configuration without a result is not tried again.
    cause = getattr(error, "failure_cause", cause)
    text = "".join(tracebacks.format_exception(error))
    return Failure(cause, line, text)


def _line(text: str) -> str:
    """The first line, shortened: some messages hold whole arrays."""
    line = text.strip().splitlines()[0]
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def signature(failure: Failure) -> tuple[str, str, str]:
    """What two failures share that have the same reason: cause, kind of error, and the line that raised it.

    Messages may differ by values that they name; without a traceback they count whole.
    """
    places = [line.strip() for line in failure.traceback.splitlines() if line.lstrip().startswith("File ")]
    kind = failure.message.partition(":")[0] if places else failure.message
    return failure.cause, kind, places[-1] if places else ""


def grouped(failed: Iterable[Failure]) -> dict[str, int]:
    """Failures by what they share: `CAUSE: MESSAGE` of the first of each kind, with their number, most first."""
    first: dict[tuple[str, str, str], str] = {}
    counts: Counter[str] = Counter()
    for failure in failed:
        line = first.setdefault(signature(failure), f"{failure.cause}: {failure.message}")
        counts[line] += 1
    return dict(counts.most_common())
