"""RayRunner: trials as Ray Tune trials, on this machine or on a cluster."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter

from autosearch.core import Objective, RunSettings, Study
from autosearch.core.records import Json
from autosearch.runners.checkpoints import CheckpointStore
from autosearch.runners.common import Interrupts
from autosearch.runners.ray.cluster import inspect
from autosearch.runners.ray.deaths import known_to_tune
from autosearch.runners.ray.desk import Desk, DeskCallback, DeskSearcher, DeskStopper
from autosearch.runners.ray.messages import KEY, Setup
from autosearch.runners.ray.planner import Planner
from autosearch.runners.ray.reuse import processes_kept
from autosearch.runners.ray.session import RaySession, quiet_tune, slots
from autosearch.runners.ray.worker import work


class RayRunner:
    """Trials through Ray Tune: CPUs, GPUs and fractions of them, on this machine or on a cluster.

    Runs inside a Ray session that is there already and leaves it up; else it joins the one at `settings.address`, or
    starts one of its own, until `close`. `resources.parallel` trials run at once, or as many as fit.

    Objectives that say they are `reusable` share processes where they use no GPU: a trial then costs a tenth of a
    second instead of one. All others get a process of their own for each trial.
    """

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._session: RaySession | None = None

    def run(self, study: Study, objective: Objective) -> None:
        """Run trials until the study says it is over; leaves every trial finished or resumable.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once every running trial is saved, or some seconds are over.
            StudyError: if no trial fits the session, or the study cannot go on.
        """
        if study.budget_spent:
            return
        if self._session is None:
            self._session = RaySession(self._settings)
            self._session.open()
        workers = slots(self._settings.resources)
        study.set_workers(workers)
        store = CheckpointStore(study, self._settings.output, self._settings.keep.checkpoints)
        planner = Planner(study, workers)
        with (
            Interrupts() as interrupts,
            quiet_tune(),
            known_to_tune(),
            processes_kept(),
            self._scratch() as scratch,
        ):
            setup = self._setup(study, objective, scratch)
            reference = ray.put(setup)
            for generation in itertools.count():
                desk = Desk(study, setup, store, planner, interrupts, slots=workers, generation=generation)
                try:
                    _fit(desk, setup, reference, scratch, workers, generation)
                finally:
                    desk.settle()
                if desk.error is not None:
                    raise desk.error
                if desk.over:
                    break
            store.sweep()
        if interrupts.requested:
            raise KeyboardInterrupt

    def close(self) -> None:
        """End a session of our own. Safe to call twice."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @staticmethod
    def check_cluster(address: str, output: Path) -> dict[str, Json]:
        """Size of the cluster at `address`, once every node has been seen to see `output`.

        Raises:
            StudyError: if it cannot be reached, or a node does not see the folder.
        """
        return inspect(address, output)

    def _setup(self, study: Study, objective: Objective, scratch: Path) -> Setup:
        settings = self._settings
        stage = study.name.partition("/")[2]
        session = self._session
        return Setup(
            objective=objective,
            run="" if session is None else session.run,
            cwd=str(Path.cwd()),
            logs=None if settings.output is None else settings.output / "logs" / stage,
            keep_logs=settings.keep.logs == "all",
            notes=scratch / "notes",
            limits=settings.limits,
            cpus=settings.resources.cpus,
            gpus=settings.resources.gpus,
            reuse=bool(getattr(objective, "reusable", False)) and settings.resources.gpus == 0,
        )

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder for Tune's own files and dying workers' notes; nothing in it is needed afterwards."""
        output = self._settings.output
        if output is None:
            folder = Path(tempfile.mkdtemp(prefix="asr-tune-"))
        else:
            folder = output.resolve() / ".ray"
            shutil.rmtree(folder, ignore_errors=True)
        (folder / "notes").mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if output is not None:
                _remove_if_empty(output / "logs")


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _fit(desk: Desk, setup: Setup, reference: Any, scratch: Path, workers: int, generation: int) -> None:
    """Run one Tuner until the desk has nothing more for it."""

    def attempt(config: dict[str, Any]) -> None:
        work(reference, config[KEY])

    resources = {"cpu": setup.cpus, "gpu": setup.gpus}
    name = f"{setup.run}-{generation}"
    tune.Tuner(
        tune.with_resources(attempt, resources),
        tune_config=tune.TuneConfig(
            # Without the limiter, with reused processes, Tune runs everything on one of them.
            search_alg=ConcurrencyLimiter(DeskSearcher(desk), workers),
            num_samples=-1,
            reuse_actors=setup.reuse,
            trial_dirname_creator=lambda trial: trial.config[KEY].identity,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(scratch),
            verbose=0,
            callbacks=[DeskCallback(desk)],
            stop=DeskStopper(desk),
        ),
    ).fit()
    # A study may have thousands of trials: what this Tuner wrote is needed no longer.
    shutil.rmtree(scratch / name, ignore_errors=True)
