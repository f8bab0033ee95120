"""AutoLRS inside a task, from a study file to a resumed trial."""

import dataclasses
import math

import pytest

import autosearch
from autosearch.core import Job, OptionError, SpecError
from autosearch.methods.autolrs.training import AutoLRSTraining
from autosearch.tasks.tabular import TabularClassification

TASK = TabularClassification(
    dataset="wine", model="mlp", width=8, layers=1, optimizer="sgd", epochs=12, batch_size=8, device="cpu",
    dropout=0.1,
)  # fmt: skip
METHODS = {
    "modern": AutoLRSTraining(options={"min_probe": 4}),
    "free": AutoLRSTraining(low=1e-3, high=1.0, options={"min_probe": 4}),
    "paper": AutoLRSTraining(
        "paper", 1e-3, 0.3, options={"tau": 20, "tau_max": 40, "candidates": 4, "first_candidates": 4}
    ),
}


def result(progress):
    return {
        k: v for k, v in progress[-1].metrics.items() if k not in ("seconds", "latency_ms", "peak_memory_mb")
    }


@pytest.mark.parametrize("name", METHODS)
def test_every_step_counts_towards_the_epochs(name):
    learner = TASK.trained_by([METHODS[name]]).trained_learner(3)
    total = TASK.epochs * learner.batches.batches_per_epoch
    metrics = learner.advance(total)
    assert learner.controller.spent == total
    assert learner.step == total - metrics["search_steps"] < total
    assert math.isfinite(metrics["train_loss"])
    assert learner.evaluate()["val_loss"] < 1.0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("steps", [1, 7, 23, 64, 100])
def test_restore_of_a_snapshot_is_the_identity_in_every_phase(name, steps):
    learner = TASK.trained_by([METHODS[name]]).trained_learner(3)
    learner.advance(steps)
    snapshot = learner.snapshot()
    expected = (learner.advance(40), learner.evaluate())
    learner.restore(snapshot)
    assert (learner.advance(40), learner.evaluate()) == expected
    fresh = TASK.trained_by([METHODS[name]]).trained_learner(3)
    fresh.restore(snapshot)
    assert (fresh.advance(40), fresh.evaluate()) == expected


def test_averages_accumulation_and_half_precision_are_rolled_back_and_resumed():
    task = dataclasses.replace(TASK, ema=0.9, accumulate=2, amp="bf16", norm="batch", clip_norm=1.0)
    learner = task.trained_by([METHODS["modern"]]).trained_learner(3)
    start = learner.inner.snapshot()
    learner.advance(1)
    size = learner.controller.settings.probe(learner.controller.state.tau)
    learner.advance(size - 1)
    rolled_back = learner.inner.snapshot()
    for part in ("model", "average"):
        assert str(rolled_back[part]) == str(start[part])
    learner.advance(size // 2)
    snapshot = learner.snapshot()
    expected = (learner.advance(40), learner.evaluate())
    learner.restore(snapshot)
    assert (learner.advance(40), learner.evaluate()) == expected


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_killed_trial_goes_on_bit_for_bit(name, epoch, tmp_path):
    task = TASK.trained_by([METHODS[name]])
    undisturbed = list(task.run(Job(0, {}, seed=5)))
    running = task.run(Job(0, {}, seed=5))
    for _ in range(epoch):
        saved = next(running)
    saved.save(tmp_path)
    running.close()
    resumed = list(task.run(Job(0, {}, seed=5, checkpoint=tmp_path, step=epoch)))
    assert [p.step for p in resumed] == list(range(epoch + 1, 13))
    assert result(resumed) == result(undisturbed)
    assert set(task.finish(Job(0, {}, seed=5, checkpoint=tmp_path))) == {"test_loss", "test_accuracy"}


def test_a_validation_in_the_middle_of_a_search_is_that_of_the_stages_start():
    learner = TASK.trained_by([METHODS["paper"]]).trained_learner(3)
    before = learner.evaluate()
    learner.advance(3)
    assert learner.controller.searching
    state = learner.snapshot()
    assert learner.evaluate() == before
    assert learner.snapshot()["inner"]["step"] == state["inner"]["step"]


def test_another_trials_weights_begin_a_search_of_what_remains(tmp_path):
    task = TASK.trained_by([METHODS["modern"]])
    running = task.run(Job(0, {}, seed=5))
    next(running)
    next(running).save(tmp_path)
    running.close()
    steps = [p.step for p in task.run(Job(1, {}, seed=6, checkpoint=tmp_path, step=2))]
    assert steps == list(range(3, 13))


def test_several_methods_wrap_one_another_and_resume(tmp_path):
    task = TASK.trained_by([METHODS["modern"], Counting()])
    learner = task.trained_learner(3)
    learner.advance(10)
    assert learner.count == 10
    snapshot = learner.snapshot()
    after = learner.advance(30), learner.evaluate()
    learner.restore(snapshot)
    assert (learner.advance(30), learner.evaluate()) == after
    assert learner.count == 40


class Counting:
    """A second method, which counts the steps that it is asked for."""

    def apply(self, learner, task, seed):
        from autosearch.learning import LearnerWrapper

        class Counted(LearnerWrapper):
            count = 0

            def advance(self, steps):
                self.count += steps
                return super().advance(steps)

            def snapshot(self):
                return {"inner": super().snapshot(), "count": self.count}

            def restore(self, snapshot):
                super().restore(snapshot["inner"])
                self.count = snapshot["count"]

        return Counted(learner)


HEAD = """
study: s
run: {task: tabular_classification, dataset: wine, width: 4, layers: 1, epochs: 4, device: cpu}
objectives: {val_loss: minimize}
budget: {trials: 1}
resources: {runner: inline}
searcher: random
"""


def write(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + text)
    return path


def test_a_study_file_puts_the_method_into_its_task(tmp_path):
    text = "space: {lr: {type: float, low: 0.01, high: 0.1, log: true}}\ntraining: [autolrs]\n"
    study = autosearch.load(write(tmp_path, text)).run()
    assert study.history[0].curve[-1].metrics["search_steps"] >= 0
    assert study.best.metrics["val_loss"] < 2


def test_a_learning_rate_that_the_method_finds_must_not_be_searched(tmp_path):
    text = "space: {lr: {type: float, low: 0.01, high: 0.1}}\ntraining: [{method: autolrs, preset: paper}]\n"
    with pytest.raises(SpecError, match="autolrs sets 'lr', which is searched too"):
        autosearch.load(write(tmp_path, text))


def test_impossible_options_are_located_in_the_study_file(tmp_path):
    text = "space: {weight_decay: [0.0, 0.1]}\ntraining: [{method: autolrs, preset: newest}]\n"
    with pytest.raises(SpecError, match=r"training\[0\].preset: .*modern or paper"):
        autosearch.load(write(tmp_path, text)).open()


def test_a_task_without_training_refuses_the_method(tmp_path):
    text = HEAD.replace("task: tabular_classification, dataset: wine, width: 4, layers: 1, epochs: 4, device: cpu",
                        "task: synthetic_curves").replace("val_loss", "loss")  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(text + "space: {x: {type: float, low: 0, high: 1}}\ntraining: [autolrs]\n")
    with pytest.raises(SpecError, match="the task synthetic_curves takes no training methods"):
        autosearch.load(path).open()


def test_one_bound_alone_is_refused():
    with pytest.raises(OptionError, match="low and high go together"):
        AutoLRSTraining(low=0.1)
