"""Finds out which parameters an Optuna objective asks for, in a process of its own.

The objective is called a few times, each in a fork of that process, up to its first report; one that never reports is
ended when it has asked for nothing new for a while. The values handed out run through every choice in turn, so that
branches and loops show themselves; which parameter hangs on which value is read off the calls.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from autosearch.core import Decision, Job, Progress
from autosearch.space import SearchSpace, SpaceError
from autosearch.tasks.code import Code
from autosearch.tasks.optuna_objective import StudyTrial, definition, draw

CALLS = 12
_QUIET_S = 1.0
_FIRST_S = 60.0
_LIMIT_S = 600.0
Asked = dict[str, dict[str, Any]]


def discover(target: str, folder: Path) -> SearchSpace:
    """The parameters of the objective at `target`, with the conditions that its calls show.

    Raises:
        SpaceError: if it asks for nothing, or cannot be called.
    """
    done = subprocess.run(
        [sys.executable, "-m", "autosearch.tasks.optuna_objective_probe", target, str(folder)],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no reason given"]
        raise SpaceError(f"optuna: {target} cannot be called: {words[-1]}")
    return infer(json.loads(done.stdout.splitlines()[-1]))


def infer(calls: Sequence[Asked]) -> SearchSpace:
    """One space from what each call asked for: name -> definition with the `value` that it was given.

    Raises:
        SpaceError: if no call asked for anything.
    """
    names = list(dict.fromkeys(name for call in calls for name in call))
    if not names:
        raise SpaceError("optuna: the objective asks for no parameter before its first report.")
    space: dict[str, Any] = {}
    for name in names:
        first = next(call[name] for call in calls if name in call)
        space[name] = {key: value for key, value in first.items() if key != "value"}
        condition = _condition(name, names[: names.index(name)], calls)
        if condition is not None:
            space[name]["when"] = condition
    return SearchSpace(space)


def _condition(name: str, earlier: Sequence[str], calls: Sequence[Asked]) -> str | None:
    """The condition on one earlier parameter that tells calls with `name` from those without; None where none does."""
    if all(name in call for call in calls):
        return None
    for other in earlier:
        known = [call for call in calls if other in call]
        if any(name in call and other not in call for call in calls):
            continue
        present = {_key(call[other]["value"]): call[other]["value"] for call in known if name in call}
        absent = {_key(call[other]["value"]): call[other]["value"] for call in known if name not in call}
        if not absent or present.keys() & absent.keys():
            continue
        shown = other if other.isidentifier() else f"`{other}`"
        if known[0][other]["type"] == "categorical":
            return " or ".join(f"{shown} == {value!r}" for value in present.values())
        if min(present.values()) > max(absent.values()):
            return f"{shown} > {max(absent.values())!r}"
        if max(present.values()) < min(absent.values()):
            return f"{shown} < {min(absent.values())!r}"
    return None


def _key(value: Any) -> str:
    return json.dumps(value)


# -- in the process of its own -------------------------------------------------------------------------------


class ProbeTrial(StudyTrial):
    """Hands out the values of call `index`, writes down what it is asked for, and ends at the first report."""

    def __init__(self, index: int, out: int) -> None:
        super().__init__(Job(index, {}, 0), _never, ("value",))
        self._index, self._out, self._asked = index, out, 0

    def _suggest(self, name: str, asked: BaseDistribution) -> Any:
        if name in self._params:
            return self._params[name]
        value = draw(asked, self._share(asked))
        self._asked += 1
        self._params[name] = value
        line = json.dumps({name: {**definition(asked), "value": value}}) + "\n"
        os.write(self._out, line.encode())
        return value

    def _share(self, asked: BaseDistribution) -> float:
        """Every choice, and every whole number of a short range, has its turn; no two parameters keep step."""
        if isinstance(asked, CategoricalDistribution):
            n = len(asked.choices)
        elif isinstance(asked, IntDistribution):
            n = min((asked.high - asked.low) // asked.step + 1, CALLS)
        else:
            n = CALLS
        if self._index < 2:
            turn = self._index * (n - 1)
        else:
            turn = (self._index + self._asked * (self._index // max(n, 1))) % n
        return (turn + 0.5) / n

    def report(self, value: float, step: int) -> None:  # noqa: ARG002
        os._exit(0)

    def should_prune(self) -> bool:
        os._exit(0)


def _never(progress: Progress) -> Decision:
    raise RuntimeError(f"a probe reports nothing, got {progress}")


def _call(code: Code, index: int) -> Asked:
    """What one call asks for."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        with open(os.devnull, "w") as nothing:  # noqa: PTH123 - a descriptor is what is wanted
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        try:
            code.load()(ProbeTrial(index, write))
        finally:
            os._exit(0)
    os.close(write)
    text = _read_until_quiet(read)
    with contextlib.suppress(ProcessLookupError):  # it has ended, and so have its children
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read)
    asked: Asked = {}
    for line in text.decode().splitlines():
        asked.update(json.loads(line))
    return asked


def _read_until_quiet(read: int) -> bytes:
    text, deadline = b"", time.monotonic() + _FIRST_S
    while select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(read, 65536)
        if not chunk:
            break
        text += chunk
        deadline = time.monotonic() + _QUIET_S
    return text.rpartition(b"\n")[0]


def main(arguments: Sequence[str]) -> None:
    """Print what the calls ask for, as one JSON line."""
    code = Code(arguments[1], Path(arguments[2]))
    code.load()
    print(json.dumps([_call(code, index) for index in range(CALLS)]))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(sys.argv)
