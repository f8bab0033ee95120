"""`DeltaSTN` in an ordinary loop: which gradient goes where (T9), faults, penalties, resuming."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

import autosearch
from autosearch.core import OptionError
from autosearch.methods.stn import DeltaSTN

DROPOUT = {"dropout": {"low": 0.0, "high": 0.9}}
PRESETS = ["modern", "paper"]


def data(n=48, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=rng)
    return x, (x[:, 0] + 0.5 * torch.randn(n, generator=rng) > 0).long()


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(8, 2),
    )  # fmt: skip


def loss(model, batch, values=None):
    return functional.cross_entropy(model(batch[0]), batch[1])


BATCHES = [tuple(part[i : i + 16] for part in data()) for i in range(0, 48, 16)]
VALIDATION = [data(60, seed=1)]


def tuner_of(tune=None, model=None, **options):
    model = network() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    given = {"loss": loss, "val_loss": loss, "validation": VALIDATION, "hyper_every": 2, **options}
    return DeltaSTN(model, optimizer, tune or DROPOUT, **given)


def train(tuner, steps):
    infos = []
    for _ in range(steps):
        batch = BATCHES[tuner.steps % 3]
        tuner.optimizer.zero_grad()
        tuner.loss(batch).backward()
        tuner.optimizer.step()
        infos.append(tuner.step(batch))
    return infos


def test_the_public_name_is_the_class():
    assert autosearch.DeltaSTN is DeltaSTN


@pytest.mark.parametrize("preset", PRESETS)
def test_hyperparameters_move_and_the_export_is_a_plain_network(preset):
    torch.manual_seed(0)
    tuner = tuner_of(preset=preset)
    before = tuner.values
    infos = train(tuner, 30)
    assert tuner.values != before
    assert [info.validation_loss is not None for info in infos] == [i % 2 == 1 for i in range(30)]
    plain = tuner.export()
    tuner.model.eval()
    x = data()[0]
    assert torch.allclose(plain.eval()(x), tuner.model(x), atol=1e-5)
    assert {type(module) for module in plain} == {type(module) for module in network()}
    assert plain[3].p == pytest.approx(tuner.values["dropout"])


def test_the_networks_own_steps_give_responses_no_gradient():
    tuner = tuner_of()
    tuner.loss(BATCHES[0]).backward()
    assert all(p.grad is None for p in tuner.converted.response_parameters())
    assert tuner.hyper.u.grad is None
    assert all(p.grad is not None for p in tuner.converted.general_parameters())


def test_a_response_step_changes_responses_alone():
    tuner = tuner_of(hyper_every=1000)
    nn.init.normal_(tuner.converted.scale)
    model = copy.deepcopy(tuner.model.state_dict())
    before = [p.detach().clone() for p in tuner.converted.response_parameters()]
    u, rho = tuner.hyper.u.detach().clone(), tuner.hyper.rho.detach().clone()
    tuner.step(BATCHES[0])
    changed = [
        not torch.equal(a, b) for a, b in zip(before, tuner.converted.response_parameters(), strict=True)
    ]
    assert all(changed)
    assert all(
        torch.equal(a, b) for a, b in zip(model.values(), tuner.model.state_dict().values(), strict=True)
    )
    assert torch.equal(u, tuner.hyper.u)
    assert torch.equal(rho, tuner.hyper.rho)
    assert all(p.requires_grad and p.grad is None for p in tuner.converted.general_parameters())


def test_a_hyperparameter_step_changes_means_and_scales_alone():
    tuner = tuner_of(hyper_every=1, response_every=1000)
    nn.init.normal_(tuner.converted.scale, std=0.1)
    trained = [*tuner.converted.general_parameters(), *tuner.converted.response_parameters()]
    before = [p.detach().clone() for p in trained]
    u, rho = tuner.hyper.u.detach().clone(), tuner.hyper.rho.detach().clone()
    buffers = {name: b.clone() for name, b in tuner.model.named_buffers()}
    tuner.step(BATCHES[0])
    assert all(torch.equal(a, b) for a, b in zip(before, trained, strict=True))
    assert not torch.equal(u, tuner.hyper.u)
    assert not torch.equal(rho, tuner.hyper.rho)
    assert all(torch.equal(b, buffers[name]) for name, b in tuner.model.named_buffers())
    assert tuner.model.training


def test_with_a_validation_loss_that_says_nothing_only_the_entropy_moves_the_scales():
    tuner = tuner_of(val_loss=lambda model, batch: 0 * model(batch[0]).sum(), hyper_every=1)
    u, rho = tuner.hyper.u.detach().clone(), tuner.hyper.rho.detach().clone()
    train(tuner, 1)
    assert torch.equal(tuner.hyper.u, u)
    assert (tuner.hyper.rho > rho).all()


def test_scales_stay_between_their_bounds():
    tuner = tuner_of(sigma_low=0.9, sigma=1.0, sigma_high=1.1, hyper_lr=1.0, hyper_every=1, entropy=10.0)
    train(tuner, 3)
    assert tuner.sigma["dropout"] == pytest.approx(1.1, rel=1e-4)


@pytest.mark.filterwarnings("ignore:noise. the loss did not read it")
def test_double_backward_fits_the_same_response_as_forward_differentiation():
    grads = []
    for way in ("forward", "double"):
        tuner = tuner_of(
            linearise=way,
            tied=False,
            tune={"dropout": {"low": 0.0, "high": 0.9}, "noise": {"low": 0.0, "high": 1.0}},
        )
        torch.manual_seed(3)
        nn.init.normal_(tuner.converted.scale, std=0.1)
        offsets = torch.randn(16, 2)
        values = {"dropout": torch.full((16,), 1e-7), "noise": torch.zeros(16)}
        _, found = tuner._perturbed(BATCHES[0], offsets, values)
        # Derivatives of batch statistics are left out forward only.
        places = [id(p) for p in tuner._responding]
        grads.append(found[places.index(id(tuner.converted.slots[-1].weight))])
    assert torch.allclose(grads[0], grads[1], rtol=0.2, atol=2e-3)


class NoForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.clone()


class Wall(nn.Module):
    def forward(self, x):
        return NoForward.apply(x)


def walled():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), Wall(), nn.Dropout(0.2), nn.Linear(8, 2))


def test_a_layer_without_a_derivative_forward_falls_back_and_says_so_once():
    tuner = tuner_of(model=walled())
    with pytest.warns(UserWarning, match="double backward"):
        train(tuner, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tuner, 3)
    assert float(tuner.converted.scale.detach().abs().max()) > 0


def test_asking_for_forward_where_it_is_missing_is_an_error_with_the_way_out():
    tuner = tuner_of(model=walled(), linearise="forward")
    with pytest.raises(OptionError, match="linearise: off"):
        train(tuner, 1)


def test_every_kind_of_hyperparameter_reaches_the_loss_for_each_example():
    seen = []

    def with_values(model, batch, values):
        seen.append({name: (tuple(value.shape), value.requires_grad) for name, value in values.items()})
        return loss(model, batch) * values["weight"].mean()

    tune = {
        **DROPOUT,
        "weight": {"low": 0.5, "high": 2.0, "log": True},
        "holes": {"low": 0, "high": 4, "discrete": True},
        "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
        "activation_penalty": {"low": 0.0, "high": 1.0, "of": "4"},
    }
    tuner = tuner_of(tune, loss=with_values)
    train(tuner, 4)
    assert all(value == ((16,), False) for call in seen for value in call.values())
    assert len(seen) == 8
    decay = tuner.optimizer.param_groups[0]["weight_decay"]
    assert decay == pytest.approx(tuner.values["weight_decay"])
    assert not tuner.export()[4]._forward_pre_hooks


def test_activation_penalties_are_those_of_the_formula():
    model = nn.Sequential(nn.Flatten(0, 0), nn.Linear(6, 3), nn.Dropout(0.0), nn.Linear(3, 2))
    x = torch.randn(4, 5, 6)
    tune = {
        "activation_penalty": {"low": 0.0, "high": 1.0, "init": 0.25},
        "temporal_penalty": {"low": 0.0, "high": 1.0, "init": 0.5},
    }
    tuner = tuner_of(tune, model, loss=lambda model, batch, values: model(batch[0]).sum() * 0, validation=[(x,)],
                     val_loss=lambda model, batch: model(batch[0]).sum())  # fmt: skip
    hidden = model[1](x)
    expected = 0.25 * hidden.square().mean() + 0.5 * (hidden[:, 1:] - hidden[:, :-1]).square().mean()
    assert torch.allclose(tuner.loss((x,)), expected, rtol=1e-5)
    tuner.step((x,))
    assert float(tuner.converted.scale.detach().abs().max()) > 0


def test_dropout_of_single_layers_and_of_each_its_own():
    tuner = tuner_of(
        {"dropout.3": {"low": 0.0, "high": 0.5, "init": 0.2}, "dropout": {"low": 0.0, "high": 0.9}}
    )
    assert tuner.model[3].p == pytest.approx(0.2)
    assert tuner.model[6].p == pytest.approx(0.09)
    tuner = tuner_of({"dropout": {"low": 0.0, "high": 0.9, "per_layer": True}})
    assert list(tuner.values) == ["dropout.3", "dropout.6"]


def test_the_response_to_dropout_learns_that_less_is_better_where_nothing_overfits():
    """Plenty of clean data: dropout only hurts, so the gradient drives it down."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(5)
    x = torch.randn(400, 6, generator=rng)
    y = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tuner = DeltaSTN(model, optimizer, {"dropout": {"low": 0.0, "high": 0.9, "init": 0.6}}, loss=loss, val_loss=loss,
                     validation=[(x[200:], y[200:])], hyper_every=1, hyper_lr=0.05)  # fmt: skip
    for i in range(200):
        batch = x[(i % 4) * 50 : (i % 4 + 1) * 50], y[(i % 4) * 50 : (i % 4 + 1) * 50]
        optimizer.zero_grad()
        tuner.loss(batch).backward()
        optimizer.step()
        tuner.step(batch)
    assert tuner.values["dropout"] < 0.5


