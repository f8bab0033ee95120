"""scikit-learn: `SearchCV` stands where `GridSearchCV` stood, alone, around a Pipeline, or as a step of one."""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import autosearch as asr


def main(trials=12):
    x, x_test, y, y_test = train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)

    # Around a Pipeline: parameters are named as scikit-learn names them, and may depend on each other.
    steps = Pipeline([("scale", StandardScaler()), ("svm", SVC())])
    search = asr.SearchCV(
        steps,
        {
            "svm__C": asr.Float(1e-2, 1e3, log=True),
            "svm__kernel": ["linear", "rbf"],
            "svm__gamma": asr.Float(1e-5, 1.0, log=True, when="svm__kernel == 'rbf'"),
        },
        trials=trials,
        cv=3,
    ).fit(x, y)
    print(f"{search.best_score_:.3f} in cross-validation, {search.score(x_test, y_test):.3f} on the test set")
    print(search.best_params_)

    # As the last step of one: the scaler is then fitted once, before the search.
    whole = Pipeline(
        [
            ("scale", StandardScaler()),
            (
                "search",
                asr.SearchCV(LogisticRegression(), {"C": asr.Float(1e-3, 1e3, log=True)}, trials=trials),
            ),
        ]
    ).fit(x, y)
    print(f"{whole.score(x_test, y_test):.3f} with {whole['search'].best_params_}")
    return search, whole


if __name__ == "__main__":
    main()
