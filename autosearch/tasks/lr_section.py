"""The report's section on lr schedules that were searched or found, with the best one as data to replay."""

import json
from collections.abc import Mapping
from typing import Any

from autosearch.core import History, Trial
from autosearch.core.ranking import best_trials
from autosearch.learning import build_lr_schedule, peak_lr
from autosearch.reporting.figures.curves import curves
from autosearch.reporting.material import Code, Section

_SHOWN, _STEPS = 5, 400


def lr_section(history: History) -> Section | None:
    """The learning rate of the best trials over their run; None where none has an lr schedule of its own."""
    several = len(history.problem.objectives) > 1
    chosen = list(history.front)[:_SHOWN] if several else list(best_trials(history, _SHOWN))
    found = {t.number: definition for t in chosen if (definition := definition_of(t)) is not None}
    if not found:
        return None
    xs = [step / _STEPS for step in range(_STEPS + 1)]
    lines = {}
    for number, definition in found.items():
        factor = build_lr_schedule(definition, _STEPS)
        peak = peak_lr(definition, 1.0)
        lines[f"trial {number}"] = (xs, [peak * factor(step) for step in range(_STEPS + 1)])
    first = next(iter(found))
    figure = curves(
        "Learning rates of the best trials",
        lines,
        x_title="share of the run",
        y_title="learning rate",
        log=True,
    )
    replay = Code(
        json.dumps(found[first]),
        f"Trial {first}: `lr_schedule:` of a study, or `LambdaLR(optimizer, build_lr_schedule(DEFINITION, steps))` "
        "with `peak` as the optimizer's learning rate.",
        folded=True,
    )
    return Section(
        "Lr schedules", [figure, replay], "What was searched or found, over the steps of training."
    )


def definition_of(trial: Trial) -> dict[str, Any] | None:
    """The lr schedule that a trial's training method found, else the one in its configuration, if any."""
    noted = trial.data.get("lr_schedule")
    if isinstance(noted, Mapping):
        return dict(noted)
    prefix = "lr_schedule."
    parts = {k.removeprefix(prefix): v for k, v in trial.config.items() if k.startswith(prefix)}
    return parts if "method" in parts else None
