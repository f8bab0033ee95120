import math

import numpy as np
import pytest

from autosearch.methods.autolrs.forecast import forecast, forecast_smoothed


def curve(rate_times_n, n, a=1.5, c=0.7):
    return a * np.exp(rate_times_n * np.arange(n) / n) + c


@pytest.mark.parametrize("n", [16, 100, 800])
@pytest.mark.parametrize("rate", [-0.3, -1, -3, -10, -30])
@pytest.mark.parametrize("a", [1.5, -1.5])
def test_an_exact_exponential_is_continued_exactly(rate, n, a):
    expected = a * math.exp(rate * 10) + 0.7
    found = forecast(curve(rate, n, a), 10 * n)
    assert abs(found.mean - expected) < 1e-5 * abs(a)
    assert found.rising == (a < 0)


def test_noise_of_two_percent_leaves_the_forecast_within_one():
    errors = []
    for seed in range(40):
        noise = 0.03 * np.random.default_rng(seed).standard_normal(100)
        errors.append(abs(forecast(curve(-3, 100) + noise, 1000).mean - 0.7))
    assert np.median(errors) < 0.01 * 1.5


def test_the_variance_tells_the_size_of_the_error():
    scores = []
    for seed in range(60):
        noise = 0.03 * np.random.default_rng(seed).standard_normal(60)
        found = forecast(curve(-2, 60) + noise, 600)
        scores.append((found.mean - 0.7 - 1.5 * math.exp(-20)) / math.sqrt(found.variance))
    assert 0.4 < np.std(scores) < 1.6


def test_the_forecast_follows_scale_and_shift_of_losses_and_the_unit_of_time():
    y = curve(-3, 50) + 0.02 * np.random.default_rng(0).standard_normal(50)
    plain = forecast(y, 500)
    moved = forecast(5 * y - 2, 500)
    assert moved.mean == pytest.approx(5 * plain.mean - 2, rel=1e-6)
    assert moved.variance == pytest.approx(25 * plain.variance, rel=1e-4)
    stretched = forecast(y, 1500, times=3 * np.arange(50))
    assert stretched.mean == pytest.approx(plain.mean, rel=1e-9)


def test_a_constant_series_stays_where_it_is():
    found = forecast([0.5] * 20, 1000)
    assert (found.mean, found.variance, found.rising) == (0.5, 0.0, False)


@pytest.mark.parametrize("losses", [[0.4], [0.9, 0.4]])
def test_fewer_than_three_losses_forecast_the_last(losses):
    assert forecast(losses, 100).mean == 0.4


@pytest.mark.parametrize("method", [forecast, forecast_smoothed])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_divergence(method, bad):
    found = method([1.0, 0.9, bad, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], 100)
    assert found.diverged
    assert found.mean == math.inf


def test_single_outliers_do_not_move_the_forecast():
    y = curve(-3, 100)
    y[[10, 60]] += 3.0
    assert forecast(y, 1000).mean == pytest.approx(0.7, abs=0.01)


def test_the_smoothed_forecast_recovers_an_exponential_in_noise():
    errors = []
    for seed in range(20):
        noise = 0.03 * np.random.default_rng(seed).standard_normal(200)
        errors.append(abs(forecast_smoothed(curve(-3, 200) + noise, 2000).mean - 0.7))
    assert np.median(errors) < 0.03
