"""`command:` - any program, as one process group per trial."""

import contextlib
import ctypes
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from autosearch.core import Decision, Job, OptionError, Problem, Progress, StudyError
from autosearch.space import SearchSpace

# What a program gets to save and leave after SIGTERM.
GRACE_S = 5.0
_POLL_S = 0.1
_TAIL_LINES = 30
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w./-]*)\}")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class CommandFailedError(Exception):
    """The program ended with an error; the message holds its exit code and its last words."""


class CommandObjective:
    """Runs a command line for each trial and reads its metrics from JSON lines.

    `{NAME}` of a declared parameter is replaced by its value; no shell is involved and nothing else is touched. The
    program finds `$AUTOSEARCH_CONFIG` (a JSON file), `$AUTOSEARCH_TRIAL_DIR` (kept between attempts: checkpoints go
    there) and `$AUTOSEARCH_METRICS` (a file for JSON lines). Each JSON line there, or on its output, that holds
    `step` is a report; the last JSON line is the result.

    Args:
        command: the line.
        space: the study's parameters.
        folder: not needed: relative paths are those of the directory in which the study was started.
    """

    reusable = True

    def __init__(
        self,
        command: str,
        *,
        space: SearchSpace | None = None,
        folder: Path | None = None,  # noqa: ARG002 - adapters are all built alike
    ) -> None:
        self._words = shlex.split(command)
        if not self._words:
            raise OptionError("command: is empty.", "command")
        self._names = frozenset() if space is None else frozenset(space.parameters)

    def check(self, problem: Problem) -> None:
        """Refuse a program that is not there, and placeholders that some configurations have no value for.

        Raises:
            OptionError: for either.
        """
        self._names = frozenset(problem.space.parameters)
        used = {name for word in self._words for name in _PLACEHOLDER.findall(word)} & self._names
        conditional = sorted(used & set(problem.space.conditions))
        if conditional:
            raise OptionError(
                f"command: {{{conditional[0]}}} has no value where the parameter is inactive; "
                "let the program read it from the JSON file at $AUTOSEARCH_CONFIG.",
                "command",
            )
        program = self._words[0]
        if not _PLACEHOLDER.search(program) and shutil.which(program) is None:
            raise OptionError(
                f"command: there is no program {program!r} to start. Activate its environment, or write its path.",
                "command",
            )

    def arguments(self, config: Mapping[str, Any]) -> list[str]:
        """The program and its arguments for a flat configuration."""

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            return str(config[name]) if name in self._names and name in config else match.group(0)

        return [_PLACEHOLDER.sub(value, word) for word in self._words]

    def run(self, job: Job) -> Generator[Progress, Decision, Progress | None]:
        """Run the program, yielding its reports.

        Raises:
            CommandFailedError: if it ends with an error.
            StudyError: if it ends well without a metric, in this attempt and in those that were lost.
        """
        with _trial_folder(job.folder) as folder:
            lines = MetricLines(folder / "metrics.jsonl")
            program = _Program(self.arguments(flatten(job.config)), _environment(job, folder), lines)
            last: Mapping[str, Any] | None = None
            try:
                for last in program.follow():
                    if "step" in last:
                        yield Progress(_without_step(last), last["step"])
            finally:
                program.end()
            program.raise_for_status()
        if last is None:
            if job.reported:
                return None  # a program that keeps its own state was at its end: its last report stands
            raise StudyError(
                'the command ended without a metric: let it print a JSON line such as {"step": 1, "loss": 0.5}, '
                "or write one to the file at $AUTOSEARCH_METRICS."
            )
        return None if "step" in last else Progress(last)


