"""Lets `ray.tune.report` and `ray.tune.get_checkpoint` in a user's function reach the study, under every runner.

In a worker Tune has a session of its own, whose report takes ours for the time of the function: Tune would copy
checkpoints to its folder, count them as its own and, in a new Tuner, know nothing of those that the record names. In
other processes a stand-in takes the session's place. Both touch one name of Ray's that is not public.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from autosearch.runners.session import Session

_MODULE = "ray.train._internal.session"


class StandIn:
    """As much of Tune's session as a training function sees."""

    world_rank = None

    def __init__(self, session: Session) -> None:
        from ray.tune import Checkpoint

        name = f"trial_{session.job.number:05d}"
        self.trial_name = self.trial_id = self.experiment_name = name
        self.trial_dir = None if session.job.folder is None else str(session.job.folder)
        self.loaded_checkpoint = None if session.checkpoint is None else Checkpoint(session.checkpoint)
        self._session = session

    def report(self, metrics: Mapping[str, Any], checkpoint: Any = None) -> None:
        """Take a report of `ray.tune.report`."""
        with contextlib.ExitStack() as stack:
            folder = None if checkpoint is None else stack.enter_context(checkpoint.as_directory())
            self._session.report(metrics, checkpoint=folder)


@contextlib.contextmanager
def bridged(session: Session) -> Iterator[None]:
    """A span in which Tune's functions belong to `session`; nothing happens where Ray is not loaded."""
    module: Any = sys.modules.get(_MODULE)
    if module is None:
        if "ray.tune" not in sys.modules:
            yield
            return
        raise ImportError(f"this version of Ray has no {_MODULE}: use autosearch.report in the function.")
    stand_in, real = StandIn(session), module._session
    if real is None:
        module._session = stand_in
    else:
        kept = real.loaded_checkpoint
        real.report, real.loaded_checkpoint = stand_in.report, stand_in.loaded_checkpoint
    try:
        yield
    finally:
        if real is None:
            module._session = None
        else:
            del real.report
            real.loaded_checkpoint = kept
