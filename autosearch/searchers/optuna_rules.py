"""When parameters of a define-by-run objective are active, read from the trials that it made.

Symbols: a *signature* of a parameter is in which of the trials it occurs; parameters of one signature form a group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rule:
    """A parameter is active where another one has certain values.

    Attributes:
        parent: the other one.
        comparison: `in`, or for ordered values `>` or `<`.
        values: what its value is compared with; one but for `in`.
    """

    parent: str
    comparison: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters to model together, with the rules of those that are not always active."""

    names: tuple[str, ...]
    rules: Mapping[str, Rule] = field(default_factory=dict)


def decompose(
    names: Sequence[str], ordered: Mapping[str, bool], trials: Sequence[Mapping[str, float]]
) -> list[Part]:
    """Parts of which the first holds all parameters whose presence follows from others' values.

    A parameter that occurs in every trial is always active. One that occurs exactly where another one has certain
    values is active there. What is left is modelled apart, group by group.

    Args:
        names: of all parameters.
        ordered: for each parameter that others may depend on, whether its values have an order.
        trials: values by name of every complete trial; a choice is its place.
    """
    groups: dict[tuple[bool, ...], list[str]] = {}
    for name in names:
        groups.setdefault(tuple(name in trial for trial in trials), []).append(name)
    rules: dict[str, Rule] = {}
    joint: list[str] = []
    apart: list[Part] = []
    # Those that occur most often first: what others depend on comes before them.
    for signature, group in sorted(groups.items(), key=lambda item: (-sum(item[0]), item[1])):
        if all(signature):
            joint += group
            continue
        rule = _rule(signature, [name for name in joint if name in ordered], ordered, trials)
        if rule is None:
            apart.append(Part(tuple(group)))
        else:
            joint += group
            rules |= dict.fromkeys(group, rule)
    return ([Part(tuple(joint), rules)] if joint else []) + apart


def _rule(
    signature: tuple[bool, ...],
    parents: Sequence[str],
    ordered: Mapping[str, bool],
    trials: Sequence[Mapping[str, float]],
) -> Rule | None:
    """By which of `parents` the signature is decided: a choice if there is one, then that of fewest values."""
    found: list[tuple[bool, int, int, Rule]] = []
    for place, parent in enumerate(parents):
        with_it = [trial for trial, there in zip(trials, signature, strict=True) if there]
        inside = {trial[parent] for trial in with_it if parent in trial}
        outside = {t[parent] for t, there in zip(trials, signature, strict=True) if not there and parent in t}
        if inside & outside or not all(parent in trial for trial in with_it):
            continue
        if not ordered[parent]:
            rule = Rule(parent, "in", tuple(sorted(inside)))
        elif not outside or max(outside) < min(inside):
            rule = Rule(parent, ">", (max(outside, default=min(inside) - 1),))
        elif min(outside) > max(inside):
            rule = Rule(parent, "<", (min(outside),))
        else:
            continue
        found.append((ordered[parent], len(inside | outside), place, rule))
    return min(found, key=lambda item: item[:3])[3] if found else None
