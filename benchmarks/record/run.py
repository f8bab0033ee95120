"""Trials per second into the record, and the time to continue a large study.

A trial has 8 parameters and 10 reports of two metrics; nothing trains. Beside each of our records the same trials go
through plain Optuna (`ask`, `suggest`, `report`, `tell` with its random sampler) into the storage that Optuna
documents, in the same run on the same disk. Plain Optuna keeps one number a report, ours the whole report with its
time; SQLite is also measured with the log ahead (WAL) that ours sets.

    python benchmarks/record/run.py quick|full
"""

import argparse
import dataclasses
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import append, origin, read

from autosearch.core import Goal, Problem, State, Trial
from autosearch.core.records import Report, Transition
from autosearch.core.seeds import derive_rng
from autosearch.record import open_journal, open_memory, open_rdb, read_history
from autosearch.record.record import StudyRecord
from autosearch.space import SearchSpace

RESULTS = Path(__file__).with_name("results.csv")
REPORTS = 10
SPACE = SearchSpace(
    {
        "lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
        "decay": {"type": "float", "low": 1e-8, "high": 1e-1, "log": True},
        "momentum": {"type": "float", "low": 0.0, "high": 0.99},
        "dropout": {"type": "float", "low": 0.0, "high": 0.9},
        "width": {"type": "int", "low": 16, "high": 1024, "log": True},
        "depth": {"type": "int", "low": 1, "high": 12},
        "optimizer": ["sgd", "adamw", "lion"],
        "batch": {"type": "ordinal", "choices": [32, 64, 128, 256]},
    }
)
PROBLEM = Problem(SPACE, (Goal("loss"),))
# size -> (trials a cell, repetitions, trials of the large study)
SIZES = {"quick": (200, 3, 10_000), "full": (1000, 5, 50_000)}


def losses(seed: int, number: int) -> list[float]:
    return [float(x) for x in derive_rng(seed, "loss", number).random(REPORTS)]


# -- writers -----------------------------------------------------------------------------------------------


def write_ours(record: StudyRecord, seed: int, trials: int) -> float:
    """Seconds to write `trials` trials as a Study does."""
    configs = SPACE.sample(derive_rng(seed, "configs"), trials)
    curves = [losses(seed, number) for number in range(trials)]
    began, event = time.perf_counter(), 0
    for number, (config, curve) in enumerate(zip(configs, curves, strict=True)):
        begun = Transition(event, State.RUNNING)
        trial = Trial(number, config, seen=event, transitions=(begun,), info={"model": "random"})
        record.begin(trial)
        for step, loss in enumerate(curve, 1):
            event += 1
            report = Report(step, {"loss": loss, "val_accuracy": 1 - loss}, 0.1 * step, event)
            trial = dataclasses.replace(
                trial, reports=(*trial.reports, report), metrics=report.metrics, seconds=report.seconds
            )
            record.report(trial)
        event += 1
        end = Transition(event, State.COMPLETE, REPORTS)
        event += 1
        record.finish(
            dataclasses.replace(
                trial, state=State.COMPLETE, transitions=(begun, end), values=PROBLEM.signed(trial.metrics)
            )
        )
    return time.perf_counter() - began


def write_plain(storage: optuna.storages.BaseStorage, seed: int, trials: int) -> float:
    """Seconds for the same with Optuna's own calls."""
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed))
    curves = [losses(seed, number) for number in range(trials)]
    began = time.perf_counter()
    for curve in curves:
        trial = study.ask()
        trial.suggest_float("lr", 1e-5, 1.0, log=True)
        trial.suggest_float("decay", 1e-8, 1e-1, log=True)
        trial.suggest_float("momentum", 0.0, 0.99)
        trial.suggest_float("dropout", 0.0, 0.9)
        trial.suggest_int("width", 16, 1024, log=True)
        trial.suggest_int("depth", 1, 12)
        trial.suggest_categorical("optimizer", ["sgd", "adamw", "lion"])
        trial.suggest_categorical("batch", [32, 64, 128, 256])
        for step, loss in enumerate(curve, 1):
            trial.report(loss, step)
        study.tell(trial, curve[-1])
    return time.perf_counter() - began


def our_record(storage: str, folder: Path) -> StudyRecord:
    if storage == "memory":
        return open_memory("", "study", PROBLEM)
    if storage == "journal":
        return open_journal(str(folder / "study.journal"), "study", PROBLEM)
    return open_rdb(f"sqlite:///{folder / 'study.db'}", "study", PROBLEM)


def plain_storage(storage: str, folder: Path) -> optuna.storages.BaseStorage:
    if storage == "memory":
        return optuna.storages.InMemoryStorage()
    if storage == "journal":
        backend = optuna.storages.journal.JournalFileBackend(str(folder / "plain.journal"))
        return optuna.storages.JournalStorage(backend)
    made = optuna.storages.RDBStorage(f"sqlite:///{folder / 'plain.db'}")
    if storage == "sqlite, WAL":

        @sa.event.listens_for(made.engine, "connect")
        def _log_ahead(connection: object, _: object) -> None:
            connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]
            connection.execute("PRAGMA synchronous=NORMAL")  # type: ignore[attr-defined]

        made.engine.dispose()
    return made


def measure(storage: str, writer: str, seed: int, trials: int) -> float:
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".record-benchmark-") as name:
        if writer == "autosearch":
            record = our_record(storage, Path(name))
            try:
                return write_ours(record, seed, trials)
            finally:
                record.close()
        return write_plain(plain_storage(storage, Path(name)), seed, trials)


