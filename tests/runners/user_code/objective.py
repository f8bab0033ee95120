"""An objective as Optuna's documentation writes it."""

import time

import optuna


def objective(trial):
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    for epoch in range(1, 7):
        time.sleep(0.1)
        trial.report(lr + 1 / epoch, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return lr
