"""Small changes to a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autosearch.space.parameters import Categorical, Ordinal, Searched
from autosearch.space.sampling import assemble, draw

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from autosearch.space.operators import Value
    from autosearch.space.search_space import SearchSpace
    from autosearch.space.subspace import Group

_STEP = 0.2  # standard deviation in the unit interval
_PATIENCE = 64  # fruitless tries, and 8 more per parameter, before the neighbourhood counts as exhausted


def neighbours(
    space: SearchSpace, config: Mapping[str, Value], rng: np.random.Generator, n: int
) -> list[dict[str, Value]]:
    """Up to `n` feasible configurations, different from `config` and from each other, one change away.

    Raises:
        SpaceError: `config` is not valid in this space, or a hook handed out a value that is not allowed.
    """
    config = space.complete(config)
    hooked = {name: g for g in space.groups if g.subspace.neighbours is not None for name in g.searched}
    movable = [name for name in space.searched if name in config and space.parameters[name].n_values != 1]  # type: ignore[union-attr]
    seen, fruitless = {space.key(config)}, 0
    found: list[dict[str, Value]] = []
    while movable and len(found) < n and fruitless < _PATIENCE + 8 * len(movable):
        fruitless += 1
        name = movable[int(rng.integers(len(movable)))]
        child = (
            _ask_hook(space, hooked[name], config, rng)
            if name in hooked
            else _change(space, name, config, rng)
        )
        if child is None or not space.satisfies(child) or (key := space.key(child)) in seen:
            continue
        seen.add(key)
        found.append(child)
        fruitless = 0
    return found


def _ask_hook(
    space: SearchSpace, group: Group, config: Mapping[str, Value], rng: np.random.Generator
) -> dict[str, Value] | None:
    move = group.subspace.neighbours
    proposals = move(group.inner(config), rng, 1) if move is not None else []
    if not proposals:
        return None
    rest = {name: value for name, value in config.items() if name not in group.names.values()}
    return _complete(space, {**rest, **group.outer(proposals[0])}, rng)


def _change(
    space: SearchSpace, name: str, config: Mapping[str, Value], rng: np.random.Generator
) -> dict[str, Value] | None:
    parameter = space.parameters[name]
    if not isinstance(parameter, Searched):
        raise TypeError(f"'{name}' is not searched")
    return _complete(space, {**config, name: _step(parameter, config[name], rng)}, rng)


def _complete(
    space: SearchSpace, values: Mapping[str, Value], rng: np.random.Generator
) -> dict[str, Value] | None:
    """Fixed and derived values follow anew; parameters without a value are drawn, in case they become active."""
    kept = {name: values[name] for name in space.searched if name in values}
    complete = len(kept) == space.dimensions
    return assemble(space, kept if complete else {**draw(space, rng, 1)[0], **kept})


def _step(parameter: Searched, value: Value, rng: np.random.Generator) -> Value:
    n = parameter.n_values
    if isinstance(parameter, Categorical | Ordinal):
        choices, size = parameter.choices, len(parameter.choices)
        at = choices.index(value)
        if isinstance(parameter, Categorical):
            return choices[(at + int(rng.integers(1, size))) % size]
        targets = [k for k in (at - 2, at - 1, at + 1, at + 2) if 0 <= k < size]
        return choices[targets[int(rng.integers(len(targets)))]]
    u, step = parameter.to_unit(value), float(rng.normal(0.0, _STEP))
    moved = abs(u + step) % 2.0
    proposal = parameter.from_unit(2.0 - moved if moved > 1.0 else moved)  # reflected at 0 and 1
    if proposal != value or n is None:
        return proposal
    # The step stayed within the bin of the old value: take the next value instead.
    return _next_value(parameter, value, up=step >= 0)


def _next_value(parameter: Searched, value: Value, *, up: bool) -> Value:
    low, high, grid = (getattr(parameter, name) for name in ("low", "high", "grid"))
    spacing = grid or 1
    tolerance = 0.5 * spacing
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    target = value + spacing if up else value - spacing
    if not low - tolerance * 1e-6 <= target <= high + tolerance * 1e-6:
        target = value - spacing if up else value + spacing
    return parameter.canonical(min(max(target, low), high))
