"""The tables of the benchmark of pruning, from its rows."""

import itertools
import statistics
from functools import cache
from pathlib import Path

from scipy import stats

from benchmarks.common import read, table
from benchmarks.pruning.settings import AFTER, BEFORE, CONTROL, EXTRA, SHORT, SIZES

RESULTS = Path(__file__).with_name("results.csv")


def interval(values: list[float]) -> str:
    """Mean and its 95 % interval (Student's t), in points."""
    if len(values) < 2:
        return ""
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.mean(values)
    return f"{100 * mean:+.2f} [{100 * (mean - half):+.2f}, {100 * (mean + half):+.2f}] ({len(values)})"


@cache
def rows_of(size: str) -> list[dict[str, str]]:
    return [row for row in read(RESULTS) if row["size"] == size and int(row["network"]) < 100]


def tables(size: str) -> str:
    """All tables in Markdown."""
    return "\n\n".join(
        part(size) for part in (_accuracies, _differences, _left, _shorts, _latencies, _studies)
    )


def _measured(size: str) -> dict[tuple[str, ...], float]:
    rows = [row for row in rows_of(size) if row["part"] == "forms"]
    return {(r["form"], r["network"], r["seed"], r["speed_up"]): float(r["test_accuracy"]) for r in rows}


def _speed_ups(size: str) -> list[str]:
    return [str(speed_up) for speed_up in sorted(SIZES[size]["speed_ups"])]


def _table(title: str, size: str, lines: list[list[str]]) -> str:
    measured = [line for line in lines if any(line[1:])]
    return table([title, *(f"{float(s):g}x" for s in _speed_ups(size))], measured)


def _accuracies(size: str) -> str:
    accuracy = _measured(size)
    lines = []
    for form in [*SIZES[size]["forms"], *EXTRA]:
        own = [[v for key, v in accuracy.items() if (key[0], key[3]) == (form, s)] for s in _speed_ups(size)]
        lines.append([form, *(f"{100 * statistics.mean(v):.2f} ({len(v)})" if v else "" for v in own)])
    return _table("test accuracy, % (n)", size, lines)


def _left(size: str) -> str:
    rows = [row for row in rows_of(size) if row["part"] == "forms"]
    lines = []
    for form in [*SIZES[size]["forms"], *EXTRA]:
        own = [
            [float(r["macs_share"]) for r in rows if (r["form"], r["speed_up"]) == (form, s)]
            for s in _speed_ups(size)
        ]
        lines.append([form, *(f"{1 / statistics.mean(v):.2f}x" if v else "" for v in own)])
    return _table("speed-up reached, in MACs", size, lines)


def _differences(size: str) -> str:
    accuracy = _measured(size)

    def against(form: str, other: str) -> list[str]:
        return [
            interval(
                [
                    value - accuracy[(other, *key[1:])]
                    for key, value in accuracy.items()
                    if (key[0], key[3]) == (form, s) and (other, *key[1:]) in accuracy
                ]
            )
            for s in _speed_ups(size)
        ]

    forms = [form for form in (*SIZES[size]["forms"], *EXTRA) if form != CONTROL]
    lines = [[f"{form} - control", *against(form, CONTROL)] for form in forms]
    rivals = ("torch_pruning", "torch_pruning capped")
    pairs = [(own, rival) for own in ("depgraph", "meta") for rival in rivals]
    pairs += [("meta", "depgraph"), ("meta", "meta unsettled")]
    pairs += [(form, f"{CONTROL} unsettled") for form in EXTRA if form.startswith("meta")]
    lines += [[f"{own} - {other}", *against(own, other)] for own, other in pairs]
    return _table("paired difference, points [95 %] (n)", size, lines)


def _shorts(size: str) -> str:
    rows = [row for row in rows_of(size) if row["part"] == "short"]
    accuracy = {(r["form"], r["network"], r["seed"], r["speed_up"]): float(r["test_accuracy"]) for r in rows}
    for (form, *key), value in _measured(size).items():
        if form in (f"{CONTROL} unsettled", "meta unsettled"):
            accuracy[(f"{form.split()[0]} {BEFORE + AFTER}", *key)] = value
    lines = []
    for epochs, speed_up in itertools.product(
        (*SHORT, BEFORE + AFTER), map(str, SIZES[size]["speed_ups"][:2])
    ):
        pairs = [
            (accuracy[(f"{CONTROL} {epochs}", *key)], value)
            for (form, *key), value in accuracy.items()
            if form == f"meta {epochs}" and key[2] == speed_up and (f"{CONTROL} {epochs}", *key) in accuracy
        ]
        if pairs:
            means = [f"{100 * statistics.mean(values):.2f}" for values in zip(*pairs, strict=True)]
            difference = interval([ours - control for control, ours in pairs])
            lines.append([str(epochs), f"{float(speed_up):g}x", *means, difference])
    return table(["epochs in all", "MACs", CONTROL, "meta", "paired difference, points [95 %] (n)"], lines)


def _latencies(size: str) -> str:
    rows = [row for row in rows_of(size) if row["part"] == "latency"]
    lines = []
    for form, speed_up in itertools.product(("batch 1", "batch 64"), ("2.0", "4.0")):
        own = [row for row in rows if (row["form"], row["speed_up"]) == (form, speed_up)]
        if own:
            ms = statistics.mean(float(row["latency_ms"]) for row in own)
            share = statistics.mean(float(row["latency_share"]) for row in own)
            lines.append([form, f"{float(speed_up):g}x", f"{ms:.2f}", f"{1 / share:.2f}x ({len(own)})"])
    return table(["", "MACs", "ms", "faster than dense (n)"], lines)


def _studies(size: str) -> str:
    rows = [row for row in rows_of(size) if row["part"] == "study"]
    names = ("volume", "uniform_volume", "dominated")
    lines = [[r["network"], r["seed"], *(f"{float(r[name]):.3f}" for name in names)] for r in rows]
    titles = [
        "network",
        "seed",
        "volume of 30 trials",
        "of 30 uniform ratios",
        "uniform ones dominated, share",
    ]
    return table(titles, lines)