# -- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tune", "options", "said"),
    [
        ({}, {}, "names no hyperparameter"),
        ({"dropout": {"low": 0.0, "high": 0.9, "init": 0.0}}, {}, "Start a little inside"),
        ({"dropout": {"low": 0.0, "high": 1.5}}, {}, r"in \[0, 1\]"),
        ({"dropout.2": {"low": 0.0, "high": 0.9}}, {}, "no module at '2' drops"),
        ({"x": {"low": 0.0, "high": 0.9, "per_layer": True}}, {}, "only dropout can be of single layers"),
        ({"weight_decay": {"high": 0.9}}, {}, "low of at least 0"),
        ({"activation_penalty": {"low": 0.0, "of": "9"}}, {}, "no module is called '9'"),
        ({"dropout": 0.5}, {}, "give its range, such as"),
        ({"dropout": {"low": "0", "high": 0.9}}, {}, "dropout.low: a number, got '0'"),
        ({"dropout": {"low": 0.0, "high": 0.9, "shared": "yes"}}, {}, "dropout.shared: true or false"),
        (DROPOUT, {"hyper_optimizer": "sgd"}, "one of adam, rmsprop"),
        (DROPOUT, {"linearise": "of"}, "one of auto, forward, double, off"),
        (DROPOUT, {"unknown": "keep"}, "refuse or plain"),
        (DROPOUT, {"hyper_evry": 3}, "Did you mean 'hyper_every'"),
        (DROPOUT, {"preset": "new"}, "modern or paper"),
        (DROPOUT, {"preset": "paper", "response_every": 2}, "do nothing"),
        (DROPOUT, {"sigma": 9.0}, "between sigma_low"),
        (DROPOUT, {"exclude": ["3"]}, "is excluded, so its rate cannot be tuned"),
        (DROPOUT, {"validation": iter([])}, "holds no batch"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_refused_with_the_reason(tune, options, said):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    given = {"loss": loss, "val_loss": loss, "validation": VALIDATION, "hyper_every": 1, **options}
    with pytest.raises(OptionError, match=said):
        train(DeltaSTN(model, optimizer, tune, **given), 1)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_loss_without_the_layers_calls_is_refused(preset):
    model = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.2))

    def around(given, batch, values):
        return functional.cross_entropy(functional.linear(batch[0], model[0].weight), batch[1])

    with pytest.raises(OptionError, match="nothing in it depends on the responses"):
        train(tuner_of(model=model, loss=around, preset=preset), 1)


