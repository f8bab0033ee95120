"""The learning rates of a torch lr scheduler, found out ahead of training."""

import copy
import itertools
import warnings
from collections.abc import Sequence

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from autosearch.core.errors import OptionError
from autosearch.learning.lr_schedules import Recorded

_PROPORTIONAL = 1e-6  # relative difference between groups' factors that is rounding


def factors_of(scheduler: LRScheduler, steps: int) -> tuple[Recorded, list[float]]:
    """The lr schedule that `scheduler` would follow from its present step, and each group's largest learning rate.

    The scheduler and its optimizer are left alone. Only learning rates are followed, not the momentum that some set.

    Args:
        scheduler: over any optimizer; also a chain or sequence of several.
        steps: optimizer steps to follow, at least 1.

    Raises:
        OptionError: for a scheduler that waits for metrics or ends earlier, or whose groups are not proportional.
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        raise OptionError("base: ReduceLROnPlateau depends on metrics; give one that follows steps.", "base")
    groups = scheduler.optimizer.param_groups
    stand_in = torch.optim.SGD(
        [
            {**{k: v for k, v in group.items() if k != "params"}, "params": [torch.zeros(1)]}
            for group in groups
        ],
        lr=float(groups[0]["lr"]),
    )
    # The copy drives the stand-in wherever the original, or one inside it, knows the optimizer.
    follower = copy.deepcopy(scheduler, {id(scheduler.optimizer): stand_in})
    rows = [_lrs(stand_in)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the order of calls, which is right here
        for _ in range(steps - 1):
            stand_in.step()
            try:
                follower.step()
            except ValueError as error:
                raise OptionError(
                    f"base: {type(scheduler).__name__} ends after {len(rows)} steps, the run has {steps}.",
                    "base",
                ) from error
            rows.append(_lrs(stand_in))
    peaks = [max(column) for column in zip(*rows, strict=True)]
    if not all(peak > 0 for peak in peaks):
        raise OptionError(f"base: learning rates above 0, got at most {min(peaks)}.", "base")
    return Recorded(steps, tuple(enumerate(_factors(rows, peaks)))), peaks


def _factors(rows: Sequence[Sequence[float]], peaks: Sequence[float]) -> list[float]:
    for step, row in enumerate(rows):
        shares = [lr / peak for lr, peak in zip(row, peaks, strict=True)]
        if any(abs(a - b) > _PROPORTIONAL for a, b in itertools.pairwise(shares)):
            raise OptionError(
                f"base: parameter groups must keep their ratios; at step {step} they are at {shares} of their peaks.",
                "base",
            )
    return [row[0] / peaks[0] for row in rows]


def _lrs(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]
