"""`SearchCV` keeps scikit-learn's rules for estimators, and searches."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

import autosearch as asr

X, Y = make_classification(120, 6, random_state=0)
C = {"C": asr.Float(1e-3, 1e3, log=True)}


def search(**options):
    return asr.SearchCV(LogisticRegression(), C, **{"trials": 3, "cv": 2, "searcher": "random", **options})


def test_scikit_learn_s_own_checks_of_an_estimator_pass() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(search(trials=2), on_fail=None, on_skip=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 40


def test_the_best_parameters_are_those_of_the_best_mean_score() -> None:
    found = search(trials=6).fit(X, Y)
    scores = found.cv_results_["mean_test_score"]
    assert len(scores) == 6
    assert found.best_score_ == max(scores) == found.study_.best.metrics["score"]
    assert found.best_params_ == dict(found.study_.best.config)
    assert found.best_params_["C"] == found.best_estimator_.C


def test_a_grid_of_ours_finds_what_scikit_learn_s_grid_finds() -> None:
    ours = asr.SearchCV(LogisticRegression(), {"C": [0.01, 1.0, 100.0]}, trials=3, searcher="grid", cv=3).fit(
        X, Y
    )
    theirs = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0, 100.0]}, cv=3).fit(X, Y)
    assert sorted(ours.cv_results_["param_C"]) == sorted(theirs.cv_results_["param_C"])
    assert ours.best_score_ == theirs.best_score_


def test_a_parameter_whose_condition_fails_keeps_the_estimator_s_value() -> None:
    space = {"kernel": ["linear", "rbf"], "gamma": asr.Float(1e-3, 1.0, log=True, when="kernel == 'rbf'")}
    found = asr.SearchCV(SVC(gamma=0.5), space, trials=6, searcher="random", cv=2).fit(X, Y)
    kinds = {(p["kernel"], "gamma" in p) for p in found.cv_results_["params"]}
    assert kinds == {("linear", False), ("rbf", True)}


def test_it_is_cloned_nested_and_pickled_with_what_it_found() -> None:
    pipeline = make_pipeline(StandardScaler(), search(searcher="bayesian", trials=5))
    copied = clone(pipeline).fit(X, Y)
    again = pickle.loads(pickle.dumps(copied))
    assert (again.predict(X) == copied.predict(X)).all()
    assert len(again[-1].study_.history) == 5
    assert cross_val_score(search(), X, Y, cv=2).shape == (2,)


def test_the_same_seed_chooses_the_same_and_another_one_something_else() -> None:
    first, same, other = (search(seed=seed).fit(X, Y).cv_results_["params"] for seed in (1, 1, 2))
    assert first == same != other


class Fragile(LogisticRegression):
    """Cannot be fitted with little regularisation."""

    def fit(self, x, y):
        if self.C > 1:
            raise ValueError(f"{self.C} is too large")
        return super().fit(x, y)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_failing_fit_is_told_as_failed_and_never_chosen(batch: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells of failing fits and of nan
        found = asr.SearchCV(
            Fragile(), {"C": [10.0, 0.1, 1.0]}, trials=3, searcher="grid", cv=2, batch=batch
        ).fit(X, Y)
    assert [dict(t.config) for t in found.study_.history.failed] == [{"C": 10.0}]
    assert found.best_params_["C"] <= 1


def test_a_search_in_which_every_fit_fails_says_why() -> None:
    with pytest.raises(ValueError, match="is too large"):
        asr.SearchCV(Fragile(), {"C": [10.0, 20.0]}, trials=2, searcher="grid", cv=2).fit(X, Y)
    with pytest.raises(asr.AutosearchError, match="too large"):
        asr.SearchCV(Fragile(), {"C": [10.0, 20.0, 30.0, 40.0]}, trials=4, searcher="grid", cv=2).fit(X, Y)


def test_a_mistake_in_the_folds_is_not_taken_for_a_failing_fit() -> None:
    with pytest.raises(ValueError, match="n_splits"):
        search(cv=1000).fit(X, Y)


def test_of_several_scores_the_one_of_refit_is_searched_for() -> None:
    found = search(scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss").fit(X, Y)
    assert (
        found.best_score_
        == max(found.cv_results_["mean_test_neg_log_loss"])
        == found.study_.best.metrics["score"]
    )
    with pytest.raises(asr.AutosearchError, match="refit must name the score"):
        search(scoring=["accuracy", "neg_log_loss"], refit=False).fit(X, Y)


def test_a_batch_is_chosen_at_once_and_the_last_one_is_cut_to_the_budget() -> None:
    found = search(trials=5, batch=2).fit(X, Y)
    assert [t.batch for t in found.study_.history] == [(0, 2), (1, 2), (0, 2), (1, 2), (0, 1)]


@pytest.mark.parametrize("name", ["trials", "batch"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(asr.AutosearchError, match=f"{name} must be at least 1"):
        search(**{name: 0}).fit(X, Y)


def test_regression_works_without_being_told() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    found = asr.SearchCV(Ridge(), {"alpha": asr.Float(1e-3, 1e3, log=True)}, trials=5, cv=3).fit(x, x.sum(1))
    assert found.score(x, x.sum(1)) > 0.99
