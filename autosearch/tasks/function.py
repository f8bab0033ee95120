"""`function:` - a training function of the user's, called as `name(config)`."""

import copy
from collections.abc import Callable, Generator, Mapping
from numbers import Number
from pathlib import Path
from typing import Any

from autosearch.core import Decision, Job, Problem, Progress, StudyError
from autosearch.runners.ray.bridge import bridged
from autosearch.runners.session import Report, Session, TrialEndedError, active
from autosearch.space import SearchSpace
from autosearch.tasks.code import Code
from autosearch.tasks.handoff import as_generator


class FunctionObjective:
    """Calls a training function with the configuration, dotted names nested.

    The function reports by `autosearch.report` or `ray.tune.report`, or returns its result: a number for the only
    objective, or a mapping. Where a trial goes on from a checkpoint, `get_checkpoint` of either gives it.

    Args:
        function: it, or `package.module:name`, or `FILE.py:name`.
        space: not needed.
        folder: that a relative file is relative to.
    """

    reusable = False

    def __init__(
        self,
        function: str | Callable[[dict[str, Any]], Any],
        *,
        space: SearchSpace | None = None,  # noqa: ARG002 - adapters are all built alike
        folder: Path | None = None,
    ) -> None:
        self._code = Code(function, folder)
        self._metrics: tuple[str, ...] = ()

    def check(self, problem: Problem) -> None:
        """Import the function and learn what a single number stands for.

        Raises:
            ResolveError: if it cannot be found.
        """
        self._code.load()
        self._metrics = problem.metric_names

    def prepare(self) -> None:
        """Import the function's module."""
        self._code.load()

    def run(self, job: Job) -> Generator[Progress, Decision, Progress | None]:
        """The function in a thread of its own, for runners that share its process."""
        return as_generator(self.drive, job)

    def drive(self, job: Job, report: Report) -> Progress | None:
        """Call the function; the result where it returns one."""
        function = self._code.load()
        session = Session(job, report)
        try:
            with active(session), bridged(session):
                returned = function(copy.deepcopy(dict(job.config)))
        except TrialEndedError:
            return None
        return self._result(returned, session)

    def _result(self, returned: Any, session: Session) -> Progress | None:
        if isinstance(returned, Mapping):
            return Progress(dict(returned))
        if isinstance(returned, Number) or hasattr(returned, "item"):
            if len(self._metrics) != 1:
                raise StudyError(
                    f"the function returned one number for the objectives {', '.join(self._metrics)}: "
                    "return a mapping of metrics."
                )
            return Progress({self._metrics[0]: float(returned)})
        if returned is not None and not session.reports:
            raise StudyError(
                f"the function returned {type(returned).__name__}; return a number or a mapping."
            )
        if not session.reports:
            raise StudyError(
                "the function ended without a report or a result. Return a number or a mapping, or call "
                "autosearch.report(metrics); ray.tune.report counts where Ray was imported with the module."
            )
        return None
