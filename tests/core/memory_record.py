"""A record that keeps trials in a list: for tests of the core, with every write noted."""

from autosearch.core import History, Problem, Trial


class ListRecord:
    location = "memory"
    existed = False

    def __init__(self, problem: Problem, name: str = "study", trials: list[Trial] | None = None) -> None:
        self.problem, self.name = problem, name
        self.trials: list[Trial] = list(trials or [])
        self.writes: list[tuple[str, int]] = []
        self.noted: dict[str, object] = {}
        self.sub: dict[str, ListRecord] = {}

    def _put(self, kind: str, trial: Trial) -> None:
        self.writes.append((kind, trial.number))
        if trial.number == len(self.trials):
            self.trials.append(trial)
        else:
            self.trials[trial.number] = trial

    def begin(self, trial: Trial) -> None:
        self._put("begin", trial)

    def report(self, trial: Trial) -> None:
        self._put("report", trial)

    def amend(self, trial: Trial) -> None:
        self._put("amend", trial)

    def finish(self, trial: Trial) -> None:
        self._put("finish", trial)

    def history(self) -> History:
        return History(self.problem, self.trials)

    def notes(self) -> dict[str, object]:
        return self.noted

    def note(self, name: str, value: object) -> None:
        self.noted[name] = value

    def open_stage(self, name: str, problem: Problem) -> "ListRecord":
        return self.sub.setdefault(name, ListRecord(problem, f"{self.name}/{name}"))

    def stages(self) -> dict[str, History]:
        return {name: record.history() for name, record in self.sub.items()}

    def close(self) -> None:
        pass