class MetricLines:
    """The JSON lines of a trial, over all its attempts: those of its output are put behind those that it writes.

    How far they were taken is kept beside them. A program that worked on for a moment after its driver had died has
    saved that work; the next attempt, which goes on behind it, first takes the lines that nobody has read.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, path.with_name("metrics.position")
        self._new = threading.Event()

    def add(self, line: str) -> None:
        """Put a line of the output behind the others."""
        with self._path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # what the program has written itself ends without a line break
                    file.write(b"\n")
            file.write(line.strip().encode("utf-8", errors="replace") + b"\n")
        self._new.set()

    def wait(self, seconds: float) -> None:
        """Until a line is added, or it is time to look for lines that the program has written itself."""
        self._new.wait(seconds)
        self._new.clear()

    def take(self) -> Iterator[dict[str, Any]]:
        """Lines that were not taken yet; each counts as taken once the next is asked for.

        A last line without a line break counts too, once it is whole: many programs end a file like that.
        """
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            start = self._taken(file)
            file.seek(start)
            left = io.BytesIO(file.read())
        for line in left:
            metrics = metrics_of(line.decode("utf-8", errors="replace"))
            if metrics is None and not line.endswith(b"\n"):
                return  # it is still being written
            start += len(line)
            try:
                if metrics is not None:
                    yield metrics
            finally:
                self._position.write_text(json.dumps([start, len(line), zlib.crc32(line)]), encoding="utf-8")

    def _taken(self, file: IO[bytes]) -> int:
        """Bytes of the file that were taken; 0 where the program has begun it anew.

        A program may write the file afresh at every report, with lines of one length: the last line that was taken
        tells whether what stands before the position is still what stood there.
        """
        text = self._position.read_text(encoding="utf-8") if self._position.exists() else ""
        start, length, checksum = json.loads(text or "[0, 0, 0]")
        file.seek(start - length)
        return start if zlib.crc32(file.read(length)) == checksum else 0


class _Program:
    """A process group, its output passed through and read."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], lines: MetricLines) -> None:
        # With its path: of several programs of one name, environments decide which is started.
        self._name, self._lines = shutil.which(arguments[0]) or arguments[0], lines
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        try:
            self._process = subprocess.Popen(
                arguments,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                env=dict(environment),
                text=True,
                errors="replace",
                start_new_session=True,
                # The kernel ends it with the worker, however that dies. Nothing is allocated between fork and exec.
                preexec_fn=_die_with_parent if _LIBC is not None else None,
            )
        except OSError as error:
            raise CommandFailedError(f"{self._name} cannot be started: {error}") from error
        sources = ((self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr))
        self._readers = [
            self._reader(source, echo, parse=source is self._process.stdout)
            for source, echo in sources
            if source is not None
        ]

    def _reader(self, source: IO[str], echo: IO[str], *, parse: bool) -> threading.Thread:
        def read() -> None:
            with source:
                for line in source:
                    echo.write(line)
                    self._tail.append(line.rstrip())
                    if parse and metrics_of(line) is not None:
                        self._lines.add(line)
            echo.flush()

        thread = threading.Thread(target=read, name="output of the command", daemon=True)
        thread.start()
        return thread

    def follow(self) -> Iterator[dict[str, Any]]:
        """Metrics as they come, until the program has ended."""
        ended = False
        while not ended:
            ended = self._process.poll() is not None
            if ended:
                self._join()
            yield from self._lines.take()
            if not ended:
                self._lines.wait(_POLL_S)

    def _join(self) -> None:
        # Its own children may hold the pipes open for ever.
        deadline = time.monotonic() + GRACE_S
        for thread in self._readers:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def end(self) -> None:
        """End the whole group: asked first, forced after some seconds."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE_S
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(_POLL_S / 4)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._join()

    def raise_for_status(self) -> None:
        code = self._process.returncode
        if code == 0:
            return
        why = f"was killed by {_signal(-code)}" if code < 0 else f"ended with exit code {code}"
        words = [line for line in self._tail if line.strip()]
        last = f": {words[-1]}" if words else ""
        raise CommandFailedError("\n".join([f"{self._name} {why}{last}", *words]))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those for real time, most of which have no name
        return f"signal {number}"


def metrics_of(line: str) -> dict[str, Any] | None:
    """The mapping in a JSON line, None for any other text."""
    text = line.strip()
    if not text.startswith("{") or not text.endswith("}"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _without_step(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "step"}


def _environment(job: Job, folder: Path) -> dict[str, str]:
    config = folder / "config.json"
    config.write_text(json.dumps(job.config), encoding="utf-8")
    return {
        **os.environ,
        "AUTOSEARCH_CONFIG": str(config),
        "AUTOSEARCH_TRIAL_DIR": str(folder),
        "AUTOSEARCH_METRICS": str(folder / "metrics.jsonl"),
        "AUTOSEARCH_SEED": str(job.seed),
    }


@contextlib.contextmanager
def _trial_folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="asr-trial-") as temporary:
        yield Path(temporary)


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
