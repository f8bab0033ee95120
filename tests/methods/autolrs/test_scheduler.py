"""AutoLRS in a loop of one's own."""

import copy
import io

import pytest
import torch
from torch import nn

import autosearch
from autosearch.core import OptionError
from autosearch.learning import build_lr_schedule

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, :2].sum(1, keepdim=True) > 0).float()
OPTIONS = {
    "paper": {"lr_range": (1e-3, 1.0), "tau": 20, "tau_max": 40, "candidates": 3, "first_candidates": 3},
    "modern": {"tau": 30, "ratio": 5, "min_probe": 5, "first_candidates": 4, "candidates": 2, "until": 0.9},
}


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))


def loader(batches=7, size=8):
    return [(X[i * size : (i + 1) * size], Y[i * size : (i + 1) * size]) for i in range(batches)]


def optimizer_of(model, kind):
    if kind == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return torch.optim.AdamW(model.parameters(), lr=0.01)


class Loop:
    def __init__(self, preset="modern", kind="sgd", total=240, **options):
        self.model = network()
        self.optimizer = optimizer_of(self.model, kind)
        self.average = torch.optim.swa_utils.AveragedModel(self.model)
        self.scheduler = autosearch.AutoLRS(
            self.optimizer,
            self.model,
            preset=preset,
            total_steps=total,
            extra_state=[self.average],
            **{**OPTIONS[preset], **options},
        )
        self.seen, self.infos = [], []

    def train(self, steps=None):
        for x, y in self.scheduler.batches(loader()):
            lrs = [group["lr"] for group in self.optimizer.param_groups]
            loss = nn.functional.binary_cross_entropy_with_logits(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.average.update_parameters(self.model)
            self.seen.append((float(x[0, 0]), lrs, float(loss.detach())))
            self.infos.append(self.scheduler.step(loss))
            if steps is not None and len(self.seen) >= steps:
                break
        return self

    def weights(self):
        return copy.deepcopy([*self.model.state_dict().values(), *self.average.state_dict().values()])


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("preset", OPTIONS)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_candidates_leave_weights_statistics_and_averages_bit_identical(preset, kind):
    loop = Loop(preset, kind, keep_winner=False)
    before = loop.weights()
    optimizer = copy.deepcopy(loop.optimizer.state_dict()["state"])
    steps = 18 if preset == "modern" else 6  # all but the last candidate
    loop.train(steps)
    assert {info.phase for info in loop.infos} == {"search"}
    assert equal(before, loop.weights())
    assert loop.optimizer.state_dict()["state"] == optimizer == {}


@pytest.mark.parametrize("preset", OPTIONS)
def test_candidates_see_the_same_batches_and_the_same_dropout(preset):
    loop = Loop(preset, lr_range=(0.02, 0.0200001) if preset == "paper" else None).train(8)
    size = loop.scheduler.controller.settings.probe(loop.scheduler.controller.state.tau)
    first, second = loop.seen[:size], loop.seen[size : 2 * size]
    assert [b for b, *_ in first][: len(second)] == [b for b, *_ in second]
    # Nearly equal learning rates in the paper's run: the losses tell that masks are equal too.
    if preset == "paper":
        assert [loss for *_, loss in first] == pytest.approx([loss for *_, loss in second], abs=1e-5)


def test_the_learning_rate_holds_from_the_first_step_after_a_rollback():
    loop = Loop("paper").train(6)
    used = [lrs[0] for _, lrs, _ in loop.seen]
    assert used[0] == used[1] != used[2] == used[3] != used[4] == used[5]


def test_ratios_of_parameter_groups_are_kept():
    model = network()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[4].parameters(), "lr": 0.1}]
    )
    scheduler = autosearch.AutoLRS(optimizer, model, total_steps=200, **OPTIONS["modern"])
    for x, y in scheduler.batches(loader()):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss)
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == pytest.approx(10 * first)
        assert scheduler.get_last_lr() == [first, second]


