"""What a trial's end means: its values, or why it has none; and when failures stop the study."""

import dataclasses
import math
from collections.abc import Sequence

from autosearch.core.errors import ExpressionError, RepeatedFailureError
from autosearch.core.failures import signature
from autosearch.core.records import Failure, Problem, Trial

REPEATED_FAILURES = 3


def valued(problem: Problem, trial: Trial) -> Trial | Failure:
    """`trial` with values and violations from its metrics, or the failure that its metrics amount to."""
    values = problem.signed(trial.metrics)
    if values is None:
        missing = [name for name in problem.metric_names if name not in trial.metrics]
        got = ", ".join(trial.metrics) or "nothing"
        lacks = " and ".join(map(repr, missing))
        return Failure("invalid", f"the result lacks {lacks}; numbers reported: {got}.")
    if not all(map(math.isfinite, values)):
        shown = ", ".join(f"{name}={trial.metrics[name]}" for name in problem.metric_names)
        return Failure("nan", f"the result is not finite: {shown}")
    try:
        violations = problem.violations(trial.metrics)
    except ExpressionError as error:
        return Failure("invalid", f"constraint: {error}")
    return dataclasses.replace(trial, values=values, violations=violations)


def refuse_repeated_failures(ends: Sequence[Trial]) -> None:
    """End the study where the first trials of a session all failed alike: that is a bug, not bad luck.

    Args:
        ends: trials that ended or paused in this session, in order.

    Raises:
        RepeatedFailureError: with the traceback that they share.
    """
    failures = [trial.failure for trial in ends[:REPEATED_FAILURES] if trial.failure is not None]
    alike = {signature(failure) for failure in failures}
    if len(failures) < REPEATED_FAILURES or len(alike) > 1 or failures[0].cause not in ("crash", "invalid"):
        return
    raise RepeatedFailureError(
        f"the first {len(failures)} trials all failed alike: {failures[0].message}", failures[0].traceback
    )
