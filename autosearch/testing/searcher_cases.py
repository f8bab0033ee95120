"""Spaces and histories that every searcher must cope with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autosearch.core import Decision, History, Study, Suggestion, Trial
from autosearch.core.seeds import derive_rng
from autosearch.space import (
    Categorical,
    Config,
    Derived,
    Fixed,
    Float,
    Int,
    Ordinal,
    Prior,
    SearchSpace,
    Subspace,
    Value,
)

_BITS = ("b0", "b1", "b2", "b3")


def _flip(config: Config, rng: np.random.Generator, n: int) -> list[dict[str, Value]]:
    chosen = rng.choice(_BITS, size=min(n, len(_BITS)), replace=False)
    return [{**config, name: not config[name]} for name in map(str, chosen)]


def _draw(rng: np.random.Generator) -> dict[str, Value]:
    return {name: bool(rng.integers(2)) for name in _BITS}


def _unordered(config: Config) -> int:
    return sum(bool(config[name]) for name in _BITS)


SPACES: Mapping[str, Callable[[], SearchSpace]] = {
    "float": lambda: SearchSpace({"x": Float(-2.0, 3.0), "y": Float(0.0, 1.0)}),
    "log": lambda: SearchSpace({"lr": Float(1e-5, 1.0, log=True), "y": Float(0.0, 1.0)}),
    "int": lambda: SearchSpace({"n": Int(-50, 50), "m": Int(1, 40)}),
    "int_log": lambda: SearchSpace({"width": Int(1, 4096, log=True), "y": Float(0.0, 1.0)}),
    "categorical": lambda: SearchSpace(
        {"kind": Categorical(["a", "b", None, 3, 0.5, True]), "x": Float(0.0, 1.0)}
    ),
    "ordinal": lambda: SearchSpace({"size": Ordinal([1, 3, 9, "all"]), "x": Float(0.0, 1.0)}),
    "grid": lambda: SearchSpace({"g": Float(0.0, 1.0, grid=0.03), "k": Int(0, 100, grid=7)}),
    "nested": lambda: SearchSpace(
        {
            "optimizer": Categorical(["sgd", "adam"]),
            "momentum": Float(0.0, 0.99, when="optimizer == 'sgd'"),
            "nesterov": Categorical([True, False], when="momentum > 0.3"),
            "beta": Float(0.5, 0.9999, when="optimizer == 'adam'"),
            "lr": Float(1e-4, 1.0, log=True),
        }
    ),
    "constrained": lambda: SearchSpace(
        {"width": Int(8, 512, log=True), "layers": Int(1, 16), "x": Float(0.0, 1.0)},
        ["width * layers <= 256", "x < 0.9"],
    ),
    "derived": lambda: SearchSpace(
        {
            "lr": Float(1e-4, 1e-1, log=True),
            "batch": Ordinal([32, 64, 128]),
            "scaled": Derived("lr * batch / 64"),
            "epochs": Fixed(7),
        },
        ["scaled <= 0.15"],
    ),
    "point": lambda: SearchSpace({"x": Float(0.5, 0.5), "kind": Categorical(["only"]), "epochs": Fixed(3)}),
    "prior": lambda: SearchSpace(
        {
            "lr": Float(1e-5, 1.0, log=True, prior=Prior(1e-3, "high"), default=1e-2),
            "kind": Categorical(["a", "b", "c"], prior=Prior("b", "low")),
        }
    ),
    "finite": lambda: SearchSpace(
        {
            "a": Categorical(["x", "y"]),
            "k": Int(1, 4),
            "b": Ordinal([10, 20, 30], when="a == 'y'"),
            "n": Int(1, 2),
        },
        ["k * n <= 6"],
    ),
    "moves": lambda: SearchSpace(
        {
            "cell": Subspace(
                {name: Categorical([False, True]) for name in _BITS},
                neighbours=_flip,
                sample=_draw,
                canonical=_unordered,
            ),
            "x": Float(0.0, 1.0),
        }
    ),
}
"""Name -> a function that builds the space."""

ENDLESS = tuple(name for name in SPACES if name not in ("point", "finite"))
"""Spaces with far more configurations than the kit asks for."""

HISTORIES: Mapping[str, Sequence[str]] = {
    "empty": (),
    "one": ("complete",),
    "pending": ("run", "run", "queue"),
    "failed": ("crash", "oom", "crash", "nan", "crash"),
    "nan": ("nan", "nan_stopped", "complete", "nan_running"),
    "infeasible": ("complete",) * 6,
    "constant": ("constant",) * 6,
    "extreme": ("complete", "huge", "complete", "tiny", "huge", "complete"),
    "stopped": ("stop", "stop", "pause", "stop"),
    "mixed": (
        "complete",
        "crash",
        "complete",
        "stop",
        "complete",
        "run",
        "pause",
        "complete",
        "oom",
        "complete",
        "complete",
        "run",
    ),
}
"""Name -> what becomes of each trial, in order."""


@dataclass(frozen=True)
class Case:
    """One combination that a searcher is asked in."""

    space: str
    objectives: int
    history: str

    def __str__(self) -> str:
        return f"{self.space}-{self.objectives}-{self.history}"

    def build(self, seed: int = 0) -> History:
        """The history, as a study would have grown it."""
        constraint = {"infeasible": ["size <= -1"], "mixed": ["size <= 0.5"]}.get(self.history, [])
        return grow(SPACES[self.space](), self.objectives, HISTORIES[self.history], constraint, seed)


class Draws:
    """Random configurations for made-up histories, by a stream that no searcher uses."""

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        numbers = range(len(history), len(history) + n)
        space = history.problem.space
        return [Suggestion(space.sample(derive_rng(0, "kit", number), 1)[0]) for number in numbers]


class Fates:
    """A scheduler that stops and pauses the trials whose fate that is."""

    def __init__(self) -> None:
        self.decision = Decision.CONTINUE

    def decide(self, history: History, trial: Trial) -> Decision:  # noqa: ARG002
        return self.decision

    def propose(self, history: History, n: int) -> list[Suggestion]:  # noqa: ARG002
        return []


def goals(objectives: int) -> dict[str, Any]:
    """Objectives by name: the first is minimised, the second maximised."""
    return dict(list({"loss": "minimize", "score": "maximize"}.items())[:objectives])


def measure(space: SearchSpace, config: Config) -> dict[str, float]:
    """Two metrics in conflict, and one for constraints in [0, 1]."""
    x = space.encode([config])[0]
    return {
        "loss": float(((x - 0.3) ** 2).sum()),
        "score": float(-((x - 0.8) ** 2).sum()),
        "size": float(x.mean()) if len(x) else 0.5,
    }


def grow(
    space: SearchSpace, objectives: int, fates: Sequence[str], constraints: Sequence[str], seed: int
) -> History:
    """The history of random trials that met their `fates`, one after the other."""
    scheduler = Fates()
    study = Study(
        space, goals(objectives), constraints=constraints, searcher=Draws(), scheduler=scheduler, seed=seed
    )
    with_first = [fate for fate in fates if fate != "queue"]
    for fate in with_first:
        _meet(study, scheduler, study.ask(), fate)
    for _ in range(len(fates) - len(with_first)):
        study.enqueue(space.sample(derive_rng(0, "kit", "queue"), 1)[0])
    return study.history.snapshot()


def _meet(study: Study, scheduler: Fates, trial: Trial, fate: str) -> None:
    metrics = measure(study.problem.space, trial.config)
    name = study.problem.objectives[0].metric
    changed = {"huge": 1e300, "tiny": -1e300, "constant": 1.0}
    if fate.startswith("nan"):
        metrics[name] = float("nan")
    elif fate in changed:
        metrics.update({goal.metric: changed[fate] for goal in study.problem.objectives})
    decisions = {"stop": Decision.STOP, "nan_stopped": Decision.STOP, "pause": Decision.PAUSE}
    scheduler.decision = decisions.get(fate, Decision.CONTINUE)
    if fate in ("crash", "oom"):
        study.tell(trial, error=MemoryError("out of memory") if fate == "oom" else ValueError("crashed"))
        return
    study.report(trial, metrics, step=1)
    if fate not in ("run", "nan_running"):
        study.tell(trial)
