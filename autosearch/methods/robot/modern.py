"""Which candidate to train next: several arms, one of which each decision follows, by evidence.

Arms:

- `opening`: both ends of the rank average of all metrics, then a few at random. Both ends, since whether a metric is
  to be followed or shunned is learnt and never assumed.
- `surrogate`: largest expected improvement under a Gaussian process over scores and graph features. With several
  objectives, of which each has a process of its own, the largest expected gain of the front's volume; it alone decides.
- `weights`: first under the weighted sum of the scores, with weights fitted to the order of all results.
- `favourite`: next down the ranking of the single metric that agrees best with the results.
- `evolution`: for scores and features without signal; a small change of a good configuration. It lies with the
  searcher, which knows the space.

| symbol | meaning | shape |
|---|---|---|
| `rows` | measured candidates, in order | `(n,)` |
| `Y` | their results, higher is better | `(n, m)` |
| `z` | those of a single objective, sharpened | `(n,)` |
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import rankdata

from autosearch.core.ranking import non_dominated
from autosearch.core.seeds import derive_rng
from autosearch.methods.robot.fronts import corner_of, expected_gain, scaled
from autosearch.methods.robot.results import order_of
from autosearch.methods.robot.surrogate import Group, Hyper, Surrogate, log_improvement
from autosearch.methods.robot.weights import fitted_weights

_FOLDS = 5
_MOST = 60  # results that weights and evidence rest on: pairs grow with their square; the newest tell most
_MOST_FITTED = 200  # results of the surrogate: the best half of these, and the newest
_CERTAIN = 0.75  # share of the candidates whose uncertainty counts in full
_SHARP = 0.3  # of the distance from best to median: how far the best results stand apart from each other
ARMS = ("surrogate", "weights", "favourite")


@dataclass(frozen=True)
class Settings:
    """What `modern` can be told.

    Attributes:
        random: candidates drawn at random in the opening.
        signal: rank correlation of left-out results below which an arm is not followed.
        patience: results before the signal is judged.
    """

    random: int = 4
    signal: float = 0.1
    patience: int = 10


@dataclass(frozen=True)
class Choice:
    """A candidate's row, the arm that chose it, why, and what the arm knows of it."""

    row: int
    arm: str
    reason: str
    details: Mapping[str, object] = field(default_factory=dict)


class Candidates:
    """What may be trained, as arms see it.

    Args:
        Z: (N, M) normal quantiles of the scores' ranks.
        U: (N, M) logarithms of the scores, in [0, 1].
        average: (N,) rank average.
        G: (N, F) features of the architectures and whatever else is searched.
        names: of the metrics.
    """

    def __init__(
        self, Z: np.ndarray, U: np.ndarray, average: np.ndarray, G: np.ndarray, names: Sequence[str]
    ) -> None:
        self.Z, self.average, self.names = Z, average, tuple(names)
        self.scored = bool(Z.any())
        # Scores span decades: their logarithms extrapolate linearly, where a few extremes would be all that is seen of
        # the scores themselves. Normal quantiles tell who is alike.
        linear, alike, graph = Group.of(U, "linear"), Group.of(Z, "matern"), Group.of(G, "matern")
        self.groups = [linear, alike, graph] if self.scored else [graph, Group.of(G, "linear")]
        self.grid = _SCORED if self.scored else _PLAIN

    def __len__(self) -> int:
        return len(self.Z)


def _grid(linear: Sequence[float], graph: Sequence[float]) -> list[Hyper]:
    found = []
    for share, other, length, noise in itertools.product(linear, graph, (0.7, 1.5), (0.01, 0.1)):
        rest = 1.0 - share
        found.append(Hyper((share, rest * (1 - other), rest * other), (1.0, length, 1.0), noise))
    return found


_SCORED = _grid((0.1, 0.3, 0.6, 0.9), (0.3, 0.6))
_PLAIN = [
    Hyper((1.0 - share, share), (length, 1.0), noise)
    for share, length, noise in itertools.product((0.1, 0.5, 0.9), (0.7, 1.5), (0.01, 0.1))
]


def sharpened(y: np.ndarray) -> np.ndarray:
    """(n,) results standardised so that differences among the good count and those among the bad do not.

    `-log(best - y + c)`, with `c` a share of the distance from the best to the median.
    """
    best, middle = float(y.max()), float(np.median(y))
    scale = best - middle if best > middle else 1.0
    z = -np.log((best - y) / scale + _SHARP)
    spread = float(z.std())
    return np.asarray((z - z.mean()) / spread if spread > 0 else np.zeros_like(z))


