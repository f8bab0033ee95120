import pickle

import pytest
import torch

from autosearch.core import OptionError
from autosearch.learning import LR_SCHEDULES, build_lr_schedule


def driven_by_torch(schedule, steps):
    """Factors that `schedule` gives through torch's LambdaLR."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    driver = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    return factors_of(driver, optimizer, steps)


def factors_of(driver, optimizer, steps):
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        driver.step()
    return factors


def test_cosine_equals_torchs_own():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    driver = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100, eta_min=0.05)
    expected = factors_of(driver, optimizer, 101)
    found = driven_by_torch(build_lr_schedule({"method": "cosine", "final": 0.05}, 100), 101)
    assert found == pytest.approx(expected, abs=1e-9)


def test_step_equals_torchs_own():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    driver = torch.optim.lr_scheduler.MultiStepLR(optimizer, [40, 70], gamma=0.2)
    expected = factors_of(driver, optimizer, 100)
    definition = {"method": "step", "milestones": [0.4, 0.7], "gamma": 0.2}
    assert driven_by_torch(build_lr_schedule(definition, 100), 100) == pytest.approx(expected)


def test_constant_stays_at_one():
    assert {build_lr_schedule("constant", 10)(n) for n in range(20)} == {1.0}


def test_the_warm_up_rises_in_a_straight_line_and_the_rest_follows():
    schedule = build_lr_schedule("cosine", 100, warmup=0.1)
    assert [schedule(n) for n in range(10)] == pytest.approx([(n + 1) / 11 for n in range(10)])
    assert schedule(10) == 1.0
    assert schedule(100) == pytest.approx(0.0)
    assert schedule(500) == pytest.approx(0.0)


@pytest.mark.parametrize("name", LR_SCHEDULES)
def test_every_lr_schedule_survives_pickling(name):
    schedule = build_lr_schedule(name, 50, warmup=0.2)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize(
    ("definition", "warmup", "message"),
    [
        ("cosin", 0.0, "Did you mean 'cosine'"),
        ({"final": 0.1}, 0.0, "unknown lr schedule None"),
        ({"method": "cosine", "finl": 0.1}, 0.0, "unexpected keyword argument 'finl'"),
        ("cosine", 1.0, r"warmup: a share of the run in \[0, 1\)"),
    ],
)
def test_an_impossible_lr_schedule_is_refused(definition, warmup, message):
    with pytest.raises(OptionError, match=message):
        build_lr_schedule(definition, 100, warmup)
