import numpy as np
import pytest

from autosearch.core import Goal, StudyError
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
