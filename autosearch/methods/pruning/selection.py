"""Which units go, from their scores and a target."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from autosearch.methods.pruning.errors import PruningError
from autosearch.methods.pruning.groups import Groups

Alive = list[list[int]]
Shares = Callable[[Alive], Mapping[str, float]]

_TOLERANCE = 1e-9


def select(
    groups: Groups,
    scores: Sequence[torch.Tensor],
    target: Mapping[str, float],
    shares: Shares,
    *,
    scope: str = "global",
    fixed: Mapping[str, int] | None = None,
    min_units: int = 1,
    round_to: int = 1,
) -> Alive:
    """Positions of the units that stay in each group: the best ones that meet every target.

    Args:
        groups: of the network.
        scores: importance of units; the lowest go first.
        target: largest share of each cost that may be left; empty: only `ratios` decide.
        shares: cost shares of a choice.
        scope: global (one ranking of all units) or layer (the same share of each group).
        fixed: name of a group -> units that go there, whatever the target.
        min_units: units that stay in each group at least.
        round_to: the count of units left is a multiple of it where it can be.

    Raises:
        PruningError: the target cannot be reached.
    """
    for group, values in zip(groups.groups, scores, strict=True):
        if not bool(torch.isfinite(values).all()):
            raise PruningError(f"{group.name}: the criterion gave a score that is no finite number.")
    given = fixed or {}
    set_by_hand = {
        g: min(given[group.name], len(group) - 1)
        for g, group in enumerate(groups.groups)
        if group.name in given
    }
    orders = [torch.argsort(values, stable=True).tolist() for values in scores]
    most = [
        set_by_hand[g] if g in set_by_hand else max(0, len(group) - max(1, min_units))
        for g, group in enumerate(groups.groups)
    ]
    ranking = sorted(
        (float(scores[g][unit]), g)
        for g, order in enumerate(orders)
        if g not in set_by_hand
        for unit in order[: most[g]]
    )

    def choice(counts: Sequence[int]) -> Alive:
        return [
            sorted(order[_rounded(count, len(order), round_to, most[g]) :])
            for g, (order, count) in enumerate(zip(orders, counts, strict=True))
        ]

    def counts_of(amount: float) -> list[int]:
        counts = [set_by_hand.get(g, 0) for g in range(len(orders))]
        if scope == "layer":
            for g, order in enumerate(orders):
                if g not in set_by_hand:
                    counts[g] = min(most[g], math.floor(amount * len(order) + _TOLERANCE))
        else:
            for _, g in ranking[: int(amount)]:
                counts[g] += 1
        return counts

    def meets(left: Mapping[str, float]) -> bool:
        return all(left[metric] <= share + _TOLERANCE for metric, share in target.items())

    def reached(alive: Alive) -> bool:
        return not target or meets(shares(alive))

    start = choice(counts_of(0))
    if reached(start):
        return start
    end = 1.0 if scope == "layer" else len(ranking)
    left = shares(choice(counts_of(end)))
    if not meets(left):
        text = ", ".join(
            f"{metric} {share:.3g} (asked {target[metric]:.3g})"
            for metric, share in left.items()
            if metric in target
        )
        raise PruningError(
            f"the target cannot be reached: with {min_units} channel left in each of {len(groups.groups)} groups the "
            f"network still costs {text}. Ask for less, or ignore fewer modules."
        )
    return choice(counts_of(_smallest(lambda amount: reached(choice(counts_of(amount))), end, scope)))


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
