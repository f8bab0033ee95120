"""The published search: Bayesian optimisation of the metrics' weights, then greedily down the ranking.

He, Shi, Hu, Qiu, Low 2024, "Robustifying and Boosting Training-Free Neural Architecture Search" (RoBoT), ICLR,
algorithms 1 and 2.

| symbol | meaning | shape |
|---|---|---|
| `S` | normalised scores of the pool | `(N, M)` |
| `w` | weights, in [-1, 1] | `(M,)` |
| `R` | rounds of the weight search | |

A round costs an evaluation only where its architecture is new. The rounds are recorded with the architecture that
they led to, so the search is read back from the record and never computed twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autosearch.core import History
from autosearch.core.seeds import derive_rng, derive_seed
from autosearch.space import Float, SearchSpace

WeightSearch = Callable[[Sequence[np.ndarray], Sequence[float]], np.ndarray]


@dataclass(frozen=True)
class Round:
    """One round of the weight search: the weights and the row that is first under them."""

    weights: np.ndarray
    row: int


@dataclass(frozen=True)
class PaperChoice:
    """The next architecture: its row, the rounds that led to it (none in the greedy phase), and why."""

    row: int
    rounds: tuple[Round, ...]
    arm: str
    reason: str
    weights: np.ndarray


def first_under(S: np.ndarray, weights: np.ndarray) -> int:
    """Row of the largest weighted sum, ties to the first."""
    return int(np.argmax(S @ weights))


def next_choice(
    S: np.ndarray,
    rounds: Sequence[Round],
    results: Mapping[int, float],
    total: int,
    search: WeightSearch,
) -> PaperChoice | None:
    """The next architecture to train; None where all are.

    Args:
        S: (N, M) normalised scores.
        rounds: made so far.
        results: row -> result, higher is better, of everything trained so far.
        total: R, the number of rounds.
        search: from all weights so far and the results that they led to, the next ones to try.
    """
    weights = [made.weights for made in rounds]
    values = [results[made.row] for made in rounds]
    fresh: list[Round] = []
    while len(weights) < total and len(results) < len(S):
        tried = search(weights, values)
        made = Round(tried, first_under(S, tried))
        fresh.append(made)
        if made.row not in results:
            reason = f"first under the weights of round {len(weights) + 1}"
            return PaperChoice(made.row, tuple(fresh), "explore", reason, tried)
        weights.append(tried)
        values.append(results[made.row])
    if len(results) >= len(S):
        return None
    # The last of equals: the pseudocode replaces the best weights at "at least as good".
    best = max(range(len(values)), key=lambda i: (values[i], i))
    order = np.argsort(-(S @ weights[best]), kind="stable")
    row = next(int(i) for i in order if int(i) not in results)
    reason = f"next under the best weights, of round {best + 1}"
    return PaperChoice(row, tuple(fresh), "exploit", reason, weights[best])


class BayesianWeights:
    """The weight search: uniform first, then the project's Bayesian searcher in [-1, 1]^M.

    Differs from the released code: expected improvement in place of an upper confidence bound with kappa 2.576, and a
    lengthscale for each weight.
    """

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self.space = SearchSpace({f"w{i}": Float(-1.0, 1.0) for i in range(len(names))})
        self.seed = seed

    def __call__(self, weights: Sequence[np.ndarray], values: Sequence[float]) -> np.ndarray:
        if not weights:
            return derive_rng(self.seed, "robot", "weights").uniform(-1.0, 1.0, self.space.dimensions)
        from autosearch.searchers.bayesian import BayesianSearcher

        configs = [dict(zip(self.space.searched, w.tolist(), strict=True)) for w in weights]
        seed = derive_seed(self.seed, "robot", "rounds")
        history = History.of(self.space, configs, -np.asarray(values), seed=seed)
        [suggestion] = BayesianSearcher(initial=1).suggest(history, 1)
        return np.array([suggestion.config[name] for name in self.space.searched], dtype=float)
