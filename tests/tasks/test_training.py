"""What holds for every built-in training task."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autosearch.core import Job, Objective, OptionError, plugins
from autosearch.tasks.image_classification import ImageClassification
from autosearch.tasks.language_model import LanguageModel
from autosearch.tasks.tabular import TabularClassification, TabularRegression
from autosearch.tasks.training import TrainingTask


@pytest.fixture(scope="module")
def text_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "text").mkdir()
    (folder / "text" / "tale.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return folder


IMAGES = {"epochs": 2, "train_size": 100, "val_size": 50, "batch_size": 40}
MODELS = {
    "mlp": {"width": 8, "dropout": 0.2},
    "cnn": {"width": 4, "dropout": 0.2},
    "resnet": {"width": 2, "depth": 8, "dropout": 0.2},
    "preact_resnet": {"width": 2, "depth": 8},
    "vgg": {"width": 2, "depth": 11},
    "mobilenet_v2": {"width": 2},
    "lstm": {"width": 8, "dropout": 0.2},
    "transformer": {"width": 8, "dropout": 0.2},
}


def make(model: str, text_dir: Path, **options) -> TrainingTask:
    options = {**MODELS[model], **options}
    if model in ("lstm", "transformer"):
        return LanguageModel(model=model, dataset="tale", data_dir=text_dir, context=16, epochs=2, **options)
    return ImageClassification(model=model, **IMAGES, **options)


def result(progress):
    return {
        k: v for k, v in progress[-1].metrics.items() if k not in ("seconds", "latency_ms", "peak_memory_mb")
    }


def resumed_and_undisturbed(task, folder):
    undisturbed = list(task.run(Job(0, {}, seed=5)))
    running = task.run(Job(0, {}, seed=5))
    next(running).save(folder)
    running.close()
    return list(task.run(Job(0, {}, seed=5, checkpoint=folder, step=1))), undisturbed


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("model", MODELS)
def test_resuming_equals_an_undisturbed_run_for_every_model(model, optimizer, text_dir, tmp_path):
    resumed, undisturbed = resumed_and_undisturbed(make(model, text_dir, optimizer=optimizer), tmp_path)
    assert [p.step for p in resumed] == [2]
    assert result(resumed) == result(undisturbed)


@pytest.mark.parametrize(
    "options",
    [
        {"ema": 0.9},
        {"accumulate": 3},
        {"clip_norm": 0.1},
        {"crop": 1, "flip": True, "cutout": 2, "mixup": 0.4},
    ],
    ids=["ema", "accumulate", "clip", "augmented"],
)
@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet"])
def test_resuming_equals_an_undisturbed_run_for_every_option(model, options, text_dir, tmp_path):
    resumed, undisturbed = resumed_and_undisturbed(make(model, text_dir, **options), tmp_path)
    assert result(resumed) == result(undisturbed)


@pytest.mark.slow
def test_a_new_process_goes_on_from_a_checkpoint_exactly(tmp_path):
    script = """
import sys
from pathlib import Path
from autosearch.core import Job
from autosearch.tasks.image_classification import ImageClassification
task = ImageClassification(epochs=3, width=4, train_size=200, dropout=0.2, crop=1, ema=0.9, accumulate=2)
folder, mode = Path(sys.argv[1]), sys.argv[2]
checkpoint = folder if mode == "resume" else None
for progress in task.run(Job(0, {}, seed=5, checkpoint=checkpoint)):
    if mode == "first":
        progress.save(folder)
        break
print({k: v for k, v in progress.metrics.items() if k not in ("seconds", "latency_ms", "peak_memory_mb")})
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), mode], capture_output=True, text=True, check=True
        ).stdout
        for mode in ("first", "resume", "whole")
    ]
    assert outputs[1] == outputs[2]
    assert outputs[0] != outputs[1]


@pytest.mark.parametrize("name", ["image_classification", "tabular_classification", "tabular_regression"])
def test_a_registered_task_is_an_objective_that_runs_by_its_defaults(name):
    task = plugins.build("tasks", {"method": name, "epochs": 2})
    assert isinstance(task, Objective)
    assert task.max_step == 2
    assert task.reusable
    progress = list(task.run(Job(0, {}, seed=0)))
    assert [p.step for p in progress] == [1, 2]
    assert set(progress[-1].metrics) == set(task.metrics)


