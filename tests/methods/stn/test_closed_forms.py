"""Ridge regression, where best responses are known in closed form (T1 to T7)."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from autosearch.methods.stn import DeltaSTN

D, N = 5, 40
DOUBLE = torch.float64


@pytest.fixture(scope="module")
def ridge():
    """Second moments A (D, D) and b (D,) of data, and the same of validation data."""
    rng = torch.Generator().manual_seed(0)

    def moments():
        x = torch.randn(N, D, generator=rng, dtype=DOUBLE)
        t = x @ torch.linspace(-1, 1, D, dtype=DOUBLE) + 0.3 * torch.randn(N, generator=rng, dtype=DOUBLE)
        return x, t, x.T @ x / N, x.T @ t / N

    return moments(), moments()


def best(A, b, penalty):
    return torch.linalg.solve(A + penalty * torch.eye(D, dtype=DOUBLE), b)


def jacobian(A, w, lam):
    """dw*/dlambda with the penalty exp(lambda) |w|² / 2."""
    return -math.exp(lam) * torch.linalg.solve(A + math.exp(lam) * torch.eye(D, dtype=DOUBLE), w)


def tuner_of(ridge, w0, tuned, *, sigma, preset="modern", data=None, **options):
    """A tuner over one linear unit at `w0`, whose weight decay is tuned; losses are those of the moments."""
    _, (xv, tv, _, _) = ridge
    model = nn.Linear(D, 1, bias=False).double()
    model.weight.data = w0[None].clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1.0)

    def loss(model, batch, values=None):
        return 0.5 * (model(batch[0])[:, 0] - batch[1]).square().mean()

    tuner = DeltaSTN(
        model, optimizer, {"weight_decay": tuned}, loss=loss, val_loss=loss,
        validation=[(xv, tv)], preset=preset, sigma=sigma, sigma_high=5.0, tied=False, **options,
    )  # fmt: skip
    tuner.converted.scale.data = tuner.converted.scale.data.double()
    tuner.hyper.u = tuner.hyper.u.detach().double().requires_grad_()
    tuner.hyper.rho = tuner.hyper.rho.detach().double().requires_grad_()
    return tuner


def set_response(tuner, theta):
    """Make the response w(h) = w0 + h theta: gain 1, weight theta."""
    tuner.converted.scale.data.fill_(1.0)
    tuner.converted.slots[0].weight.data = theta[None].clone()


def response_gradient(tuner, ridge, eps):
    """Gradient by the response weight of the expected loss: every example with every perturbation."""
    x, t, _, _ = ridge[0]
    offsets = (tuner.hyper.sigma.detach() * eps[:, None]).repeat_interleave(N, 0)
    values = tuner.hyper.constrain(tuner.hyper.u.detach() + offsets)
    batch = x.repeat(len(eps), 1), t.repeat(len(eps))
    _, grads = tuner._perturbed(batch, offsets, values)
    return grads[1][0]  # behind that of V


def test_the_jacobian_of_ridge_is_the_implicit_function_theorems(ridge):
    _, _, A, b = ridge[0]
    lam = torch.tensor(-1.0, dtype=DOUBLE)
    found = torch.autograd.functional.jacobian(lambda v: best(A, b, v.exp()), lam)
    assert torch.allclose(found, jacobian(A, best(A, b, math.exp(-1.0)), -1.0), atol=1e-12)


def test_the_hypergradient_is_exact_at_the_best_response(ridge):
    lam = -1.0
    (_, _, A, b), (_, _, Av, bv) = ridge
    w = best(A, b, math.exp(lam))
    tuned = {"low": 0.0, "log": True, "init": math.exp(lam)}
    tuner = tuner_of(ridge, w, tuned, sigma=1e-2, tune_sigma=False, clip=1e9)
    set_response(tuner, jacobian(A, w, lam))
    kept = []
    tuner.hyper_optimizer = torch.optim.SGD([tuner.hyper.u], lr=0.0)
    tuner.hyper_optimizer.register_step_pre_hook(lambda *_: kept.append(tuner.hyper.u.grad.clone()))
    tuner._move()
    assert torch.allclose(kept[0][0], jacobian(A, w, lam) @ (Av @ w - bv), atol=1e-12)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 1.0])
def test_the_response_fitted_at_finite_perturbations_is_the_closed_form(ridge, sigma):
    lam = -1.0
    _, _, A, b = ridge[0]
    w = best(A, b, math.exp(lam))
    e = math.exp(lam + sigma**2 / 2)
    theta = -e * torch.linalg.solve(A + e * (1 + sigma**2) * torch.eye(D, dtype=DOUBLE), w)
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    tuner = tuner_of(ridge, w, {"low": 0.0, "log": True, "init": math.exp(lam)}, sigma=sigma)
    set_response(tuner, theta)
    # Gauss-Hermite: the expectation is a weighted mean over perturbations.
    total = sum(
        weight / math.sqrt(2 * math.pi) * response_gradient(tuner, ridge, torch.tensor([node], dtype=DOUBLE))
        for node, weight in zip(nodes, weights, strict=True)
    )
    assert total.norm() < 1e-6 * theta.norm() + 1e-7
    distance = float((theta - jacobian(A, w, lam)).norm() / theta.norm())
    assert (distance < 0.01) == (sigma < 0.1)


@pytest.mark.parametrize("sigma", [0.1, 2.0])
def test_with_a_linear_penalty_the_response_is_the_jacobian_at_any_perturbation(ridge, sigma):
    _, _, A, b = ridge[0]
    w = best(A, b, 0.4)
    theta = -torch.linalg.solve(A + 0.4 * torch.eye(D, dtype=DOUBLE), w)
    # Far above the lower end softplus is the identity, so the penalty is linear in the perturbed number.
    tuner = tuner_of(ridge, w, {"low": 0.0, "init": 60.0}, sigma=sigma)
    tuner.hyper.constrain = lambda lam: {"weight_decay": lam[:, 0].detach() - 60.0 + 0.4}
    set_response(tuner, theta)
    eps = torch.tensor([1.0, -1.0], dtype=DOUBLE)
    assert response_gradient(tuner, ridge, eps).norm() < 1e-9


def test_joint_training_biases_the_weights_and_split_objectives_do_not(ridge):
    lam, sigma = -1.0, 1.0
    _, _, A, b = ridge[0]
    w, eye = best(A, b, math.exp(lam)), torch.eye(D, dtype=DOUBLE)
    e = math.exp(lam + sigma**2 / 2)
    blocks = torch.cat(
        [
            torch.cat([A + e * eye, e * sigma**2 * eye], 1),
            torch.cat([e * sigma**2 * eye, sigma**2 * A + e * (sigma**2 + sigma**4) * eye], 1),
        ]
    )
    joint = torch.linalg.solve(blocks, torch.cat([b, torch.zeros(D, dtype=DOUBLE)]))[:D]
    assert float((joint - w).norm() / w.norm()) > 0.02
    # The network's own steps never see the perturbation: their gradient at the ridge solution is zero.
    tuner = tuner_of(ridge, w, {"low": 0.0, "log": True, "init": math.exp(lam)}, sigma=sigma)
    set_response(tuner, jacobian(A, w, lam))
    tuner.loss(ridge[0][:2]).backward()
    decay = tuner.optimizer.param_groups[0]["weight_decay"]
    total = tuner.model.weight.grad[0] + decay * tuner.model.weight[0]
    assert total.norm() < 1e-6


def test_stn_trains_the_weights_that_the_joint_closed_form_says(ridge):
    lam, sigma = -1.0, 1.0
    x, t, A, b = ridge[0]
    eye = torch.eye(D, dtype=DOUBLE)
    e = math.exp(lam + sigma**2 / 2)
    blocks = torch.cat(
        [
            torch.cat([A + e * eye, e * sigma**2 * eye], 1),
            torch.cat([e * sigma**2 * eye, sigma**2 * A + e * (sigma**2 + sigma**4) * eye], 1),
        ]
    )
    found = torch.linalg.solve(blocks, torch.cat([b, torch.zeros(D, dtype=DOUBLE)]))
    # Centred or not, the joint optimum is the same function of lambda: w0 + (lambda - u) theta.
    w0, theta = found[:D] - lam * found[D:], found[D:]
    tuned = {"low": 0.0, "log": True, "init": math.exp(lam)}
    tuner = tuner_of(ridge, w0, tuned, sigma=sigma, preset="paper")
    set_response(tuner, theta)
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    trained = [tuner.model.weight, tuner.converted.slots[0].weight]
    totals = [torch.zeros(1, D, dtype=DOUBLE) for _ in trained]
    for node, weight in zip(nodes, weights, strict=True):
        tuner.hyper.draw = lambda n, node=node: torch.full((n, 1), node, dtype=DOUBLE)
        for total, grad in zip(totals, torch.autograd.grad(tuner.loss((x, t)), trained), strict=True):
            total += weight / math.sqrt(2 * math.pi) * grad
    assert tuner.optimizer.param_groups[0]["weight_decay"] == 0
    assert max(float(total.norm()) for total in totals) < 1e-6


def test_ridge_is_a_fixed_network_gated_by_its_penalty(ridge):
    x, t, _, _ = ridge[0]
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    for lam in (-3.0, 0.0, 3.0):
        gates = torch.sigmoid(2 * s.log() - lam)
        w = vt.T @ (gates / s * (u.T @ t))
        expected = Ridge(alpha=math.exp(lam), fit_intercept=False).fit(x.numpy(), t.numpy()).coef_
        assert torch.allclose(w, torch.from_numpy(expected), atol=1e-10)


@pytest.mark.parametrize(("lam", "sigma"), [(3.0, 0.5), (3.0, 0.1), (-3.0, 1.0)])
def test_centring_conditions_the_input_of_the_responses(lam, sigma):
    def condition(centre):
        shifted = lam - centre
        return np.linalg.cond(np.array([[1, shifted], [shifted, shifted**2 + sigma**2]]))

    assert condition(0.0) > 25 * condition(lam) - 1e-9 or sigma == 1.0
    assert condition(lam) == pytest.approx(max(1, sigma**2) / min(1, sigma**2))
    assert condition(0.0) == pytest.approx(
        {(3.0, 0.5): 418, (3.0, 0.1): 10018, (-3.0, 1.0): 119}[lam, sigma], rel=0.01
    )
