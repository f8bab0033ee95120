"""Transforms (T10), entropy (T11), and what is refused."""

import math

import pytest
import torch

from autosearch.core import OptionError
from autosearch.methods.stn.hyper import Hyperparameters, Tuned, read_tuned

RANGES = {
    "both": {"low": -1.0, "high": 3.0},
    "above": {"low": 2.0},
    "below": {"high": 2.0},
    "free": {},
    "log": {"low": 1e-6, "high": 1e-1, "log": True},
    "log from zero": {"low": 0.0, "log": True},
    "log above": {"low": 0.5, "log": True},
}


@pytest.mark.parametrize("kind", RANGES)
def test_unconstrain_undoes_constrain_on_every_range(kind):
    tuned = Tuned("x", **RANGES[kind])
    u = torch.linspace(-4, 4, 41, dtype=torch.float64)
    back = torch.tensor(
        [tuned.unconstrain(float(value)) for value in tuned.constrain(u)], dtype=torch.float64
    )
    assert torch.allclose(back, u, atol=1e-6)


@pytest.mark.parametrize("kind", RANGES)
def test_constrained_values_rise_and_stay_inside(kind):
    tuned = Tuned("x", **RANGES[kind])
    values = tuned.constrain(torch.linspace(-6, 6, 100, dtype=torch.float64))
    assert (values.diff() > 0).all()
    assert tuned.low is None or values.min() > tuned.low
    assert tuned.high is None or values.max() < tuned.high


def test_a_value_far_above_a_lower_end_does_not_overflow():
    tuned = Tuned("x", low=0.0, init=500.0)
    assert float(tuned.constrain(torch.tensor(tuned.start))) == pytest.approx(500.0)


def test_discrete_values_cover_both_ends_and_all_between():
    tuned = Tuned("holes", low=0, high=5, discrete=True)
    values = tuned.constrain(torch.linspace(-40, 40, 4001))
    assert sorted(set(values.tolist())) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    for value in range(6):
        start = Tuned("holes", low=0, high=5, init=value, discrete=True).start
        assert float(tuned.constrain(torch.tensor(start))) == value


def test_draws_come_in_opposite_pairs_and_shared_ones_are_one():
    hyper = Hyperparameters([Tuned("a", 0.0, 1.0), Tuned("b", 0.0, 1.0, shared=True)])
    eps = hyper.draw(6)
    assert torch.equal(eps[0::2, 0], -eps[1::2, 0])
    assert (eps[:, 1] == eps[0, 1]).all()
    assert hyper.draw(5).shape == (5, 2)


def test_the_entropy_pushes_scales_up_as_its_closed_form_says():
    hyper = Hyperparameters([Tuned("a", 0.0, 1.0, sigma=0.3), Tuned("b", 0.0, 1.0, sigma=2.0)])
    (-1e-3 * hyper.entropy()).backward()
    rho = hyper.rho.detach()
    expected = -1e-3 * torch.sigmoid(rho) / torch.nn.functional.softplus(rho)
    assert torch.allclose(hyper.rho.grad, expected, rtol=1e-5)
    assert (hyper.rho.grad < 0).all()
    assert float(hyper.entropy().detach()) == pytest.approx(
        math.log(0.6) + math.log(2 * math.pi * math.e), rel=1e-5
    )


def test_values_are_cut_off_from_gradients():
    hyper = Hyperparameters([Tuned("a", 0.0, 1.0)])
    assert not hyper.constrain(hyper.u + hyper.sigma * hyper.draw(3))["a"].requires_grad


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"low": 0.0, "high": 1.0, "init": 0.0}, "not strictly between"),
        ({"low": 0.0, "high": 1.0, "init": 1.0}, "Start a little inside"),
        ({"low": 1.0, "high": 0.0}, "low must be below high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log needs low above 0"),
        ({"low": 0.0, "high": 1.5, "discrete": True}, "whole numbers"),
        ({"low": 0, "high": 4, "init": 2.5, "discrete": True}, "whole number from 0 to 4"),
        ({"low": 0.0, "high": 1.0, "sigma": 0.0}, "sigma must be above 0"),
        ({"low": 0.0, "hihg": 1.0}, "Did you mean 'high'"),
    ],
)
def test_impossible_ranges_are_refused_with_the_rule(options, said):
    with pytest.raises(OptionError, match=said):
        read_tuned({"x": options})


def test_a_saved_state_of_other_hyperparameters_is_refused():
    state = Hyperparameters([Tuned("a", 0.0, 1.0)]).state_dict()
    with pytest.raises(OptionError, match="the saved state tunes"):
        Hyperparameters([Tuned("a", 0.0, 0.9)]).load_state_dict(state)