def test_classification_of_a_table_learns():
    last = list(TabularClassification(lr=0.01).run(Job(0, {}, seed=0)))[-1]
    assert last.metrics["val_accuracy"] > 0.93


def test_regression_reports_its_error_in_the_targets_own_unit():
    task = TabularRegression(lr=0.01)
    last = list(task.run(Job(0, {}, seed=0)))[-1].metrics
    deviation = task.load().target_scale[1]
    assert last["val_rmse"] == pytest.approx(last["val_loss"] ** 0.5 * deviation)
    assert last["val_rmse"] < 70  # the deviation of the target is 77


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_language_models_learn_a_repeated_sentence(model, text_dir):
    task = LanguageModel(
        model=model, dataset="tale", data_dir=text_dir, context=16, epochs=12, lr=0.01, batch_size=8
    )
    last = list(task.run(Job(0, {"width": 32}, seed=0)))[-1].metrics
    assert last["val_perplexity"] < 2.5
    assert last["val_perplexity"] == pytest.approx(2.718281828 ** last["val_loss"])


def test_training_windows_hold_following_characters(text_dir):
    task = LanguageModel(dataset="tale", data_dir=text_dir, context=16)
    data = task.load()
    inputs, targets = task.fetch(data)(torch.tensor([0, 3, task.examples(data) - 1]), torch.Generator())
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert inputs.shape == (3, 16)


def test_test_metrics_of_every_task_are_measured_on_demand(text_dir, tmp_path):
    tasks = {
        "accuracy": TabularClassification(epochs=1),
        "rmse": TabularRegression(epochs=1),
        "perplexity": LanguageModel(dataset="tale", data_dir=text_dir, context=16, epochs=1, width=8),
    }
    for metric, task in tasks.items():
        folder = tmp_path / metric
        list(task.run(Job(0, {}, seed=0)))[-1].save(folder)
        assert set(task.finish(Job(0, {}, seed=0, checkpoint=folder))) == {"test_loss", f"test_{metric}"}


def test_a_learner_of_a_task_can_be_adjusted_in_dropout_and_label_smoothing():
    learner = ImageClassification(model="mlp", **IMAGES, dropout=0.5, label_smoothing=0.1).learner(0)
    start = learner.snapshot()
    learner.adjust({"dropout": 0.0, "label_smoothing": 0.3})
    assert {m.p for m in learner.model.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}
    assert learner.loss.label_smoothing == 0.3
    learner.restore(start)
    assert {m.p for m in learner.model.modules() if isinstance(m, torch.nn.Dropout)} == {0.5}
    assert learner.loss.label_smoothing == 0.1


def test_values_of_the_wrong_type_are_refused():
    with pytest.raises(OptionError, match="width: Input should be a valid integer"):
        TabularClassification().with_config({"width": "64"})


def test_whole_numbers_that_an_expression_made_floats_are_taken():
    assert TabularClassification().with_config({"width": 64.0, "lr": 1}).width == 64


def test_every_report_holds_the_macs_and_the_latency_of_one_example_which_a_resumed_trial_keeps(tmp_path):
    task = ImageClassification(model="mlp", width=8, layers=1, **IMAGES)
    first, last = task.run(Job(0, {}, seed=5))
    first.save(tmp_path)
    assert first.metrics["macs"] == 64 * 8 + 8 * 10
    assert 0 < first.metrics["latency_ms"] == last.metrics["latency_ms"] < 1000
    (resumed,) = task.run(Job(0, {}, seed=5, checkpoint=tmp_path, step=1))
    assert resumed.metrics["latency_ms"] == first.metrics["latency_ms"]


@pytest.mark.parametrize("model", MODELS)
def test_measuring_costs_leaves_torchs_random_state_alone(model, text_dir):
    task = make(model, text_dir)
    before = torch.get_rng_state()
    assert task.costs()["macs"] > 0
    assert torch.equal(torch.get_rng_state(), before)
