"""Who plays: the project's searchers in this process, rivals in processes and environments of their own."""

import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from problem import Config, Problem

HERE = Path(__file__).parent
HOMES = Path(tempfile.gettempdir(), "autosearch-rivals")
OURS: dict[str, Any] = {
    "bayesian": "bayesian",
    "auto": "auto",
    "bayesian, plain kernel": {"method": "bayesian", "conditional": False},
    "random": "random",
}
# Name -> environment below the folder of environments (None: the project's own), file, arguments.
RIVALS: dict[str, tuple[str | None, str, tuple[str, ...]]] = {
    "tpe": (None, "with_optuna.py", ("TPESampler",)),
    "gp": (None, "with_optuna.py", ("GPSampler",)),
    "ngopt": ("nevergrad", "ngopt.py", ()),
    "botorch loop": (None, "botorch_loop.py", ()),
    "cma-es": (None, "with_optuna.py", ("CmaEsSampler",)),
    "ax": ("ax", "with_ax.py", ()),
    "smac": ("smac", "with_smac.py", ()),
}
SEARCHERS = (*OURS, *RIVALS)
ONE_OBJECTIVE = ("cma-es",)  # refuses problems of several
Metrics = Mapping[str, float]


class Player(Protocol):
    """One study of one searcher.

    Attributes:
        cpu_s: seconds spent in `ask` and `tell`, imports left out.
        version: of the library.
    """

    cpu_s: float
    version: str

    def ask(self, n: int) -> list[Config]: ...

    def tell(self, metrics: Sequence[Metrics | None]) -> None:
        """What was measured at each configuration asked for, None for a failed trial."""

    def close(self) -> None: ...


def player(searcher: str, problem: Problem, seed: int, trials: int, homes: Path = HOMES) -> Player:
    """A fresh study."""
    if searcher in OURS:
        return _Ours(searcher, problem, seed, trials)
    return _Rival(searcher, problem, seed, trials, homes)


class _Ours:
    def __init__(self, searcher: str, problem: Problem, seed: int, trials: int) -> None:
        from autosearch.core import Study

        _import_models()
        self.cpu_s, self.version = 0.0, f"autosearch {version('autosearch')}"
        self.study = Study(
            problem.space,
            problem.objectives,
            constraints=problem.constraints,
            searcher=OURS[searcher],
            budget={"trials": trials},
            seed=seed,
            workers=problem.batch,
        )
        self.asked: list[Any] = []

    def ask(self, n: int) -> list[Config]:
        begun = time.process_time()
        self.asked = self.study.ask(n)
        self.cpu_s += time.process_time() - begun
        return [trial.config for trial in self.asked]

    def tell(self, metrics: Sequence[Metrics | None]) -> None:
        begun = time.process_time()
        for trial, measured in zip(self.asked, metrics, strict=True):
            if measured is None:
                self.study.tell(trial, error="diverged")
            else:
                self.study.tell(trial, measured)
        self.cpu_s += time.process_time() - begun

    def close(self) -> None:
        pass


def _import_models() -> None:
    """Load what the searchers load when first asked: imports do not count, for rivals neither."""
    import autosearch.searchers.bayesian as room

    for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        importlib.import_module(module.name)


class _Rival:
    def __init__(self, searcher: str, problem: Problem, seed: int, trials: int, homes: Path) -> None:
        home, file, arguments = RIVALS[searcher]
        python = Path(sys.executable) if home is None else homes / home / "bin" / "python"
        if not python.exists():
            raise SystemExit(
                f"{searcher}: no {python}. Make it with environments.py, or leave {searcher} out."
            )
        self.problem, self.cpu_s, self.version = problem, 0.0, ""
        self.process = subprocess.Popen(
            [python, str(HERE / "rivals" / file), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        setup = {
            "space": described(problem.space),
            "objectives": len(problem.objectives),
            "constraints": len(problem.constraints),
            "reference": problem.reference,
            "batch": problem.batch,
            "seed": seed,
            "trials": trials,
        }
        self._send(setup)

    def ask(self, n: int) -> list[Config]:
        configs: list[Config] = self._answer({"ask": n})["configs"]
        return configs

    def tell(self, metrics: Sequence[Metrics | None]) -> None:
        self._answer({"tell": [self._outcome(measured) for measured in metrics]})

    def _outcome(self, measured: Metrics | None) -> dict[str, Any]:
        if measured is None:
            return {"values": None, "constraints": []}
        return {
            "values": [measured[name] for name in self.problem.objectives],
            "constraints": self.problem.violations(measured),
        }

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        self._send(question)
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        self.cpu_s += answer["cpu"]
        self.version = answer["version"]
        return answer

    def _send(self, message: Mapping[str, Any]) -> None:
        if self.process.stdin is None:
            raise RuntimeError("the rival has no input")
        self.process.stdin.write(json.dumps(message) + "\n")

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def described(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The space in the words of `rivals/protocol.py`, parents before those that depend on them."""
    from autosearch.space import Categorical, Ordinal, SearchSpace

    parameters = SearchSpace(space).parameters
    found: dict[str, dict[str, Any]] = {}
    while len(found) < len(parameters):
        for name, parameter in parameters.items():
            condition = parameter.condition
            parents = condition.names if condition else ()
            if name in found or not set(parents) <= set(found):
                continue
            entry: dict[str, Any] = {"name": name, "kind": type(parameter).__name__.lower(), "when": None}
            if isinstance(parameter, Categorical | Ordinal):
                entry |= {"choices": list(parameter.choices), "log": False}
            else:
                entry |= {"low": parameter.low, "high": parameter.high, "log": parameter.log}
            if condition:
                (parent,) = condition.names
                above = found[parent]
                values = above.get("choices") or range(above["low"], above["high"] + 1)
                held = [value for value in values if condition.evaluate({parent: value})]
                entry["when"] = [parent, held]
            found[name] = entry
    return list(found.values())
