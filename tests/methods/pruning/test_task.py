import json
import math
from pathlib import Path

import pytest
import torch

import autosearch
from autosearch.core import Job, OptionError, SpaceError
from autosearch.learning import CheckpointError, load_checkpoint
from autosearch.methods.pruning.compression import n2n_reward
from autosearch.methods.pruning.distillation import Distilled
from autosearch.methods.pruning.task import PruneTask

NETWORK = {
    "task": "image_classification",
    "dataset": "digits",
    "model": "cnn",
    "width": 4,
    "epochs": 2,
    "train_size": 256,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with the weights of a dense network."""
    path = tmp_path_factory.mktemp("dense") / "dense.pt"
    learner = PruneTask(network=NETWORK).dense.learner(0)
    learner.advance(8)
    torch.save(learner.model.state_dict(), path)
    return path


def task(weights, **options):
    return PruneTask(**{"network": NETWORK, "checkpoint": weights, "epochs": 2, **options})


def metrics(made, config=None, **job):
    return [dict(progress.metrics) for progress in made.run(Job(0, config or {}, 7, **job))]


def timeless(report):
    return {
        name: value
        for name, value in report.items()
        if name not in ("seconds", "latency_ms", "peak_memory_mb")
    }


def test_a_trial_reports_quality_and_costs_of_the_pruned_network(weights):
    reports = metrics(task(weights), {"target": {"macs": 0.4}})
    assert len(reports) == 2
    last = reports[-1]
    assert 0.2 < last["macs_share"] <= 0.4
    assert last["latency_ms"] > 0
    assert last["n2n"] == pytest.approx(
        n2n_reward(last["val_accuracy"], last["val_accuracy"], last["params_share"]), abs=0.9
    )
    assert set(last) <= set(task(weights).metrics)
    dense = sum(p.numel() for p in task(weights).dense.learner(0).model.parameters())
    assert last["params"] == pytest.approx(dense * last["params_share"])


def test_values_of_a_trial_reach_the_pruner_and_the_training(weights):
    changed = task(weights, target={"params": 0.9}, ratios={"0": 0.1}).with_config(
        {
            "target": {"macs": 0.3},
            "ratios": {"3": 0.25},
            "train": {"lr": 0.5},
            "criterion": "random",
            "steps": 2,
        }
    )
    assert changed.options.target == {"params": 0.9, "macs": 0.3}
    assert changed.options.ratios == {"0": 0.1, "3": 0.25}
    assert changed.fine_tuning(1).lr == 0.5
    assert changed.dense.lr == 1e-3
    assert changed.options.criterion == "random"


@pytest.mark.parametrize(
    "options", [{"steps": 2}, {"epochs_before": 1, "criterion": "depgraph"}, {"distill": 0.5}]
)
def test_a_killed_trial_goes_on_bit_exactly(weights, tmp_path, options):
    made = task(weights, epochs=3, **options)
    whole = metrics(made)
    run = made.run(Job(0, {}, 7))
    for at in range(1, made.max_step):
        progress = next(run)
        folder = tmp_path / str(at)
        folder.mkdir()
        progress.save(folder)
        rest = metrics(made, checkpoint=folder, step=at)
        assert [timeless(report) for report in rest] == [timeless(report) for report in whole[at:]]


def test_the_pruned_network_lies_beside_the_last_checkpoint(weights, tmp_path):
    made = task(weights)
    progress = list(made.run(Job(0, {}, 7)))[-1]
    progress.save(tmp_path)
    learner = made.dense.learner(0)
    small = autosearch.load_pruned(learner.model, tmp_path)
    assert sum(p.numel() for p in small.parameters()) == progress.metrics["params"]
    assert json.loads((tmp_path / "pruned.json").read_text())["after"]["macs"] == progress.metrics["macs"]
    test = made.finish(Job(0, {}, 7, checkpoint=tmp_path))
    assert set(test) == {"test_loss", "test_accuracy"}


def test_rounds_shrink_the_network_step_by_step(weights):
    shares = [report["macs_share"] for report in metrics(task(weights, steps=2, target={"macs": 0.25}))]
    assert 0.4 < shares[0] <= 0.5 < 2.1 * shares[1]
    assert shares[1] <= 0.25


def test_training_before_comes_with_the_penalty_of_the_criterion(weights):
    strong, plain = ({"method": "depgraph", "strength": strength} for strength in (1e-1, 0.0))
    reports = [metrics(task(weights, epochs_before=1, criterion=c)) for c in (strong, plain, "magnitude")]
    assert all([r["macs_share"] == 1.0 for r in run] == [True, False, False] for run in reports)
    assert reports[0][0]["train_loss"] > reports[1][0]["train_loss"] == reports[2][0]["train_loss"]


def test_the_dense_network_is_trained_in_a_stage_without_a_checkpoint(tmp_path):
    study_file = tmp_path / "study.yaml"
    study_file.write_text(
        f"""
study: small
run: {{task: prune, network: {json.dumps(NETWORK)}, epochs: 1}}
objectives: {{val_accuracy: maximize, macs: minimize}}
space: {{target.macs: {{type: float, low: 0.2, high: 0.8}}}}
searcher: random
budget: {{trials: 2}}
resources: {{runner: inline}}
"""
    )
    study = autosearch.load(study_file).run()
    dense = study.history.stages["dense"]
    assert [trial.state.value for trial in dense] == ["complete"]
    assert load_checkpoint(Path(dense[0].checkpoint))["epoch"] == 2
    assert len(study.history.complete) == 2
    assert all(
        trial.data["dense"]["val_accuracy"] == dense[0].metrics["val_accuracy"] for trial in study.history
    )
    assert all(trial.metrics["macs_share"] <= trial.config["target.macs"] + 1e-9 for trial in study.history)


def test_training_methods_act_on_the_training_after_pruning(weights):
    seen = []

    class Method:
        def apply(self, learner, task, seed):
            seen.append((task.epochs, sum(p.numel() for p in learner.model.parameters())))
            return learner

    reports = metrics(task(weights, steps=2, target={"macs": 0.2}).trained_by([Method()]))
    assert [epochs for epochs, _ in seen] == [1, 1]
    assert seen[1][1] == reports[-1]["params"] < seen[0][1]


def test_the_reward_of_n2n_learning():
    assert n2n_reward(1.0, 1.0, 0.5) == pytest.approx(0.75)
    assert n2n_reward(0.9, 0.9, 0.1) == pytest.approx(0.99)
    assert n2n_reward(0.9, 0.9, 1.0) == 0.0
    assert n2n_reward(0.9, 0.9, 0.0) == -1.0
    assert n2n_reward(0.9, 0.0, 0.5) == -1.0


def test_distillation_equals_its_formula():
    student, teacher = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])

    def loss(model, batch):
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    found = Distilled(loss, teacher, 0.3, 2.0)(student, (x, y))
    p, q = (teacher(x) / 2).softmax(-1), (student(x) / 2).softmax(-1)
    expected = 0.7 * loss(student, (x, y)) + 0.3 * 4 * (p * (p / q).log()).sum(-1).mean()
    assert torch.allclose(found, expected)
    found.backward()
    assert teacher.weight.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": {"dataset": "digits"}}, "needs `task: NAME`"),
        ({"network": {"task": "table"}}, "network"),
        ({"network": {**NETWORK, "widht": 3}}, "Did you mean 'width'"),
        ({"train": {"lrr": 0.1}}, r"train\.lrr: .* Did you mean 'lr'"),
        ({"train": {"lr": -1.0}}, r"train\.lr"),
        ({"steps": 3}, "as many epochs"),
        ({"distill": 2.0}, "distill"),
        ({"target": {"macs": 0.0}}, r"target\.macs"),
        ({"ratios": {"0": 1.0}}, r"ratios\.0"),
    ],
)
def test_wrong_arguments_are_one_clear_error(options, message):
    with pytest.raises(OptionError, match=message):
        PruneTask(**{"network": NETWORK, "epochs": 2, **options})


@pytest.mark.parametrize(
    ("space", "objectives", "place"),
    [
        ("{targt.macs: {type: float, low: 0.1, high: 0.5}}", "{val_accuracy: maximize}", "space.targt.macs"),
        (
            "{target.macs: {type: float, low: 0.1, high: 1.5}}",
            "{val_accuracy: maximize}",
            "space.target.macs",
        ),
        ("{train.lr: {type: float, low: -1.0, high: 0.5}}", "{val_accuracy: maximize}", "space.train.lr"),
        ("{criterion: [magnitude, magnitud]}", "{val_accuracy: maximize}", "space.criterion"),
        ("{scope: [global, layer]}", "{val_acuracy: maximize}", "objectives.val_acuracy"),
    ],
)
def test_a_wrong_study_is_refused_with_its_place(tmp_path, space, objectives, place):
    study_file = tmp_path / "study.yaml"
    study_file.write_text(
        f"study: s\nrun: {{task: prune, network: {json.dumps(NETWORK)}}}\nobjectives: {objectives}\n"
        f"space: {space}\nbudget: {{trials: 1}}\n"
    )
    with pytest.raises((autosearch.AutosearchError, SpaceError), match=place.replace(".", r"\.")):
        autosearch.load(study_file).check()


def test_weights_of_another_network_are_refused(weights, tmp_path):
    other = task(weights, network={**NETWORK, "width": 5})
    with pytest.raises(CheckpointError, match="no weights of this network"):
        metrics(other)
    with pytest.raises(CheckpointError, match="no weights of this network"):
        metrics(task(tmp_path / "missing.pt"))
    with pytest.raises(CheckpointError, match="its stage has not run"):
        metrics(task(None))
    assert math.isfinite(metrics(task(weights))[0]["val_loss"])
