import json
from pathlib import Path

import pytest
import torch

import autosearch
from autosearch.core import Job, OptionError
from autosearch.methods.metaprune import MetaNetwork, trace
from autosearch.methods.metaprune.options import MetaOptions
from autosearch.methods.metaprune.stages import Choice, MetaTraining, batches_of, load_data_models
from autosearch.methods.metaprune.task import MetaPruneTask
from autosearch.methods.pruning import PruningError
from autosearch.methods.pruning.task import PruneTask
from autosearch.tasks.training import TrainingTask

NETWORK = {"task": "image_classification", "dataset": "digits", "model": "cnn", "width": 3, "epochs": 1}
NETWORK["train_size"] = 128
META = {"data_models": 3, "epochs": 4, "batches": 1, "layers": 1, "hidden": 4, "chosen_from": 2, "settle": 0}
META["speed_ups"] = [2.0, 3.0]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study with all stages, in process."""
    folder = tmp_path_factory.mktemp("meta")
    (folder / "study.yaml").write_text(
        f"""
study: small
run: {{task: meta_prune, network: {json.dumps(NETWORK)}, epochs: 1, epochs_before: 1, meta: {json.dumps(META)}}}
objectives: {{val_accuracy: maximize, macs: minimize}}
space: {{target.macs: {{type: float, low: 0.3, high: 0.8}}}}
searcher: random
budget: {{trials: 2}}
resources: {{runner: inline}}
"""
    )
    return autosearch.load(folder / "study.yaml").run()


def file_of(study):
    best = study.history.stages["choice"].incumbent
    return Path(best.checkpoint) / "metanetwork.pt"


def test_all_stages_come_before_the_trials(study):
    counts = {name: len(stage.complete) for name, stage in study.history.stages.items()}
    assert counts == {"dense": 1, "data_models": 3, "meta_training": 1, "choice": 2}
    assert len(study.history.complete) == 2
    assert all(trial.metrics["macs_share"] <= trial.config["target.macs"] + 1e-9 for trial in study.history)


def test_data_models_differ_and_are_pruned_a_little(study):
    trials = study.history.stages["data_models"].complete
    assert all(0.5 < trial.metrics["macs_share"] <= 0.8 for trial in trials)
    task = PruneTask(network=NETWORK).dense
    networks = load_data_models(task, study.history.stages["data_models"])
    first = [next(network.parameters()) for network in networks]
    assert not any(
        a.shape == b.shape and torch.equal(a, b) for a, b in ((first[0], first[1]), (first[1], first[2]))
    )


def test_the_choice_is_among_the_kept_states_by_the_area_under_its_curve(study):
    stage = study.history.stages["choice"]
    assert sorted(trial.config["epoch"] for trial in stage.complete) == [2, 4]
    for trial in stage.complete:
        m = trial.metrics
        assert m["auc"] == pytest.approx((m["quality_2"] + m["quality_3"]) / 2)
    assert stage.incumbent.metrics["auc"] == max(trial.metrics["auc"] for trial in stage.complete)


def test_networks_of_the_choice_are_trained_in_training_mode(study, monkeypatch):
    modes, own = [], TrainingTask.learner

    def learner(self, seed, *, network=None, around=None):
        if network is not None:
            modes.append(network.training)
        return own(self, seed, network=network, around=around)

    monkeypatch.setattr(TrainingTask, "learner", learner)
    stage = Choice(PruneTask(network=NETWORK).dense, MetaOptions.of(META), histories=study.history.stages)
    assert len(list(stage.run(Job(0, {"epoch": 2}, 0)))) == 1
    assert modes == [True, True, True]  # before the removal, and after it at each of two speed-ups


def test_a_trained_metanetwork_is_a_file_that_skips_the_stages(study):
    dense = study.history.stages["dense"][0].checkpoint
    task = MetaPruneTask(
        network=NETWORK, checkpoint=dense, metanetwork=file_of(study), epochs=1, epochs_before=1
    )
    assert task.stages(study.problem) == []
    reports = [dict(p.metrics) for p in task.run(Job(0, {"target": {"macs": 0.5}}, 1))]
    assert [report["macs_share"] < 1 for report in reports] == [False, True]
    changed, metrics = task.dense_network(0)
    plain, same = PruneTask(network=NETWORK, checkpoint=dense).dense_network(0)
    assert metrics == same
    pairs = list(zip(changed.parameters(), plain.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in pairs)
    assert max(float((a - b).detach().abs().max()) for a, b in pairs) < 0.2


def test_a_metanetwork_of_another_family_is_refused_before_anything_runs(study, tmp_path):
    study_file = tmp_path / "study.yaml"
    network = {**NETWORK, "model": "mlp", "width": 8}
    study_file.write_text(
        f"study: s\nrun: {{task: meta_prune, metanetwork: '{file_of(study)}', network: {json.dumps(network)}}}\n"
        "objectives: {val_accuracy: maximize}\nspace: {target.macs: {type: float, low: 0.1, high: 0.5}}\n"
        "budget: {trials: 1}\n"
    )
    with pytest.raises(PruningError, match="was made for kernels"):
        autosearch.load(study_file).check()
    study_file.write_text(study_file.read_text().replace(str(file_of(study)), "nowhere.pt"))
    with pytest.raises(PruningError, match="no metanetwork can be read"):
        autosearch.load(study_file).check()


def test_meta_training_goes_on_bit_exactly_after_a_kill(study, tmp_path):
    task, options = PruneTask(network=NETWORK).dense, MetaOptions.of(META)
    stage = MetaTraining(task, options, histories=study.history.stages)

    def states(folder):
        return torch.load(folder / "learner.pt", weights_only=True)["states"]

    whole, half, rest = (tmp_path / name for name in ("whole", "half", "rest"))
    run = list(stage.run(Job(0, {}, 3)))
    run[-1].save(whole)
    progress = list(stage.run(Job(0, {}, 3, until=2)))[-1]
    progress.save(half)
    again = list(stage.run(Job(0, {}, 3, checkpoint=half, step=2)))
    again[-1].save(rest)
    assert [dict(p.metrics) for p in again] == [dict(p.metrics) for p in run[2:]]
    a, b = states(whole), states(rest)
    assert sorted(a) == sorted(b) == [2, 4]
    assert all(torch.equal(a[epoch][name], b[epoch][name]) for epoch in a for name in a[epoch])


def test_without_a_residual_a_trial_is_the_control(study, tmp_path):
    task = PruneTask(network=NETWORK).dense
    example = batches_of(task, 1, 0)[0][0]
    dense = study.history.stages["dense"][0].checkpoint
    network = PruneTask(network=NETWORK, checkpoint=dense).dense_network(0)[0]
    nothing = MetaNetwork(trace(network, example).family, layers=1, hidden=4, residual=0.0).save(
        tmp_path / "none.pt"
    )
    options = {"network": NETWORK, "checkpoint": dense, "epochs": 1, "epochs_before": 1}
    ours = [p.metrics for p in MetaPruneTask(metanetwork=nothing, **options).run(Job(0, {}, 1))]
    control = [p.metrics for p in PruneTask(**options).run(Job(0, {}, 1))]
    assert [m["val_loss"] for m in ours] == [m["val_loss"] for m in control]


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"data_models": 1}, "held_out"),
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"initial": 0.0}, "initial"),
        ({"loss": "small"}, "one of removed, sparsity"),
        ({"ahead": -1}, "ahead: at least 0"),
        ({"speed_ups": [2.0]}, "two or more"),
        ({"speed_ups": [3.0, 2.0]}, "increasing"),
    ],
)
def test_wrong_settings_are_one_clear_error(meta, message):
    with pytest.raises(OptionError, match=message):
        MetaPruneTask(network=NETWORK, meta=meta)


def test_every_data_model_is_trained_however_many_there_are():
    task = MetaPruneTask(network=NETWORK, meta={**META, "data_models": 9})
    whole = autosearch.Study({"target.macs": autosearch.Float(0.3, 0.8)}, {"val_accuracy": "maximize"})
    stage = next(stage for stage in task.stages(whole.problem) if stage.name == "data_models")
    trials = autosearch.Study(stage.space, stage.goals, searcher=stage.searcher, budget=stage.budget).ask(20)
    assert sorted(trial.config["index"] for trial in trials) == list(range(9))


def test_what_is_to_stay_whole_stays_so_in_every_stage(tmp_path):
    run = {"task": "meta_prune", "network": NETWORK, "epochs": 1, "ignore": ["3"], "target": {"macs": 0.6}}
    (tmp_path / "study.yaml").write_text(
        f"""
