"""RoBoT on NAS-Bench-201: regret after 20 and 50 trained architectures, against what else reads scores or results.

python benchmarks/robot/run.py quick [--only modern] [--table]
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).parents[2]))

from autosearch.core import Goal
from autosearch.core.ranking import hypervolume, non_dominated
from autosearch.methods.robot.searcher import RobotSearcher
from autosearch.searchers.evolution import EvolutionSearcher
from benchmarks.common import append, origin, read, table
from benchmarks.robot import tables

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
SEEDS = range(20)
TIMES = (20, 50)
SIX = {"grad_norm", "snip", "grasp", "fisher", "synflow", "jacov"}
AVERAGES = {
    "rank average of 4": ("jacov", "nwot", "params", "synflow"),
    "rank average of 2": ("jacov", "nwot"),
    "rank average of sizes": ("nwot", "synflow", "params", "flops"),
    "rank average of all": tables.SCORES,
}
# objective -> column to search by, or two columns with their directions
OBJECTIVES: dict[str, tuple[tuple[str, bool], ...]] = {
    "hp12": (("c10_val_hp12", True),),
    "own c10": (("c10_val", True),),
    "own c100": (("c100_val", True),),
    "hp12, scores negated": (("c10_val_hp12", True),),
    "own c100, own scores": (("c100_val", True),),
    "fgsm": (("rob_fgsm_e1", True),),
    "pgd": (("rob_pgd_e1", True),),
    "accuracy and latency": (("c10_val", True), ("hw_edgegpu_latency", False)),
    "accuracy and latency, Raspberry Pi": (("c10_val", True), ("hw_raspi4_latency", False)),
}
LONG = ("hp12", "own c10", "own c100")  # also to 50; the others to 20

Search = Callable[[tables.Ground, str, int, int], list[int]]


def ground_of(objective: str) -> tables.Ground:
    if objective == "own c100, own scores":
        return tables.cifar100_scored()
    ground = tables.everything()
    return tables.negated(ground) if "negated" in objective else ground


def robot(preset: str) -> Search:
    def search(ground: tables.Ground, objective: str, trials: int, seed: int) -> list[int]:
        searcher = RobotSearcher(preset=preset)
        searcher.memory.hold(tables.SPACE, ground.pool)
        if preset == "paper":
            kept = {name: column for name, column in ground.scores.items() if name in SIX}
            ground = tables.Ground(ground.pool, kept)
        return _played(searcher, ground, objective, trials, seed)

    return search


def evolution(ground: tables.Ground, objective: str, trials: int, seed: int) -> list[int]:
    return _played(EvolutionSearcher(initial="random"), ground, objective, trials, seed)


def random(ground: tables.Ground, objective: str, trials: int, seed: int) -> list[int]:  # noqa: ARG001
    return np.random.default_rng(seed).permutation(ground.rows)[:trials].tolist()


def top(metrics: tuple[str, ...]) -> Search:
    def search(ground: tables.Ground, objective: str, trials: int, seed: int) -> list[int]:  # noqa: ARG001
        columns = [
            rankdata(np.nan_to_num(ground.scores[m], nan=-np.inf)) for m in metrics if m in ground.scores
        ]
        order = np.argsort(-np.mean(columns, axis=0), kind="stable") if columns else np.array([], dtype=int)
        return ground.rows[order[:trials]].tolist()

    return search


def _played(searcher: object, ground: tables.Ground, objective: str, trials: int, seed: int) -> list[int]:
    columns = OBJECTIVES[objective]
    goals = [Goal(column, better) for column, better in columns]
    return tables.play(searcher, ground, [column for column, _ in columns], goals, trials, seed)


METHODS: dict[str, Search] = {
    "modern": robot("modern"),
    "random": random,
    "evolution": evolution,
    "paper": robot("paper"),
    **{name: top(metrics) for name, metrics in AVERAGES.items()},
    **{f"top {name}": top((name,)) for name in tables.SCORES},
}
SURE = ("top", "rank average")  # the same for every seed


def regret(rows: list[int], objective: str, ground: tables.Ground) -> float:
    """Best value of the table minus best value read, in the objective's unit; of fronts the share of volume missed."""
    every = np.unique(ground.rows) if "own scores" in objective else np.arange(len(tables.data()["index"]))
    found, all_of_them = _signed(np.array(rows), objective), _signed(every, objective)
    if found.shape[1] == 1:
        return float(found.min() - all_of_them.min())
    # From the ideal to the median of the table: architectures worse than half of all add nothing.
    low, high = all_of_them.min(axis=0), np.median(all_of_them, axis=0)
    found, all_of_them = (found - low) / (high - low), (all_of_them - low) / (high - low)
    front, corner = all_of_them[non_dominated(all_of_them)], np.ones(found.shape[1])
    return 1.0 - hypervolume(found, corner) / hypervolume(front, corner)


def _signed(rows: np.ndarray, objective: str) -> np.ndarray:
    """(n, m) values of rows, lower is better."""
    columns = [
        (-1.0 if up else 1.0) * tables.data()[name][rows].astype(float) for name, up in OBJECTIVES[objective]
    ]
    return np.stack(columns, axis=1)


