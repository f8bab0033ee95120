"""A driver to be killed: `ray_driver.py FORM OUTPUT`. Prints notes, and one line at its end."""

import json
import sys
from pathlib import Path

from autosearch.core import Resources, RunSettings, Study, plugins

HERE = Path(__file__).parent / "user_code"
TARGETS = {
    "function": "./train_with_ray.py:train_func",
    "optuna": "./objective.py:objective",
    "command": f"{sys.executable} {HERE / 'program.py'} --lr {{lr}}",
}


def main(form: str, output: Path) -> None:
    objective = plugins.load("adapters", form)(TARGETS[form], folder=HERE)
    output.mkdir(parents=True, exist_ok=True)
    study = Study(
        {"lr": {"type": "float", "low": 1e-3, "high": 1.0, "log": True}},
        {"loss": "minimize"},
        searcher="random",
        budget={"trials": 3},
        storage=output / "study.journal",
    )
    study.listeners.append(lambda event, _, text: sys.stdout.write(f"{text}\n") if event == "note" else None)
    with study:
        study.run(objective, settings=RunSettings(output=output, resources=Resources(parallel=2)))
    sys.stdout.write(json.dumps([t.number for t in study.history.complete]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
