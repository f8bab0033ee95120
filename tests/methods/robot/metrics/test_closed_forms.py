"""Metrics against formulas on networks small enough to work out."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from autosearch.methods.robot.metrics import score
from autosearch.methods.robot.metrics.maps import entropy, smallest_correlation, spectral_norm
from autosearch.methods.robot.metrics.pooling import rank_average, rank_log_sum
from autosearch.methods.robot.metrics.samples import agreement, naswot
from tests.methods.robot.metrics.networks import batch, modules, perceptron


def linear_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Σ outputs · targets: its gradient by the outputs is the targets."""
    return (outputs * targets).sum()


def test_params_and_flops_are_counted_exactly() -> None:
    scores = score(modules(), *batch(), metrics=["params", "flops"])
    assert scores["params"] == (3 * 4 * 9 + 4) + 8 + (4 * 4 * 9 + 4) + (4 * 5 + 5)
    multiply_adds = 36 * (3 * 4 * 9 + 4 * 4 * 9) + 20
    normed, activated, averaged = 36 * 4, 2 * 36 * 4, 36 * 4
    assert scores["flops"] == multiply_adds + 2 * normed + activated + averaged


def test_pooling_counts_its_kernels_area() -> None:
    network = nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 2))
    assert score(network, batch()[0], metrics=["flops"])["flops"] == 9 * 108 + 4 * 27 + 54


def test_synflow_of_a_linear_chain_is_the_layers_times_the_flow() -> None:
    network = perceptron(4, 3, 2, 5)
    flow = torch.ones(4, dtype=torch.float64)
    for weight in network.parameters():
        flow = weight.detach().double().abs() @ flow
    value = score(network, torch.randn(2, 4), metrics=["synflow"])["synflow"]
    assert value == pytest.approx(math.log(3 * float(flow.sum())), rel=1e-12)


def test_synflow_passes_norms_by_whatever_their_kind() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2, bias=False)
    )
    expected = score(plain, torch.randn(2, 3, 2, 2), metrics=["synflow"])["synflow"]
    for norm in (
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4, affine=True),
        nn.LayerNorm([4, 2, 2]),
    ):
        normed = nn.Sequential(plain[0], norm, *plain[1:])
        assert score(normed, torch.randn(2, 3, 2, 2), metrics=["synflow"])["synflow"] == expected


def test_synflow_does_not_overflow_where_single_precision_would() -> None:
    network = perceptron(*[64] * 40, activation=None)
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(1.0)
    value = score(network, torch.randn(2, 64), metrics=["synflow"])["synflow"]
    assert value == pytest.approx(math.log(39) + 40 * math.log(64))
    assert value / math.log(10) > 38  # float32 ends there


def test_gradient_metrics_of_a_linear_map_follow_from_its_gradient() -> None:
    network = nn.Linear(3, 2, bias=False)
    x, t = torch.randn(4, 3), torch.randn(4, 2)
    g, w = t.T @ x, network.weight.detach()
    names = ["grad_norm", "snip", "plain", "l2_norm", "fisher", "grasp"]
    scores = score(network, x, t, names, loss=linear_loss)
    assert scores["grad_norm"] == pytest.approx(float(g.norm()), rel=1e-5)
    assert scores["snip"] == pytest.approx(float((g * w).abs().sum()), rel=1e-5)
    assert scores["plain"] == pytest.approx(float((g * w).sum()), rel=1e-5)
    assert scores["l2_norm"] == pytest.approx(float(w.norm()), rel=1e-5)
    saliency = (x @ w.T) * t
    assert scores["fisher"] == pytest.approx(3 * 0.5 * float(saliency.pow(2).mean(0).sum()), rel=1e-5)
    assert scores["grasp"] == 0  # a linear function has no curvature


