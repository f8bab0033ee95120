"""An Optuna objective as Optuna's documentation writes it: suggests, reports, prunes."""

import optuna
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def objective(trial):
    x, y = load_breast_cancer(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x, y, random_state=0)
    scaler = StandardScaler().fit(x)
    x, x_val = scaler.transform(x), scaler.transform(x_val)
    penalty = trial.suggest_categorical("penalty", ["l2", "elasticnet"])
    ratio = trial.suggest_float("l1_ratio", 0.0, 1.0) if penalty == "elasticnet" else 0.15
    model = SGDClassifier(
        alpha=trial.suggest_float("alpha", 1e-6, 1e-1, log=True),
        penalty=penalty,
        l1_ratio=ratio,
        learning_rate="constant",
        eta0=trial.suggest_float("eta0", 1e-4, 1.0, log=True),
        random_state=0,
    )
    for step in range(20):
        model.partial_fit(x, y, classes=[0, 1])
        error = 1.0 - model.score(x_val, y_val)
        trial.report(error, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return error
