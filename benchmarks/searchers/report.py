"""From rows to tables: scores, mean ranks, differences between searchers and what the aims ask for."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import table
from pairs import bootstrap, holm, signed_rank
from players import SEARCHERS
from problem import Problem
from problems import PROBLEMS

OURS = "bayesian"
_FLOOR = 1e-8  # of a regret under the logarithm: differences below are rounding


@dataclass(frozen=True)
class Run:
    """One study: how it ended and every improvement as (trials, score)."""

    score: float
    improvements: tuple[tuple[int, float], ...]
    cpu_s: float

    def at(self, trials: int) -> float:
        """The score after so many trials; infinite before the first feasible one."""
        scores = [score for n, score in self.improvements if n <= trials]
        return scores[-1] if scores else math.inf


class Results:
    """Runs by problem, searcher and seed, all of one number of evaluations."""

    def __init__(self, rows: Iterable[Mapping[str, str]], evaluations: int) -> None:
        rows = list(rows)
        self.evaluations = evaluations
        self._found: dict[tuple[str, int], float] = {}
        self.runs: dict[tuple[str, str], dict[int, Run]] = {}
        for row in rows:
            key, score = (row["problem"], int(row["seed"])), float(row["score"])
            pairs = [pair.split(":") for pair in row["improvements"].split()]
            improvements = tuple((int(n), float(value)) for n, value in pairs)
            best = min((value for _, value in improvements), default=score)
            self._found[key] = min(best, self._found.get(key, math.inf))
            if int(row["evaluations"]) == evaluations:
                runs = self.runs.setdefault((row["problem"], row["searcher"]), {})
                runs[key[1]] = Run(score, improvements, float(row["cpu_s"]))

    @cached_property
    def problems(self) -> list[Problem]:
        return [problem for name, problem in PROBLEMS.items() if any(key[0] == name for key in self.runs)]

    @cached_property
    def searchers(self) -> list[str]:
        """Those that have rows; variants of ours are left out."""
        found = [name for name in SEARCHERS if name == OURS or "," not in name]
        return [name for name in found if any(key[1] == name for key in self.runs)]

    def of(self, problem: str, searcher: str) -> dict[int, Run]:
        return self.runs.get((problem, searcher), {})

    def optimum(self, problem: Problem, seed: int) -> float:
        """The known best score, else the best that anyone found."""
        best = problem.optimum(seed) if problem.optimum else math.inf
        return min(best, self._found.get((problem.name, seed), math.inf))

    def regret(self, problem: Problem, seed: int, value: float) -> float:
        return max(value - self.optimum(problem, seed), 0.0)

    def unit(self, problem: Problem) -> float:
        """The regret of random search in the median over seeds: what a score of 0 stands for."""
        runs = self.of(problem.name, "random")
        regrets = [self.regret(problem, seed, run.score) for seed, run in runs.items()]
        finite = [regret for regret in regrets if math.isfinite(regret)]
        # Not 0 where random search was nowhere beaten.
        return max(float(np.median(finite)), _FLOOR) if finite else math.nan

    def loss(self, problem: Problem, seed: int, value: float) -> float:
        """On the scale on which differences are taken: log10 of the regret where the optimum is known and counts
        down to nothing, else regret as a share of random search's.
        """
        regret = self.regret(problem, seed, value)
        if problem.optimum and not problem.reference:
            return math.log10(max(regret, _FLOOR))
        return regret / self.unit(problem)

    def differences(self, problem: Problem, rival: str) -> list[float]:
        """Rival minus ours on each seed that both have: positive where we are better."""
        ours, theirs = self.of(problem.name, OURS), self.of(problem.name, rival)
        found = []
        for seed in sorted(ours.keys() & theirs.keys()):
            a, b = (self.loss(problem, seed, runs[seed].score) for runs in (ours, theirs))
            found.append(0.0 if a == b else b - a)  # both may be infinite
        return found


def show(rows: Iterable[Mapping[str, str]], evaluations: int) -> str:
    """Every table for the rows of that many evaluations."""
    results = Results(rows, evaluations)
    parts = [_values(results), _scores(results), _pairs(results), _against_loop(results), _aims(results)]
    return "\n\n".join(part for part in parts if part)


def _values(results: Results) -> str:
    body = []
    for problem in results.problems:
        line = [problem.name, problem.family]
        for name in results.searchers:
            scores = [run.score for run in results.of(problem.name, name).values()]
            line.append(f"{np.median(scores):.4g} ({len(scores)})" if scores else "")
        body.append(line)
    heads = [f"after {results.evaluations} trials, median (n)", "family", *results.searchers]
    return table(heads, body)


def _scores(results: Results) -> str:
    """Scores and mean ranks on the seeds that all compared searchers have."""
    body, ranks = [], {name: [] for name in results.searchers}
    scores: dict[str, list[float]] = {name: [] for name in results.searchers}
    for problem in results.problems:
        runs = {name: results.of(problem.name, name) for name in results.searchers}
        seeds = sorted(set.intersection(*(set(found) for found in runs.values())))
        if not seeds:
            continue
        ends = np.array([[found[seed].score for found in runs.values()] for seed in seeds])
        own = np.array([[_rank(row, i) for i in range(len(runs))] for row in ends])
        line = [problem.name, len(seeds)]
        for i, name in enumerate(runs):
            regrets = [results.regret(problem, s, v) for s, v in zip(seeds, ends[:, i], strict=True)]
            score = float(np.median([max(1 - regret / results.unit(problem), -1.0) for regret in regrets]))
            scores[name].append(score)
            ranks[name].append(own[:, i].mean())
            line.append(f"{score:.2f} / {own[:, i].mean():.1f}")
        body.append(line)
    if not body:
        return ""
    body.append(["mean score", "", *(f"{np.mean(s):.2f}" for s in scores.values())])
    body.append(["mean rank", "", *(f"{np.mean(r):.2f}" for r in ranks.values())])
    cpu = [
        [run.cpu_s for (_, s), runs in results.runs.items() if s == name for run in runs.values()]
        for name in runs
    ]
    body.append(["CPU s a trial", "", *(f"{np.median(values):.3f}" for values in cpu)])
    return table(["score (0 random, 1 optimum) / rank", "seeds", *results.searchers], body)


def _rank(row: np.ndarray, i: int) -> float:
    return float(1 + (row < row[i]).sum() + ((row == row[i]).sum() - 1) / 2)


def _pairs(results: Results) -> str:
    """Family by family, each rival against ours."""
    families: dict[str, list[Problem]] = {}
    for problem in results.problems:
        families.setdefault(problem.family, []).append(problem)
    rivals = [name for name in results.searchers if name != OURS]
    body = []
    for family, problems in families.items():
        pairs = {rival: [d for p in problems for d in results.differences(p, rival)] for rival in rivals}
        known = {rival: found for rival, found in pairs.items() if found}
        chances = dict(zip(known, holm([signed_rank(found) for found in known.values()]), strict=True))
        body.append([family, *(_pair(pairs[rival], chances.get(rival)) for rival in rivals)])
    heads = ["better / worse seeds of ours, p (two-sided signed ranks, Holm over rivals)", *rivals]
    return table(heads, body)


def _pair(differences: Sequence[float], p: float | None) -> str:
    if p is None:
        return ""
    better, worse = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    mark = " **loss**" if p < 0.01 and worse > better else ""
    return f"{better} / {worse}, {p:.3g}{mark}"


def _against_loop(results: Results, rival: str = "botorch loop") -> str:
    """Several objectives: dominated volume against the plain loop. Constraints: trials until the first feasible."""
    body = []
    for problem in results.problems:
        ours, theirs = results.of(problem.name, OURS), results.of(problem.name, rival)
        seeds = sorted(ours.keys() & theirs.keys())
        if problem.reference and seeds:
            base = float(np.mean([-theirs[seed].score for seed in seeds]))
            gains = [(theirs[seed].score - ours[seed].score) / base for seed in seeds]
            low, high = bootstrap(gains)
            body.append([problem.name, len(seeds), f"{np.mean(gains):+.2%} [{low:+.2%}, {high:+.2%}]"])
    first = (
        table(["dominated volume, ours against the plain loop", "seeds", "mean [95 %]"], body) if body else ""
    )
    body = []
    for problem in results.problems:
        if not problem.constraints:
            continue
        line = [problem.name]
        for name in results.searchers:
            firsts = [_first(run, results.evaluations) for run in results.of(problem.name, name).values()]
            never = sum(n > results.evaluations for n in firsts)
            line.append(f"{np.mean(firsts):.1f} ({len(firsts)}; never {never})" if firsts else "")
        body.append(line)
    heads = ["trials until the first feasible, mean (n)", *results.searchers]
    return "\n\n".join(part for part in (first, table(heads, body) if body else "") if part)


def _first(run: Run, evaluations: int) -> int:
    return run.improvements[0][0] if run.improvements else evaluations + 1


def _aims(results: Results, rival: str = "gp") -> str:
    """Trials that ours needs for the rival's median regret at the end."""
    body, needed = [], []
    for problem in results.problems:
        ours, theirs = results.of(problem.name, OURS), results.of(problem.name, rival)
        if not (ours and theirs):
            continue
        goal = np.median([results.regret(problem, seed, run.score) for seed, run in theirs.items()])
        reached = [
            n
            for n in range(1, results.evaluations + 1)
            if np.median([results.regret(problem, seed, run.at(n)) for seed, run in ours.items()]) <= goal
        ]
        needed.append(reached[0] if reached else math.inf)
        body.append([problem.name, f"{goal:.3g}", reached[0] if reached else f"> {results.evaluations}"])
    if not body:
        return ""
    body.append(["median", "", f"{np.median(needed):g}"])
    return table([f"regret of {rival} after {results.evaluations}", "median regret", "ours after"], body)
