"""The published search against a reading of its pseudocode, line by line."""

import numpy as np
import pytest

from autosearch.core import OptionError, Study
from autosearch.methods.robot import paper
from autosearch.methods.robot.normalise import normalised
from autosearch.methods.robot.searcher import RobotSearcher
from autosearch.space import Float, SearchSpace

from .tables import CELL, POOL, RESULTS, SPACE, noisy_columns, play, scores


def search_of(seed: int) -> paper.WeightSearch:
    """Weights that depend on the results so far, without a Gaussian process."""

    def search(weights, values):
        mixed = np.random.default_rng([seed, len(weights), *(int(1000 * v) % 997 for v in values)])
        return mixed.uniform(-1, 1, 3)

    return search


def pseudocode(S, f, T, R, search):
    """Algorithms 1 and 2 as written: the queried rows in order, and the one that is returned."""
    Q, observed, best_w, best_y = [], [], None, -np.inf
    for _ in range(R):
        w = search([w for w, _ in observed], [y for _, y in observed])
        scored = [float(sum(wi * si for wi, si in zip(w, row, strict=True))) for row in S]
        a = scored.index(max(scored))
        observed.append((w, f[a]))
        if a not in Q:
            Q.append(a)
        if f[a] >= best_y:
            best_w, best_y = w, f[a]
        if len(Q) == T:
            break
    final = [float(sum(wi * si for wi, si in zip(best_w, row, strict=True))) for row in S]
    for a in sorted(range(len(S)), key=lambda a: -final[a]):
        if len(Q) == T:
            break
        if a not in Q:
            Q.append(a)
    found = max(Q, key=lambda a: (f[a], -Q.index(a)))
    return Q, found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("T", "R"), [(12, 12), (12, 4), (6, 30)])
def test_the_search_queries_what_the_pseudocode_queries(monkeypatch, seed: int, T: int, R: int) -> None:
    columns = noisy_columns(seed)
    monkeypatch.setattr(paper, "BayesianWeights", lambda names, s: search_of(s))
    study = play(RobotSearcher(preset="paper", rounds=R), scores(columns), T, seed=seed)
    S = normalised(np.stack([columns[name] for name in sorted(columns)], axis=1), "minmax")
    queried, found = pseudocode(S, RESULTS.tolist(), T, R, search_of(seed))
    rows = [POOL.rows[POOL.space.key(trial.config)] for trial in study.history]
    assert rows == queried
    assert rows[study.best.number] == found


def test_rounds_that_lead_to_a_known_architecture_cost_nothing() -> None:
    S = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.4]])
    tried = iter([np.array([1.0, 0.1]), np.array([0.9, 0.2]), np.array([0.1, 1.0])])
    first = paper.next_choice(S, [], {}, 5, lambda w, y: next(tried))
    second = paper.next_choice(S, first.rounds, {0: 1.0}, 5, lambda w, y: next(tried))
    assert (first.row, second.row) == (0, 1)
    assert [made.row for made in second.rounds] == [0, 1]


def test_of_equally_good_weights_the_last_are_followed() -> None:
    S = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.0], [0.0, 0.9]])
    made = [paper.Round(np.array([1.0, 0.0]), 0), paper.Round(np.array([0.0, 1.0]), 1)]
    choice = paper.next_choice(S, made, {0: 2.0, 1: 2.0}, 2, lambda w, y: pytest.fail("no round is left"))
    assert (choice.row, choice.arm) == (3, "exploit")


def test_the_search_ends_when_every_architecture_is_known() -> None:
    made = [paper.Round(np.array([1.0]), 0)]
    assert paper.next_choice(np.array([[1.0], [0.0]]), made, {0: 1.0, 1: 0.0}, 9, lambda w, y: w[0]) is None


def test_weights_come_from_bayesian_optimisation_within_their_bounds() -> None:
    search = paper.BayesianWeights(("a", "b"), seed=3)
    weights, values = [], []
    for _ in range(4):
        weights.append(search(weights, values))
        values.append(float(weights[-1][0]))
    assert all((np.abs(w) <= 1).all() for w in weights)
    assert len({tuple(w) for w in weights}) == 4
    np.testing.assert_array_equal(search(weights[:2], values[:2]), weights[2])


def test_the_published_search_refuses_what_it_does_not_know() -> None:
    with pytest.raises(OptionError, match="one objective"):
        Study(SPACE, {"a": "maximize", "b": "minimize"}, searcher=RobotSearcher(preset="paper"))
    mixed = SearchSpace({"architecture": CELL, "lr": Float(0.1, 1.0)})
    with pytest.raises(OptionError, match="lr"):
        Study(mixed, {"a": "maximize"}, searcher=RobotSearcher(preset="paper"))