def opening(candidates: Candidates, settings: Settings, seed: int) -> list[tuple[int, str]]:
    """Distinct rows to measure first, whatever comes out, and why."""
    average = candidates.average
    found: dict[int, str] = {}
    if np.ptp(average) > 0:
        found[int(average.argmax())] = "first by the rank average"
        found.setdefault(int(average.argmin()), "last by the rank average: tells its sign")
    drawn = derive_rng(seed, "robot", "opening").permutation(len(candidates))[: settings.random + 2].tolist()
    for row in drawn:
        if len(found) < 2 + settings.random:
            found.setdefault(row, "at random: neither end of any ranking")
    return list(found.items())


def choose(
    candidates: Candidates,
    rows: np.ndarray,
    Y: np.ndarray,
    pending: Sequence[int],
    followed: Mapping[str, int],
    settings: Settings,
) -> Choice | None:
    """The next candidate after at least two results; None where no arm has a signal, or none is left.

    Args:
        candidates: all.
        rows: (n,) measured ones; a row may come twice.
        Y: (n, m) results.
        pending: rows that are being measured.
        followed: how many decisions each arm has made.
        settings: of the search.
    """
    free = np.ones(len(candidates), dtype=bool)
    free[rows] = free[list(pending)] = False
    if not free.any():
        return None
    if len(Y) > _MOST_FITTED:
        half = _MOST_FITTED // 2
        kept = np.union1d(order_of(Y)[:half], np.arange(len(Y) - half, len(Y)))
        rows, Y = rows[kept], Y[kept]
    if Y.shape[1] > 1:
        return _by_front(candidates, rows, Y, pending, free, settings)
    z = sharpened(Y[:, 0])
    surrogate = Surrogate(candidates.groups, candidates.grid, rows, z)
    proof = evidence(candidates, surrogate, rows, z) if len(z) >= settings.patience else {}
    arm = _arm(candidates, proof, followed, settings)
    if arm is None:
        return None
    row, reason, details = _ARMS[arm](candidates, surrogate, rows, z, pending, free)
    noted = {name: round(value, 3) for name, value in proof.items()}
    return Choice(row, arm, reason, {**details, "evidence": noted} if noted else details)


def _by_front(
    candidates: Candidates,
    rows: np.ndarray,
    Y: np.ndarray,
    pending: Sequence[int],
    free: np.ndarray,
    settings: Settings,
) -> Choice | None:
    """Several objectives: the largest expected gain of dominated volume, under a surrogate for each."""
    V = scaled(-Y)
    means, deviations, proof = [], [], []
    for values in V.T:
        middle, spread = float(values.mean()), float(values.std()) or 1.0
        z = (middle - values) / spread
        surrogate = Surrogate(candidates.groups, candidates.grid, rows, z)
        proof.append(correlation(surrogate.left_out(), z))
        mean, deviation = _believed(candidates, surrogate, z, pending)
        means.append(middle - spread * mean)
        deviations.append(spread * deviation)
    signal = float(np.mean(proof))
    if len(V) >= settings.patience and signal < settings.signal:
        return None
    gain = expected_gain(np.stack(means, 1), np.stack(deviations, 1), V[non_dominated(V)], corner_of(V))
    row = int(np.where(free, gain, -np.inf).argmax())
    details = {"gain": float(gain[row]), "evidence": {"surrogate": round(signal, 3)}}
    return Choice(row, "surrogate", "largest expected gain of the front's volume", details)


def _arm(
    candidates: Candidates, proof: Mapping[str, float], followed: Mapping[str, int], settings: Settings
) -> str | None:
    """The arm that is furthest behind its share of the decisions; shares grow with the evidence.

    Until there is evidence, the surrogate decides: it is the only arm that knows what it does not know.
    """
    if not proof:
        return "surrogate"
    arms = ARMS if candidates.scored else ARMS[:1]
    shares = {arm: max(0.0, proof[arm]) ** 2 * _SHARE[arm] for arm in arms}
    whole = sum(shares.values())
    if max(proof.values()) < settings.signal or not whole > 0:
        return None
    total = 1 + sum(followed.get(arm, 0) for arm in arms)
    return max(arms, key=lambda arm: shares[arm] / whole * total - followed.get(arm, 0))


_SHARE = {"surrogate": 1.0, "weights": 0.2, "favourite": 0.1}  # of the decisions, at equal evidence


# -- the arms ------------------------------------------------------------------------------------------------

_Answer = tuple[int, str, dict[str, object]]


