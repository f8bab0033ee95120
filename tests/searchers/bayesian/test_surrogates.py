import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement, _log_ei_helper
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from autosearch.searchers.bayesian.acquisition import LogHypervolume, LogImprovement
from autosearch.searchers.bayesian.gp import GaussianProcess
from autosearch.searchers.bayesian.grid_surrogate import GridSurrogate, log_expected_improvement
from autosearch.searchers.bayesian.improvement import log_h
from autosearch.searchers.bayesian.kernel import MixedKernel
from autosearch.searchers.bayesian.layout import Group, Layout
from autosearch.searchers.bayesian.likelihood import (
    LENGTH_GROWTH,
    LENGTH_LOCATION,
    NegativeLogPosterior,
    log_prior,
    unpack,
)
from autosearch.searchers.bayesian.surrogate import Surrogate

RNG = np.random.default_rng(0)
X = RNG.random((15, 2))
Y = np.sin(5 * X[:, 0]) + X[:, 1] ** 2


def model(noise=1e-6):
    z = torch.from_numpy(-(Y - Y.mean()) / Y.std())
    known = torch.full_like(z, noise)
    return GaussianProcess.fitted(Layout(2), torch.from_numpy(X), z, known)


def test_improvement_equals_botorch_where_observed_values_are_certain():
    gp = model(0.01)
    every = torch.ones(15, dtype=torch.bool)
    ours = LogImprovement([gp], gp.X[:0], every, every[:0], seed=0, certain=True)
    at = torch.from_numpy(RNG.random((40, 2)))
    theirs = LogExpectedImprovement(gp, best_f=gp.moments(gp.X)[0].max())
    assert torch.allclose(ours(at), theirs(at.unsqueeze(1)), rtol=1e-5, atol=1e-5)


def test_improvement_with_pending_points_is_the_mean_over_conditioned_models():
    gp = model()
    every, pending = (
        torch.ones(15, dtype=torch.bool),
        torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64),
    )
    ours = LogImprovement([gp], pending, every, torch.ones(2, dtype=torch.bool), seed=0, certain=True)
    at = torch.from_numpy(RNG.random((20, 2)))
    # The same by conditioning one process per sample of the pending values and asking BoTorch.
    mean, covariance = gp.joint(pending)
    samples = mean + torch.randn(4000, 2, dtype=torch.float64) @ torch.linalg.cholesky(covariance).mT
    values = []
    for sample in samples[:400]:
        conditioned = gp.condition(pending, sample)
        best = torch.maximum(gp.moments(gp.X)[0].max(), sample.max())
        values.append(LogExpectedImprovement(conditioned, best_f=best)(at.unsqueeze(1)))
    theirs = torch.stack(values).logsumexp(0) - np.log(len(values))
    clear = theirs > theirs.max() - 4
    assert torch.allclose(ours(at)[clear], theirs[clear], atol=0.5)
    assert float((ours(at) - theirs)[clear].abs().mean()) < 0.15


def test_noisy_improvement_prefers_what_is_unknown_at_observed_points():
    quiet, noisy = model(1e-8), model(0.5)
    every = torch.ones(15, dtype=torch.bool)
    best = int(quiet.y.argmax())
    values = [
        LogImprovement([gp], gp.X[:0], every, every[:0], seed=0)(gp.X[best][None]) for gp in (quiet, noisy)
    ]
    assert torch.isfinite(values[1]).all()
    assert float(values[0]) < float(values[1])


def test_improvement_has_finite_gradients_far_from_any_hope():
    gp = model()
    every = torch.ones(15, dtype=torch.bool)
    improvement = LogImprovement([gp], gp.X[:0], every, every[:0], seed=0)
    at = torch.cat([gp.X, gp.X + 1e-9]).requires_grad_(True)
    (gradient,) = torch.autograd.grad(improvement(at).sum(), at)
    assert torch.isfinite(gradient).all()


def test_surrogate_predicts_left_out_points_within_its_uncertainty():
    surrogate = Surrogate.fit(X, Y)
    at = RNG.random((50, 2))
    truth = np.sin(5 * at[:, 0]) + at[:, 1] ** 2
    mean, deviation = surrogate.predict(at)
    assert np.mean(np.abs(mean - truth)) < 0.1
    assert np.mean(np.abs(mean - truth) < 2 * deviation + 1e-3) > 0.8


def test_surrogate_follows_changes_of_units():
    at = RNG.random((10, 2))
    plain, scaled = Surrogate.fit(X, Y, 0.01), Surrogate.fit(X, 100 * Y + 7, 0.01 * 100**2)
    for one, two, shift in zip(plain.predict(at), scaled.predict(at), (7, 0), strict=True):
        assert np.allclose(100 * one + shift, two, rtol=1e-3, atol=1e-3)
    assert np.allclose(plain.log_ei(at) + np.log(100), scaled.log_ei(at), atol=0.05)


