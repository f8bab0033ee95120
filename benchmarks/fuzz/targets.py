"""What is fuzzed: each target draws an input and judges what the reader made of it.

A judge returns whether the input was accepted. It raises for whatever a reader must not do: any exception but the one
that it promises. `run.py` watches over time and over what gets executed.
"""

import json
import math
import pickle
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from autosearch.core import AutosearchError, Study
from autosearch.core.errors import SpecError
from autosearch.core.opening import open_record
from autosearch.record import read_history
from autosearch.space import Expression
from autosearch.space.errors import ExpressionError, InactiveError
from autosearch.spec import load_spec
from benchmarks.fuzz import networks
from tests.spec.mutations import CANARY, HOSTILE_EXPRESSIONS, HOSTILE_VALUES, mutate

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Target:
    """A reader under fuzz.

    Attributes:
        inputs: drawn by hypothesis.
        judge: whether an input was accepted; raises for what must not be.
        runs_python: whether reading it may run Python code by its nature (a network's own forward).
    """

    inputs: st.SearchStrategy[Any]
    judge: Callable[[Any], bool]
    runs_python: bool = False


def _edits(tokens: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[float, int, str]]]:
    """Up to five places (as shares of a length), what is cut there, and what is put there."""
    return st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), tokens), min_size=1, max_size=5)


def _edited(text: str, edits: list[tuple[float, int, str]]) -> str:
    for share, cut, put in edits:
        at = round(share * len(text))
        text = text[:at] + put + text[at + cut :]
    return text


# -- study files -------------------------------------------------------------------------------------------

STUDIES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "studies").glob("*.yaml"))]
_SYNTAX = st.sampled_from(
    [*"{}[],:&*!|>%@`#?-'\"\t\n ", "\n  ", ": ", "- ", "<<: ", "---\n", "!!python/name:os.system "]
)
_YAML_TOKENS = st.one_of(_SYNTAX, st.sampled_from(HOSTILE_VALUES), st.text(max_size=8))


@st.composite
def study_files(draw: st.DrawFn) -> bytes:
    """A shipped study, broken by the mutators of the tests or by edits of its text."""
    text = draw(st.sampled_from(STUDIES))
    if draw(st.booleans()):
        return mutate(text, draw(st.integers(0, 2**32)))
    return _edited(text, draw(_edits(_YAML_TOKENS))).encode("utf-8", "surrogatepass")


def judge_study_file(content: bytes) -> bool:
    Path("a.yaml").write_bytes(content)
    try:
        load_spec("a.yaml")
    except SpecError as error:
        for line in error.problems:
            if not line.isprintable() or ("a.yaml" not in line and "spaces/" not in line):
                raise ValueError(f"a problem without its place: {line!r}") from error
        if not error.problems:
            raise ValueError("refused without a reason") from error
        return False
    return True


# -- expressions -------------------------------------------------------------------------------------------

_NAMES = ["x", "y", "lr", "val/acc", "a.b", "lambda"]
_PIECES = [
    *"()[],.:;=~@#\n\\`'\"²",
    *("x", "y", "lr", "`val/acc`", "a.b", "`lambda`", "1", "2.5", "1e308", "1e-400", "9" * 30, "'t'", "True", "None"),
    *("+", "-", "*", "/", "//", "%", "**", "<=", "<", ">=", ">", "==", "!=", "and", "or", "not", "in", "if", "else"),
    *("lambda", ":=", "__import__", "eval", "min", "max", "abs", "log", "sqrt", "exp", "__class__", "f'{x}'", "await"),
    *("yield", "*x", "0x1f", "1j", "..."),
]  # fmt: skip
_VALUES = st.one_of(
    st.floats(),
    st.integers(-(10**40), 10**40),
    st.booleans(),
    st.text(max_size=4),
    st.sampled_from([0, 1, -1, 0.5]),
)
_WELL_FORMED = st.recursive(
    st.sampled_from(["x", "y", "lr", "`val/acc`", "1", "2.5", "1e308", "0", "-3", "'t'"]),
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format,
            inner,
            st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<=", "<", "==", "!=", "and", "or"]),
            inner,
        ),
        st.builds("(not {})".format, inner),
        st.builds("-{}".format, inner),
    ),
    max_leaves=12,
)
_TEXTS = st.one_of(
    _WELL_FORMED,
    st.lists(st.sampled_from(_PIECES), max_size=14).map(" ".join),
    st.builds(_edited, _WELL_FORMED, _edits(st.sampled_from(_PIECES))),
    st.sampled_from(HOSTILE_EXPRESSIONS),
    st.text(max_size=60),
)
expressions = st.tuples(_TEXTS, st.dictionaries(st.sampled_from(_NAMES), _VALUES))


