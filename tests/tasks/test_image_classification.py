from pathlib import Path

import pytest

from autosearch.core import Goal, Job, OptionError, Problem, SpaceError
from autosearch.learning import CheckpointError
from autosearch.space import Expression, SearchSpace
from autosearch.tasks.image_classification import ImageClassification

FAST = {"epochs": 3, "width": 4, "train_size": 200}


def run(task, config=None, **job):
    return list(task.run(Job(0, config or {}, **{"seed": 5, **job})))


def result(progress):
    return {
        k: v for k, v in progress[-1].metrics.items() if k not in ("seconds", "latency_ms", "peak_memory_mb")
    }


def problem(space, objectives=None, **options):
    names = objectives or ["val_accuracy"]
    constraints = tuple(Expression.parse(c) for c in options.get("constraints", ()))
    return Problem(SearchSpace(space), tuple(Goal(n, maximize=True) for n in names), constraints)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_digits_are_learnt(model):
    last = run(ImageClassification(model=model, epochs=5, lr=0.01))[-1]
    assert last.step == 5
    assert last.metrics["val_accuracy"] > 0.9


def test_every_epoch_is_reported_with_all_metrics():
    task = ImageClassification(**FAST)
    progress = run(task)
    assert [p.step for p in progress] == [1, 2, 3]
    assert all(set(p.metrics) == set(task.metrics) for p in progress)


def test_equal_jobs_give_equal_results():
    task = ImageClassification(**FAST, dropout=0.3, crop=1)
    assert result(run(task)) == result(run(task))


def test_another_seed_gives_another_result():
    task = ImageClassification(**FAST)
    assert result(run(task)) != result(run(task, seed=6))


def test_a_config_overrides_the_arguments():
    assert len(run(ImageClassification(**FAST), {"epochs": 1})) == 1
    small = run(ImageClassification(**FAST), {"width": 2})[-1].metrics["params"]
    assert small < run(ImageClassification(**FAST))[-1].metrics["params"]


def test_a_trial_ends_where_it_is_until():
    assert [p.step for p in run(ImageClassification(**FAST), until=2)] == [1, 2]


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_resumed_trial_equals_an_undisturbed_one(model, tmp_path: Path):
    task = ImageClassification(model=model, **FAST, dropout=0.2, crop=1, ema=0.9, accumulate=2)
    undisturbed = run(task)
    running = task.run(Job(0, {}, seed=5))
    next(running).save(tmp_path)
    running.close()
    resumed = run(task, checkpoint=tmp_path, step=1, attempt=1)
    assert [p.step for p in resumed] == [2, 3]
    assert result(resumed) == result(undisturbed)
    assert resumed[-1].metrics["seconds"] > 0


def test_a_trial_that_was_lost_after_its_last_epoch_hands_over_its_result(tmp_path: Path):
    task = ImageClassification(**FAST)
    last = run(task)[-1]
    last.save(tmp_path)
    again = run(task, checkpoint=tmp_path, step=3)
    assert len(again) == 1
    assert again[0].step == 3
    assert again[0].metrics == last.metrics


def test_a_child_starts_from_its_parents_weights_with_its_own_values(tmp_path: Path):
    task = ImageClassification(**FAST, lr_schedule="constant")
    parent = run(task, {"lr": 0.01})
    parent[-2].save(tmp_path)
    child = list(task.run(Job(7, {"lr": 0.001}, seed=9, checkpoint=tmp_path, step=2)))
    assert [p.step for p in child] == [3]
    assert child[0].metrics["lr"] == 0.001
    assert child[0].metrics["train_loss"] < parent[0].metrics["train_loss"]


def test_a_child_whose_end_its_parent_has_reached_measures_what_it_got(tmp_path: Path):
    task = ImageClassification(**FAST)
    parent = run(task)
    parent[-1].save(tmp_path)
    (only,) = task.run(Job(7, {}, seed=9, checkpoint=tmp_path, step=3))
    assert only.step == 3
    assert only.metrics["val_loss"] == parent[-1].metrics["val_loss"]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path):
    run(ImageClassification(**FAST))[-1].save(tmp_path)
    with pytest.raises(CheckpointError, match="another network"):
        run(ImageClassification(**FAST), {"width": 5}, checkpoint=tmp_path)


