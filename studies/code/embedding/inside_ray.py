"""Inside a running Ray session with other work: the study takes the CPUs that are left, and leaves the session up."""

import time

import ray

import autosearch as asr


@ray.remote(num_cpus=1)
class OtherWork:
    """Stands for what else the cluster does: it holds a CPU and counts."""

    def __init__(self):
        self.done = 0

    def work(self):
        self.done += 1
        return self.done


def train(config):
    """What a trial runs."""
    loss = 1.0
    for step in range(1, 5):
        time.sleep(0.01)
        loss = 0.5 * loss + (config["x"] - 0.3) ** 2
        asr.report({"loss": loss}, step=step)


def main(trials=8):
    if not ray.is_initialized():
        ray.init(num_cpus=3, include_dashboard=False)
    other = OtherWork.remote()
    before = ray.get(other.work.remote())

    study = asr.Study({"x": asr.Float(0.0, 1.0)}, {"loss": "minimize"}, searcher="bayesian")
    study.run(train, trials=trials, resources={"cpus": 1, "parallel": 2})

    after = ray.get(other.work.remote())  # the session is as it was, and so is the work of the others
    print(f"best of {len(study.history)}: {study.best.values[0]:.4f} with {dict(study.best.config)}")
    print(f"the other work went on: {before} -> {after}")
    return study


if __name__ == "__main__":
    main()