study: whole
run: {json.dumps({**run, "meta": {**META, "epochs": 2}})}
objectives: {{val_accuracy: maximize}}
space: {{train.lr: {{type: float, low: 1e-3, high: 1e-2}}}}
searcher: random
budget: {{trials: 1}}
resources: {{runner: inline}}
"""
    )
    study = autosearch.load(tmp_path / "study.yaml").run()
    task = PruneTask(network=NETWORK).dense
    width = task.learner(0).model.get_submodule("3").out_channels
    models = load_data_models(task, study.history.stages["data_models"])
    assert [model.get_submodule("3").out_channels for model in models] == [width] * META["data_models"]
    assert study.history.stages["choice"].complete


def test_meta_training_removes_no_channel_that_is_to_stay(monkeypatch):
    from autosearch.methods.metaprune import goals

    removed = []
    kept = goals.remaining
    monkeypatch.setattr(goals, "remaining", lambda *a: removed.append(a[2]) or kept(*a))
    task = PruneTask(network=NETWORK).dense
    model, batches = task.learner(0).model, batches_of(task, 1, 0)
    for ignore in ((), ("3",)):
        data = goals.DataModel.of(model, batches[0][0], ignore)
        goal = MetaOptions.of({**META, "ahead": 0}).goal(task, PruneTask(network=NETWORK).options)
        goal(data, dict(data.model.named_parameters()), batches, 0)
    assert [("3", "out") in found for found in removed] == [True, False]
