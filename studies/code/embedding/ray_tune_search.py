"""Ray Tune: your Tuner and its scheduler stay; a searcher of ours is its `search_alg`."""

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

import autosearch as asr

EPOCHS = 6


def train(config):
    """A trainable as Ray Tune's documentation writes it."""
    for epoch in range(1, EPOCHS + 1):
        tune.report({"loss": (config["lr"] - 0.01) ** 2 * 1e4 + config["width"] / 64 / epoch})


def main(trials=8, folder=None):
    if not ray.is_initialized():
        ray.init(num_cpus=2, include_dashboard=False)
    tuner = tune.Tuner(
        train,
        param_space={"lr": tune.loguniform(1e-4, 1.0), "width": tune.choice([16, 32, 64])},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=trials,
            max_concurrent_trials=2,
            search_alg=asr.RayTuneSearcher(searcher="bayesian", max_t=EPOCHS),
            scheduler=ASHAScheduler(max_t=EPOCHS),
        ),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    )
    best = tuner.fit().get_best_result()
    print(f"best of {trials}: {best.metrics['loss']:.4f} with {best.config}")
    return best


if __name__ == "__main__":
    main()
