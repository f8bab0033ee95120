"""Layer identities (T8): each response against weights written out for each example, and the exported network."""

import copy

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import nn
from torch.func import functional_call

from autosearch.core import OptionError
from autosearch.methods.stn import convert
from autosearch.methods.stn.layers import dropped
from autosearch.methods.stn.signal import merged

B, H = 4, 3


class Attention(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.inner = nn.MultiheadAttention(6, 2, batch_first=batch_first)

    def forward(self, x):
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        padding = torch.zeros(x.shape[0], x.shape[1], dtype=torch.bool)
        padding[0, -1] = True
        return self.inner(x, x.flip(-1), x, attn_mask=mask, key_padding_mask=padding)[0]


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.inner = kind(6, 5, **options)

    def forward(self, x):
        out, state = self.inner(x)
        state = state[0] if isinstance(state, tuple) else state
        return torch.cat([out.flatten(1), state.transpose(0, 1).flatten(1)], 1)


class Cell(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.inner = kind(6, 5)

    def forward(self, x):
        state = self.inner(x[:, 0])
        state = self.inner(x[:, 1], state)
        return torch.cat(state, 1) if isinstance(state, tuple) else state


def seq(length=3):
    return torch.randn(B, length, 6, dtype=torch.float64)


IMAGES = torch.randn(B, 4, 5, 5, dtype=torch.float64)
CASES = {
    "linear": (lambda: nn.Linear(6, 5), torch.randn(B, 6, dtype=torch.float64)),
    "linear over time": (lambda: nn.Linear(6, 5, bias=False), seq()),
    "conv1d": (lambda: nn.Conv1d(3, 5, 3, padding=1), seq()),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding_mode="reflect", padding=1), IMAGES),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2), torch.randn(B, 1, 3, 3, 3, dtype=torch.float64)),
    "embedding": (lambda: nn.Embedding(7, 5, padding_idx=0), torch.randint(7, (B, 3))),
    "layer norm": (lambda: nn.LayerNorm(6), seq()),
    "rms norm": (lambda: nn.RMSNorm(6), seq()),
    "group norm": (lambda: nn.GroupNorm(2, 4), IMAGES),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGES),
    "batch norm": (lambda: nn.BatchNorm2d(4), IMAGES),
    "lstm": (lambda: Recurrent(nn.LSTM, batch_first=True), seq()),
    "gru": (lambda: Recurrent(nn.GRU, batch_first=True), seq()),
    "deep lstm both ways": (
        lambda: Recurrent(nn.LSTM, batch_first=True, num_layers=2, bidirectional=True),
        seq(),
    ),
    "lstm cell": (lambda: Cell(nn.LSTMCell), seq()),
    "gru cell": (lambda: Cell(nn.GRUCell), seq()),
    "attention": (Attention, seq()),
    "deep": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 3, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 2)
        ),
        IMAGES,
    ),
}


def made(name, *, tied):
    """A network in double precision whose responses are not zero, in eval mode, and inputs."""
    build, x = CASES[name]
    torch.manual_seed(0)
    model = build().double().eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    converted = convert(model, H, tied=tied)
    converted.scale.data = torch.randn(converted.scale.shape, dtype=torch.float64) * 0.3
    return model, converted, x


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_response_is_that_of_weights_written_out_for_each_example(name, tied):
    model, converted, x = made(name, tied=tied)
    h = torch.randn(B, H, dtype=torch.float64)
    with torch.no_grad(), converted.signal.showing(converted.gains(h), None):
        together = model(x)
    for i in range(B):
        # Attention masks by place in the batch, so the whole batch passes; only its own row counts.
        assert torch.allclose(converted.export(h[i])(x)[i], together[i], atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_no_gains_and_zero_gains_are_the_plain_network(name):
    model, converted, x = made(name, tied=False)
    plain = CASES[name][0]().double().eval()
    plain.load_state_dict(model.state_dict())  # the same names: responses live elsewhere
    expected = plain(x)
    assert torch.allclose(model(x), expected)
    with converted.signal.showing(converted.gains(torch.zeros(B, H, dtype=torch.float64)), None):
        assert torch.allclose(model(x), expected)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_tangent_is_the_derivative_of_the_response(name, tied):
    model, converted, x = made(name, tied=tied)
    h = torch.randn(B, H, dtype=torch.float64)

    def outputs(t):
        with converted.signal.showing(converted.gains(t * h), None):
            return model(x)

    expected = torch.autograd.functional.jvp(outputs, torch.tensor(0.0, dtype=torch.float64))[1]
    with (
        forward_ad.dual_level(),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        converted.signal.showing(converted.gains(h), None, tangent=True),
    ):
        found = merged(model(x))
    assert torch.allclose(found - model(x), expected, atol=1e-9)


def test_export_without_a_response_is_the_users_network_and_leaves_the_original_alone():
    model, converted, x = made("deep", tied=False)
    plain = converted.export()
    assert type(plain) is nn.Sequential
    assert not any("forward" in module.__dict__ for module in plain.modules())
    assert torch.equal(plain(x), model(x))
    assert list(plain.state_dict()) == list(model.state_dict())
    plain[0].weight.data.zero_()
    assert not torch.equal(plain(x), model(x))
    assert "forward" in model[0].__dict__


def test_parameters_stay_the_same_objects_and_can_be_called_functionally():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = list(model.parameters())
    convert(model, 2)
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    x = torch.randn(2, 3)
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    assert torch.equal(functional_call(model, zeros, (x,)), torch.zeros(2, 2))


def test_batch_statistics_do_not_see_passes_beside_training():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False))
    converted = convert(model, 2)
    before = copy.deepcopy(model.state_dict())
    with converted.signal.showing(converted.gains(torch.randn(8, 2)), None):
        model(torch.randn(8, 3))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    model(torch.randn(8, 3))
    assert not torch.equal(before["1.running_mean"], model[1].running_mean)


