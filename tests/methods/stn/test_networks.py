"""`DeltaSTN` on networks and in loops as people write them: fused encoders, overwritten activations, mixed types."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from autosearch.core import OptionError
from autosearch.methods.stn import DeltaSTN

DROPOUT = {"dropout": {"low": 0.0, "high": 0.9}}


class Encoder(nn.Module):
    def __init__(self, nested=True):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=nested)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        padding = torch.zeros(x.shape[:2], dtype=torch.bool)
        padding[:, -1] = True
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0])


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(8, 6, batch_first=True)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.drop(self.gru(x)[0][:, -1]))


class Checkpointed(nn.Module):
    def __init__(self, saves):
        super().__init__()
        self.saves = saves
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(checkpoint(self.inner, x, use_reentrant=False) if self.saves else self.inner(x))


def residual():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.relu = (
                nn.Conv1d(4, 4, 3, padding=1),
                nn.BatchNorm1d(4),
                nn.ReLU(inplace=True),
            )

        def forward(self, x):
            y = self.norm(self.conv(x))
            y += x
            return self.relu(y)

    return nn.Sequential(Block(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 2))


def batches(dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 16, 4, 8, generator=rng, dtype=dtype)
    return [(part, (part[:, 0, 0] > 0).long()) for part in x]


def loss(model, batch, values=None):
    return functional.cross_entropy(model(batch[0]).float(), batch[1])


def tuner_of(model, data=None, make=torch.optim.SGD, tune=DROPOUT, **options):
    given = {"loss": loss, "val_loss": loss, "validation": (data or batches())[2:], **options}
    return DeltaSTN(model, make(model.parameters(), lr=0.05), tune, **given)


def train(tuner, steps=4, data=None, cast=False):
    for i in range(steps):
        batch = (data or batches())[i % 2]
        tuner.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            found = tuner.loss(batch)
        found.backward()
        tuner.optimizer.step()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            tuner.step(batch)


def moved(tuner):
    return tuner.values["dropout"] != pytest.approx(0.09, abs=1e-6) and tuner.converted.response_norm() > 0


@pytest.mark.parametrize("exclude", [[], ["head"]])
def test_an_encoder_of_torchs_own_is_tuned_although_its_fused_kernel_passes_layers_by(exclude):
    torch.manual_seed(0)
    tuner = tuner_of(Encoder(), exclude=exclude)
    train(tuner)
    assert moved(tuner)
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_encoder_with_responses_in_its_weights_evaluates_as_its_export():
    torch.manual_seed(0)
    tuner = tuner_of(Encoder(nested=False), preset="paper")
    train(tuner)
    x = batches()[2][0]
    plain, model = tuner.export().eval(), tuner.model.eval()
    with torch.no_grad():
        assert torch.allclose(plain(x), model(x), atol=1e-5)


def test_activations_may_be_overwritten_in_place():
    torch.manual_seed(0)
    tuner = tuner_of(residual())
    train(tuner)
    assert moved(tuner)


@pytest.mark.parametrize("make", [residual, Recurrent, Encoder])
@pytest.mark.parametrize("preset", ["modern", "paper"])
def test_autocast_around_the_passes_is_no_hindrance(make, preset):
    torch.manual_seed(0)
    tuner = tuner_of(make(), preset=preset)
    train(tuner, cast=True)
    assert moved(tuner)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_networks_of_other_types_are_tuned(dtype):
    torch.manual_seed(0)
    data = batches(dtype)
    tuner = tuner_of(residual().to(dtype), data)
    train(tuner, data=data)
    assert moved(tuner)


def test_activation_checkpointing_makes_its_passes_again_with_the_same_responses():
    found = []
    for saves in (False, True):
        torch.manual_seed(0)
        tuner = tuner_of(Checkpointed(saves))
        train(tuner)
        found.append(tuner.values["dropout"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert moved(tuner)


def test_a_layer_frozen_on_the_way_stays_frozen():
    model = residual()
    tuner = tuner_of(model)
    train(tuner, 2)
    model[0].requires_grad_(False)
    before = model[0].conv.weight.clone()
    train(tuner, 4)
    assert not model[0].conv.weight.requires_grad
    assert torch.equal(model[0].conv.weight, before)


def test_an_optimizer_that_calls_back_is_refused_and_the_network_left_as_it_was():
    model = residual()
    with pytest.raises(OptionError, match="LBFGS computes the loss itself"):
        tuner_of(model, make=torch.optim.LBFGS, tune={**DROPOUT, "activation_penalty": {"low": 0.0}})
    assert not any("forward" in vars(module) or module._forward_pre_hooks for module in model.modules())
    train(tuner_of(model))


@pytest.mark.filterwarnings("ignore:linearise")
def test_statistics_of_layers_that_nobody_knows_do_not_see_passes_beside_training():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4, 1))
            self.register_buffer("passes", torch.zeros(()))
            self.register_buffer("shape", torch.ones(3))

        def forward(self, x):
            if self.training:
                self.passes += 1
            return x * self.scale

    model = nn.Sequential(nn.Conv1d(4, 4, 1), Counting(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 2))
    train(tuner_of(model, unknown="plain"), 6)
    assert int(model[1].passes) == 6


def test_layers_may_be_called_by_the_names_of_their_arguments():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.drop = nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4), nn.Dropout(0.2)
            self.lstm, self.cell, self.head = (
                nn.LSTM(8, 6, batch_first=True),
                nn.GRUCell(6, 6),
                nn.Linear(6, 2),
            )
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            x = self.drop(input=self.norm(input=self.conv(input=x)))
            x, (h, _) = self.lstm(input=x, hx=None)
            x, _ = self.attention(query=x, key=x, value=x)
            return self.head(input=self.cell(input=x[:, -1], hx=h[0]))

    torch.manual_seed(0)
    tuner = tuner_of(Named())
    train(tuner)
    assert moved(tuner)


def test_a_penalty_sees_what_a_layer_gets_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(32, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(input=self.hidden(x.flatten(1)))

    tuner = tuner_of(Named(), tune={"activation_penalty": {"low": 0.0, "high": 1.0}})
    train(tuner)
    assert not any(module._forward_pre_hooks for module in tuner.export().modules())


def test_a_resumed_run_knows_which_groups_decay_whatever_was_loaded_first():
    tune = {"weight_decay": {"low": 1e-5, "high": 1e-1, "log": True}}

    def made(state=None):
        torch.manual_seed(0)
        model = residual()
        groups = [
            {"params": [model[3].weight], "weight_decay": 0.01},
            {"params": [model[3].bias], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.01)
        if state is not None:
            optimizer.load_state_dict(state)
        return DeltaSTN(
            model, optimizer, tune, loss=loss, val_loss=loss, validation=batches(), preset="paper"
        )

    first = made()
    state = first.optimizer.state_dict(), first.state_dict()
    resumed = made(state[0])
    resumed.load_state_dict(state[1])
    values = {"weight_decay": torch.ones(1)}
    gains = torch.zeros(1, len(first.converted.scale))
    with torch.no_grad():
        assert torch.equal(resumed._decay(gains, values), first._decay(gains, values))
