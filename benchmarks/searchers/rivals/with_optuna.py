"""Optuna's samplers with their defaults: `with_optuna.py TPESampler|GPSampler|CmaEsSampler`. Conditions are honoured as
an objective would, by asking for active parameters only."""

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from protocol import Config, Outcome, Parameter, active, serve


class WithOptuna:
    def __init__(self, setup: Mapping[str, Any], sampler: str) -> None:
        self.space = setup["space"]
        self.study = optuna.create_study(
            directions=["minimize"] * setup["objectives"],
            sampler=getattr(optuna.samplers, sampler)(seed=setup["seed"]),
        )
        self.asked: list[optuna.Trial] = []

    def ask(self, n: int) -> list[Config]:
        configs = []
        for _ in range(n):
            trial = self.study.ask()
            self.asked.append(trial)
            configs.append(active(self.space, lambda parameter, trial=trial: suggest(trial, parameter)))
        return configs

    def tell(self, outcomes: list[Outcome]) -> None:
        for trial, outcome in zip(self.asked, outcomes, strict=True):
            if outcome["values"] is None:
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            for i, value in enumerate(outcome["constraints"]):
                trial.set_constraint(f"c{i}", value)
            self.study.tell(trial, outcome["values"])
        self.asked = []


def suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    name, kind = parameter["name"], parameter["kind"]
    if kind == "categorical":
        return trial.suggest_categorical(name, parameter["choices"])
    if kind == "ordinal":
        return parameter["choices"][trial.suggest_int(name, 0, len(parameter["choices"]) - 1)]
    suggest = trial.suggest_int if kind == "int" else trial.suggest_float
    return suggest(name, parameter["low"], parameter["high"], log=parameter["log"])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if sys.argv[1] == "GPSampler":  # loads its libraries when first asked; imports do not count
        import optuna._gp.batched_lbfgsb
        import optuna._gp.optim_mixed
        import optuna._gp.qmc
        import torch  # noqa: F401
    serve(lambda setup: WithOptuna(setup, sys.argv[1]), f"optuna {optuna.__version__}")
