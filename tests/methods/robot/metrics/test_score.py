"""`score` as a whole: it touches nothing, sees every way of writing a network, and always answers."""

import hashlib
import pickle

import pytest
import torch
from torch import nn

import autosearch
from autosearch.core import OptionError
from autosearch.methods.robot.metrics import METRICS, score
from search_spaces.nasbench201 import decode
from search_spaces.networks.nasbench201 import NasBench201Network
from tests.methods.robot.metrics.networks import batch, functional_twin, modules, perceptron

OPTIONS = {"regularised_swap": {"mu": 1.0, "sigma": 10.0}}
LABEL_FREE = {
    "l2_norm", "synflow", "jacob_cov", "naswot", "zen", "params", "flops", "ntk_condition", "az_expressivity",
    "az_progressivity", "az_trainability", "meco", "swap", "regularised_swap",
}  # fmt: skip


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def every(network: nn.Module, *data: torch.Tensor, **options) -> autosearch.methods.robot.metrics.Scores:
    return score(network, *data, metrics=list(METRICS), options=OPTIONS, **options)


def fingerprint(network: nn.Module) -> str:
    """Everything a network holds: values, gradients, modes, hooks."""
    content = [
        [(name, t.numpy().tobytes()) for name, t in network.state_dict().items()],
        [None if p.grad is None else p.grad.numpy().tobytes() for p in network.parameters()],
        [p.requires_grad for p in network.parameters()],
        [
            (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m)))
            for m in network.modules()
        ],
    ]
    return hashlib.sha256(pickle.dumps(content)).hexdigest()


def test_every_metric_has_a_value_for_an_ordinary_network() -> None:
    scores = every(modules(), *batch())
    assert not scores.reasons
    assert set(scores) == set(METRICS)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_as_it_was(training: bool) -> None:
    network, (x, y) = modules().train(training), batch()
    network(x).sum().backward()
    network[0].weight.requires_grad_(False)
    before, random, inputs = fingerprint(network), torch.get_rng_state(), x.clone()
    every(network, x, y)
    assert fingerprint(network) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, inputs)
    assert not x.requires_grad


def test_equal_calls_give_equal_scores_whatever_was_drawn_before() -> None:
    network, data = modules(), batch()
    first = every(network, *data)
    torch.manual_seed(99)
    assert every(network, *data) == first


def test_metrics_share_passes_without_changing_a_value() -> None:
    network, data = modules(), batch()
    together = every(network, *data)
    for name in METRICS:
        alone = score(network, *data, metrics=[name], options=OPTIONS)[name]
        assert alone == pytest.approx(together[name], rel=1e-5), name


@pytest.mark.parametrize("kind", ["function", "torch", "method", "in place", "clamp"])
def test_functional_networks_score_as_their_modules_do(kind: str) -> None:
    network, data = modules(), batch()
    twin = functional_twin(network, kind)
    by_modules, by_functions = every(network, *data), every(twin, *data)
    same = [name for name in METRICS if not name.startswith("az_")]  # those compare modules
    for name in same:
        assert by_functions[name] == pytest.approx(by_modules[name], rel=1e-5), name


@pytest.mark.parametrize(
    "activation", [nn.ReLU6, nn.GELU, nn.SiLU, nn.ELU, nn.Tanh, nn.LeakyReLU, nn.Hardswish, nn.PReLU]
)
def test_activations_of_every_kind_have_codes(activation: type[nn.Module]) -> None:
    scores = score(modules(activation), *batch(), metrics=["naswot", "swap"])
    assert not scores.reasons
    assert scores["swap"] > 1


def test_activations_in_place_do_not_spoil_the_codes() -> None:
    network, (x, _) = modules(), batch()
    expected = score(network, x, metrics=["naswot"])
    network[2].inplace = network[5].inplace = True
    assert score(network, x, metrics=["naswot"]) == expected


def test_the_order_of_the_batch_does_not_matter() -> None:
    network, (x, y) = modules(), batch(8)
    order = torch.randperm(8)
    names = [n for n in METRICS if n not in ("zico", "meco")]  # one takes halves, the other the first example
    first = score(network, x, y, names, options=OPTIONS)
    second = score(network, x[order], y[order], names, options=OPTIONS)
    for name in names:
        assert second[name] == pytest.approx(first[name], rel=2e-3), name


def test_a_regression_has_every_metric_but_those_of_classes() -> None:
    scores = every(perceptron(6, 8, 8, 1), torch.randn(8, 6), torch.randn(8))
    assert set(scores.reasons) == {"epe_nas", "meco"}
    assert "one class for each example" in scores.reasons["epe_nas"]


def test_without_targets_the_metrics_that_need_none_have_values() -> None:
    scores = every(modules(), batch()[0])
    assert set(METRICS) - set(scores.reasons) == LABEL_FREE
    assert scores.reasons["snip"] == "needs targets"


def test_dense_targets_score_through_the_loss_given() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1))
    scores = every(network, torch.randn(4, 3, 6, 6), torch.randint(0, 5, (4, 6, 6)))
    assert set(scores.reasons) == {"epe_nas"}


def test_token_networks_have_the_metrics_that_ask_nothing_of_their_inputs() -> None:
    network = nn.Sequential(nn.Embedding(11, 8), nn.Flatten(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 5))
    scores = every(network, torch.randint(0, 11, (6, 4)), torch.arange(6) % 5)
    assert not {"grad_norm", "snip", "grasp", "fisher", "naswot", "zico", "flops"} & set(scores.reasons)
    assert "whole numbers" in scores.reasons["jacob_cov"]


# -- faults: a reason, never an exception ----------------------------------------------------------------------------


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), 5)


class Failing(Constant):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such branch")


class Pair(Constant):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x), x


