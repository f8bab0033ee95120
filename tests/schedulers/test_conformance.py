"""Every built-in scheduler through the kit that plug-in authors use."""

from typing import Any

import pytest

from autosearch.core.plugins import build
from autosearch.core.protocols import Scheduler
from autosearch.testing.scheduler_kit import Curves, SchedulerKit, simulate

BUILT_IN: dict[str, dict[str, Any]] = {
    "none": {"method": "none"},
    "asha": {"method": "asha"},
    "asha, pausing": {"method": "asha", "pause": True},
    "asha, halving": {"method": "asha", "reduction": 2, "min": 2},
    "hyperband": {"method": "hyperband"},
    "hyperband, pausing": {"method": "hyperband", "pause": True},
    "median": {"method": "median"},
    "pbt": {"method": "pbt", "population": 5, "interval": 3},
    "pbt, every way to change": {
        "method": "pbt",
        "population": 8,
        "quantile": 0.5,
        "vary": ["x", "rate"],
        "resample": 0.5,
        "factors": [0.5, 2],
    },
    "threshold": {"method": "threshold", "above": 1.2, "at": 3},
}
TESTS = [name for name in vars(SchedulerKit) if name.startswith("test_")]


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("test", TESTS)
def test_built_in_scheduler(name: str, test: str) -> None:
    class Kit(SchedulerKit):
        absolute = name == "threshold"
        looks_back = name.startswith("pbt")

        def scheduler(self) -> Scheduler:
            found: Scheduler = build("schedulers", BUILT_IN[name])
            return found

    getattr(Kit(), test)()


@pytest.mark.parametrize("name", ["asha", "asha, pausing", "hyperband", "hyperband, pausing", "median"])
def test_stopping_saves_most_of_the_work_and_keeps_a_good_trial(name: str) -> None:
    everything = simulate(build("schedulers", "none"), Curves())
    study = simulate(build("schedulers", BUILT_IN[name]), Curves())
    spent, full = (sum(trial.step for trial in s.history) for s in (study, everything))
    assert spent < 0.7 * full
    ranked = sorted(trial.values for trial in everything.history)
    assert study.best.values <= ranked[3]
