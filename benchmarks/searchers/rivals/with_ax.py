"""Ax's client with its defaults; conditions as dependent parameters of choices. An integer that others depend on is an
ordered choice, for only choices can have dependents."""

import logging
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from protocol import Config, Outcome, Parameter, active, serve


class WithAx:
    def __init__(self, setup: Mapping[str, Any]) -> None:
        self.setup = setup
        self.goals = [f"y{i}" for i in range(setup["objectives"])]
        self.limits = [f"c{i}" for i in range(setup["constraints"])]
        self.client = Client(random_seed=setup["seed"])
        self.client.configure_experiment([self._parameter(p) for p in setup["space"]])
        self.client.configure_optimization(
            ", ".join(f"-{goal}" for goal in self.goals),
            outcome_constraints=[f"{limit} <= 0" for limit in self.limits] or None,
        )
        self.asked: list[int] = []

    def ask(self, n: int) -> list[Config]:
        configs = []
        self.asked = []
        while len(configs) < n:  # it may return fewer than it is asked for
            for index, parameters in self.client.get_next_trials(n - len(configs)).items():
                self.asked.append(index)
                configs.append(active(self.setup["space"], lambda p, q=parameters: q[p["name"]]))
        return configs

    def tell(self, outcomes: list[Outcome]) -> None:
        for index, outcome in zip(self.asked, outcomes, strict=True):
            if outcome["values"] is None:
                self.client.mark_trial_failed(index)
                continue
            measured = dict(zip(self.goals, outcome["values"], strict=True))
            measured |= dict(zip(self.limits, outcome["constraints"], strict=True))
            self.client.complete_trial(index, measured)

    def _parameter(self, parameter: Parameter) -> Any:
        name, kind = parameter["name"], parameter["kind"]
        dependents: dict[Any, list[str]] = {}
        for other in self.setup["space"]:
            for value in other["when"][1] if other["when"] and other["when"][0] == name else ():
                dependents.setdefault(value, []).append(other["name"])
        if kind in ("float", "int") and not dependents:
            scaling = "log" if parameter["log"] else None
            return RangeParameterConfig(name, (parameter["low"], parameter["high"]), kind, scaling=scaling)
        values = parameter.get("choices") or list(range(parameter["low"], parameter["high"] + 1))
        plain = {bool: "bool", str: "str", int: "int", float: "float"}[type(values[0])]
        return ChoiceParameterConfig(name, values, plain, kind != "categorical", dependents or None)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    serve(WithAx, f"ax {version('ax-platform')}")
