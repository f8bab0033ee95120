"""Random feasible configurations by rejection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from autosearch.space.errors import ExpressionError, InactiveError, SpaceError, report
from autosearch.space.operators import Value, truth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autosearch.space.expressions import Expression
    from autosearch.space.search_space import SearchSpace

_PATIENCE = 20_000  # draws per configuration before giving up: about half a second
_BATCH = 1_000


def draw(space: SearchSpace, rng: np.random.Generator, m: int) -> list[dict[str, Value]]:
    """`m` values for every searched parameter, conditions and constraints ignored."""
    rows = space._values_at(rng.random((m, space.dimensions)))
    for group in space.groups:
        if group.subspace.sample is not None:
            for row in rows:
                row.update(group.outer(group.subspace.sample(rng)))
    return rows


def sample(space: SearchSpace, rng: np.random.Generator, n: int) -> list[dict[str, Value]]:
    """`n` feasible configurations.

    Raises:
        SpaceError: hardly any draw meets the constraints; for each, the message has the share that met it.
    """
    found: list[dict[str, Value]] = []
    counts = np.zeros(
        len(space.require) + 1, dtype=np.int64
    )  # met by so many draws; the last: could be evaluated
    drawn = 0
    while len(found) < n:
        if drawn >= _PATIENCE * (len(found) + 1):
            raise _unsatisfiable(space, counts, drawn, len(found), draw(space, rng, _BATCH))
        missing = n - len(found)
        expected = math.ceil(missing * drawn / len(found)) if found else max(missing, drawn // 2)
        batch = min(_BATCH, expected)
        drawn += batch
        for values in draw(space, rng, batch):
            config = assemble(space, values)
            if config is None:
                continue
            flags = [met(expression, config) for expression in space.require]
            counts += [*flags, True]
            if all(flags) and len(found) < n:
                found.append(config)
    return found


def assemble(space: SearchSpace, values: Mapping[str, Value]) -> dict[str, Value] | None:
    """The configuration of the values, None if one of its expressions cannot be evaluated.

    Raises:
        SpaceError: a hook of a subspace handed out a value that is not allowed.
    """
    problems: list[SpaceError] = []
    config = space._assemble(values, problems, trusted=False)
    wrong = [problem for problem in problems if not isinstance(problem, ExpressionError)]
    if wrong:
        raise report(wrong)
    return None if problems else config


def met(expression: Expression, config: Mapping[str, Value]) -> bool:
    """Whether a constraint holds: one that touches an inactive parameter does, one that fails does not."""
    try:
        return truth(expression.evaluate(config))
    except InactiveError:
        return True
    except ExpressionError:
        return False


def _fault(space: SearchSpace, values: Mapping[str, Value]) -> str | None:
    """Why a condition or derived value cannot be evaluated for these values, None if all can."""
    problems: list[SpaceError] = []
    space._assemble(values, problems, trusted=False)
    return f"{problems[0].where[0]}: {problems[0].message}" if problems else None


def _unsatisfiable(
    space: SearchSpace, counts: np.ndarray, drawn: int, found: int, examples: list[dict[str, Value]]
) -> SpaceError:
    shares = [
        f"{e.text}: met by {count / drawn:.2%}" for e, count in zip(space.require, counts, strict=False)
    ]
    if counts[-1] < drawn:
        shares.append(f"conditions and derived values could be evaluated for {counts[-1] / drawn:.2%}")
        reason = next(filter(None, (_fault(space, values) for values in examples)), None)
        shares += [] if reason is None else [f"else {reason}"]
    return SpaceError(
        f"the constraints seem unsatisfiable: {found} of {drawn:,} random configurations met all of them "
        f"({'; '.join(shares)}). Loosen a constraint or the ranges.",
        ("require",) if space.require else ("space",),
    )