def test_grasp_is_minus_the_weights_times_hessian_times_gradient() -> None:
    network = nn.Linear(3, 2, bias=False)
    x, t = torch.randn(5, 3), torch.randn(5, 2)

    def loss_of(weight: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(x @ weight.T, t)

    w = network.weight.detach()
    gradient = torch.autograd.functional.jacobian(loss_of, w)
    hessian = torch.autograd.functional.hessian(loss_of, w).reshape(6, 6)
    expected = -float(w.flatten() @ hessian @ gradient.flatten())
    assert score(network, x, t, ["grasp"])["grasp"] == pytest.approx(expected, rel=1e-4)


def test_fisher_sums_a_convolutions_positions_before_squaring() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.Flatten())
    x, t = torch.randn(4, 2, 5, 5), torch.randn(4, 27)
    with torch.no_grad():
        out = network[0](x)
    saliency = (out * t.view_as(out)).sum(dim=(2, 3))
    expected = 18 * 0.5 * float(saliency.pow(2).mean(0).sum())
    assert score(network, x, t, ["fisher"], loss=linear_loss)["fisher"] == pytest.approx(expected, rel=1e-5)


def test_naswot_of_hand_made_codes_is_the_logarithm_of_their_kernels_determinant() -> None:
    codes = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1]], dtype=torch.bool)
    expected = np.array([[4, 2, 1], [2, 4, 1], [1, 1, 4]])
    assert agreement(codes).tolist() == expected.tolist()
    assert naswot(agreement(codes)) == pytest.approx(math.log(np.linalg.det(expected)))


def test_naswot_and_swap_of_a_network_count_its_own_codes() -> None:
    network = perceptron(2, 3, 1)
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    # Codes 111, 101, 010: examples 1 and 2 agree on two neurons, 1 and 3 on one, 2 and 3 on none.
    expected = math.log(np.linalg.det(np.array([[3, 2, 1], [2, 3, 0], [1, 0, 3]])))
    scores = score(network, x, metrics=["naswot", "swap"])
    assert scores["naswot"] == pytest.approx(expected)
    assert scores["swap"] == 2  # the first and the third neuron always agree


def test_regularised_swap_peaks_at_the_wanted_size() -> None:
    network, (x, _) = perceptron(10, 100, 10), batch(8, 5, 10)

    def value(mu: float) -> float:
        options = {"regularised_swap": {"mu": mu, "sigma": 1.0}}
        return score(network, x, metrics=["regularised_swap"], options=options)["regularised_swap"]

    assert value(2.0) == score(network, x, metrics=["swap"])["swap"]
    assert value(1.0) == pytest.approx(value(2.0) / math.e)


def test_jacob_cov_of_a_linear_map_is_that_of_perfectly_correlated_gradients() -> None:
    n, k = 6, 1e-5
    value = score(nn.Linear(5, 3), torch.randn(n, 5), metrics=["jacob_cov"])["jacob_cov"]
    # Every example has the same gradient: one eigenvalue is n, the others are 0.
    expected = -(math.log(n + k) + 1 / (n + k) + (n - 1) * (math.log(k) + 1 / k))
    assert value == pytest.approx(expected, rel=1e-6)


def test_jacob_cov_is_best_where_gradients_do_not_correlate() -> None:
    network = perceptron(4, 2, 1)
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]))
        network[2].weight.fill_(1.0)
    x = torch.tensor([[1.0, 0.0, -1.0, 0.0], [-1.0, 0.0, 1.0, 0.0]])
    k = 1e-5
    value = score(network, x, metrics=["jacob_cov"])["jacob_cov"]
    assert value == pytest.approx(-2 * (math.log(1 + k) + 1 / (1 + k)), rel=1e-5)


def test_epe_nas_sums_the_logarithms_of_correlations_within_classes() -> None:
    network, (x, y) = modules(), batch(10)
    inputs = x.clone().requires_grad_()
    network.train()
    network[3].p = 0.0
    network(inputs).sum().backward()
    J = inputs.grad.flatten(1).double().numpy()
    expected = sum(abs(np.log(np.abs(np.corrcoef(J[y.numpy() == c])) + 1e-5).sum()) for c in range(5))
    assert score(network, x, y, ["epe_nas"])["epe_nas"] == pytest.approx(expected, rel=1e-4)


