"""Which units go, from their scores and a target."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from autosearch.methods.pruning.errors import PruningError
from autosearch.methods.pruning.groups import Groups

Alive = list[list[int]]
Shares = Callable[[Alive], Mapping[str, float]]

_TOLERANCE = 1e-9
_NAMED = 5  # groups that a message lists


def select(
    groups: Groups,
    scores: Sequence[torch.Tensor],
    target: Mapping[str, float],
    shares: Shares,
    *,
    scope: str = "global",
    fixed: Mapping[str, int] | None = None,
    least: Sequence[int] | int = 1,
    round_to: int = 1,
) -> Alive:
    """Positions of the units that stay in each group: the best ones that meet every target.

    Units go in the order of their scores until the target is met. The last one may have cost far more than was missing
    (a channel of a residual stream), so the best ones of other groups return as long as the target holds.

    Args:
        groups: of the network.
        scores: importance of units; the lowest go first.
        target: largest share of each cost that may be left; empty: only `ratios` decide.
        shares: cost shares of a choice.
        scope: global (one ranking of all units) or layer (the same share of each group).
        fixed: name of a group -> units that go there, whatever the target.
        least: units that stay in each group at least, one number or one for each group.
        round_to: the count of units left is a multiple of it where it can be.

    Raises:
        PruningError: the target cannot be reached.
    """
    shapes = [tuple(values.shape) for values in scores]
    if shapes != [(len(group),) for group in groups.groups]:
        sizes = ", ".join(f"{group.name} ({len(group)},)" for group in groups.groups[:_NAMED])
        raise PruningError(
            f"the criterion must give one score for each unit of each group, in order: {sizes}"
            f"{', …' if len(groups.groups) > _NAMED else ''}; it gave shapes {shapes[:_NAMED]}."
        )
    for group, values in zip(groups.groups, scores, strict=True):
        if not bool(torch.isfinite(values).all()):
            raise PruningError(f"{group.name}: the criterion gave a score that is no finite number.")
    limits = [least] * len(groups.groups) if isinstance(least, int) else least
    counts = _Counts(groups, scores, scope, fixed or {}, limits, round_to)

    def meets(left: Mapping[str, float]) -> bool:
        return all(left[metric] <= share + _TOLERANCE for metric, share in target.items())

    def reached(gone: Sequence[int]) -> bool:
        return not target or meets(shares(counts.alive(gone)))

    if reached(counts.of(0)):
        return counts.alive(counts.of(0))
    left = shares(counts.alive(counts.of(counts.end)))
    if not meets(left):
        raise PruningError(_unreachable(groups, limits, target, left))
    gone = counts.of(_smallest(lambda amount: reached(counts.of(amount)), counts.end, scope))
    if round_to == 1 and "latency" not in target:
        _refill(gone, counts.returning(gone), counts.score, reached)
    return counts.alive(gone)


class _Counts:
    """How many units go from each group for an amount of pruning: a share (layer) or a number of units (global)."""

    def __init__(
        self,
        groups: Groups,
        scores: Sequence[torch.Tensor],
        scope: str,
        fixed: Mapping[str, int],
        least: Sequence[int],
        round_to: int,
    ) -> None:
        self._scores, self._scope, self._round_to = scores, scope, round_to
        self._fixed = {
            g: min(fixed[group.name], len(group) - 1)
            for g, group in enumerate(groups.groups)
            if group.name in fixed
        }
        self._orders = [torch.argsort(values, stable=True).tolist() for values in scores]
        self._most = [
            self._fixed.get(g, max(0, len(group) - max(1, least[g]))) for g, group in enumerate(groups.groups)
        ]
        self._ranking = sorted(
            (float(scores[g][unit]), g)
            for g, order in enumerate(self._orders)
            if g not in self._fixed
            for unit in order[: self._most[g]]
        )
        self.end = 1.0 if scope == "layer" else float(len(self._ranking))

    def of(self, amount: float) -> list[int]:
        """Units that go from each group."""
        if self._scope == "layer":
            return [
                self._fixed.get(g, min(self._most[g], math.floor(amount * len(order) + _TOLERANCE)))
                for g, order in enumerate(self._orders)
            ]
        counts = [self._fixed.get(g, 0) for g in range(len(self._orders))]
        for _, g in self._ranking[: int(amount)]:
            counts[g] += 1
        return counts

    def alive(self, gone: Sequence[int]) -> Alive:
        """Positions of the units that stay."""
        return [
            sorted(order[_rounded(count, len(order), self._round_to, self._most[g]) :])
            for g, (order, count) in enumerate(zip(self._orders, gone, strict=True))
        ]

    def returning(self, gone: Sequence[int]) -> dict[int, int]:
        """Group -> units of it that may return: one each where all groups lose the same share."""
        free = [g for g in range(len(gone)) if g not in self._fixed]
        return {g: gone[g] if self._scope == "global" else min(1, gone[g]) for g in free}

    def score(self, g: int, gone: int) -> float:
        """Of the best unit of those that go from group g."""
        return float(self._scores[g][self._orders[g][gone - 1]])


def _unreachable(
    groups: Groups, least: Sequence[int], target: Mapping[str, float], left: Mapping[str, float]
) -> str:
    costs = ", ".join(f"{metric} {left[metric]:.3g} (asked {share:.3g})" for metric, share in target.items())
    limits = [
        f"{group.name} ({min(low, len(group))})" for group, low in zip(groups.groups, least, strict=True)
    ]
    more = ", …" if len(limits) > _NAMED else ""
    return (
        f"the target cannot be reached: with the fewest channels that may be left in each group, "
        f"{', '.join(limits[:_NAMED])}{more}, the network still costs {costs}. Ask for less, or ignore fewer modules."
    )


def least_units(
    groups: Groups,
    target: Mapping[str, float],
    shares: Shares,
    *,
    fixed: Mapping[str, int],
    floor: float,
    low: int,
) -> list[int]:
    """Units that stay in each group at least: `floor` times what the same share everywhere would leave, and `low`.

    A ranking of all channels can narrow one layer so far that nothing passes through it, while others stay wide.
    """
    scores = [torch.zeros(len(group)) for group in groups.groups]
    try:
        even = select(groups, scores, target, shares, scope="layer", fixed=fixed, least=low)
    except PruningError:
        return [low] * len(scores)  # the same share everywhere does not reach it: no measure for a floor
    return [max(low, math.ceil(floor * len(stay) - _TOLERANCE)) for stay in even]


def _refill(
    gone: list[int],
    returning: Mapping[int, int],
    score: Callable[[int, int], float],
    reached: Callable[[Sequence[int]], bool],
) -> None:
    """Take back what still fits, best first: of group g at most `returning[g]` units."""
    left = dict(returning)
    while left := {g: most for g, most in left.items() if most > 0}:
        g = max(left, key=lambda g: score(g, gone[g]))
        gone[g] -= 1
        if reached(gone):
            left[g] -= 1
        else:
            gone[g] += 1
            left[g] = 0


def _smallest(reached: Callable[[float], bool], end: float, scope: str) -> float:
    """The smallest amount that reaches the target; `end` does."""
    low, high = 0.0, float(end)
    precision = 1e-4 if scope == "layer" else 1.0
    while high - low > precision:
        middle = (low + high) / 2 if scope == "layer" else float((int(low) + int(high)) // 2)
        if reached(middle):
            high = middle
        else:
            low = middle
    return high


def _rounded(count: int, units: int, round_to: int, most: int) -> int:
    """How many go so that a multiple of `round_to` stays: more rather than fewer, fewer where too few would stay."""
    left = units - count
    if round_to <= 1 or count == 0 or left % round_to == 0:
        return count
    more = count + left % round_to
    fewer = max(0, count - (round_to - left % round_to))
    return more if more <= most and more < units else fewer
