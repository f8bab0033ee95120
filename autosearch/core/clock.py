"""Study time: the seconds for which drivers have worked on a study, and those for which each trial has run."""

from collections.abc import Callable

from autosearch.core.records import Trial


class StudyClock:
    """Goes on where earlier sessions left off.

    Args:
        read: seconds from any origin, such as `time.monotonic`.
        elapsed_s: study time so far.
    """

    def __init__(self, read: Callable[[], float], elapsed_s: float) -> None:
        self._read = read
        self._origin = read() - elapsed_s
        # For each running trial, the reading at which it would have begun, had it run without a break.
        self._started: dict[int, float] = {}

    @property
    def elapsed_s(self) -> float:
        return self._read() - self._origin

    def take(self, read: Callable[[], float], elapsed_s: float | None = None) -> None:
        """Read the time from `read` from now on; study time goes on from `elapsed_s`, else from where it stands."""
        elapsed_s = self.elapsed_s if elapsed_s is None else elapsed_s
        self._origin, self._read = read() - elapsed_s, read

    def start(self, trial: Trial) -> None:
        self._started[trial.number] = self._read() - trial.seconds

    def stop(self, number: int) -> None:
        self._started.pop(number, None)

    def runs(self, number: int) -> bool:
        return number in self._started

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that run now."""
        return list(self._started)

    def seconds(self, number: int) -> float:
        """Running time of a running trial up to now, earlier attempts included."""
        return self._read() - self._started[number]
