"""Nevergrad's NGOpt, told of budget and batch. It knows no conditions: inactive parameters are left out of what it
proposes, which changes nothing for it."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import nevergrad
from protocol import Config, Outcome, Parameter, active, serve

p = nevergrad.p


class NGOpt:
    def __init__(self, setup: Mapping[str, Any]) -> None:
        self.space = setup["space"]
        space = p.Dict(**{parameter["name"]: _parameter(parameter) for parameter in self.space})
        space.random_state.seed(setup["seed"])
        self.optimizer = nevergrad.optimizers.NGOpt(
            parametrization=space, budget=setup["trials"], num_workers=setup["batch"]
        )
        if setup["objectives"] > 1:
            self.optimizer.num_objectives = setup["objectives"]
        self.asked: list[Any] = []

    def ask(self, n: int) -> list[Config]:
        self.asked = [self.optimizer.ask() for _ in range(n)]
        return [active(self.space, lambda q, c=c: _plain(c.value[q["name"]])) for c in self.asked]

    def tell(self, outcomes: list[Outcome]) -> None:
        for candidate, outcome in zip(self.asked, outcomes, strict=True):
            values = outcome["values"] or [math.inf]
            loss = values if len(values) > 1 else values[0]
            if outcome["constraints"]:
                violations = [max(value, 0.0) for value in outcome["constraints"]]
                self.optimizer.tell(candidate, loss, violations)
            else:
                self.optimizer.tell(candidate, loss)


def _parameter(parameter: Parameter) -> Any:
    if parameter["kind"] == "categorical":
        return p.Choice(parameter["choices"])
    if parameter["kind"] == "ordinal":
        return p.TransitionChoice(parameter["choices"])
    kind = p.Log if parameter["log"] else p.Scalar
    number = kind(lower=parameter["low"], upper=parameter["high"])
    return number.set_integer_casting() if parameter["kind"] == "int" else number


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(NGOpt, f"nevergrad {nevergrad.__version__}")
