import itertools

import numpy as np
import pytest

from autosearch.core import History, StudyError
from autosearch.core.curves import MAX_REPORTS, keeps_report
from autosearch.core.records import Report
from autosearch.space import Float, SearchSpace

SPACE = SearchSpace({"x": Float(0.0, 1.0), "y": Float(1e-3, 1.0, log=True)})


def test_a_history_from_arrays_has_incumbent_and_front() -> None:
    X = np.random.default_rng(0).random((20, 2))
    history = History.of(SPACE, X, X[:, 0])
    assert history.incumbent is not None
    assert history.incumbent.number == int(np.argmin(X[:, 0]))
    assert [trial.number for trial in History.of(SPACE, X[:2], np.zeros(2)).front] == [0]
    two = History.of(SPACE, X, np.column_stack([X[:, 0], -X[:, 0]]))
    assert len(two.front) == 20
    with pytest.raises(StudyError, match="Use `front`"):
        _ = two.incumbent


def test_snapshots_do_not_grow() -> None:
    history = History.of(SPACE, np.full((3, 2), 0.5), np.arange(3.0))
    snapshot = history.snapshot()
    history._put(history[0].__class__(number=3, config={}))
    assert (len(history), len(snapshot)) == (4, 3)


def test_pending_is_found_behind_many_finished_trials() -> None:
    history = History.of(SPACE, np.full((3, 2), 0.5), np.arange(3.0))
    assert history.pending == []
    history._put(history[0].__class__(number=3, config={}))
    assert [trial.number for trial in history.pending] == [3]


def test_to_frame_has_a_row_a_trial() -> None:
    frame = History.of(SPACE, np.full((3, 2), 0.5), np.arange(3.0)).to_frame()
    assert list(frame["metrics.y0"]) == [0.0, 1.0, 2.0]
    assert list(frame["config.x"]) == [0.5] * 3
    empty = History.of(SPACE, np.empty((0, 2)), np.empty(0)).to_frame()
    assert set(empty) == {c for c in frame if "." not in c}


def test_of_takes_configurations_too() -> None:
    history = History.of(SPACE, [{"x": 0.25, "y": 0.1}], np.array([1.0]))
    assert history[0].config == {"x": 0.25, "y": 0.1}
    assert len(History.of(SPACE, [], np.array([]))) == 0


def test_long_curves_are_thinned_but_milestones_stay() -> None:
    reports: list[Report] = []
    milestones = {1000, 9000, 27000}
    for step in range(1, 30001):
        if keeps_report(reports, step, milestones):
            reports.append(Report(step, {}, 0.0, step))
    steps = [report.step for report in reports]
    assert len(steps) <= MAX_REPORTS
    assert steps[:64] == list(range(1, 65))
    assert milestones <= set(steps)
    assert max(b / a for a, b in itertools.pairwise(steps[63:150])) < 1.06