def test_surrogate_samples_agree_with_its_predictions():
    surrogate = Surrogate.fit(X, Y, 0.05)
    at = RNG.random((3, 2))
    samples = surrogate.sample(at, 4000, seed=1)
    mean, deviation = surrogate.predict(at)
    assert samples.shape == (4000, 3)
    assert np.allclose(samples.mean(axis=0), mean, atol=0.02)
    assert np.allclose(samples.std(axis=0), deviation, rtol=0.1)
    assert np.array_equal(samples, surrogate.sample(at, 4000, seed=1))


@pytest.mark.parametrize(
    ("x", "y", "noise"),
    [(np.zeros((3, 2)), np.zeros(2), None), (np.zeros((1, 1)), np.array([np.nan]), None), (X, Y, -1.0)],
)
def test_surrogate_refuses_what_it_cannot_fit(x, y, noise):
    with pytest.raises(ValueError):
        Surrogate.fit(x, y, noise)


def test_grid_surrogate_equals_an_exact_process():
    x = np.array([0.0, 0.1, 0.35, 0.6, 0.9])
    y = np.sin(6 * x)
    noise = np.array([0.01, 0.02, 0.01, 0.03, 0.01])
    ours = GridSurrogate.fit(x, y, noise)
    kernel = ConstantKernel(ours.variance, "fixed") * Matern(ours.length, "fixed", nu=2.5)
    theirs = GaussianProcessRegressor(kernel, alpha=noise + 1e-9 * ours.variance, optimizer=None)
    theirs.fit(x[:, None], y - ours.mean)
    at = np.linspace(-0.2, 1.2, 30)
    mean, deviation = theirs.predict(at[:, None], return_std=True)
    got = ours.predict(at)
    assert np.allclose(got[0], mean + ours.mean, atol=1e-6)
    assert np.allclose(got[1], deviation, atol=1e-5)


def test_grid_surrogate_finds_lengthscales_near_those_of_a_continuous_search():
    x = np.linspace(0, 1, 12)
    y = np.sin(8 * x) + 0.3 * x
    ours = GridSurrogate.fit(x, y, 1e-4)
    at = np.linspace(0, 1, 50)
    assert np.abs(ours.predict(at)[0] - np.sin(8 * at) - 0.3 * at).max() < 0.05


def test_grid_surrogate_improvement_equals_botorch_from_certain_to_hopeless():
    u = np.array([-300.0, -50.0, -21.0, -19.0, -5.0, -1.001, -0.999, 0.0, 1.0, 30.0])
    theirs = _log_ei_helper(torch.from_numpy(u)).numpy()
    assert np.allclose(log_expected_improvement(u), theirs, rtol=1e-6)


def test_grid_surrogate_takes_a_single_value_and_constant_values():
    for x, y in (([0.5], [3.0]), ([0.1, 0.5, 0.5], [2.0, 2.0, 2.0])):
        surrogate = GridSurrogate.fit(np.array(x), np.array(y), 0.0)
        mean, deviation = surrogate.predict(np.linspace(0, 1, 5))
        assert np.isfinite(mean).all()
        assert (deviation > 0).any()
        assert np.isfinite(surrogate.log_ei(np.linspace(0, 1, 5))).all()


@pytest.mark.parametrize(("x", "y", "v"), [([], [], 0.0), ([1.0], [np.inf], 0.0), ([1.0], [1.0], -1.0)])
def test_grid_surrogate_refuses_what_is_no_number(x, y, v):
    with pytest.raises(ValueError):
        GridSurrogate.fit(np.array(x), np.array(y), v)


def test_grid_surrogate_takes_under_five_milliseconds():
    x = np.linspace(0, 1, 10)
    y, grid = np.sin(5 * x), np.linspace(0, 1, 1000)
    taken = []
    for _ in range(9):
        start = time.process_time()
        GridSurrogate.fit(x, y, 0.01).log_ei(grid)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.005


