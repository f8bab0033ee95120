"""Torch lr schedulers, followed ahead of training."""

import pytest
import torch
from torch.optim import lr_scheduler as torch_lr

from autosearch.core import OptionError
from autosearch.learning.lr_torch import factors_of

STEPS = 40


def optimizer_of(*lrs, kind=torch.optim.SGD):
    return kind([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs], lr=lrs[0])


def sequence(optimizer):
    rise = torch_lr.LinearLR(optimizer, 0.1, total_iters=8)
    fall = torch_lr.CosineAnnealingLR(optimizer, STEPS - 8)
    return torch_lr.SequentialLR(optimizer, [rise, fall], [8])


def chain(optimizer):
    return torch_lr.ChainedScheduler(
        [torch_lr.ExponentialLR(optimizer, 0.9), torch_lr.StepLR(optimizer, 10)], optimizer
    )


MAKERS = {
    "cosine": lambda o: torch_lr.CosineAnnealingLR(o, STEPS),
    "lambda": lambda o: torch_lr.LambdaLR(o, lambda step: 1 / (1 + step)),
    "one cycle": lambda o: torch_lr.OneCycleLR(o, [group["lr"] for group in o.param_groups], STEPS),
    "sequence": sequence,
    "chain": chain,
}


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("begun", [0, 5])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_the_learning_rates_are_those_that_the_scheduler_then_sets(name, begun, kind):
    optimizer = optimizer_of(0.1, 0.02, kind=kind)
    if name == "one cycle" and kind is torch.optim.SGD:
        optimizer.param_groups[0]["momentum"] = optimizer.param_groups[1]["momentum"] = 0.9
        optimizer.defaults["momentum"] = 0.9
    scheduler = MAKERS[name](optimizer)
    for _ in range(begun):
        optimizer.step()
        scheduler.step()
    before = [group["lr"] for group in optimizer.param_groups]
    found, peaks = factors_of(scheduler, STEPS - begun)
    assert [group["lr"] for group in optimizer.param_groups] == before
    for step in range(STEPS - begun):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            assert peak * found(step) == pytest.approx(group["lr"], rel=1e-6, abs=1e-12)
        if step < STEPS - begun - 1:
            optimizer.step()
            scheduler.step()
    assert max(found(step) for step in range(STEPS - begun)) == 1.0


def test_a_scheduler_that_waits_for_metrics_is_refused():
    with pytest.raises(OptionError, match="depends on metrics"):
        factors_of(torch_lr.ReduceLROnPlateau(optimizer_of(0.1)), STEPS)


def test_a_scheduler_that_ends_early_is_refused():
    optimizer = optimizer_of(0.1, kind=torch.optim.AdamW)
    with pytest.raises(OptionError, match="OneCycleLR ends after 11 steps, the run has 40"):
        factors_of(torch_lr.OneCycleLR(optimizer, 0.1, 10), STEPS)


def test_groups_that_go_different_ways_are_refused():
    optimizer = optimizer_of(0.1, 0.1)
    scheduler = torch_lr.LambdaLR(optimizer, [lambda _: 1.0, lambda step: 0.5**step])
    with pytest.raises(OptionError, match="must keep their ratios"):
        factors_of(scheduler, STEPS)
