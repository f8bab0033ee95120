"""Replacing norm-activation pairs: found in the data flow of every kind of network, the rest listed with reasons."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import autosearch
from autosearch.core import OptionError
from autosearch.methods.evonorm import EvoNorm2d, swap_norm_act
from autosearch.tasks.models import IMAGE_MODELS


class Block(nn.Module):
    """A residual block as torchvision writes it: one ReLU for the pair and for the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + x)


class Resnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.act1 = nn.ReLU()
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.act1(self.bn1(self.conv1(x)))).mean((2, 3)))


class Functional(nn.Module):
    def __init__(self, *, drop: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.drop = drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.bn(self.conv(x)))
        return F.dropout(x, training=self.training) if self.drop else x


class Branching(nn.Module):
    """Cannot be traced as a whole, but for its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.bn(x) if x.sum() > 0 else -self.bn(x)


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def reasons(swap) -> dict[str, str]:
    return {left.name: left.reason for left in swap.left}


def kinds(model: nn.Module) -> dict[str, str]:
    return {name: type(module).__name__ for name, module in model.named_modules()}


def test_a_residual_network_keeps_its_class_and_gets_new_blocks() -> None:
    model = Resnet()
    swap = swap_norm_act(model, "evonorm_b0")
    assert swap.model is model
    assert set(swap.replaced) == {"bn1", "blocks.0.bn1", "blocks.1.bn1"}
    assert reasons(swap) == dict.fromkeys(("blocks.0.bn2", "blocks.1.bn2"), "no activation follows it")
    found = kinds(model)
    assert (found["bn1"], found["act1"], found["blocks.0.relu"]) == ("EvoNorm2d", "Identity", "ReLU")
    model(IMAGES).sum().backward()
    assert model.blocks[0].bn1.v.grad is not None


def test_the_new_network_computes_what_its_code_says_with_the_new_layers() -> None:
    """Against a block written by hand: the sum is still activated, the pair is not any more."""
    swap = swap_norm_act(Resnet(), "evonorm_s0")
    block = swap.model.blocks[0]
    x = torch.randn(2, 8, 4, 4)
    by_hand = F.relu(block.bn2(block.conv2(block.bn1(block.conv1(x)))) + x)
    assert isinstance(block.bn1, EvoNorm2d)
    assert torch.equal(block(x), by_hand)


def test_parameters_keep_their_names_and_the_rest_its_values() -> None:
    model = Resnet()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = swap_norm_act(model, "evonorm_s0").model.state_dict()
    assert {name for name in after if "running" not in name and name not in before} == {
        "bn1.v", "blocks.0.bn1.v", "blocks.1.bn1.v",
    }  # fmt: skip
    assert all(torch.equal(after[name], before[name]) for name in after if name in before)


def test_linear_norms_are_replaced_on_request() -> None:
    swap = swap_norm_act(Resnet(), "evonorm_s0", linear=True)
    assert set(swap.linear) == {"blocks.0.bn2", "blocks.1.bn2"}
    assert not swap.left
    swap.model.train()
    assert torch.allclose(swap.model(IMAGES)[:1], swap.model(IMAGES[:1]), atol=1e-6)


def test_functions_and_methods_count_as_activations() -> None:
    swap = swap_norm_act(Functional(), "evonorm_s1")
    assert swap.replaced == ("bn",)
    assert type(swap.model).__name__ == "Functional"
    assert torch.equal(swap.model(IMAGES), swap.model.bn(swap.model.conv(IMAGES)))


def test_code_that_differs_between_training_and_evaluation_stays() -> None:
    model = Functional(drop=True)
    swap = swap_norm_act(model)
    assert swap.model is model
    assert "differs between training and evaluation" in reasons(swap)["bn"]


class Whole(nn.Module):
    """With a part that the forward pass does not call, an attribute, a method, and a constant made on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.unused = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2)
        self.width = 8

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.relu(self.bn(self.conv(x))), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x) * torch.tensor([0.5])


def test_a_network_with_another_forward_is_the_same_object_in_all_else() -> None:
    model = Whole().eval()
    names, seen = set(model.state_dict()), []
    model.register_forward_hook(lambda *_: seen.append(1))
    swap = swap_norm_act(model, "evonorm_s1")
    assert swap.model is model
    assert isinstance(model, Whole)
    assert swap.replaced == ("bn",)
    assert model.width == 8
    assert set(model.state_dict()) == {
        name for name in names if "running" not in name and "num_batches" not in name
    }
    assert torch.equal(model(IMAGES), F.max_pool2d(model.bn(model.conv(IMAGES)), 2) / 2)
    assert seen == [1]
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_network_with_another_forward_can_be_copied_and_pickled(again) -> None:
    model = swap_norm_act(Whole(), "evonorm_s0").model
    other = again(again(model))
    assert torch.equal(other(IMAGES), model(IMAGES))
    assert isinstance(other, Whole)
    with torch.no_grad():
        other.conv.weight.zero_()
    assert not torch.equal(other(IMAGES), model(IMAGES))
    assert set(other.state_dict()) == set(model.state_dict())


