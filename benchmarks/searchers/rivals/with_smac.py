"""SMAC3's facade for hyperparameters (random forest) with its defaults; it knows conditions. Several objectives go
through its ParEGO. Outcome constraints it does not know: an infeasible trial counts as crashed."""

import logging
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ConfigSpace import (
    CategoricalHyperparameter,
    ConfigurationSpace,
    InCondition,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from protocol import Config, Outcome, Parameter, active, serve
from smac import HyperparameterOptimizationFacade, Scenario
from smac.multi_objective.parego import ParEGO
from smac.runhistory.dataclasses import TrialValue
from smac.runhistory.enumerations import StatusType


class WithSmac:
    def __init__(self, setup: Mapping[str, Any], folder: Path) -> None:
        self.setup = setup
        space = ConfigurationSpace(seed=setup["seed"])
        known = {parameter["name"]: _parameter(parameter) for parameter in setup["space"]}
        space.add(*known.values())
        whens = [(p["name"], p["when"]) for p in setup["space"] if p["when"]]
        space.add(*[InCondition(known[name], known[when[0]], when[1]) for name, when in whens])
        self.goals = [f"y{i}" for i in range(setup["objectives"])]
        scenario = Scenario(
            space,
            objectives=self.goals,
            n_trials=setup["trials"],
            seed=setup["seed"],
            deterministic=True,
            output_directory=folder,
        )
        several = {"multi_objective_algorithm": ParEGO(scenario)} if len(self.goals) > 1 else {}
        self.smac = HyperparameterOptimizationFacade(
            scenario, _unused, logging_level=False, overwrite=True, **several
        )
        self.asked: list[Any] = []

    def ask(self, n: int) -> list[Config]:
        self.asked = [self.smac.ask() for _ in range(n)]
        return [
            active(self.setup["space"], lambda p, c=trial.config: _plain(c[p["name"]]))
            for trial in self.asked
        ]

    def tell(self, outcomes: list[Outcome]) -> None:
        for trial, outcome in zip(self.asked, outcomes, strict=True):
            values = outcome["values"]
            bad = values is None or any(value > 0 for value in outcome["constraints"])
            cost = values or [1e10] * len(self.goals)
            self.smac.tell(
                trial,
                TrialValue(
                    cost=cost if len(cost) > 1 else cost[0],
                    status=StatusType.CRASHED if bad else StatusType.SUCCESS,
                ),
            )


def _unused(config: Any, seed: int = 0) -> float:
    raise NotImplementedError(f"asked and told, never called: {config}, {seed}")


def _parameter(parameter: Parameter) -> Any:
    name, kind = parameter["name"], parameter["kind"]
    if kind == "categorical":
        return CategoricalHyperparameter(name, parameter["choices"])
    if kind == "ordinal":
        return OrdinalHyperparameter(name, parameter["choices"])
    number = UniformIntegerHyperparameter if kind == "int" else UniformFloatHyperparameter
    return number(name, parameter["low"], parameter["high"], log=parameter["log"])


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        serve(lambda setup: WithSmac(setup, Path(folder)), f"smac {version('smac')}")