def test_a_network_whose_outputs_are_nan_has_reasons() -> None:
    network = perceptron(4, 8, 5)
    with torch.no_grad():
        network[0].weight[0, 0] = float("nan")
    scores = every(network, torch.randn(6, 4), torch.arange(6) % 5)
    for name in ("grad_norm", "jacob_cov", "naswot", "synflow", "l2_norm"):
        assert name in scores.reasons
        assert scores[name] != scores[name]
    assert scores["params"] == 72


def test_a_constant_network_has_zero_gradients_and_reasons_where_nothing_can_be_compared() -> None:
    scores = every(Constant(), torch.randn(6, 4), torch.arange(6) % 5)
    assert scores["grad_norm"] == scores["snip"] == scores["grasp"] == 0
    assert "constant for 6 of 6 examples" in scores.reasons["jacob_cov"]
    assert "no path" in scores.reasons["synflow"]
    assert "no activation" in scores.reasons["naswot"]


def test_a_network_that_raises_says_what() -> None:
    scores = every(Failing(), torch.randn(6, 4), torch.arange(6) % 5)
    assert scores.reasons["naswot"] == "the network fails: KeyError: 'no such branch'"
    assert scores["params"] == 25


def test_a_network_that_returns_no_tensor_says_so() -> None:
    assert "returns tuple" in every(Pair(), torch.randn(6, 4)).reasons["naswot"]


def test_a_network_without_activations_has_no_codes() -> None:
    scores = every(perceptron(4, 8, 5, activation=None), torch.randn(6, 4), torch.arange(6) % 5)
    assert "no activation" in scores.reasons["naswot"]
    assert "no activation" in scores.reasons["swap"]
    assert scores["synflow"] == scores["synflow"]


@pytest.mark.parametrize("digits", [[0] * 6, [3, 0, 0, 0, 0, 0], [0, 0, 3, 0, 3, 3]])
def test_an_unconnected_cell_has_reasons_and_no_exception(digits: list[int]) -> None:
    network = NasBench201Network((3, 8, 8), 5, architecture=decode(digits), width=4, depth=1)
    scores = every(network, *batch(6, 5, 3, 8, 8))
    assert scores["params"] > 0
    assert "no path of weights" in scores.reasons["synflow"]
    assert scores["grad_norm"] == 0  # only the last bias is reached


def test_a_cell_scores_as_its_canonical_form_but_for_what_counts_dead_weights() -> None:
    alive, dead = decode([3, 0, 0, 0, 2, 0]), decode([3, 0, 0, 0, 2, 3])
    data = batch(6, 5, 3, 8, 8)
    pair = []
    for cell in (alive, dead):
        torch.manual_seed(0)
        network = NasBench201Network((3, 8, 8), 5, architecture=cell, width=4, depth=1)
        pair.append(score(network, *data, metrics=["flops", "naswot", "params"]))
    assert pair[0]["flops"] == pair[1]["flops"]
    assert pair[0]["params"] < pair[1]["params"]


def test_one_class_in_the_batch_is_enough() -> None:
    x, _ = batch()
    assert not every(modules(), x, torch.zeros(8, dtype=torch.long)).reasons


def test_one_example_gives_reasons_where_examples_are_compared() -> None:
    x, y = batch(1)
    scores = every(modules(), x, y)
    assert "two examples" in scores.reasons["zico"]
    assert scores["grad_norm"] > 0


def test_identical_examples_make_the_kernel_singular() -> None:
    x, y = batch(1)
    scores = every(modules(), x.repeat(4, 1, 1, 1), y.repeat(4))
    assert "singular" in scores.reasons["naswot"]


def test_a_norm_of_constants_has_a_reason() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
            self.linear = nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return self.linear((x + self.norm(x * 0)).mean(dim=(2, 3)))

    assert "constant" in score(Dead(), *batch(), metrics=["zen"]).reasons["zen"]


@pytest.mark.parametrize("options", [{"mu": 1.0, "sigma": 0.0}, {"mu": "small", "sigma": 1.0}])
def test_swap_with_an_impossible_size_is_refused(options: dict) -> None:
    with pytest.raises(OptionError, match="mu and sigma are numbers, sigma above 0"):
        score(modules(), *batch(), metrics=["regularised_swap"], options={"regularised_swap": options})


def test_swap_with_a_wanted_size_needs_that_size() -> None:
    scores = score(modules(), batch()[0], metrics=["regularised_swap"])
    assert "mu and sigma" in scores.reasons["regularised_swap"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["synflo"]}, "Did you mean 'synflow'"),
        ({"metrics": []}, "name at least one"),
        ({"metrics": ["snip"], "options": {"snip": {"mu": 1}}}, "no option 'mu'"),
    ],
)
def test_a_wrong_call_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        score(modules(), *batch(), **arguments)


def test_targets_must_match_the_inputs() -> None:
    with pytest.raises(OptionError, match="as many targets as inputs"):
        score(modules(), batch(8)[0], batch(7)[1], ["snip"])


def test_scores_can_be_taken_in_inference_mode() -> None:
    network, data = modules(), batch()
    expected = every(network, *data)
    with torch.inference_mode():
        assert every(network, *data) == expected


def test_score_is_a_public_name() -> None:
    assert autosearch.score is score


@pytest.mark.gpu
def test_a_gpu_gives_the_scores_of_the_cpu() -> None:
    network, (x, y) = modules(), batch(16)
    names = [
        name
        for name in METRICS
        if name not in ("zen", "az_expressivity", "az_progressivity", "az_trainability")
    ]
    expected = score(network, x, y, names, options=OPTIONS)
    found = score(network.cuda(), x, y, names, options=OPTIONS)
    for name in names:
        assert found[name] == pytest.approx(expected[name], rel=2e-2), name