def test_code_that_asks_whether_an_argument_was_given_stays() -> None:
    class Masked(Functional):
        def forward(
            self, x: torch.Tensor, mask: torch.Tensor | None = None, scale: float = 2.0
        ) -> torch.Tensor:
            x = F.relu(self.bn(self.conv(x)))
            return x * scale if mask is None else x * mask

    swap = swap_norm_act(Masked())
    assert "optional argument" in reasons(swap)["bn"]
    swap.model(IMAGES)


def test_optional_arguments_stay_optional() -> None:
    class Scaled(Functional):
        def forward(self, x: torch.Tensor, scale: float = 2.0, *, shift: float = 0.0) -> torch.Tensor:
            return F.relu(self.bn(self.conv(x))) * scale + shift

    swap = swap_norm_act(Scaled())
    assert swap.replaced == ("bn",)
    expected = swap.model.bn(swap.model.conv(IMAGES))
    assert torch.equal(swap.model(IMAGES), expected * 2)
    assert torch.equal(swap.model(IMAGES, 3.0, shift=1.0), expected * 3 + 1)


def test_looking_at_a_network_leaves_no_attributes_in_it() -> None:
    model = Whole()
    model.bn = nn.Identity()
    before = set(vars(model))
    swap_norm_act(model)
    assert set(vars(model)) == before


def test_norms_inside_of_the_new_layers_are_none_of_the_networks() -> None:
    class GroupSilu(nn.Sequential):
        def __init__(self, channels: int) -> None:
            super().__init__(nn.GroupNorm(1, channels), nn.SiLU())

        @staticmethod
        def linear(channels: int) -> nn.Module:
            return nn.GroupNorm(1, channels)

    swap = swap_norm_act(Resnet(), GroupSilu, linear=True)
    assert set(swap.replaced) == {"bn1", "blocks.0.bn1", "blocks.1.bn1"}
    assert set(swap.linear) == {"blocks.0.bn2", "blocks.1.bn2"}
    assert not swap.left
    assert isinstance(swap.model.bn1, GroupSilu)


def test_a_network_that_cannot_be_traced_gives_up_the_pairs_inside_its_parts() -> None:
    swap = swap_norm_act(Branching())
    assert swap.replaced == ("stem.1",)
    assert "cannot be traced" in reasons(swap)["bn"]
    assert "left bn" in str(swap)


def test_one_norm_in_several_places_stays() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.relu = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.bn(self.conv(self.relu(self.bn(self.conv(x))))))

    assert "several places" in reasons(swap_norm_act(Shared()))["bn"]


def test_a_norm_whose_output_is_used_twice_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.bn(x)
            return x + F.relu(x)

    assert "used in 2 places" in reasons(swap_norm_act(Twice()))["bn"]


def test_an_activation_of_one_s_own_is_named_instead_of_overlooked() -> None:
    class Squash(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / (1 + x.abs())

    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Squash())
    swap = swap_norm_act(model, linear=True)
    assert "Squash" in reasons(swap)["1"]


def test_an_activation_shared_between_modules_keeps_acting_elsewhere() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), relu), nn.Sequential(nn.Conv2d(4, 4, 1), relu)
    )
    swap = swap_norm_act(model)
    assert swap.replaced == ("0.1",)
    assert (swap.model(IMAGES) >= 0).all()
    first = swap.model[0](IMAGES)
    assert torch.equal(first, swap.model[0].get_submodule("1")(swap.model[0].get_submodule("0")(IMAGES)))


def test_group_norm_of_vectors_or_sequences_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.GroupNorm(2, 8), nn.ReLU())
    assert "no images" in reasons(swap_norm_act(model))["1"]
    images = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.ReLU())
    assert swap_norm_act(images).replaced == ("1",)


@pytest.mark.parametrize("initialize", [True, False])
def test_statistics_are_taken_over_where_asked(initialize: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    nn.init.uniform_(model[1].weight, 2, 3)
    model[1].running_var.fill_(7.0)
    old = copy.deepcopy(model[1])
    new = swap_norm_act(model, "evonorm_b1", initialize=initialize).model[1]
    assert torch.equal(new.weight, old.weight) is initialize
    assert torch.equal(new.running_var, old.running_var) is initialize


def test_device_precision_and_mode_are_kept() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).double().eval()
    new = swap_norm_act(model, "evonorm_b0").model[1]
    assert (new.weight.dtype, new.running_var.dtype, new.training) == (torch.float64, torch.float64, False)


@pytest.mark.parametrize("name", ["cnn", "resnet", "preact_resnet", "vgg", "mobilenet_v2"])
def test_every_built_in_network_is_freed_of_batch_norm(name: str) -> None:
    model = IMAGE_MODELS[name]((3, 16, 16), 4)
    swap = autosearch.swap_norm_act(model, "evonorm_s0", linear=True)
    assert swap.replaced
    assert not swap.left
    x = torch.randn(3, 3, 16, 16)
    swap.model.train()
    out = swap.model(x)
    out.sum().backward()
    assert torch.isfinite(out).all()


def test_any_callable_is_a_layer_and_an_unknown_name_is_not() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    with pytest.raises(OptionError, match="Did you mean 'evonorm_s0'"):
        swap_norm_act(model, "evonorm_so")
    with pytest.raises(OptionError, match="without activation"):
        swap_norm_act(model, lambda channels: nn.Identity(), linear=True)
    assert isinstance(swap_norm_act(model, lambda channels: nn.Tanh()).model[1], nn.Tanh)