@pytest.mark.parametrize("preset", OPTIONS)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("cut", [3, 8, 31, 63, 150])
def test_a_killed_run_goes_on_bit_for_bit(preset, kind, cut):
    torch.manual_seed(5)
    whole = Loop(preset, kind)
    torch.manual_seed(6)
    whole.train()

    first = Loop(preset, kind)
    torch.manual_seed(6)
    first.train(cut)
    file = io.BytesIO()
    parts = (first.model, first.optimizer, first.average, first.scheduler)
    torch.save([part.state_dict() for part in parts], file)
    file.seek(0)

    torch.manual_seed(99)
    second = Loop(preset, kind)
    parts = (second.model, second.optimizer, second.average, second.scheduler)
    for part, state in zip(parts, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    second.train()
    assert [*first.seen, *second.seen] == whole.seen
    assert equal(second.weights(), whole.weights())


def test_what_was_found_replays_in_lambda_lr():
    loop = Loop("modern").train()
    found = loop.scheduler.export_schedule()
    trained = [
        (info.steps, info.lr) for info in loop.infos if info.phase == "train" and info.steps < found.steps
    ]
    peak = max(lr for _, lr in loop.scheduler.history)
    for steps, lr in trained[:-1]:
        assert peak * found(steps) == pytest.approx(lr, rel=0.02, abs=1e-9)
    replayed = build_lr_schedule(found.definition(), found.steps)
    assert [replayed(n) for n in range(found.steps)] == [found(n) for n in range(found.steps)]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    driver = torch.optim.lr_scheduler.LambdaLR(optimizer, found)
    assert driver.get_last_lr()[0] == pytest.approx(loop.scheduler.history[0][1])


def test_the_learning_rate_found_is_known_from_the_end_of_the_first_search():
    loop = Loop("modern")
    assert loop.scheduler.found_lr is None
    while loop.scheduler.found_lr is None:
        loop.train(len(loop.seen) + 1)
    info = loop.infos[-1]
    base = loop.scheduler.controller.base(info.total_steps)
    assert info.lr == pytest.approx(loop.scheduler.found_lr * base)


def test_total_steps_count_the_search():
    loop = Loop("modern").train()
    assert len(loop.seen) == 240 == loop.infos[-1].total_steps
    assert loop.infos[-1].steps + loop.scheduler.search_steps == 240
    assert sum(info.counts_as_training for info in loop.infos) < 240


def test_a_validation_loss_changes_no_state_of_training():
    def run(validate):
        loop = Loop("modern", val_loss=validate)
        torch.manual_seed(6)
        return loop, loop.train(12)

    modes = []

    def noisy():
        modes.append(loop_model.training)
        torch.rand(17)
        return 1.0

    loop_model = network()
    plain = Loop("modern", val_loss=lambda: 1.0)
    loop_model = plain.model
    torch.manual_seed(6)
    plain.train(60)
    drawing = Loop("modern", val_loss=noisy)
    loop_model = drawing.model
    torch.manual_seed(6)
    drawing.train(60)
    assert [loss for *_, loss in plain.seen] == [loss for *_, loss in drawing.seen]
    assert modes
    assert not any(modes)
    assert drawing.model.training


def test_accumulated_batches_are_replayed_together():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scheduler = autosearch.AutoLRS(optimizer, model, total_steps=60, **OPTIONS["modern"])
    size = scheduler.controller.settings.probe(scheduler.controller.state.tau)
    seen, parts = [], []
    for x, y in scheduler.batches(loader(batches=7)):
        parts.append((x, y))
        if len(parts) < 2:
            continue
        seen.append(tuple(float(x[0, 0]) for x, _ in parts))
        optimizer.zero_grad()
        total = 0.0
        for x, y in parts:
            loss = nn.functional.mse_loss(model(x), y) / 2
            loss.backward()
            total += float(loss.detach())
        optimizer.step()
        scheduler.step(total)
        parts = []
    assert seen[:size] == seen[size : 2 * size] == seen[2 * size : 3 * size]
    assert len(set(seen[:size])) == size
    assert len(seen) == 60


def test_a_torch_scheduler_as_base_is_followed_from_its_peak():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=40)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    base = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [40])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.005)
    scheduler = autosearch.AutoLRS(optimizer, model, total_steps=240, base=base, until=0.0)
    used = []
    for x, y in scheduler.batches(loader()):
        used.append(optimizer.param_groups[0]["lr"])
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss)
    assert used[0] == pytest.approx(0.005)
    assert used[40] == pytest.approx(0.05)
    assert used[140] == pytest.approx(0.025)


def test_a_torch_scheduler_as_base_needs_the_length_of_the_run():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    base = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    with pytest.raises(OptionError, match="needed to follow a torch lr scheduler"):
        autosearch.AutoLRS(optimizer, model, base=base, preset="paper", lr_range=(0.1, 1.0))


class Prodigy(torch.optim.SGD):
    pass


class AdamWScheduleFree(torch.optim.SGD):
    pass


@pytest.mark.parametrize("kind", [Prodigy, AdamWScheduleFree, torch.optim.LBFGS])
def test_optimizers_with_a_step_size_of_their_own_are_refused(kind):
    model = network()
    with pytest.raises(OptionError, match="sets its own step size"):
        autosearch.AutoLRS(kind(model.parameters(), lr=1.0), model, total_steps=100)


def test_a_learning_rate_of_zero_and_an_empty_loader_are_refused():
    model = network()
    with pytest.raises(OptionError, match="first group's must be above 0"):
        autosearch.AutoLRS(torch.optim.SGD(model.parameters(), lr=0.0), model, total_steps=100)
    loop = Loop()
    with pytest.raises(OptionError, match="the loader is empty, or it is an iterator"):
        next(loop.scheduler.batches([]))


def test_a_network_without_parameters_and_groups_that_come_later_are_refused():
    model = network()
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(OptionError, match="model: has no parameters"):
        autosearch.AutoLRS(optimizer, nn.ReLU(), total_steps=100)
    scheduler = autosearch.AutoLRS(optimizer, model, total_steps=100)
    optimizer.add_param_group({"params": list(model[4].parameters())})
    with pytest.raises(OptionError, match="has 2 parameter groups and had 1 at the start"):
        scheduler.step(1.0)


def test_half_precision_with_loss_scaling_rolls_the_scale_back():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=3)
    scheduler = autosearch.AutoLRS(
        optimizer, model, total_steps=200, extra_state=[scaler], **{**OPTIONS["modern"], "keep_winner": False}
    )
    for x, y in scheduler.batches(loader()):
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.mse_loss(model(x).float(), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if scheduler.step(loss).stage == 0 and scheduler.controller.state.done == 0:
            assert scaler.get_scale() == 2.0**4
        if scheduler.controller.state.phase == "train":
            break
