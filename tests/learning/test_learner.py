import random

import numpy as np
import pytest
import torch
from torch import nn

from autosearch.core import Learner, OptionError
from autosearch.learning import (
    BatchStream,
    CheckpointError,
    StepOptions,
    TorchLearner,
    build_lr_schedule,
    build_optimizer,
    export_weights,
    load_checkpoint,
    save_checkpoint,
)


class Noisy(nn.Module):
    """Draws from every global generator in its forward pass."""

    def forward(self, x):
        if not self.training:
            return x
        return x + 0.1 * (random.random() + np.random.rand()) * torch.rand_like(x)  # noqa: NPY002


def make(optimizer="adamw", *, seed=3, options=None, lr=0.01, schedule="cosine", batch_norm=True, **extra):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8) if batch_norm else nn.Identity()
    model = nn.Sequential(nn.Linear(5, 8), norm, nn.ReLU(), nn.Dropout(0.3), Noisy(), nn.Linear(8, 3))
    x, y = torch.randn(70, 5), torch.randint(3, (70,))

    def fetch(indices, generator):
        return x[indices] + 0.1 * torch.randn(len(indices), 5, generator=generator), y[indices]

    def loss(net, batch):
        return nn.functional.cross_entropy(net(batch[0]), batch[1])

    return TorchLearner(
        model,
        BatchStream(70, 16, fetch, seed=seed),
        loss,
        build_optimizer(model, optimizer, lr=lr, weight_decay=0.01),
        evaluation=lambda net: {"val_loss": float(loss(net, (x, y)))},
        lr_schedule=build_lr_schedule(schedule, 200, warmup=0.1 if schedule == "cosine" else 0.0),
        options=options,
        seed=seed,
        **extra,
    )


def weights(learner):
    return torch.cat([t.flatten().double() for t in learner.evaluated_model.state_dict().values()])


OPTIONS = {
    "plain": StepOptions(),
    "ema": StepOptions(ema=0.9),
    "accumulate": StepOptions(accumulate=3),
    "clip": StepOptions(clip_norm=0.5),
    "bf16": StepOptions(amp="bf16"),
    "fp16": StepOptions(amp="fp16"),
    "all": StepOptions(accumulate=2, clip_norm=0.5, ema=0.95, amp="bf16", deterministic=True),
}


def test_the_learner_fills_the_protocol():
    assert isinstance(make(), Learner)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("name", OPTIONS)
def test_restoring_repeats_the_next_100_steps_bit_for_bit(optimizer, name):
    learner = make(optimizer, options=OPTIONS[name])
    learner.advance(7)
    start = learner.snapshot()
    first = [learner.advance(5)["train_loss"] for _ in range(20)]
    end = weights(learner)
    learner.restore(start)
    assert [learner.advance(5)["train_loss"] for _ in range(20)] == first
    assert torch.equal(weights(learner), end)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_fresh_learner_goes_on_from_a_checkpoint_bit_for_bit(name, tmp_path):
    learner = make(options=OPTIONS[name])
    learner.advance(9)
    save_checkpoint(tmp_path, learner.snapshot())
    learner.advance(50)
    fresh = make(options=OPTIONS[name])
    fresh.restore(load_checkpoint(tmp_path))
    fresh.advance(50)
    assert torch.equal(weights(fresh), weights(learner))
    assert fresh.lr == learner.lr


def test_a_snapshot_may_be_restored_many_times():
    learner = make()
    learner.advance(3)
    start = learner.snapshot()
    ends = []
    for _ in range(3):
        learner.advance(10)
        ends.append(weights(learner))
        learner.restore(start)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


def test_restoring_brings_back_adjusted_values():
    learner = make(schedule="constant", settings={"knob": (0.5, lambda value: None)})
    start = learner.snapshot()
    learner.adjust({"lr": 0.5, "weight_decay": 0.3, "momentum": 0.1, "knob": 0.9})
    learner.restore(start)
    assert learner.values == pytest.approx({"lr": 0.01, "weight_decay": 0.01, "momentum": 0.9, "knob": 0.5})
    assert learner.optimizer.param_groups[0]["betas"][0] == 0.9


def test_evaluating_changes_nothing_that_training_depends_on():
    one, other = make(), make()
    for _ in range(5):
        one.advance(3)
        other.advance(3)
        other.evaluate()
    assert torch.equal(weights(one), weights(other))


def test_training_leaves_the_callers_random_state_alone():
    learner = make()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    learner.advance(4)
    learner.evaluate()
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected  # noqa: NPY002


def test_two_learners_taking_turns_do_not_disturb_each_other():
    alone = make()
    alone.advance(10)
    one, other = make(), make(seed=8)
    for _ in range(10):
        one.advance(1)
        other.advance(1)
    assert torch.equal(weights(one), weights(alone))


def test_modules_in_eval_mode_stay_there():
    learner = make()
    learner.model[1].eval()
    learner.evaluate()
    assert not learner.model[1].training
    assert learner.model[3].training


def test_adjust_sets_values_and_keeps_the_ratios_of_groups():
    model = nn.Linear(2, 2)
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 1.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.5, weight_decay=0.01)
    stream = BatchStream(4, 2, lambda i, g: (torch.ones(len(i), 2),), seed=0)
    learner = TorchLearner(model, stream, lambda m, b: m(b[0]).mean(), optimizer)
    learner.adjust({"lr": 0.02, "momentum": 0.7, "weight_decay": 0.03})
    learner.advance(1)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.02, 0.2])
    assert [g["momentum"] for g in optimizer.param_groups] == [0.7, 0.7]
    assert [g["weight_decay"] for g in optimizer.param_groups] == pytest.approx([0.03, 0.03])


