"""Self-tuning inside a task, from a study file to a resumed trial and its report."""

import dataclasses
import math

import pytest
import torch

import autosearch
from autosearch.core import Job, OptionError, SpecError
from autosearch.learning import CheckpointError
from autosearch.methods.autolrs.training import AutoLRSTraining
from autosearch.methods.stn import ScheduleReplay
from autosearch.methods.stn.section import stn_section
from autosearch.methods.stn.training import STNTraining
from autosearch.tasks.image_classification import ImageClassification
from autosearch.tasks.tabular import TabularClassification, TabularRegression

TASK = TabularClassification(
    dataset="breast_cancer", model="mlp", width=8, layers=1, optimizer="sgd", lr=0.05, epochs=6, batch_size=24,
    train_size=160, dropout=0.1, device="cpu",
)  # fmt: skip
TUNE = {
    "dropout": {"low": 0.0, "high": 0.9},
    "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
    "label_smoothing": {"low": 0.0, "high": 0.5},
    "input_noise": {"low": 0.0, "high": 1.0},
}
METHODS = {
    "modern": STNTraining(TUNE),
    "paper": STNTraining({"dropout": TUNE["dropout"], "weight_decay": TUNE["weight_decay"]}, "paper"),
}
TIMES = ("seconds", "latency_ms", "peak_memory_mb")


def result(progress):
    return {k: v for k, v in progress[-1].metrics.items() if k not in TIMES}


@pytest.mark.parametrize("name", METHODS)
def test_an_epoch_costs_what_a_plain_one_does(name):
    plain = TASK.learner(3)
    learner = TASK.trained_by([METHODS[name]]).trained_learner(3)
    per_epoch = learner.batches.batches_per_epoch
    cost = learner.tuner.settings.cost
    assert per_epoch == round(plain.batches.batches_per_epoch / cost)
    metrics = learner.advance(per_epoch * TASK.epochs)
    assert metrics["plain_steps"] == pytest.approx(TASK.epochs * plain.batches.batches_per_epoch, rel=0.2)
    assert learner.lr == pytest.approx(0, abs=1e-3)  # the lr schedule ends where the run does
    assert math.isfinite(learner.evaluate()["val_loss"])
    counted = STNTraining(TUNE, count="steps")
    assert (
        TASK.trained_by([counted]).trained_learner(3).batches.batches_per_epoch
        == plain.batches.batches_per_epoch
    )


def test_tuning_starts_where_the_task_is_and_values_are_metrics():
    learner = TASK.trained_by([METHODS["modern"]]).trained_learner(3)
    assert learner.tuner.values["dropout"] == pytest.approx(0.1)
    metrics = learner.advance(5)
    assert {f"tuned_{name}" for name in TUNE} <= set(metrics)
    assert {f"tuned_{name}_sigma" for name in TUNE} <= set(metrics)