def test_finish_measures_the_test_split_of_the_saved_network(tmp_path: Path):
    task = ImageClassification(epochs=4, lr=0.01)
    run(task)[-1].save(tmp_path)
    metrics = task.finish(Job(0, {}, seed=5, checkpoint=tmp_path))
    assert set(metrics) == {"test_loss", "test_accuracy"}
    assert metrics["test_accuracy"] > 0.9


def test_finish_without_a_checkpoint_says_what_is_missing():
    with pytest.raises(CheckpointError, match="no checkpoint"):
        ImageClassification().finish(Job(3, {}, seed=0))


def test_a_diverged_training_ends_as_a_floating_point_error():
    with pytest.raises(FloatingPointError, match=r"diverged.*lr=1e\+30"):
        run(ImageClassification(**FAST, optimizer="sgd"), {"lr": 1e30})


def test_an_argument_that_the_model_does_not_take_is_refused():
    with pytest.raises(OptionError, match="layers: model 'cnn' has no such option"):
        ImageClassification(model="cnn", layers=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs: at least 1"),
        ({"lr": 0.0}, "lr: above 0"),
        ({"momentum": 1.0}, r"momentum: in \[0, 1\)"),
        ({"optimizer": "sdg"}, "Did you mean 'sgd'"),
        ({"model": "cn"}, "Did you mean 'cnn'"),
        ({"lr_schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"cutout": -1}, "cutout: at least 0"),
        ({"accumulate": 0}, "accumulate: at least 1"),
    ],
)
def test_an_impossible_argument_is_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        ImageClassification(**arguments)


def test_check_accepts_the_digits_study():
    space = {
        "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "width": {"type": "int", "low": 16, "high": 256, "log": True},
        "optimizer": ["sgd", "adamw"],
        "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": "optimizer == 'sgd'"},
    }
    ImageClassification(model="mlp").check(problem(space, constraints=["params <= 200000"]))


@pytest.mark.parametrize(
    ("space", "objectives", "message"),
    [
        ({"widht": [1, 2]}, None, "space.widht: the task has no argument.*Did you mean 'width'"),
        ({"lr": [0.1]}, ["val_acuracy"], "objectives.val_acuracy.*Did you mean 'val_accuracy'"),
        ({"optimizer": ["sgd", "adamx"]}, None, "space.unknown optimizer 'adamx'"),
        ({"lr": {"type": "float", "low": 0.0, "high": 1.0}}, None, "space.lr: above 0"),
        ({"layers": [1, 2]}, None, "space.layers: model 'cnn' has no such option"),
        ({"width": [1.5, 2.5]}, None, "space.width"),
    ],
)
def test_check_names_what_the_task_does_not_know(space, objectives, message):
    with pytest.raises(SpaceError, match=message):
        ImageClassification(model="cnn").check(problem(space, objectives))


def test_check_allows_options_of_any_model_that_is_searched():
    ImageClassification().check(
        problem({"model": ["mlp", "cnn"], "layers": {"type": "int", "low": 1, "high": 3}})
    )


def test_check_allows_a_parameter_that_only_an_expression_uses():
    space = {"power": {"type": "int", "low": 3, "high": 6}, "batch_size": {"expr": "2 ** power"}}
    ImageClassification().check(problem(space))


def test_check_refuses_more_epochs_than_the_run_has():
    with pytest.raises(SpaceError, match=r"space.epochs: goes beyond the epochs of the run, 20"):
        ImageClassification().check(problem({"epochs": {"type": "int", "low": 1, "high": 30}}))


def test_a_constraint_over_an_unknown_metric_is_refused():
    with pytest.raises(SpaceError, match=r"constraints.parms.*Did you mean 'params'"):
        ImageClassification().check(problem({"lr": [0.1]}, constraints=["parms <= 10"]))