def test_grid_surrogate_loads_neither_torch_nor_botorch():
    code = (
        "import sys; from autosearch.searchers.bayesian import GridSurrogate as G; G.fit([0.0, 1.0], [1.0, 2.0]);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'botorch', 'gpytorch', 'scipy', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def prior(noise=1e-3, dimensions=2, known=False):
    """Log prior of two lengthscales of 4, where those of all other dimensions are at their likeliest."""
    likeliest = LENGTH_LOCATION + 0.5 * np.log(min(dimensions, LENGTH_GROWTH))
    theta = np.array([*[np.log(4.0)] * 2, *[likeliest] * (dimensions - 2), 0.0, 0.0, np.log(noise)])
    return log_prior(theta, MixedKernel(Layout(dimensions)), noise_known=known)[0]


def test_long_lengthscales_become_no_likelier_beyond_a_few_dimensions():
    assert prior(dimensions=2) < prior(dimensions=6) == prior(dimensions=40)


def test_data_are_hardly_ever_expected_to_be_nothing_but_noise():
    assert prior(noise=0.02) - prior(noise=0.05) < 1
    assert prior(noise=0.05) - prior(noise=0.9) > 20
    assert prior(noise=0.9, known=True) == prior(noise=0.02, known=True)


NESTED = Layout(7, ((2, 3), (5, 2)), (Group((3, 4), 7), Group((5, 6), 8)), 9)


def points(n, seed=0):
    """Points of the layout above: numbers, choices, two groups of which some are absent, fidelities."""
    rng = np.random.default_rng(seed)
    at = rng.random((n, NESTED.width))
    for group in NESTED.groups:
        at[:, group.flag] = rng.integers(2, size=n)
        at[np.ix_(at[:, group.flag] == 0, group.columns)] = 0.5
    return torch.from_numpy(at)


@pytest.mark.parametrize("known", [np.nan, 0.01])
def test_slopes_of_the_likelihood_are_those_of_finite_differences(known):
    kernel, rng = MixedKernel(NESTED), np.random.default_rng(3)
    y = torch.from_numpy(rng.standard_normal(12))
    objective = NegativeLogPosterior(kernel, points(12), y, torch.full_like(y, known))
    for noise in (-6.0, -1.0):  # the second beyond the bound of the prior
        theta = np.append(
            rng.normal(size=len(kernel.numeric) + len(kernel.choices) + kernel.groups + 2), noise
        )
        _, slope = objective(theta)
        steps = 1e-5 * np.eye(len(theta))
        estimate = [(objective(theta + step)[0] - objective(theta - step)[0]) / 2e-5 for step in steps]
        assert slope == pytest.approx(estimate, rel=1e-5, abs=1e-6)


def test_slopes_of_covariances_by_points_are_those_of_finite_differences():
    kernel, rng = MixedKernel(NESTED), np.random.default_rng(4)
    sizes = (len(kernel.numeric), len(kernel.choices), kernel.groups)
    hyper = unpack(np.append(rng.normal(size=sum(sizes)), [0.5, 0.3, -3.0]), kernel)
    relaxed = [0, 1, 3, 4, 6, 9]

    def covariances(moving, Z):
        X = torch.stack([points(3, 1), points(3, 2)])
        X = X.index_copy(-1, torch.tensor(relaxed), moving)
        return kernel(X, X, hyper), kernel(X, Z, hyper)

    start = torch.stack([points(3, 1), points(3, 2)])[..., relaxed].requires_grad_(True)
    Z = points(5, 3)
    assert torch.autograd.gradcheck(lambda moving: covariances(moving, Z), (start,))
    moving = Z[:, relaxed].requires_grad_(True)
    X = torch.stack([points(3, 1), points(3, 2)])
    assert torch.autograd.gradcheck(
        lambda moving: kernel(X, Z.index_copy(-1, torch.tensor(relaxed), moving), hyper), (moving,)
    )


def test_log_of_the_improvement_is_botorchs_with_its_slope():
    u = torch.cat([-torch.logspace(-2, 9, 200).double(), torch.linspace(-3, 30, 400).double()])
    u.requires_grad_(True)
    value, slope = log_h(u.detach())
    theirs = _log_ei_helper(u)
    assert torch.allclose(value, theirs, rtol=1e-9, atol=1e-9)
    (expected,) = torch.autograd.grad(theirs.sum(), u)
    far = u < -1e4  # where theirs loses digits: the slope is -u + 2 / u there
    assert torch.allclose(slope[~far], expected[~far], rtol=1e-6)
    assert torch.allclose(slope[far], -u[far], rtol=1e-6)


@pytest.mark.parametrize("noise", [1e-9, 0.3])
def test_slopes_of_the_improvement_over_several_models_are_those_of_finite_differences(noise):
    kernel, rng = MixedKernel(NESTED), np.random.default_rng(5)
    y, known = torch.from_numpy(rng.standard_normal(9)), torch.full((9,), noise).double()
    thetas = [np.append(rng.normal(size=len(NESTED.choices) + 8), [0.3, -3.0]) for _ in range(3)]
    models = [GaussianProcess(kernel, unpack(theta, kernel), points(9), y, known) for theta in thetas]
    every = torch.ones(9, dtype=torch.bool)
    improvement = LogImprovement(models, points(9)[:0], every, every[:0], seed=0)
    alone = [
        LogImprovement([model], points(9)[:0], every, every[:0], seed=0)(points(4, 7)) for model in models
    ]
    assert torch.allclose(improvement(points(4, 7)), torch.stack(alone).logsumexp(0) - np.log(3))
    relaxed = torch.tensor([0, 1, 3, 4, 6, 9])
    start = points(4, 7)[:, relaxed].requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda moving: improvement(points(4, 7).index_copy(1, relaxed, moving)), start
    )


def test_several_objectives_compile_nothing_in_the_users_home():
    from botorch.acquisition.multi_objective import logei

    assert logei._C is None
    attempted = logei._load_attempted
    values = torch.stack([model().y, -model().y], 1)
    LogHypervolume([model(), model()], model().X, values, model().X[:0], seed=0)
    assert logei._C is None
    assert logei._load_attempted == attempted
