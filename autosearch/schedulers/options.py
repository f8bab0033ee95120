"""Options that schedulers share: the fidelities they work between, and the factor between rungs."""

from autosearch.core import OptionError, Problem

UNBOUNDED = 2**31


def check_at_least(name: str, value: float | None, least: float) -> None:
    """Raise an OptionError where an option is given and too small."""
    if value is not None and not value >= least:
        raise OptionError(f"{name} must be at least {least:g}, got {value:g}.", name)


def check_geometry(low: int | None, high: int | None, reduction: float) -> None:
    """Refuse fidelities out of order and factors that reduce nothing.

    Raises:
        OptionError: naming the option.
    """
    check_at_least("min", low, 1)
    check_at_least("max", high, 1)
    check_at_least("reduction", reduction, 1.1)
    if low is not None and high is not None and low > high:
        raise OptionError(f"min must not exceed max, got min {low} and max {high}.", "min")


def fidelities(low: int | None, high: int | None, problem: Problem) -> tuple[int, int]:
    """(first rung, step at which a trial is complete): the options, else the problem's; 2**31 without an end.

    Raises:
        OptionError: if they are out of order.
    """
    first = low if low is not None else problem.fidelity[0] or 1
    last = high if high is not None else problem.fidelity[1] or UNBOUNDED
    if first > last:
        raise OptionError(
            f"min is {first}, but a trial is complete at step {last}. Lower `min` or raise `max`.", "min"
        )
    return first, last


def rung_steps(first: int, last: int, reduction: float) -> tuple[int, ...]:
    """Steps `first * reduction**k` below `last`, rounded down, each once."""
    steps: list[int] = []
    step = float(first)
    while int(step) < last:
        if not steps or int(step) > steps[-1]:
            steps.append(int(step))
        step *= reduction
    return tuple(steps)
