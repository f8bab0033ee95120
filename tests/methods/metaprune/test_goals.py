"""The loss of the network that a removal leaves."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.func import functional_call

from autosearch.core.seeds import derive_seed
from autosearch.methods.metaprune import DataModel, MetaNetwork, MetaTrainer, Removed, meta_loss, state_of
from autosearch.methods.metaprune.goals import remaining
from autosearch.methods.metaprune.stages import batches_of
from autosearch.methods.pruning import PruneOptions, masked, prune, recalibrate, shrink
from autosearch.methods.pruning.task import PruneTask
from tests.methods.pruning.networks import NAMES, network

TASK = PruneTask(
    network={
        "task": "image_classification", "dataset": "digits", "model": "resnet", "width": 4, "depth": 8,
        "train_size": 128, "epochs": 1,
    }
).dense  # fmt: skip


def data_model(*, seed=0):
    batches = batches_of(TASK, 2, 0)
    model = TASK.learner(seed).model
    recalibrate(model, batches)
    return DataModel.of(model, batches[0][0]), batches


def metanetwork(data, residual=0.05):
    torch.manual_seed(0)
    return MetaNetwork(data.schema.family, layers=1, hidden=4, residual=residual)


def goal(ahead=0, speed_up=3.0):
    return Removed(TASK, PruneOptions(), (speed_up, speed_up), ahead)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "encoder"])
def test_what_remains_of_parameters_is_what_a_removal_leaves(name):
    model, inputs = network(name)
    pruned = prune(model, inputs, target={"macs": 0.5})
    values = {key: value.detach().clone().requires_grad_() for key, value in model.named_parameters()}
    left = remaining(model, values, pruned.kept)
    own = dict(pruned.model.named_parameters())
    assert left.keys() == own.keys()
    assert all(torch.equal(left[key], own[key]) for key in own)
    sum(value.sum() for value in left.values()).backward()
    went = sum(int(value.grad.sum()) for value in values.values())
    assert went == sum(value.numel() for value in own.values())


def test_the_masked_network_computes_what_the_remaining_parameters_compute():
    data, batches = data_model()
    pruned = prune(data.model, batches[0][0], target={"macs": 0.4})
    left = remaining(data.model, dict(data.model.named_parameters()), pruned.kept)
    small = shrink(data.model, pruned.kept).eval()
    with torch.no_grad():
        ours = functional_call(small, left, (batches[0][0],))
        mask = masked(data.model, pruned.kept).eval()(batches[0][0])
        assert torch.allclose(ours, mask, atol=1e-5)
        assert torch.allclose(ours, pruned.model.eval()(batches[0][0]), atol=1e-5)


def test_without_a_change_the_loss_is_that_of_the_pruned_network_recalibrated():
    data, batches = data_model()
    found = meta_loss(metanetwork(data, 0.0), data, batches, goal())
    pruned = prune(data.model, batches[0][0], target={"macs": 1 / 3}).model
    pruned.train()
    with torch.no_grad():
        expected = sum(nn.functional.cross_entropy(pruned(batch[0]), batch[1]) for batch in batches) / 2
    assert list(found) == ["loss"]
    assert float(found["loss"].detach()) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_gradient_reaches_every_part_of_the_metanetwork_and_no_data_model(ahead):
    data, batches = data_model()
    before = copy.deepcopy(state_of(data.model))
    meta = metanetwork(data)
    meta_loss(meta, data, batches, goal(ahead))["loss"].backward()
    without = [name for name, p in meta.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert all(torch.equal(value, before[name]) for name, value in state_of(data.model).items())
    assert all(p.grad is None and not p.requires_grad for p in data.model.parameters())


def test_training_ahead_is_the_ordinary_training():
    data, batches = data_model()
    values = {name: p.detach() for name, p in data.model.named_parameters()}
    pruned = prune(data.model, batches[0][0], target={"macs": 1 / 3}).model.train()
    for parameter in pruned.parameters():
        parameter.requires_grad_(True)
    learner = TASK.learner(derive_seed(5, "ahead"), network=pruned)
    learner.advance(learner.batches.batches_per_epoch)
    with torch.no_grad():
        expected = sum(nn.functional.cross_entropy(pruned(batch[0]), batch[1]) for batch in batches) / 2
    assert float(goal(1)(data, values, batches, 5)["loss"]) == pytest.approx(float(expected), abs=1e-5)


def test_the_movement_of_training_ahead_is_held_constant():
    data, batches = data_model()
    changed = {name: p.detach().clone().requires_grad_() for name, p in data.model.named_parameters()}
    at_once = goal(0)(data, changed, batches, 5)["loss"]
    later = goal(1)(data, changed, batches, 5)["loss"]
    assert float(later.detach()) < float(at_once.detach())
    assert float(goal(1)(data, changed, batches, 5)["loss"].detach()) == float(later.detach())
    assert float(goal(1)(data, changed, batches, 6)["loss"].detach()) != float(later.detach())
    later.backward()
    kept = prune(data.model, batches[0][0], target={"macs": 1 / 3}).kept
    touched = {name: int((value.grad != 0).sum()) for name, value in changed.items()}
    left = {name: p.numel() for name, p in shrink(data.model, kept).named_parameters()}
    assert all(touched[name] <= left[name] for name in left)
    assert sum(touched.values()) > 0.5 * sum(left.values())


def test_meta_training_on_the_removed_network_lowers_its_loss_and_goes_on_where_it_stopped():
    data, batches = data_model()

    def trainer():
        return MetaTrainer(metanetwork(data), goal(), lr=1e-2)

    whole, first, second = trainer(), trainer(), trainer()
    losses = [whole.train_epoch([data], batches, seed)["loss"] for seed in range(12)]
    assert min(losses[6:]) < losses[0]
    for seed in range(6):
        first.train_epoch([data], batches, seed)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert [second.train_epoch([data], batches, seed)["loss"] for seed in range(6, 12)] == losses[6:]
    pairs = zip(whole.metanetwork.parameters(), second.metanetwork.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_speed_up_is_drawn_between_both_ends():
    data, batches = data_model()
    shares = []

    @dataclasses.dataclass(frozen=True)
    class Noted:
        def scores(self, model, groups, context):
            shares.append(context.seed)
            return [torch.arange(len(group), dtype=torch.float) for group in groups.groups]

    values = dict(data.model.named_parameters())
    drawn = Removed(TASK, PruneOptions(criterion=Noted()), (2.0, 6.0), 0)
    losses = {float(drawn(data, values, batches, seed)["loss"].detach()) for seed in range(4)}
    assert len(losses) > 1
    assert len(set(shares)) == 4
