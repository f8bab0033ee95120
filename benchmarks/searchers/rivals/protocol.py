"""How a rival speaks with the benchmark: one JSON line a question, one an answer. Needs the standard library alone,
because it runs in the rival's own environment.

First line in: the setup. Then `{"ask": n}`, answered by configurations, and `{"tell": outcomes}` for all of them, in
their order. CPU seconds of each answer are the rival's own: imports are not among them.

A parameter of the setup: `name`, `kind` (float, int, ordinal, categorical), `low` and `high`, or `choices`; `log`; and
`when`: null, or `[parent, values]` where the parent must have one of the values. An outcome: `values` (lower is better;
null if the trial failed) and `constraints` (at most 0 is feasible).
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

Parameter = Mapping[str, Any]
Config = dict[str, Any]
Outcome = Mapping[str, Any]


class Rival(Protocol):
    """What a rival's file builds from the setup."""

    def ask(self, n: int) -> list[Config]: ...

    def tell(self, outcomes: list[Outcome]) -> None: ...


def active(space: Iterable[Parameter], value: Callable[[Parameter], Any]) -> Config:
    """The configuration whose values `value` gives, of the parameters that its conditions leave; parents go first."""
    config: Config = {}
    for parameter in space:
        when = parameter["when"]
        if when is None or config.get(when[0]) in when[1]:
            config[parameter["name"]] = value(parameter)
    return config


def serve(make: Callable[[Mapping[str, Any]], Rival], version: str) -> None:
    """Answer until the input ends. What a library prints goes to the error stream."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    begun = time.process_time()
    rival = make(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {"version": version}
        if "ask" in question:
            answer["configs"] = rival.ask(question["ask"])
        else:
            rival.tell(question["tell"])
        ended = time.process_time()
        answer["cpu"], begun = ended - begun, ended
        answers.write(json.dumps(answer) + "\n")
