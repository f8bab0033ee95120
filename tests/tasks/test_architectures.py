"""Networks that build an architecture: the project's own, and a user's function."""

from pathlib import Path

import pytest

import autosearch as asr
from autosearch.core import AutosearchError, Job, Problem
from autosearch.core.opening import resolve_space
from autosearch.core.seeds import derive_rng
from autosearch.space import SearchSpace, nest
from autosearch.tasks.image_classification import ImageClassification

OWN = """
from torch import nn

def build(shape, outputs, *, architecture, dropout=0.0):
    layers = [nn.Flatten()]
    size = shape[0] * shape[1] * shape[2]
    for _ in range(architecture["layers"]):
        layers += [nn.Linear(size, architecture["units"]), nn.ReLU(), nn.Dropout(dropout)]
        size = architecture["units"]
    return nn.Sequential(*layers, nn.Linear(size, outputs))
"""
STUDY = """
study: own
run: {task: image_classification, dataset: digits, model: ./net.py:build, epochs: 1, train_size: 100}
objectives: {val_accuracy: maximize, params: minimize}
space:
  architecture.layers: {type: int, low: 1, high: 2}
  architecture.units: [4, 8]
  lr: {type: float, low: 1e-3, high: 1e-1, log: true}
  dropout: [0.0, 0.2]
searcher: random
budget: {trials: 2}
resources: {runner: inline}
"""
CELL = {"architecture": {"use": "nasbench201"}}


def task(model: str = "nasbench201", **options) -> ImageClassification:
    small = {"epochs": 1, "train_size": 64, "val_size": 32} | options
    return ImageClassification(model=model, **small)


def problem(space: SearchSpace, metric: str = "val_accuracy") -> Problem:
    return Problem(space=space, objectives=(asr.Goal(metric, "maximize"),))


def test_architecture_and_training_settings_mix_in_one_configuration() -> None:
    space = resolve_space({**CELL, "lr": [0.01], "width": [4], "depth": [1]})
    config = nest(space.sample(derive_rng(0), 1)[0])
    progress = list(task().run(Job(0, config, seed=1)))
    assert 0 <= progress[-1].metrics["val_accuracy"] <= 1
    built = task().with_config(config)
    assert (built.lr, built.width, built.depth) == (0.01, 4, 1)
    assert dict(built.architecture) == config["architecture"]


def test_the_space_of_a_network_passes_the_check() -> None:
    task().check(problem(resolve_space({**CELL, "width": [4, 8]})))


def test_a_network_without_its_architecture_is_refused() -> None:
    with pytest.raises(AutosearchError, match="builds one, and there is none"):
        task().check(problem(resolve_space({"lr": [0.1, 0.2]})))


def test_an_architecture_that_no_network_builds_is_refused() -> None:
    with pytest.raises(AutosearchError, match=r"'cnn' builds no architecture. Those that do: .*nasbench201"):
        task("cnn").check(problem(resolve_space(CELL)))


def test_an_architecture_of_another_space_is_refused_before_the_first_trial() -> None:
    with pytest.raises(AutosearchError, match="edge01 must be one of"):
        task().check(problem(resolve_space({"architecture.kernel": [3, 5]})))


def test_a_fixed_architecture_can_be_given_to_the_task() -> None:
    from search_spaces.nasbench201 import decode

    fixed = task(architecture=decode([3, 1, 2, 1, 0, 3]), width=4, depth=1)
    fixed.check(problem(resolve_space({"lr": [0.1, 0.01]})))
    assert len(list(fixed.run(Job(0, {}, seed=0)))) == 1


def test_a_users_function_gets_the_parameters_under_architecture(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN)
    (tmp_path / "study.yaml").write_text(STUDY)
    study = asr.load(tmp_path / "study.yaml").run()
    for trial in study.history:
        units, layers = trial.config["architecture.units"], trial.config["architecture.layers"]
        size = 65 * units + (layers - 1) * (units + 1) * units + (units + 1) * 10
        assert trial.metrics["params"] == size


def test_a_users_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    with pytest.raises(AutosearchError, match=r"study.yaml:3:\d+ run.model: there is no file .*net\.py"):
        asr.load(tmp_path / "study.yaml")


def test_a_study_that_is_written_out_elsewhere_finds_the_users_file(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN)
    (tmp_path / "study.yaml").write_text(STUDY)
    resolved = asr.load(tmp_path / "study.yaml").spec.resolved()
    assert resolved["run"]["model"] == f"{tmp_path / 'net.py'}:build"