def judge_expression(drawn: tuple[str, dict[str, Any]]) -> bool:
    text, values = drawn
    try:
        parsed = Expression.parse(text)
    except ExpressionError:
        return False
    if pickle.loads(pickle.dumps(parsed)) != parsed or Expression.parse(parsed.text).names != parsed.names:
        raise ValueError("another expression after reading it again")
    parsed.check_names(_NAMES)
    for step in (parsed.evaluate, *([parsed.margins] if parsed.is_inequality else [])):
        try:
            value = step(values)
        except (ExpressionError, InactiveError):
            continue
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{number} came out")
            if not isinstance(number, bool | int | float | str | None):
                raise TypeError(f"{type(number).__name__} came out")
    return True


# -- records -----------------------------------------------------------------------------------------------


def _journal() -> bytes:
    """A journal with trials of every kind of end."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        with _study(folder / "a.journal") as study:
            for number in range(6):
                trial = study.ask()
                for step in (1, 2):
                    study.report(trial, {"loss": trial.config["x"] / step, "size": 3.0}, step=step)
                if number == 4:
                    study.tell(trial, error="CUDA out of memory")
                elif number != 5:
                    study.tell(trial)
        return (folder / "a.journal").read_bytes()
    finally:
        shutil.rmtree(folder)


def _study(path: Path) -> Study:
    space = {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "kind": ["a", 1, None],
        "n": {"type": "int", "low": 1, "high": 9},
    }
    return Study(
        space, {"loss": "minimize"}, constraints=["size <= 4"], searcher="random", storage=path, name="fuzz"
    )


_JOURNAL = _journal()
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just("9" * 5000)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def journals(draw: st.DrawFn) -> bytes:
    """A journal with lines lost, doubled, moved, cut, or with values and bytes replaced."""
    lines = _JOURNAL.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        if not lines:
            break
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(
            st.sampled_from(["drop", "double", "move", "value", "value", "value", "bytes", "cut", "junk"])
        )
        if kind == "drop":
            del lines[at]
        elif kind == "double":
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif kind == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif kind == "value":
            lines[at] = _with_value(draw, lines[at])
        elif kind == "bytes":
            place = draw(st.integers(0, len(lines[at])))
            lines[at] = (
                lines[at][:place] + draw(st.binary(max_size=4)) + lines[at][place + draw(st.integers(0, 4)) :]
            )
        elif kind == "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        else:
            junk = draw(st.one_of(st.binary(max_size=30), st.just(b"[" * 100_000), st.just(b"\0" * 500)))
            lines.insert(at, junk + b"\n")
    return b"".join(lines)


def _with_value(draw: st.DrawFn, line: bytes) -> bytes:
    """The line with one of its values, at any depth, replaced or gone."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    holder: Any = entry
    while isinstance(holder, dict | list) and holder:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = draw(st.sampled_from(keys))
        deeper = holder[key]
        if isinstance(deeper, dict | list) and deeper and draw(st.booleans()):
            holder = deeper
            continue
        if isinstance(deeper, str) and deeper[:1] in "{[" and draw(st.booleans()):
            holder[key] = _edited(
                deeper, draw(_edits(st.sampled_from([*'{}[]",:0', "NaN", "1e999", "null"])))
            )
        elif isinstance(holder, dict) and draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(_JSON)
        break
    return json.dumps(entry).encode() + b"\n"


def judge_journal(content: bytes) -> bool:
    """Read it as `status` does, then open it as a driver does, which may mend its end."""
    path = Path("a.journal")
    path.write_bytes(content)
    try:
        _walk(read_history(path, "fuzz"))
    except AutosearchError:
        return False
    finally:
        if path.read_bytes() != content:
            raise ValueError("a reader has written")
    try:
        with _study(path) as study:
            _walk(study.history)
            trial = study.ask()
            study.tell(trial, {"loss": 1.0, "size": 1.0})
            before = len(study.history)
    except AutosearchError:
        return False
    record = open_record(path, "fuzz", read_only=True)
    if len(record.history()) != before:
        raise ValueError("another history after reading it again")
    record.close()
    return True


def _walk(history: Any) -> None:
    """Touch what reports and decisions touch."""
    for trial in history:
        repr((trial.config, trial.curve, trial.values, trial.failure, trial.attempts))
    repr(
        (history.incumbent, history.front, history.spent, history.elapsed_s, history.events, history.pending)
    )


TARGETS = {
    "yaml": Target(study_files(), judge_study_file),
    "expressions": Target(expressions, judge_expression),
    "record": Target(journals(), judge_journal),
    "network": Target(networks.networks(), networks.judge, runs_python=True),
}
__all__ = ["CANARY", "TARGETS", "Target"]
