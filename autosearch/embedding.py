"""A search in the shape of scikit-learn: `SearchCV` stands where `GridSearchCV` stood."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection._search import BaseSearchCV

from autosearch.core import Failure, OptionError, Searcher, Study
from autosearch.space import SearchSpace


class SearchCV(BaseSearchCV):  # type: ignore[misc]  # scikit-learn has no types
    """Chooses an estimator's parameters by cross-validation, with any searcher of ours.

    A scikit-learn estimator: `fit`, `predict`, `score`, `best_params_`, `best_estimator_`, `cv_results_` and all else
    are those of `GridSearchCV`. A parameter whose condition does not hold keeps the estimator's own value. A
    configuration that fails is told to the searcher as failed and never chosen.

    Args:
        estimator: cloned for each fit.
        space: parameters by the estimator's names (`svm__C` within a Pipeline), a SearchSpace, or the name or path of
            a shipped space.
        trials: configurations to try, at least 1; fewer where the space has no more.
        searcher: a name, a mapping `{"method": NAME, …options}`, or a Searcher.
        require: input constraints between parameters.
        seed: of the search; its choices are a function of it and of the scores.
        batch: configurations chosen at once. With `n_jobs` above the number of folds, more than one keeps all
            processes busy.
        scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score: as of `GridSearchCV`.
            With several scores `refit` names the one that is searched for.

    Attributes:
        study_: the finished Study, with its history, after `fit`.
    """

    def __init__(  # noqa: PLR0913 - scikit-learn's own
        self,
        estimator: Any,
        space: Mapping[str, Any] | SearchSpace | str,
        *,
        trials: int = 40,
        searcher: str | Mapping[str, Any] | Searcher = "auto",
        require: Sequence[str] = (),
        seed: int = 0,
        batch: int = 1,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.space, self.trials, self.searcher, self.require = space, trials, searcher, require
        self.seed, self.batch = seed, batch

    def _run_search(self, evaluate_candidates: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        """Scikit-learn's hook: `evaluate_candidates` cross-validates configurations and returns all results so far."""
        for name, value in (("trials", self.trials), ("batch", self.batch)):
            if value < 1:
                raise OptionError(f"{name} must be at least 1, got {value!r}.", name)
        self.study_ = study = Study(
            self.space,
            {"score": "maximize"},
            searcher=self.searcher,
            require=self.require,
            budget={"trials": self.trials},
            seed=self.seed,
            workers=self.batch,
        )
        failure: ValueError | None = None
        while trials := study.ask(self.batch):
            try:
                results = evaluate_candidates([dict(trial.config) for trial in trials])
            except ValueError as error:
                # Where no fit of one call works scikit-learn gives up; here, others may follow.
                if "fits failed" not in str(error):
                    raise
                failure = error
                reason = (
                    str(error).strip().splitlines()[-1]
                )  # the cause, below all that scikit-learn says of it
                for trial in trials:
                    study.tell(trial, error=Failure("crash", reason, str(error)))
                continue
            for trial, score in zip(trials, self._scores(results)[-len(trials) :], strict=True):
                if np.isnan(score):
                    study.tell(trial, error="a fit or its score failed.")
                else:
                    study.tell(trial, float(score))
        if failure is not None and not study.history.complete:
            raise failure

    def _scores(self, results: Mapping[str, Any]) -> Any:
        column = f"mean_test_{self.refit if isinstance(self.refit, str) else 'score'}"
        if column not in results:
            raise OptionError("refit must name the score to search for, as there are several.", "refit")
        return results[column]
