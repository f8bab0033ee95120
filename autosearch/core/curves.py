"""Which reports of a long trial are kept."""

from collections.abc import Container, Sequence

from autosearch.core.records import Report

MAX_REPORTS = 200
# The last eighth is kept free for rungs, which are never thinned out.
_RESERVED = MAX_REPORTS // 8
_DENSE = 64
_GROWTH = 1.04


def keeps_report(reports: Sequence[Report], step: int, milestones: Container[int] = ()) -> bool:
    """Whether the next report, at `step`, is kept after `reports`.

    The first 64 are; then each that lies 4 % beyond the last one kept, so that 200 reports reach far; a step in
    `milestones` always is. A function of the kept reports alone, so a resumed study keeps the same ones.
    """
    if step in milestones or len(reports) < _DENSE:
        return True
    if len(reports) >= MAX_REPORTS - _RESERVED:
        return False
    return step >= _GROWTH * reports[-1].step or step <= reports[-1].step