def test_epe_nas_compares_classes_where_there_are_more_than_a_hundred() -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 101))
    x, y = torch.randn(6, 6), torch.tensor([0, 0, 7, 7, 100, 100])
    inputs = x.clone().requires_grad_()
    network(inputs).sum().backward()
    J = inputs.grad.double().numpy()
    s = [np.log(np.abs(np.corrcoef(J[i : i + 2])) + 1e-5).sum() / 2 for i in (0, 2, 4)]
    expected = sum(abs(a - b) for a in s for b in s) / 3
    assert score(network, x, y, ["epe_nas"])["epe_nas"] == pytest.approx(expected, rel=1e-3)


def test_ntk_condition_of_a_linear_map_is_that_of_its_inputs() -> None:
    x = torch.randn(4, 7)
    value = score(nn.Linear(7, 3, bias=False), x, metrics=["ntk_condition"])["ntk_condition"]
    assert value == pytest.approx(np.linalg.cond(x.double().numpy()) ** 2, rel=1e-4)


def test_zico_of_a_linear_map_divides_means_by_deviations() -> None:
    network = nn.Linear(3, 2, bias=False)
    x, t = torch.randn(4, 3), torch.randn(4, 2)
    halves = np.stack([(t[i : i + 2].T @ x[i : i + 2]).numpy() for i in (0, 2)]).astype(float)
    expected = math.log((np.abs(halves).mean(0) / halves.std(0)).sum())
    assert score(network, x, t, ["zico"], loss=linear_loss)["zico"] == pytest.approx(expected, rel=1e-4)


def test_smallest_correlation_is_zero_for_repeated_channels_and_one_for_orthogonal_ones() -> None:
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0])
    other = torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert smallest_correlation(torch.stack([wave, wave])[None]) == pytest.approx(0, abs=1e-12)
    assert smallest_correlation(torch.stack([wave, other])[None]) == pytest.approx(1)
    assert smallest_correlation(torch.stack([wave, torch.ones(4)])[None]) == pytest.approx(0, abs=1e-12)


def test_meco_sums_over_convolutions() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Flatten())
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        expected = sum(
            np.linalg.eigvalsh(np.corrcoef(out[0].flatten(1).double().numpy()))[0]
            for out in (network[0](x), network[:3](x))
        )
    assert score(network, x, metrics=["meco"])["meco"] == pytest.approx(expected, abs=1e-5)


def test_entropy_of_independent_channels_is_the_logarithm_of_their_number() -> None:
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert entropy(signs) == pytest.approx(math.log(2), abs=1e-6)
    assert entropy(signs[:, :1].repeat(1, 2)) == pytest.approx(0, abs=1e-6)
    assert entropy(torch.ones(4, 3)) == 0


def test_spectral_norm_of_a_pointwise_block_is_that_of_its_matrix() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(3, 5)
    signs = (torch.randint(0, 2, (64, 3, 16, 16)) * 2 - 1).float()
    arrived = torch.einsum("bohw,oi->bihw", signs, matrix)
    assert spectral_norm(arrived, signs) == pytest.approx(
        float(torch.linalg.matrix_norm(matrix, 2)), rel=0.02
    )
    assert spectral_norm(signs, signs) == 0  # passing gradients on unchanged trains nothing


def test_zen_of_a_linear_network_is_the_size_of_its_change() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    # Each of 8·16 features changes by 0.01 times a Gaussian of variance 3, whose mean size is sqrt(2·3/π).
    value = score(network, torch.randn(256, 3, 4, 4), metrics=["zen"])["zen"]
    assert value == pytest.approx(math.log(128 * 0.01 * math.sqrt(6 / math.pi)), abs=0.25)


def test_rank_log_sum_punishes_one_bad_rank_more_than_the_average_does() -> None:
    S = np.array([[4.0, 1.0], [2.5, 2.5], [2.0, 2.0], [1.0, 4.0]])
    even, uneven = 1, 0
    assert rank_average(S)[even] == rank_average(S)[uneven] + 0.125
    logs = rank_log_sum(np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]]))
    assert logs.tolist() == pytest.approx([math.log(1 / 3), 2 * math.log(2 / 3), math.log(1 / 3)])


def test_a_missing_score_ranks_with_the_worst() -> None:
    assert rank_average(np.array([[np.nan], [1.0], [2.0]])).tolist() == pytest.approx([1 / 3, 2 / 3, 1])