def _by_surrogate(
    candidates: Candidates,
    surrogate: Surrogate,
    rows: np.ndarray,  # noqa: ARG001 - arms are called alike
    z: np.ndarray,
    pending: Sequence[int],
    free: np.ndarray,
) -> _Answer:
    mean, capped = _believed(candidates, surrogate, z, pending)
    best = float(z.max())
    value = np.where(free, log_improvement(mean, capped, best), -np.inf)
    row = int(value.argmax())
    reason = "exploit: better expected" if mean[row] > best else "explore: may be better"
    details: dict[str, object] = {
        "log_improvement": float(value[row]),
        "mean": float(mean[row]),
        "std": float(capped[row]),
    }
    return row, reason, details


def _believed(
    candidates: Candidates, surrogate: Surrogate, z: np.ndarray, pending: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) mean and (N,) deviation of every candidate that a decision rests on."""
    mean, deviation = surrogate.predict()
    if len(pending):
        # Running ones are taken to come out as expected: what is alike has less left to tell.
        believed = np.concatenate([z, mean[list(pending)]])
        rows = [*surrogate.rows, *pending]
        mean, deviation = Surrogate(surrogate.groups, candidates.grid, rows, believed).predict()
    # The extremes of a metric are far from everything, hence most uncertain, and rarely good: what three of
    # four candidates are uncertain by is as much as counts.
    return mean, np.minimum(deviation, np.quantile(deviation, _CERTAIN))


def _by_weights(
    candidates: Candidates,
    surrogate: Surrogate,  # noqa: ARG001
    rows: np.ndarray,
    z: np.ndarray,
    pending: Sequence[int],  # noqa: ARG001
    free: np.ndarray,
) -> _Answer:
    w = fitted_weights(candidates.Z[rows[-_MOST:]], z[-_MOST:])
    row = int(np.where(free, candidates.Z @ w, -np.inf).argmax())
    noted = {name: round(float(value), 3) for name, value in zip(candidates.names, w, strict=True)}
    return row, "first under the weights that fit the order of the results", {"weights": noted}


def _by_favourite(
    candidates: Candidates,
    surrogate: Surrogate,  # noqa: ARG001
    rows: np.ndarray,
    z: np.ndarray,
    pending: Sequence[int],  # noqa: ARG001
    free: np.ndarray,
) -> _Answer:
    agreement = single_agreements(candidates.Z[rows], z)
    best = int(np.abs(agreement).argmax())
    ranking = np.copysign(1.0, agreement[best]) * candidates.Z[:, best]
    row = int(np.where(free, ranking, -np.inf).argmax())
    way = "down" if agreement[best] >= 0 else "up"
    reason = f"{way} the ranking by {candidates.names[best]}, the metric that agrees best with the results"
    return row, reason, {"metric": candidates.names[best], "agreement": float(agreement[best])}


_ARMS: Mapping[str, Callable[..., _Answer]] = {
    "surrogate": _by_surrogate,
    "weights": _by_weights,
    "favourite": _by_favourite,
}


# -- evidence ------------------------------------------------------------------------------------------------


def single_agreements(Z: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(M,) correlation of each metric's ranks with the sharpened results, 0 where one of the two is constant."""
    ranks = np.apply_along_axis(rankdata, 0, Z) if Z.size else Z
    centred, target = ranks - ranks.mean(axis=0), z - z.mean()
    size = np.sqrt((centred**2).sum(axis=0) * (target**2).sum())
    return np.asarray((target @ centred) / np.where(size > 0, size, np.inf))


def evidence(
    candidates: Candidates, surrogate: Surrogate, rows: np.ndarray, z: np.ndarray
) -> dict[str, float]:
    """Rank correlation of left-out results with what each arm says of them, in [-1, 1]."""
    found = {"surrogate": correlation(surrogate.left_out(), z)}
    if not candidates.scored:
        return found
    rows, z = rows[-_MOST:], z[-_MOST:]
    summed, single = np.zeros(len(z)), np.zeros(len(z))
    for fold in range(min(_FOLDS, len(z))):
        out = np.arange(len(z)) % _FOLDS == fold
        known, left = candidates.Z[rows[~out]], candidates.Z[rows[out]]
        summed[out] = left @ fitted_weights(known, z[~out])
        agreement = single_agreements(known, z[~out])
        best = int(np.abs(agreement).argmax())
        single[out] = np.sign(agreement[best]) * left[:, best]
    return {**found, "weights": correlation(summed, z), "favourite": correlation(single, z)}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation, 0 where one of the two is constant."""
    ra, rb = rankdata(a), rankdata(b)
    if np.ptp(ra) == 0 or np.ptp(rb) == 0:
        return 0.0
    return float(np.corrcoef(ra, rb)[0, 1])
