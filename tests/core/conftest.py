from collections.abc import Callable, Sequence

import pytest

from autosearch.core import Decision, Goal, History, Problem, Study, Suggestion, Trial
from autosearch.core.seeds import derive_rng
from autosearch.space import Float, Int, SearchSpace

from .memory_record import ListRecord


class DrawSearcher:
    """Trial k from seed and number alone."""

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        configs = []
        for i in range(n):
            rng = derive_rng(history.problem.seed, "draw", len(history) + i)
            configs += history.problem.space.sample(rng, 1)
        return [Suggestion(config, info={"seen": history.events}) for config in configs]


class ScriptedScheduler:
    """Answers from a mapping (trial, step) -> Decision; thaws what `thaw` lists."""

    def __init__(self, script: dict[tuple[int, int], Decision] | None = None) -> None:
        self.script = script or {}
        self.thaw: list[Suggestion] = []

    def decide(self, history: History, trial: Trial) -> Decision:
        assert history[trial.number] is trial
        return self.script.get((trial.number, trial.step), Decision.CONTINUE)

    def propose(self, history: History, n: int) -> list[Suggestion]:
        return [self.thaw.pop(0)] if self.thaw else []


class Ticks:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


SPACE = SearchSpace({"x": Float(0.0, 1.0), "n": Int(1, 9)})


@pytest.fixture
def make_study() -> Callable[..., Study]:
    def make(trials: Sequence[Trial] = (), **options: object) -> Study:
        options = {"searcher": DrawSearcher(), "scheduler": ScriptedScheduler(), **options}
        objectives = options.pop("objectives", {"loss": "minimize"})
        space = options.pop("space", SPACE)
        goals = tuple(Goal(name, way == "maximize") for name, way in objectives.items())  # type: ignore[attr-defined]
        record = options.pop("record", None) or ListRecord(Problem(space, goals), trials=list(trials))
        return Study(space, objectives, record=record, **options)  # type: ignore[arg-type]

    return make
