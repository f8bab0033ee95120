"""Your pipeline owns the loop: it asks for a configuration, trains in its own way, and tells what came out.

With `storage` the study is on disk: run this file again and it goes on where it stopped, also after `kill -9`.
"""

import sys
import warnings

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import autosearch as asr

EPOCHS = 8


def main(storage=None, trials=12):
    x, y = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x / 16, y, random_state=0)
    study = asr.Study(
        space={
            "alpha": asr.Float(1e-6, 1e-1, log=True),
            "eta0": asr.Float(1e-3, 10.0, log=True),
            "penalty": asr.Categorical(["l2", "elasticnet"]),
            "l1_ratio": asr.Float(0.0, 1.0, when="penalty == 'elasticnet'"),
        },
        objectives={"error": "minimize"},
        searcher="bayesian",
        scheduler={"method": "asha", "min": 1, "max": EPOCHS},
        budget={"trials": trials},
        storage=storage,
    )
    with study:
        while not study.budget_spent:
            trial = study.ask()
            try:
                for step, error in train(trial.config, x, y, x_val, y_val):
                    if study.report(trial, {"error": error}, step=step) is not asr.Decision.CONTINUE:
                        break
                study.tell(trial)
            except ValueError as failure:  # this configuration cannot be trained: tell it, and go on
                study.tell(trial, error=failure)
        print(f"best of {len(study.history)}: {study.best.values[0]:.4f} with {dict(study.best.config)}")
    return study


def train(config, x, y, x_val, y_val):
    """One configuration, epoch by epoch."""
    model = SGDClassifier(learning_rate="constant", random_state=0, **config)
    for epoch in range(1, EPOCHS + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of overflow, at the largest learning rates
            model.partial_fit(x, y, classes=range(10))
        yield epoch, 1.0 - model.score(x_val, y_val)


if __name__ == "__main__":
    main(*sys.argv[1:2])