def test_a_loss_that_calls_another_model_than_it_is_given_is_refused():
    model = network()

    def other(given, batch, values):
        return loss(model, batch)

    with pytest.raises(OptionError, match="must call the `model` that it is given"):
        train(tuner_of(model=model, loss=other), 1)


def test_a_name_that_the_loss_does_not_read_is_warned_of_once():
    tuner = tuner_of({"droput": {"low": 0.0, "high": 0.9}})
    with pytest.warns(UserWarning, match="droput: the loss did not read it.*Did you mean 'dropout'"):
        train(tuner, 1)
    train(tuner, 2)


@pytest.mark.parametrize(
    "read",
    [
        lambda v: v["noise"],
        lambda v: v.get("noise"),
        lambda v: {**v},
        lambda v: dict(v.items()),
        lambda v: v | {},
    ],
)
def test_a_name_that_the_loss_reads_in_any_way_is_not_warned_of(read):
    def reading(model, batch, values):
        read(values)
        return loss(model, batch)

    train(tuner_of({"noise": {"low": 0.0, "high": 0.9}, **DROPOUT}, loss=reading), 1)


def test_a_network_without_dropout_layers_is_refused_with_the_way_out():
    with pytest.raises(OptionError, match="no dropout layer to bind"):
        tuner_of(model=nn.Sequential(nn.Linear(6, 2)))


