"""The scheduler of studies without one."""

from autosearch.core.history import History
from autosearch.core.records import Decision, Suggestion, Trial


class NoScheduler:
    """Lets every trial run to its end."""

    def decide(self, history: History, trial: Trial) -> Decision:  # noqa: ARG002
        return Decision.CONTINUE

    def propose(self, history: History, n: int) -> list[Suggestion]:  # noqa: ARG002
        return []