# -- continuing --------------------------------------------------------------------------------------------


def measure_continuing(storage: str, trials: int) -> Iterator[tuple[str, str, float]]:
    """(writer, what, seconds) for a study of `trials` trials: opened for writing, read, and loaded by Optuna."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".record-benchmark-") as name:
        folder = Path(name)
        target = our_record(storage, folder)
        if storage == "journal":
            write_ours(target, 0, trials)
        else:  # rows are the same in whichever order they were written
            source = our_record("memory", folder)
            write_ours(source, 0, trials)
            target.begin_all(source.history())
        target.close()
        location = (
            str(folder / "study.journal") if storage == "journal" else f"sqlite:///{folder / 'study.db'}"
        )

        def go_on() -> int:
            record = our_record(storage, folder)
            history = record.history()
            record.close()
            return len(history)

        def load_plain() -> int:
            backend = optuna.storages.journal.JournalFileBackend(location) if storage == "journal" else None
            made = (
                optuna.storages.JournalStorage(backend) if backend else optuna.storages.RDBStorage(location)
            )
            return len(made.get_all_trials(made.get_all_studies()[0]._study_id, deepcopy=False))

        for writer, what, action in (
            ("autosearch", "continue", go_on),
            ("autosearch", "read", lambda: len(read_history(location, "study"))),
            ("optuna", "continue", load_plain),
        ):
            seconds, count = timed(action)
            if count != trials:
                raise RuntimeError(f"{writer} {what}: {count} of {trials} trials")
            yield writer, what, seconds


def timed(action: Callable[[], int]) -> tuple[float, int]:
    began = time.perf_counter()
    count = action()
    return time.perf_counter() - began, count


# -- results -----------------------------------------------------------------------------------------------


CELLS = [
    (storage, writer)
    for storage in ("memory", "journal", "sqlite", "sqlite, WAL")
    for writer in ("autosearch", "optuna")
    if (storage, writer) != ("sqlite", "autosearch")  # ours always has the log ahead
]


def run(size: str) -> None:
    """Every cell that this commit has no row of yet; an interrupted run goes on."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials, repetitions, large = SIZES[size]
    base = {**origin("autosearch", "optuna", "sqlalchemy"), "sqlite": sqlite3.sqlite_version, "size": size}
    done = {
        (r["storage"], r["writer"], r["what"], r["seed"], r["size"])
        for r in read(RESULTS)
        if r["commit"] == base["commit"]
    }

    def add(storage: str, writer: str, what: str, seed: int, count: int, seconds: float) -> None:
        cell = {"storage": storage, "writer": writer, "what": what, "seed": seed, "trials": count}
        measured = {"seconds": f"{seconds:.4f}", "per_second": f"{count / seconds:.1f}"}
        append(RESULTS, [{**base, **cell, **measured}])

    for seed in range(repetitions):
        for storage, writer in CELLS:  # side by side within a repetition, so that load falls on both
            if (storage, writer, "write", str(seed), size) not in done:
                add(storage, writer, "write", seed, trials, measure(storage, writer, seed, trials))
    for storage in ("journal", "sqlite, WAL"):
        if (storage, "optuna", "continue", "0", size) not in done:
            for writer, what, seconds in measure_continuing(storage, large):
                add(storage, writer, what, 0, large, seconds)


def table(size: str) -> str:
    """The newest commit's figures: medians over repetitions, n in brackets."""
    found = [row for row in read(RESULTS) if row["size"] == size]
    if not found:
        return "no results yet"
    found = [row for row in found if row["commit"] == found[-1]["commit"]]

    def cell(column: str, **wanted: str) -> list[float]:
        return [float(r[column]) for r in found if all(r[key] == value for key, value in wanted.items())]

    lines = ["| storage | autosearch, trials/s | Optuna, trials/s | ratio | n |", "|---|---|---|---|---|"]
    for storage in ("memory", "journal", "sqlite", "sqlite, WAL"):
        ours = cell("per_second", storage=storage, writer="autosearch", what="write")
        theirs = cell("per_second", storage=storage, writer="optuna", what="write")
        if storage == "sqlite":
            ours = cell("per_second", storage="sqlite, WAL", writer="autosearch", what="write")
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.1f}" if ours and theirs else ""
        shown = [f"{statistics.median(values):.0f}" if values else "" for values in (ours, theirs)]
        lines.append(f"| {storage} | {shown[0]} | {shown[1]} | {ratio} | {min(len(ours), len(theirs))} |")
    lines += [
        "",
        "| large study | continue, s | read only, s | loaded by Optuna, s | trials |",
        "|---|---|---|---|---|",
    ]
    for storage in ("journal", "sqlite, WAL"):
        figures = [
            cell("seconds", storage=storage, writer=writer, what=what)
            for writer, what in (("autosearch", "continue"), ("autosearch", "read"), ("optuna", "continue"))
        ]
        shown = [f"{values[-1]:.1f}" if values else "" for values in figures]
        count = next((r["trials"] for r in found if r["storage"] == storage and r["what"] == "continue"), "")
        lines.append(f"| {storage} | {' | '.join(shown)} | {count} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument(
        "--table", action="store_true", help="print the table of what is recorded, run nothing"
    )
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.size)
    print(table(arguments.size))


if __name__ == "__main__":
    sys.exit(main())
