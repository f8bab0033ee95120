"""What looking costs: the report, `status`, and the live view.

Studies are synthetic, with every outcome that a study has (complete, stopped and failed trials, learning curves);
commands run in a fresh process as people start them, so imports count. The live view is measured as the processor time
that the same run of a study takes more with the view than without, as a share of the run's length.

    python benchmarks/reporting/run.py quick|full
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
from common import append, origin, read, table
from rich.console import Console

from autosearch.core import Study
from autosearch.record import open_journal
from autosearch.reporting.live import LiveView
from tests.reporting.histories import make_history

RESULTS = Path(__file__).with_name("results.csv")
# size -> (repetitions, seconds of the run under the live view)
SIZES = {"quick": (3, 20.0), "full": (5, 120.0)}
PER_SECOND = 20
# what -> limit in seconds, or in per cent for the live view
LIMITS = {
    "report, 1,000 trials x 12 parameters": 10.0,
    "status, 1,000 trials": 1.5,
    "status, 10,000 trials of 10 reports": 5.0,
    "live view at 20 results a second, % of the run": 1.0,
}
STUDY = """\
study: demo
run: {{task: synthetic_curves}}
objectives: {{accuracy: maximize}}
space: {{lr: [1, 2]}}
searcher: bayesian
budget: {{trials: 1}}
output: {output}
"""


def recorded(folder: Path, trials: int, parameters: int, reports: int) -> Path:
    """A study file beside the journal of a synthetic study; the commands take the space from the record."""
    history = make_history(trials, parameters, reports=reports)
    record = open_journal(str(folder / "study.journal"), "demo", history.problem)
    record.begin_all(list(history))
    record.close()
    path = folder / "demo.yaml"
    path.write_text(STUDY.format(output=folder), encoding="utf-8")
    return path


def command_seconds(*words: str) -> float:
    """Seconds of one command in a fresh process with two threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    begun = time.perf_counter()
    code = "import sys; from autosearch.cli.main import run; sys.exit(run(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", code, *words], env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun


def run_seconds(seconds: float, *, seen: bool) -> float:
    """Processor time of a study that gets 20 results a second, with or without the live view."""
    study = Study(
        {"lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}},
        {"loss": "minimize"},
        searcher="random",
    )
    begun, end = time.process_time(), time.monotonic() + seconds

    def go() -> None:
        at = time.monotonic()
        while at < end:
            trial = study.ask()
            study.report(trial, {"loss": 1.0}, step=1)
            study.tell(trial, {"loss": 1.0 / (1 + trial.number)})
            at += 1 / PER_SECOND
            time.sleep(max(0.0, at - time.monotonic()))

    if seen:
        with LiveView(study, Console(file=io.StringIO(), force_terminal=True, width=120)) as view:
            study.listeners.append(view)
            go()
    else:
        go()
    return time.process_time() - begun


def measure(repetitions: int, seconds: float) -> Iterator[tuple[str, float]]:
    """(what, seconds or per cent) of every cell, `repetitions` times."""
    with tempfile.TemporaryDirectory(prefix="reporting-benchmark-") as name:
        for what, command, trials, parameters, reports in (
            ("report, 1,000 trials x 12 parameters", "report", 1000, 12, 20),
            ("status, 1,000 trials", "status", 1000, 12, 20),
            ("status, 10,000 trials of 10 reports", "status", 10_000, 12, 10),
        ):
            folder = Path(name) / f"{command}-{trials}"
            folder.mkdir()
            path = recorded(folder, trials, parameters, reports)
            for _ in range(repetitions):
                yield what, command_seconds(command, str(path))
    for _ in range(repetitions):
        more = run_seconds(seconds, seen=True) - run_seconds(seconds, seen=False)
        yield "live view at 20 results a second, % of the run", 100 * more / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    size = parser.parse_args().size
    source = origin("plotly", "rich", "optuna", "botorch")
    for what, value in measure(*SIZES[size]):
        append(RESULTS, [{"size": size, "what": what, "value": f"{value:.3f}", **source}])
    rows = []
    for what, limit in LIMITS.items():
        values = sorted(float(r["value"]) for r in read(RESULTS) if r["what"] == what and r["size"] == size)
        shown = (
            [f"{values[len(values) // 2]:.2f}", f"{values[0]:.2f}", f"{values[-1]:.2f}"]
            if values
            else [""] * 3
        )
        rows.append([what, *shown, f"{limit:g}", len(values)])
    print(table(["what", "median", "least", "most", "limit", "n"], rows))


if __name__ == "__main__":
    main()