def test_a_shared_weight_is_refused_by_the_papers_preset():
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.1), nn.Linear(6, 6), nn.Linear(6, 2))
    model[2].weight = model[0].weight
    tuner_of(model=model)
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.1), nn.Linear(6, 6), nn.Linear(6, 2))
    model[2].weight = model[0].weight
    with pytest.raises(OptionError, match="one weight in two places"):
        tuner_of(model=model, preset="paper")


def test_few_validation_examples_are_warned_of():
    tuner = tuner_of(validation=[data(6)], hyper_every=1)
    with pytest.warns(UserWarning, match="6 examples for 1 hyperparameters"):
        train(tuner, 3)


def test_an_outer_step_that_is_not_finite_is_skipped_and_many_are_an_error():
    broken = {"now": False}

    def val_loss(model, batch):
        return loss(model, batch) * (float("nan") if broken["now"] else 1.0)

    tuner = tuner_of(val_loss=val_loss, hyper_every=1, response_every=1000)
    train(tuner, 5)
    before = tuner.values
    broken["now"] = True
    train(tuner, 10)
    assert tuner.values == before
    broken["now"] = False
    train(tuner, 1)
    broken["now"] = True
    with pytest.raises(FloatingPointError, match="20 updates in a row were not finite"):
        train(tuner, 20)


# -- resuming ----------------------------------------------------------------------------------------------


def saved(tuner):
    return copy.deepcopy((tuner.model.state_dict(), tuner.optimizer.state_dict(), tuner.state_dict()))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_a_resumed_run_goes_on_bit_for_bit(preset, steps):
    tune = {**DROPOUT, "weight_decay": {"low": 1e-5, "high": 1e-1, "log": True}}
    options = {"preset": preset, "validation": [data(30, seed=1), data(30, seed=2)]}
    torch.manual_seed(7)
    straight = tuner_of(tune, **options)
    train(straight, steps)
    state = saved(straight)
    train(straight, 9)
    torch.manual_seed(99)
    resumed = tuner_of(tune, **options)
    resumed.model.load_state_dict(state[0])
    resumed.optimizer.load_state_dict(state[1])
    resumed.load_state_dict(state[2])
    train(resumed, 9)
    assert resumed.values == straight.values
    assert resumed.sigma == straight.sigma
    assert resumed.schedule() == straight.schedule()
    for a, b in zip(resumed.model.state_dict().values(), straight.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(
        resumed.converted.response_parameters(), straight.converted.response_parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_a_state_of_another_network_is_refused():
    state = tuner_of().state_dict()
    other = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.1), nn.Linear(4, 2))
    with pytest.raises(OptionError, match="another network"):
        tuner_of(model=other).load_state_dict(state)