def test_the_network_stays_plain_to_everybody_else():
    learner = TASK.trained_by([METHODS["modern"]]).trained_learner(3)
    plain = TASK.learner(3)
    assert list(learner.model.state_dict()) == list(plain.model.state_dict())
    assert sum(p.numel() for p in learner.model.parameters()) == sum(
        p.numel() for p in plain.model.parameters()
    )
    assert all(
        torch.equal(a, b) for a, b in zip(learner.model.parameters(), plain.model.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("steps", [1, 8, 21])
def test_restore_of_a_snapshot_is_the_identity(name, steps):
    learner = TASK.trained_by([METHODS[name]]).trained_learner(3)
    learner.advance(steps)
    snapshot = learner.snapshot()
    expected = (learner.advance(10), learner.evaluate(), learner.notes())
    learner.restore(snapshot)
    assert (learner.advance(10), learner.evaluate(), learner.notes()) == expected
    fresh = TASK.trained_by([METHODS[name]]).trained_learner(3)
    fresh.restore(snapshot)
    assert (fresh.advance(10), fresh.evaluate(), fresh.notes()) == expected


@pytest.mark.parametrize("methods", [["modern"], ["paper"], ["modern", "autolrs"]])
@pytest.mark.parametrize("epoch", [1, 5])
def test_a_killed_trial_goes_on_bit_for_bit(methods, epoch, tmp_path):
    made = {**METHODS, "autolrs": AutoLRSTraining(options={"min_probe": 2})}
    task = TASK.trained_by([made[name] for name in methods])
    undisturbed = list(task.run(Job(0, {}, seed=5)))
    running = task.run(Job(0, {}, seed=5))
    for _ in range(epoch):
        saved = next(running)
    saved.save(tmp_path)
    running.close()
    resumed = list(task.run(Job(0, {}, seed=5, checkpoint=tmp_path, step=epoch)))
    assert [p.step for p in resumed] == list(range(epoch + 1, 7))
    assert result(resumed) == result(undisturbed)
    assert resumed[-1].data == undisturbed[-1].data
    assert set(task.finish(Job(0, {}, seed=5, checkpoint=tmp_path))) == {"test_loss", "test_accuracy"}


@pytest.mark.parametrize(("steps", "searching"), [(1, True), (4, True), (14, True), (23, False)])
def test_with_autolrs_around_it_a_restore_inside_a_search_and_after_is_the_identity(steps, searching):
    longer = dataclasses.replace(TASK, epochs=20)
    task = longer.trained_by([METHODS["modern"], AutoLRSTraining(options={"min_probe": 4})])
    learner = task.trained_learner(3)
    learner.advance(steps)
    assert learner.controller.searching == searching
    snapshot = learner.snapshot()
    expected = (learner.advance(4), learner.evaluate(), learner.notes())
    for resumed in (learner, task.trained_learner(3)):
        resumed.restore(snapshot)
        assert (resumed.advance(4), resumed.evaluate(), resumed.notes()) == expected


def test_with_autolrs_around_it_one_trial_finds_both():
    task = TASK.trained_by([METHODS["modern"], AutoLRSTraining(options={"min_probe": 2})])
    progress = list(task.run(Job(0, {}, seed=5)))
    assert {"tuned", "lr_schedule"} <= set(progress[-1].data)
    assert progress[-1].metrics["search_steps"] > 0


def test_around_another_method_it_is_refused_with_the_order():
    task = TASK.trained_by([AutoLRSTraining(), METHODS["modern"]])
    with pytest.raises(OptionError, match="list it before"):
        task.trained_learner(3)


def test_another_trials_checkpoint_brings_its_responses_and_values(tmp_path):
    task = TASK.trained_by([METHODS["modern"]])
    running = task.run(Job(0, {}, seed=5))
    for _ in range(4):
        saved = next(running)
    saved.save(tmp_path)
    running.close()
    steps = [p.step for p in task.run(Job(1, {}, seed=6, checkpoint=tmp_path, step=4))]
    assert steps == list(range(5, 7))
    plain = TASK.run(Job(0, {}, seed=5))
    next(plain).save(tmp_path)
    with pytest.raises(CheckpointError, match="not trained by stn"):
        next(task.run(Job(1, {}, seed=6, checkpoint=tmp_path, step=1)))


def test_a_found_course_replays_in_a_plain_run():
    learner = TASK.trained_by([METHODS["modern"]]).trained_learner(3)
    learner.advance(20)
    schedule = learner.notes()["tuned"]
    plain = TASK.learner(3)
    replay = ScheduleReplay(schedule, plain.model, plain.optimizer)
    for _ in range(20):
        plain.advance(1)
        replay.step()
    assert plain.model[3].p == pytest.approx(learner.tuner.values["dropout"])


@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_mixed_precision_and_averaged_weights_work(amp):
    task = TabularClassification(
        dataset="breast_cancer",
        width=8,
        layers=1,
        epochs=3,
        amp=amp,
        ema=0.9,
        clip_norm=1.0,
        accumulate=2,
        device="cpu",
    )
    learner = task.trained_by([METHODS["modern"]]).trained_learner(0)
    learner.advance(6)
    assert math.isfinite(learner.evaluate()["val_loss"])


def test_validation_batches_are_neither_augmented_nor_smoothed():
    task = ImageClassification(
        dataset="digits", model="cnn", width=4, depth=1, train_size=40, val_size=40, batch_size=20, crop=2, flip=True,
        cutout=2, mixup=0.0, label_smoothing=0.2, epochs=2, device="cpu",
    )  # fmt: skip
    tune = {"shift": {"low": 0.0, "high": 0.3}, "cutout_length": {"low": 0, "high": 3, "discrete": True}}
    learner = task.trained_by([STNTraining(tune)]).trained_learner(0)
    images = task.load().val[0]
    batch = next(learner.tuner._validation._iterator)
    assert all(any(torch.equal(x, y) for y in images) for x in batch[0])
    assert learner.tuner._val_loss.label_smoothing == 0
    learner.advance(4)


@pytest.mark.parametrize(
    ("task", "tune", "said"),
    [
        (TASK, {"shift": {"low": 0.0, "high": 0.3}}, "changes images"),
        (TabularRegression(dataset="diabetes"), {"label_smoothing": {"low": 0.0, "high": 0.3}}, "no loss over classes"),
        (TabularClassification(dataset="breast_cancer", amp="fp16"), {"input_noise": {"low": 0.0}}, "fp16"),
    ],
)  # fmt: skip
def test_what_a_task_cannot_do_is_refused_with_the_reason(task, tune, said):
    with pytest.raises(OptionError, match=said):
        task.trained_by([STNTraining(tune)]).trained_learner(0)


def test_options_are_judged_before_any_trial():
    with pytest.raises(OptionError, match="Did you mean 'dropout'"):
        STNTraining({"dropuot": {"low": 0.0, "high": 0.9}})
    with pytest.raises(OptionError, match=r"tune.dropout: init 0.0 is not strictly between"):
        STNTraining({"dropout": {"low": 0.0, "high": 0.9, "init": 0.0}})
    with pytest.raises(OptionError, match="a share of the run"):
        STNTraining(TUNE, warmup=1.0)
    with pytest.raises(OptionError, match="given as a share"):
        STNTraining(TUNE, options={"warmup": 3})
    with pytest.raises(OptionError, match="averaged weights have no responses"):
        TabularClassification(dataset="breast_cancer", ema=0.9).trained_by(
            [METHODS["paper"]]
        ).trained_learner(0)


HEAD = """
study: s
run: {task: tabular_classification, dataset: breast_cancer, width: 4, layers: 1, epochs: 4, device: cpu}
objectives: {val_loss: minimize}
budget: {trials: 2}
resources: {runner: inline}
searcher: random
"""


def write(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + text)
    return path


def test_a_study_file_tunes_inside_its_trials_and_reports_the_courses(tmp_path):
    text = (
        "space: {lr: {type: float, low: 0.01, high: 0.1, log: true}}\n"
        "training:\n- method: stn\n  tune:\n    dropout: {low: 0, high: 0.9}\n"
        "    weight_decay: {low: 1e-5, high: 0.1, log: true}\n"
    )
    study = autosearch.load(write(tmp_path, text)).run()
    section = stn_section(study.history)
    assert section.title == "Self-tuned hyperparameters"
    assert len(section.parts) == 3
    last = study.history[0].curve[-1].metrics
    assert 0 < last["tuned_dropout"] < 0.9


def test_a_study_file_puts_autolrs_around_it(tmp_path):
    text = (
        "space: {width: [4, 8]}\ntraining:\n- {method: stn, tune: {dropout: {low: 0, high: 0.9}}}\n"
        "- {method: autolrs, options: {min_probe: 2}}\n"
    )
    history = autosearch.load(write(tmp_path, text)).run().history
    for trial in history:
        last = trial.curve[-1].metrics
        assert 0 < last["tuned_dropout"] < 0.9
        assert last["search_steps"] > 0


def test_a_history_without_courses_has_no_section(tmp_path):
    text = "space: {lr: {type: float, low: 0.01, high: 0.1, log: true}}\n"
    assert stn_section(autosearch.load(write(tmp_path, text)).run().history) is None


def test_a_hyperparameter_that_is_tuned_must_not_be_searched(tmp_path):
    text = (
        "space: {dropout: {type: float, low: 0.01, high: 0.1}}\n"
        "training: [{method: stn, tune: {dropout: {low: 0, high: 0.9}}}]\n"
    )
    with pytest.raises(SpecError, match="stn sets 'dropout', which is searched too"):
        autosearch.load(write(tmp_path, text))


def test_impossible_ranges_are_located_in_the_study_file(tmp_path):
    text = (
        "space: {lr: {type: float, low: 0.01, high: 0.1}}\n"
        "training: [{method: stn, tune: {dropout: {low: 0, high: 0.9, init: 0.9}}}]\n"
    )
    with pytest.raises(SpecError, match=r"training\[0\].tune: .*Start a little inside"):
        autosearch.load(write(tmp_path, text)).open()
