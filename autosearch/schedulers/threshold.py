"""Stopping by a bound that the user knows."""

import math

from autosearch.core import Decision, History, OptionError, Problem, Suggestion, Trial
from autosearch.schedulers.options import check_at_least


class ThresholdScheduler:
    """Stops a trial that reports a metric below or above a bound, from a given step on; NaN is past any bound.

    It looks at no other trial: the best one is stopped as well, if it is past the bound.

    Args:
        metric: any metric that trials report; default: the first objective.
        below: stop where the metric is below this.
        above: stop where it is above this; one of both is required.
        at: first step that is looked at.
    """

    def __init__(
        self,
        *,
        metric: str | None = None,
        below: float | None = None,
        above: float | None = None,
        at: int = 1,
    ) -> None:
        if below is None and above is None:
            raise OptionError("threshold needs `below` or `above`.", "below")
        if below is not None and above is not None and below > above:
            raise OptionError(f"nothing passes: below is {below:g}, above is {above:g}.", "below")
        check_at_least("at", at, 0)
        self._metric, self._at = metric, at
        self._low = -math.inf if below is None else below
        self._high = math.inf if above is None else above

    def check(self, problem: Problem) -> None:
        """Refuse a study without any metric to look at.

        Raises:
            OptionError: where no `metric` is given and there is no objective.
        """
        if self._metric is None and not problem.objectives:
            raise OptionError("threshold needs a `metric`: the study has no objective.", "metric")

    def milestones(self, problem: Problem) -> tuple[int, ...]:  # noqa: ARG002
        return (self._at,)

    def decide(self, history: History, trial: Trial) -> Decision:
        report = trial.reports[-1]
        value = report.metrics.get(self._metric or history.problem.metric_names[0])
        if report.step < self._at or value is None or self._low <= value <= self._high:
            return Decision.CONTINUE
        return Decision.STOP

    def propose(self, history: History, n: int) -> list[Suggestion]:  # noqa: ARG002
        return []
