"""Optuna: go on with a study that has trials already, or begin one, with a searcher of ours as its sampler."""

import optuna

import autosearch as asr


def objective(trial):
    """An objective as Optuna's documentation writes it."""
    x = trial.suggest_float("x", -5.0, 5.0)
    kind = trial.suggest_categorical("kind", ["plain", "shifted"])
    shift = trial.suggest_float("shift", 0.0, 2.0) if kind == "shifted" else 0.0
    return (x - shift) ** 2 + (0.2 if kind == "plain" else abs(shift - 1.0))


def main(storage=None, trials=15):
    # A study of yours, begun long ago with Optuna's own sampler. Any storage that Optuna opens will do.
    began = optuna.create_study(
        study_name="mine", storage=storage, load_if_exists=True, sampler=optuna.samplers.TPESampler(seed=0)
    )
    began.optimize(objective, n_trials=10)
    known = len(began.trials)

    # Nothing is converted: every trial that it has is what our searcher starts from.
    began.sampler = asr.OptunaSampler("bayesian", seed=0)
    began.optimize(objective, n_trials=trials)
    print(
        f"{known} trials by TPE, {len(began.trials) - known} by ours: {began.best_value:.4f} at {began.best_params}"
    )

    # A new one: the sampler is all that changes.
    fresh = optuna.create_study(sampler=asr.OptunaSampler("bayesian", seed=0))
    fresh.optimize(objective, n_trials=trials)
    print(f"new: {fresh.best_value:.4f} at {fresh.best_params}")
    return began, fresh


if __name__ == "__main__":
    main()
