import math

import numpy as np
import pytest

from autosearch.methods.autolrs.range_test import alive, is_over, steepest, sweep


def test_the_sweep_rises_by_one_factor_from_low_to_high():
    lrs = [sweep(1e-4, 1.0, 101, i) for i in range(101)]
    assert lrs[0] == pytest.approx(1e-4)
    assert lrs[-1] == pytest.approx(1.0)
    assert np.diff(np.log(lrs)) == pytest.approx(math.log(1e4) / 100)


def test_the_steepest_fall_is_found_in_noise():
    lrs = [sweep(1e-4, 1.0, 100, i) for i in range(100)]
    # A fall centred at 1e-2, where the sigmoid is steepest.
    clean = [1 - 0.8 / (1 + math.exp(-3 * math.log(lr / 1e-2))) for lr in lrs]
    for seed in range(10):
        noise = 0.02 * np.random.default_rng(seed).standard_normal(100)
        assert 5e-3 < steepest(lrs, list(clean + noise), 100) < 2e-2


def test_a_loss_that_never_falls_gives_the_middle():
    lrs = [sweep(1e-4, 1.0, 100, i) for i in range(100)]
    assert steepest(lrs, [1.0] * 100, 100) == pytest.approx(1e-2)
    assert steepest(lrs, [math.inf], 100) == pytest.approx(1e-4)


def test_the_sweep_is_over_where_the_loss_explodes_or_is_not_finite():
    assert is_over([1.0, math.nan], 100)
    assert is_over([1.0] * 50 + [100.0] * 20, 100)
    assert not is_over([1.0] * 50 + [2.0] * 20, 100)


def test_a_learning_network_is_below_a_tenth_of_the_sweeps_progress():
    losses = [2.0] * 40 + [1.0] * 60
    assert alive(losses, 100) == pytest.approx(1.9, abs=0.01)
    assert alive([*losses, math.inf], 100) == pytest.approx(1.9, abs=0.01)
    assert alive([math.nan], 100) == math.inf
