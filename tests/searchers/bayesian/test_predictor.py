import numpy as np
import pytest
import torch

from autosearch.core import Goal, State, StudyError
from autosearch.core.protocols import Predictor
from autosearch.searchers.bayesian.searcher import BayesianSearcher

from .bayesian_histories import MIXED, SQUARE, Builder, random_history


def slope(config):
    return 3 * config["x"] + 0.1 * config["y"] ** 2


def test_predicts_in_the_units_that_users_measure():
    builder = Builder(SQUARE, [Goal("loss"), Goal("accuracy", maximize=True)])
    for config in builder.problem.space.sample(np.random.default_rng(0), 20):
        builder.complete(config, loss=slope(config), accuracy=90 - slope(config))
    predictor = BayesianSearcher().predictor(builder.history())
    assert isinstance(predictor, Predictor)
    configs = builder.problem.space.sample(np.random.default_rng(1), 30)
    mean, deviation = predictor.predict(configs)
    truth = np.array([slope(config) for config in configs])
    assert mean.shape == deviation.shape == (30, 2)
    assert np.abs(mean[:, 0] - truth).mean() < 0.05
    assert np.abs(mean[:, 1] - 90 + truth).mean() < 0.05
    assert (deviation > 0).all()


def test_cross_validation_equals_leaving_trials_out():
    history = random_history(SQUARE, slope, 15).history()
    predictor = BayesianSearcher().predictor(history)
    observed, mean, _ = predictor.cross_validate()
    assert np.allclose(observed[:, 0], [trial.values[0] for trial in history.complete])
    assert np.abs(mean - observed).mean() < 0.2
    belief = predictor._beliefs.objectives[0]
    model, rest = belief.model, list(range(1, 15))
    left = type(model)(model.kernel, model.hyper, model.X[rest], model.y[rest], model.known[rest])
    left.constant = model.constant
    predicted, _ = left.moments(model.X[:1])
    expected = -belief.outcome.inverse(predicted.numpy())
    assert mean[0, 0] == pytest.approx(float(expected[0]), abs=0.02)


def stopped_early():
    """Ten complete trials of three reports, and ten that were stopped after their first or second."""
    builder = Builder(SQUARE)
    for i, config in enumerate(builder.problem.space.sample(np.random.default_rng(3), 20)):
        curve = [slope(config) + 1 / step for step in (1, 2, 3)]
        if i % 2:
            builder.run(config, curve[: 1 + i % 4 // 2], State.STOPPED)
        else:
            builder.run(config, curve)
    return builder.history()


def test_cross_validation_has_one_row_for_each_trial():
    history = stopped_early()
    observed, mean, deviation = BayesianSearcher().predictor(history).cross_validate()
    assert mean.shape == deviation.shape == (20, 1)
    assert np.allclose(observed[:, 0], [trial.metrics["loss"] for trial in history])


def test_cross_validation_leaves_all_reports_of_a_trial_out():
    predictor = BayesianSearcher().predictor(stopped_early())
    _, mean, deviation = predictor.cross_validate()
    belief, number = predictor._beliefs.objectives[0], 4
    model, own = belief.model, predictor._beliefs.trial == number
    assert own.sum() == 3
    rest = np.flatnonzero(~own)
    left = type(model)(model.kernel, model.hyper, model.X[rest], model.y[rest], model.known[rest])
    # The constant mean stays that of all trials, as hyperparameters do.
    left.alpha = torch.cholesky_solve((left.y - model.constant)[:, None], left.L)[:, 0]
    left.constant = model.constant
    expected, variance = left.moments(model.X[np.flatnonzero(own)[:1]])
    assert mean[number, 0] == pytest.approx(-float(belief.outcome.inverse(expected.numpy())[0]), abs=1e-6)
    spread = (variance + (model.L @ model.L.mT)[0, 0] - model.hyper.variance).sqrt()
    low, high = (belief.outcome.inverse((expected + k * spread).numpy()) for k in (-1, 1))
    assert deviation[number, 0] == pytest.approx(float((high - low)[0]) / 2, rel=1e-6)


def test_importances_find_what_matters():
    shares = BayesianSearcher().predictor(random_history(SQUARE, slope, 20).history()).importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["x"] > 0.9


def test_importances_cover_conditional_parameters():
    history = random_history(MIXED, lambda c: float(c["layers"] + c.get("momentum", 0)), 20).history()
    shares = BayesianSearcher().predictor(history).importances()
    assert set(shares) == set(history.problem.space.searched)
    assert max(shares, key=shares.get) == "layers"


def test_there_is_nothing_to_predict_from_without_a_complete_trial():
    with pytest.raises(StudyError, match="complete"):
        BayesianSearcher().predictor(Builder(SQUARE).history())