def test_biases_and_norms_do_not_decay():
    learner = make()
    learner.adjust({"weight_decay": 0.5})
    decays = {p.ndim: g["weight_decay"] for g in learner.optimizer.param_groups for p in g["params"]}
    assert decays == {2: 0.5, 1: 0.0}


def test_adjust_refuses_an_unknown_name_and_sets_nothing():
    learner = make()
    with pytest.raises(OptionError, match="Did you mean 'weight_decay'"):
        learner.adjust({"lr": 1.0, "weight_decy": 0.1})
    assert learner.values["lr"] == 0.01


def test_an_adjusted_lr_holds_from_the_first_step_after_a_restore():
    learner = make(schedule="constant")
    learner.advance(30)
    start = learner.snapshot()
    learner.restore(start)
    learner.adjust({"lr": 0.123})
    assert learner.advance(1)["lr"] == 0.123


def test_accumulating_gradients_makes_the_step_of_the_whole_batch():
    def linear(accumulate):
        torch.manual_seed(0)
        model = nn.Linear(5, 3).double()
        x, y = torch.randn(32, 5, dtype=torch.float64), torch.randint(3, (32,))
        stream = BatchStream(32, 10, lambda i, g: (x[i], y[i]), seed=0)
        learner = TorchLearner(
            model,
            stream,
            lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]),
            torch.optim.SGD(model.parameters(), lr=0.5),
            options=StepOptions(accumulate=accumulate),
        )
        return learner.advance(9)["train_loss"], weights(learner)

    (loss, whole), (part_loss, parts) = linear(1), linear(3)
    assert part_loss == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(whole, parts, atol=1e-12)


def test_clipping_bounds_the_step():
    model = nn.Linear(4, 1, bias=False)
    before = model.weight.detach().clone()
    stream = BatchStream(1, 1, lambda i, g: (torch.full((1, 4), 1e3),), seed=0)
    learner = TorchLearner(
        model,
        stream,
        lambda m, b: m(b[0]).mean(),
        torch.optim.SGD(model.parameters(), lr=1.0),
        options=StepOptions(clip_norm=0.1),
    )
    learner.advance(1)
    assert float((model.weight.detach() - before).norm()) == pytest.approx(0.1, rel=1e-3)


def test_the_average_follows_the_weights_by_the_stated_rule():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    stream = BatchStream(1, 1, lambda i, g: (torch.ones(1, 1),), seed=0)
    learner = TorchLearner(
        model,
        stream,
        lambda m, b: -m(b[0]).mean(),
        torch.optim.SGD(model.parameters(), lr=1.0),
        options=StepOptions(ema=0.5),
    )
    learner.advance(3)
    average = 0.0
    for t, weight in enumerate((1.0, 2.0, 3.0)):
        decay = min(0.5, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * weight
    assert learner.average.module.weight.item() == pytest.approx(average)


def test_a_diverging_run_can_be_rewound():
    learner = make("sgd")
    start = learner.snapshot()
    expected = learner.advance(5)
    learner.restore(start)
    learner.adjust({"lr": 1e38})
    with pytest.raises(FloatingPointError, match="not finite at step"):
        learner.advance(100)
    learner.restore(start)
    assert learner.advance(5) == expected


def test_a_snapshot_of_another_optimizer_is_refused():
    with pytest.raises(CheckpointError, match=r"trained by SGD.*has AdamW"):
        make().restore(make("sgd").snapshot())


def test_a_snapshot_with_another_batch_size_is_refused():
    learner = make()
    snapshot = learner.snapshot()
    snapshot["batches"]["batch_size"] = 8
    with pytest.raises(OptionError, match="batch_size: the saved position"):
        learner.restore(snapshot)


def test_extra_parts_are_rewound():
    counter = nn.Linear(1, 1)
    learner = make(extra={"counter": counter})
    start = learner.snapshot()
    before = counter.weight.item()
    nn.init.constant_(counter.weight, 42.0)
    learner.restore(start)
    assert counter.weight.item() == before


def test_deterministic_mode_ends_with_the_call():
    make(options=StepOptions(deterministic=True)).advance(2)
    assert not torch.are_deterministic_algorithms_enabled()


def test_inheriting_takes_weights_and_keeps_own_values():
    parent, child = make("sgd"), make("sgd", lr=0.5, seed=9, schedule="constant")
    parent.advance(8)
    child.inherit(parent.snapshot(), 2)
    assert torch.equal(weights(child), weights(parent))
    assert child.step == 2 * child.batches.batches_per_epoch
    assert child.advance(1)["lr"] == 0.5


@pytest.mark.parametrize("name", ["plain", "ema"])
def test_exported_weights_are_those_of_the_network_that_was_evaluated(tmp_path, name):
    learner = make(options=OPTIONS[name])
    learner.advance(3)
    save_checkpoint(tmp_path, {"learner": {"inner": learner.snapshot(), "of": "a training method"}})
    assert export_weights(tmp_path, tmp_path / "weights.pt")
    found = torch.load(tmp_path / "weights.pt", weights_only=True)
    expected = learner.evaluated_model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
