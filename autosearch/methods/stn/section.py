"""The report's section on hyperparameters that were tuned inside the trials, with the best course as data to replay."""

import json
from typing import Any

from autosearch.core import History
from autosearch.core.ranking import best_trials
from autosearch.methods.stn.replay import Trajectory
from autosearch.reporting.figures.curves import curves
from autosearch.reporting.material import Code, Section

_SHOWN = 5


def stn_section(history: History) -> Section | None:
    """Courses of the hyperparameters of the best trials, one figure each; None where no trial tuned any."""
    several = len(history.problem.objectives) > 1
    chosen = list(history.front)[:_SHOWN] if several else list(best_trials(history, _SHOWN))
    found = {
        t.number: Trajectory.read(t.data["tuned"]) for t in chosen if isinstance(t.data.get("tuned"), dict)
    }
    if not found:
        return None
    names = list(dict.fromkeys(name for course in found.values() for name in course.values))
    blocks: list[Any] = []
    for name in names:
        lines = {
            f"trial {number}": ([float(step) for step in course.at], list(course.values[name]))
            for number, course in found.items()
            if name in course.values
        }
        spread = [value for _, values in lines.values() for value in values]
        log = min(spread) > 0 and max(spread) > 100 * min(spread)
        blocks.append(curves(name, lines, x_title="optimizer step", y_title=name, log=log))
    first = next(iter(found))
    blocks.append(
        Code(
            json.dumps(found[first].definition()),
            f"Trial {first}: `ScheduleReplay(SCHEDULE, model, optimizer)` repeats its course in a plain run.",
            folded=True,
        )
    )
    return Section("Self-tuned hyperparameters", blocks, "How they moved inside the best trials.")