def jobs(size: str) -> Iterator[tuple[str, str, int, int]]:
    """(method, objective, trials, seed), the modern search first."""
    for method in METHODS:
        sure = method.startswith(SURE)
        for objective in OBJECTIVES:
            if method == "paper" and len(OBJECTIVES[objective]) > 1:
                continue  # it knows one objective
            most = TIMES[1] if objective in LONG else TIMES[0]
            if method == "paper" and size == "quick":
                if objective not in LONG:
                    continue
                most = TIMES[0]
            for seed in SEEDS[:1] if sure else SEEDS:
                yield method, objective, most, seed


def run(size: str, only: str | None, goal: str | None, most: int) -> None:
    done = {(r["method"], r["objective"], int(r["trials"]), int(r["seed"])) for r in read(RESULTS)}
    for method, objective, wanted, seed in jobs(size):
        trials = min(wanted, most)
        job = (method, objective, trials, seed)
        if job in done or only not in (None, method) or goal not in (None, objective):
            continue
        ground = ground_of(objective)
        begun = time.perf_counter()
        rows = METHODS[method](ground, objective, trials, seed)
        seconds = time.perf_counter() - begun
        if not rows:
            continue
        base = {"method": method, "objective": objective, "trials": trials, "seed": seed}
        found = {}
        for t in TIMES:
            part = rows[:t]
            if len(part) < min(t, len(ground.pool)):
                found |= {f"regret{t}": "", f"c10_test{t}": "", f"c100_test{t}": ""}
                continue
            found[f"regret{t}"] = f"{regret(part, objective, ground):.4f}"
            for name in ("c10_test", "c100_test"):
                column, better = OBJECTIVES[objective][0]
                sign = 1.0 if better else -1.0
                chosen = max(part, key=lambda row: sign * float(tables.data()[column][row]))
                found[f"{name}{t}"] = f"{tables.data()[name][chosen]:.3f}"
        append(RESULTS, [{**base, **found, "seconds": f"{seconds:.1f}", **origin("numpy", "torch")}])
        sys.stdout.write(f"{method:24s} {objective:36s} {seed:3d} {found}\n")
        sys.stdout.flush()


# -- tables --------------------------------------------------------------------------------------------------


def values(method: str, objective: str, name: str, time_: int) -> np.ndarray:
    """Of each seed `name` after `time_` trials; of a search that had no more, if there is one: `paper` plans by it."""
    rows = [r for r in read(RESULTS) if (r["method"], r["objective"]) == (method, objective)]
    rows.sort(key=lambda r: int(r["trials"]) == time_)
    found = {int(r["seed"]): float(r[f"{name}{time_}"]) for r in rows if r[f"{name}{time_}"]}
    return np.array([found[seed] for seed in sorted(found)])


def drawn(objective: str, time_: int) -> list[list[object]]:
    lines: list[list[object]] = []
    for method in METHODS:
        regrets = values(method, objective, "regret", time_)
        if not len(regrets):
            continue
        tests = [values(method, objective, f"{name}_test", time_) for name in ("c10", "c100")]
        shown = [f"{regrets.mean():.2f}", f"{np.median(regrets):.2f}", f"{regrets.max():.2f}"]
        lines.append([method, len(regrets), *shown, *(f"{t.mean():.2f}" for t in tests)])
    return lines


def report() -> str:
    parts = []
    columns = ["method", "n", "mean", "median", "worst", "test CIFAR-10", "test CIFAR-100"]
    for objective in OBJECTIVES:
        for time_ in TIMES:
            lines = drawn(objective, time_)
            parts += [f"### {objective}, T = {time_}\n\n{table(columns, lines)}\n"] if lines else []
    return "\n".join([aims(), *parts])


def aims() -> str:
    """The issue's aims against what was measured, worst of the seeds."""

    def worst(objective: str, time_: int) -> float:
        found = values("modern", objective, "regret", time_)
        return float(found.max()) if len(found) else float("nan")

    wanted = [("hp12", 20, 0.15), ("hp12", 50, 0.0), ("own c10", 20, 0.3), ("own c10", 50, 0.1)]
    wanted += [("own c100", 20, 0.3), ("own c100", 50, 0.1)]
    lines = [[f"{o}, T = {t}: worst at most", a, f"{worst(o, t):.2f}"] for o, t, a in wanted]
    for objective in list(OBJECTIVES)[4:]:
        mine, theirs = values("modern", objective, "regret", 20), values("random", objective, "regret", 20)
        if len(mine) and len(theirs):
            middle = float(np.median(theirs))
            lines.append([f"{objective}: median below random's", f"{middle:.2f}", f"{np.median(mine):.2f}"])
            lines.append(
                [f"{objective}: worst at most random's median", f"{middle:.2f}", f"{mine.max():.2f}"]
            )
    more = worst("hp12, scores negated", 20) - worst("hp12", 20)
    lines.append(["hp12, scores negated, T = 20: worst grows by at most", 0.3, f"{more:.2f}"])
    return "### Aims\n\n" + table(["aim", "wanted", "measured"], lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=("quick", "full"))
    parser.add_argument("--only", choices=sorted(METHODS))
    parser.add_argument("--objective", choices=sorted(OBJECTIVES))
    parser.add_argument("--most", type=int, default=TIMES[-1], help="trials of the longest search")
    parser.add_argument("--table", action="store_true", help="print the tables without running")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.size, arguments.only, arguments.objective, arguments.most)
    sys.stdout.write(report())


if __name__ == "__main__":
    main()
