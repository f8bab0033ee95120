"""The Ray session: one of our own on this machine, or somebody else's, which is left as it was.

Ours is silent, listens to nobody without its random token, writes nothing into the home folder, and leaves nothing
behind: Ray's processes die with the driver, and what an earlier driver may have left is found by the mark that all
its processes inherit.
"""

import json
import logging
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
import ray._private.worker as ray_worker
from ray._raylet import (  # type: ignore[attr-defined]  # compiled, without stubs
    AuthenticationTokenLoader,
    Config,
)

from autosearch.core import Resources, RunSettings, StudyError
from autosearch.runners.processes import RUN_MARK
from autosearch.runners.ray.cluster import join
from autosearch.runners.ray.guard import end_session

OBJECT_STORE_BYTES = 200 * 2**20
# Read while Tune works; the first group belongs to any session, the second to one that we start.
_TUNE_VARIABLES = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_WARN_THRESHOLD_S": "1e9",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e9",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    # Tune imports it, where it is installed, to see whether we use it; its import writes into the home folder.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_SESSION_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_TOKEN = secrets.token_hex(32)
_TEMP_PREFIX = "asr-"
_LOGGERS = ("ray", "ray.tune", "ray.train", "ray.air")


def read_variables_again() -> None:
    """Have Ray read its variables, which it reads once and keeps: whose session is next may have others."""
    AuthenticationTokenLoader.instance().reset_cache()
    Config.initialize("")


@contextmanager
def quiet_tune() -> Iterator[None]:
    """A span in which Tune prints nothing, keeps the working directory and leaves Ctrl-C to us."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with _variables(_TUNE_VARIABLES, override=True):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# Patterns of what a study's folder may hold that no trial reads: environments, histories, results.
_NOT_SHIPPED = [".git/", ".venv/", "venv/", "results/", "__pycache__/", "*.journal", "checkpoints/"]


class RaySession:
    """Workers for as long as it is open: `settings` says where, and how many CPUs a session of our own declares."""

    def __init__(self, settings: RunSettings) -> None:
        self.run = secrets.token_hex(8)
        self._resources, self._address, self._folder = settings.resources, settings.address, settings.folder
        # Tells a later driver what this one started.
        self._marker = None if settings.output is None else settings.output / "ray.json"
        self._held = ExitStack()

    def open(self) -> None:
        """Connect or start.

        Raises:
            StudyError: if the cluster cannot be reached.
        """
        if ray.is_initialized():
            return
        with ExitStack() as held, _signals_kept():
            if self._address is None:
                self._start(held)
            else:
                # Where the driver's directory does not exist, workers start in a copy of the study's folder.
                shipped = (
                    {}
                    if self._folder is None
                    else {"working_dir": str(self._folder), "excludes": _NOT_SHIPPED}
                )
                join(self._address, shipped)
                held.callback(ray.shutdown)
            self._held = held.pop_all()

    def close(self) -> None:
        """Let go: end a session of our own with all it started, leave any other up. Safe to call twice."""
        self._held.close()

    def _start(self, held: ExitStack) -> None:
        self._end_leftovers()
        # Short, because the sockets in it may have paths of 107 bytes at most.
        temp = Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir="/tmp" if Path("/tmp").is_dir() else None))
        held.callback(shutil.rmtree, temp, ignore_errors=True)
        held.callback(read_variables_again)
        own = {"RAY_AUTH_TOKEN": _TOKEN, RUN_MARK: self.run}
        held.enter_context(_variables({**_SESSION_VARIABLES, **own}, override=False))
        read_variables_again()
        if self._marker is not None:
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"run": self.run, "folder": str(temp), "pid": os.getpid()})
            self._marker.write_text(text, encoding="utf-8")
            held.callback(self._marker.unlink, missing_ok=True)
        held.callback(end_session, self.run, temp)
        held.enter_context(_guarded(self.run, temp, self._marker))
        held.enter_context(_hushed())
        held.callback(ray.shutdown)
        ray.init(
            address="local",
            num_cpus=self._cpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=str(temp),
            object_store_memory=OBJECT_STORE_BYTES,
        )

    def _cpus(self) -> int:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(available, math.ceil((self._resources.parallel or 1) * self._resources.cpus))

    # -- drivers that died ---------------------------------------------------------------------------------

    def _end_leftovers(self) -> None:
        """End what an earlier driver of this study left; the study's lock says that it is dead."""
        if self._marker is None or not self._marker.exists():
            return
        try:
            left = json.loads(self._marker.read_text(encoding="utf-8"))
            run, folder = str(left["run"]), Path(left["folder"])
        except (ValueError, KeyError, TypeError):
            return  # cut while it was written: nothing had been started then
        end_session(run, folder)
        if folder.name.startswith(_TEMP_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)


def slots(resources: Resources) -> int:
    """How many trials run at once: `parallel`, or as many as the session's nodes hold.

    Raises:
        StudyError: if not even one fits.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive: list[dict[str, float]] = [node["Resources"] for node in nodes if node["Alive"]]
    fits = sum(_fitting(node, resources) for node in alive)
    if fits < 1:
        have = [sum(node.get(kind, 0.0) for node in alive) for kind in ("CPU", "GPU")]
        raise StudyError(
            f"resources: a trial needs {resources.cpus:g} CPUs and {resources.gpus:g} GPUs on one machine; "
            f"the session has {have[0]:g} and {have[1]:g} in all."
        )
    return min(resources.parallel or fits, fits)


def _fitting(node: Mapping[str, float], resources: Resources) -> int:
    by_cpu = node.get("CPU", 0.0) / resources.cpus if resources.cpus > 0 else math.inf
    gpus = node.get("GPU", 0.0)
    if resources.gpus <= 0:
        by_gpu = math.inf
    elif resources.gpus < 1:
        by_gpu = gpus * int(1 / resources.gpus + 1e-9)  # a fraction never spans two GPUs
    else:
        by_gpu = gpus / resources.gpus
    fits = min(by_cpu, by_gpu)
    return 1 if fits == math.inf else int(fits + 1e-9)


@contextmanager
def _variables(values: Mapping[str, str], *, override: bool) -> Iterator[None]:
    """A span with environment variables; without `override` the user's own choice wins."""
    before = dict(os.environ)
    for name, value in values.items():
        if override or name not in os.environ:
            os.environ[name] = value
    try:
        yield
    finally:
        for name in values:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """A span in which Ray may set a handler for SIGTERM of its own, which leaves at once; the one before comes back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _guarded(run: str, temp: Path, marker: Path | None) -> Iterator[None]:
    """A span during which a process of its own waits to clean up should this one be killed."""
    words = [run, str(temp), *([] if marker is None else [str(marker)])]
    # In a session of its own: a Ctrl-C in the terminal is not for it.
    guard = subprocess.Popen(
        [sys.executable, "-m", "autosearch.runners.ray.guard", *words],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate(b"done")


@contextmanager
def _hushed() -> Iterator[None]:
    """A span in which Ray keeps '(raylet) A worker died' off standard output.

    There is no public switch for it, and how trials fail is in the record.
    """
    original = getattr(ray_worker, "print_to_stdstream", None)
    if original is not None:
        ray_worker.print_to_stdstream = _swallow
    try:
        yield
    finally:
        if original is not None:
            ray_worker.print_to_stdstream = original


def _swallow(*_arguments: object, **_options: object) -> None:
    return None
