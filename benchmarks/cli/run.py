"""How long commands take to answer, as whole processes.

`--help` aims at 0.5 s; `check` at 3 s beside the import of the user's code (here torch, for the built-in task, timed by
itself in the same turn); `status` and `best` at 1.5 s with 1,000 trials of 10 reports and 5 s with 10,000.

    python benchmarks/cli/run.py quick|full
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import ROOT, append, origin, read, table

from autosearch.core import Study
from autosearch.space import Float, SearchSpace

RESULTS = Path(__file__).with_name("results.csv")
AUTOSEARCH = [sys.executable, "-m", "autosearch.cli.main"]
# size -> (turns, trials of the large records)
SIZES = {"quick": (5, (1_000,)), "full": (9, (1_000, 10_000))}
STUDY = """\
study: large
run: {{task: synthetic_curves, steps: 10}}
objectives: {{loss: minimize}}
space: {{x: {{type: float, low: 0.0, high: 1.0}}, y: {{type: float, low: 0.0, high: 1.0}}}}
searcher: random
budget: {{trials: {trials}}}
"""


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def large_record(folder: Path, trials: int) -> Path:
    """A study file whose record holds `trials` trials of 10 reports."""
    path = folder / f"large{trials}.yaml"
    path.write_text(STUDY.format(trials=trials) + f"output: large{trials}\n", encoding="utf-8")
    space = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    storage = folder / f"large{trials}" / "study.journal"
    with Study(space, {"loss": "minimize"}, searcher="random", storage=storage, name="large") as study:
        for number in range(trials):
            trial = study.ask()
            for step in range(1, 11):
                study.report(trial, {"loss": 1.0 / (step + number)}, step=step)
            study.tell(trial)
    return path


def main() -> None:
    """Measure, append, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=SIZES)
    size = parser.parse_args().size
    turns, records = SIZES[size]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = str(ROOT / "studies" / "digits.yaml")
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "--help": [*AUTOSEARCH, "--help"],
            "check studies/digits.yaml": [
                *AUTOSEARCH,
                "check",
                digits,
                "--set",
                f"output={folder / 'digits'}",
            ],
        }
        for trials in records:
            path = str(large_record(folder, trials))
            for command in ("status", "best"):
                commands[f"{command}, {trials} trials"] = [*AUTOSEARCH, command, path]
        for turn in range(turns):
            for what, command in commands.items():
                wall, cpu = timed(command, folder)
                row = {
                    "size": size,
                    "turn": turn,
                    "what": what,
                    "seconds": round(wall, 3),
                    "cpu_s": round(cpu, 3),
                }
                append(RESULTS, [{**row, **origin("typer", "optuna", "torch")}])
    show()


def show() -> None:
    """Print the table of everything measured so far."""
    seconds: dict[str, list[tuple[float, float]]] = {}
    for row in read(RESULTS):
        seconds.setdefault(row["what"], []).append((float(row["seconds"]), float(row["cpu_s"])))
    rows = []
    for what, pairs in seconds.items():
        walls, cpus = (sorted(values) for values in zip(*pairs, strict=True))
        middle = len(walls) // 2
        rows.append(
            [
                what,
                len(walls),
                f"{walls[0]:.2f}",
                f"{walls[middle]:.2f}",
                f"{walls[-1]:.2f}",
                f"{cpus[middle]:.2f}",
            ]
        )
    print(table(["command", "n", "min s", "median s", "max s", "median CPU s"], rows))


if __name__ == "__main__":
    main()
