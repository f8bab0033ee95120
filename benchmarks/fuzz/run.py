"""Fuzzing of everything that reads what people and crashes may have made of a file, for as long as you like.

    python benchmarks/fuzz/run.py                              # a minute each
    python benchmarks/fuzz/run.py --seconds 600 record yaml    # longer, some
    python benchmarks/fuzz/run.py table                        # the table of the README

No input may crash a reader, keep it for more than 5 s of CPU time, or make it execute anything. What does is shrunk by
hypothesis, printed, and fails the run (exit code 1). Each target appends one row to results.csv.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
import common
from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.fuzz.targets import CANARY, TARGETS, Target

RESULTS = Path(__file__).with_name("results.csv")
COLUMNS = ("target", "seed", "inputs", "accepted", "refused", "slowest_s", "failures", "seconds")
LIMIT_S = 5.0
ROUND = 200  # inputs that hypothesis draws with one seed
EXECUTES = (
    "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "socket.connect",
    "webbrowser.open", "ctypes.dlopen", "shutil.rmtree",
)  # fmt: skip
_caught: list[str] | None = None


class HangError(BaseException):
    """More than `LIMIT_S`; no Exception, so that nothing under fuzz can catch it by accident."""


def _hook(event: str, args: tuple[Any, ...]) -> None:
    del args
    if _caught is not None and event in EXECUTES:
        _caught.append(event)


sys.addaudithook(_hook)  # asleep outside `watched`


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """A span that ends with an error if it takes too long or executes something."""
    global _caught

    def hang(*_: object) -> None:
        raise HangError(f"more than {LIMIT_S:g} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    _caught = caught = []
    try:
        yield
    finally:
        _caught = None
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    if caught or os.path.lexists(CANARY):
        raise RuntimeError(f"it executed {caught or CANARY}")


class Fuzz:
    """Draws and judges inputs of one target, and counts."""

    def __init__(self, target: Target, origin: int) -> None:
        self._target, self._seed = target, origin
        self.accepted, self.refused, self.slowest = 0, 0, 0.0
        self.failures: list[str] = []

    def round(self, number: int, examples: int = ROUND) -> None:
        """One seed's worth; a failure is shrunk and kept."""

        @seed(self._seed * 100_003 + number)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            print_blob=False,
        )
        @given(self._target.inputs)
        def judge(drawn: Any) -> None:
            self._judge(drawn)

        try:
            judge()
        except (Exception, HangError) as error:  # noqa: BLE001 - what the run is for
            notes = "\n".join(getattr(error, "__notes__", []))
            self.failures.append(f"{''.join(traceback.format_exception(error)[-12:])}\n{notes}")

    def _judge(self, drawn: Any) -> None:
        began = time.process_time()
        with watched():
            accepted = self._target.judge(drawn)
        self.slowest = max(self.slowest, time.process_time() - began)
        self.accepted += accepted
        self.refused += not accepted


def fuzz(name: str, origin: int, seconds: float) -> bool:
    """Fuzz one target for a time; whether nothing was found."""
    folder, back = tempfile.mkdtemp(prefix="fuzz-"), Path.cwd()
    shutil.copytree(ROOT / "studies" / "code", Path(folder) / "code")
    os.chdir(folder)
    run, began, number = Fuzz(TARGETS[name], origin), time.monotonic(), 0
    try:
        while time.monotonic() - began < seconds and len(run.failures) < 3:
            run.round(number)
            number += 1
    finally:
        os.chdir(back)
        shutil.rmtree(folder)
    taken = round(time.monotonic() - began)
    row = {
        "target": name,
        "seed": origin,
        "inputs": run.accepted + run.refused,
        "accepted": run.accepted,
        "refused": run.refused,
        "slowest_s": f"{run.slowest:.2f}",
        "failures": len(run.failures),
        "seconds": taken,
    }
    common.append(RESULTS, [{**row, **common.origin("hypothesis", "torch")}])
    sys.stdout.write(", ".join(f"{key} {value}" for key, value in row.items()) + "\n")
    for failure in run.failures:
        sys.stdout.write(failure + "\n")
    sys.stdout.flush()
    return not run.failures


def _known(word: str) -> str:
    if word not in [*TARGETS, "table"]:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(TARGETS)}, table")
    return word


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", type=_known, metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, help="drawn and printed if left out")
    asked = parser.parse_args()
    if asked.targets == ["table"]:
        rows = [[row[name] for name in COLUMNS] for row in common.read(RESULTS)]
        sys.stdout.write(common.table([name.replace("_", " ") for name in COLUMNS], rows) + "\n")
        return 0
    origin = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    found = [fuzz(name, origin, asked.seconds) for name in asked.targets or TARGETS]
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