def test_flattened_time_is_matched_to_examples_in_the_order_of_the_batch():
    for batch_dim in (0, 1):
        torch.manual_seed(1)
        layer = nn.Linear(3, 4)
        converted = convert(layer, H, batch_dim=batch_dim)
        nn.init.normal_(converted.scale)
        x = torch.randn(*((B, 5) if batch_dim == 0 else (5, B)), 3)
        gains = converted.gains(torch.randn(B, H))
        with torch.no_grad(), converted.signal.showing(gains, None):
            assert torch.allclose(layer(x).flatten(0, 1), layer(x.flatten(0, 1)), atol=1e-6)


def test_a_batch_without_its_examples_is_an_error_that_names_the_layer():
    model = nn.Sequential(nn.Linear(3, 4))
    converted = convert(model, H)
    with (
        pytest.raises(OptionError, match=r"0: an output of shape \(7, 4\) for a batch of 4"),
        converted.signal.showing(converted.gains(torch.randn(4, H)), None),
    ):
        model(torch.randn(7, 3))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x * self.weight


def test_unknown_trainable_layers_are_listed_all_at_once_or_left_plain():
    def build():
        return nn.Sequential(nn.Linear(3, 3), Odd(), nn.Bilinear(3, 3, 3), nn.LSTM(3, 4, proj_size=2))

    with pytest.raises(OptionError, match=r"1 \(Odd\); 2 \(Bilinear\); 3 \(LSTM: proj_size is not covered\)"):
        convert(build(), H)
    assert list(convert(build(), H, unknown="plain").responses) == ["0"]
    assert list(convert(build(), H, exclude=["1", "2", "3"]).responses) == ["0"]


def test_frozen_layers_stay_plain_and_a_frozen_network_is_refused():
    model = nn.Sequential(nn.Linear(3, 3), Odd(), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    assert list(convert(model, H).responses) == ["2"]
    frozen = nn.Sequential(nn.Linear(3, 3)).requires_grad_(False)
    with pytest.raises(OptionError, match="all parameters are frozen"):
        convert(frozen, H)
    with pytest.raises(OptionError, match="excluded or unknown"):
        convert(nn.Sequential(nn.Linear(3, 3)), H, exclude=["*"])


def test_a_second_conversion_and_an_unknown_path_are_refused():
    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(OptionError, match="no module is called 'hed'"):
        convert(model, H, exclude=["hed"])
    convert(model, H)
    with pytest.raises(OptionError, match="export it first"):
        convert(model, H)


def test_a_shared_weight_answers_in_its_first_place_only():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    converted = convert(model, H)
    assert list(converted.responses) == ["0"]
    assert converted.shares_weights


def test_packed_sequences_are_refused_in_passes_with_a_response():
    layer = nn.LSTM(3, 4, batch_first=True)
    converted = convert(layer, H)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 3, 3), [3, 2], batch_first=True)
    layer(packed)
    with (
        pytest.raises(OptionError, match="pad them"),
        converted.signal.showing(converted.gains(torch.randn(2, H)), None),
    ):
        layer(packed)


def test_a_rate_that_rounds_to_one_drops_everything_without_a_nan():
    assert torch.equal(dropped(torch.ones(2, 3), torch.ones(2, 1)), torch.zeros(2, 3))
    torch.manual_seed(0)
    kept = dropped(torch.ones(4000, 4, 3), torch.tensor([0.25]).view(1, 1, 1), dims=2)
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.02)
    assert (kept[:, :, :1] == kept).all()
