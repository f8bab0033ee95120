import math
from itertools import pairwise

import pytest
import torch
from torch import fx, nn

from autosearch.core import OptionError
from autosearch.tasks.models import IMAGE_MODELS, LANGUAGE_MODELS, TABLE_MODELS, build_model, model_options
from autosearch.tasks.models.layers import ACTIVATIONS, NORMS_1D, NORMS_2D, NormAct

SMALL = {
    "mlp": {"width": 8},
    "cnn": {"width": 4},
    "resnet": {"width": 4, "depth": 8},
    "preact_resnet": {"width": 4, "depth": 8},
    "vgg": {"width": 4, "depth": 11},
    "mobilenet_v2": {"width": 4},
    "lstm": {"width": 8, "layers": 2},
    "transformer": {"width": 8, "heads": 2},
}
ALL = [(IMAGE_MODELS, name) for name in IMAGE_MODELS] + [(LANGUAGE_MODELS, name) for name in LANGUAGE_MODELS]


def small(models, name, **options):
    torch.manual_seed(0)
    shape = (1, 8, 8) if models is IMAGE_MODELS else (12,)
    model = build_model(models, name, shape, 10, {**SMALL[name], **options})
    inputs = torch.randn(3, *shape) if models is IMAGE_MODELS else torch.randint(10, (3, *shape))
    return model, inputs


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("models", "name"), ALL)
def test_every_weight_of_a_model_gets_a_gradient(models, name):
    model, inputs = small(models, name, dropout=0.1)
    outputs = model(inputs)
    assert outputs.shape == ((3, 10) if models is IMAGE_MODELS else (3, 12, 10))
    outputs.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(("models", "name"), ALL)
def test_every_model_can_be_traced(models, name):
    model, inputs = small(models, name, dropout=0.1)
    model.eval()
    traced = fx.symbolic_trace(model)
    assert torch.equal(traced(inputs), model(inputs))
    assert torch.equal(traced(inputs[:1]), model(inputs[:1]))


@pytest.mark.parametrize("name", [n for n in IMAGE_MODELS if n != "mlp"])
@pytest.mark.parametrize("norm", NORMS_2D)
def test_every_convolutional_model_takes_every_norm(name, norm):
    model, inputs = small(IMAGE_MODELS, name, norm=norm)
    assert torch.isfinite(model(inputs.repeat(2, 1, 4, 4))).all()


@pytest.mark.parametrize("norm", NORMS_1D)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_perceptron_takes_every_norm_and_activation(norm, activation):
    model, inputs = small(IMAGE_MODELS, "mlp", norm=norm, activation=activation)
    assert torch.isfinite(model(inputs)).all()


class Scaled(nn.Module):
    """A stand-in for a layer that normalises and activates at once."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return torch.sigmoid(x) * self.scale[:, None, None]


@pytest.mark.parametrize("name", [n for n in IMAGE_MODELS if n != "mlp"])
def test_a_layer_of_ones_own_replaces_norm_and_activation(name):
    model, inputs = small(IMAGE_MODELS, name, norm=Scaled)
    kinds = [type(m) for m in model.modules()]
    assert Scaled in kinds
    alone = {"resnet": 5, "mobilenet_v2": 17}  # places that normalise without activating: batch norm
    assert kinds.count(nn.BatchNorm2d) == alone.get(name, 0)
    assert torch.isfinite(model(inputs)).all()


def test_a_norm_can_be_named_by_module_and_object():
    layer = NormAct("torch.nn:BatchNorm2d")(6)
    assert isinstance(layer, nn.BatchNorm2d)


def test_the_perceptrons_weights_count_as_the_formula_says():
    w, inputs, outputs = 17, 64, 10
    model = build_model(TABLE_MODELS, "mlp", (inputs,), outputs, {"width": w, "layers": 3})
    assert count(model) == inputs * w + w + 2 * (w * w + w) + w * outputs + outputs


def test_the_small_cnns_weights_count_as_the_formula_says():
    model = build_model(IMAGE_MODELS, "cnn", (3, 16, 16), 10, {"width": 5, "depth": 3})
    widths = [3, 5, 10, 20]
    convolutions = sum(9 * a * b + 2 * b for a, b in pairwise(widths))
    assert count(model) == convolutions + 20 * 10 + 10


@pytest.mark.parametrize(("depth", "width"), [(8, 16), (20, 16), (56, 16), (20, 8)])
def test_the_resnets_weights_count_as_the_formula_says(depth, width):
    n = (depth - 2) // 6
    total = 9 * 3 * width + 2 * width
    for stage in range(3):
        c = width * 2**stage
        total += n * 2 * (9 * c * c + 2 * c)
        if stage:
            total += -9 * c * c + 9 * c * c // 2 + c * c // 2 + 2 * c  # first convolution and the 1×1 one
    total += 4 * width * 10 + 10
    assert (
        count(build_model(IMAGE_MODELS, "resnet", (3, 32, 32), 10, {"depth": depth, "width": width})) == total
    )


def test_resnet_20_has_the_published_size():
    # 0.27 million in table 6 of He et al. 2016; 1×1 shortcuts add 2,752 weights to their 269,722.
    assert count(build_model(IMAGE_MODELS, "resnet", (3, 32, 32), 10, {})) == 269_722 + 2_752


def test_vgg_16_has_the_published_convolutions():
    # 14,710,464 weights in the 13 convolutions of configuration D, two values a channel for batch norm.
    model = build_model(IMAGE_MODELS, "vgg", (3, 32, 32), 10, {})
    assert count(model) == 14_710_464 + 2 * 4_224 + 512 * 10 + 10


def test_mobilenet_v2_has_the_published_size():
    # torchvision's features hold 2,223,872 weights.
    model = build_model(IMAGE_MODELS, "mobilenet_v2", (3, 32, 32), 10, {})
    assert count(model) == 2_223_872 + 1280 * 10 + 10


def test_the_language_models_weights_count_as_the_formulas_say():
    w, v, layers, context = 16, 11, 3, 12
    options = {"width": w, "layers": layers}
    lstm = build_model(LANGUAGE_MODELS, "lstm", (context,), v, options)
    assert count(lstm) == v * w + layers * (8 * w * w + 8 * w) + w * v + v
    transformer = build_model(LANGUAGE_MODELS, "transformer", (context,), v, options)
    block = 4 * w + (3 * w * w + 3 * w) + (w * w + w) + (8 * w * w + 5 * w)
    assert count(transformer) == v * w + context * w + layers * block + 2 * w + w * v + v


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_models_do_not_look_ahead(name):
    model, tokens = small(LANGUAGE_MODELS, name)
    model.eval()
    other = tokens.clone()
    other[:, 7:] = (other[:, 7:] + 1) % 10
    assert torch.allclose(model(tokens)[:, :7], model(other)[:, :7], atol=1e-6)
    assert not torch.allclose(model(tokens)[:, 7:], model(other)[:, 7:], atol=1e-3)


def test_attention_equals_its_formula():
    model, _ = small(LANGUAGE_MODELS, "transformer")
    block = model.blocks[0]
    x = torch.randn(2, 5, 8)
    q, k, v = block.attention.qkv(block.norm1(x)).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    scores = (q @ k.transpose(-1, -2) / math.sqrt(4)).masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 5, 8)
    y = x + block.attention.projection(mixed)
    assert torch.allclose(block(x), y + block.perceptron(block.norm2(y)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {"depth": 21}, r"depth: resnet has 6·n \+ 2"),
        ("vgg", {"depth": 12}, "depth: vgg has 11, 13, 16 or 19"),
        ("cnn", {"norm": "bach"}, "Did you mean 'batch'"),
        ("cnn", {"activation": "rleu"}, "Did you mean 'relu'"),
    ],
)
def test_an_impossible_network_is_refused(name, options, message):
    with pytest.raises(OptionError, match=message):
        build_model(IMAGE_MODELS, name, (1, 8, 8), 10, options)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(OptionError, match="10 is no multiple of 4"):
        build_model(LANGUAGE_MODELS, "transformer", (8,), 5, {"width": 10, "heads": 4})


def test_options_of_a_model_are_read_from_its_signature():
    assert set(model_options(IMAGE_MODELS, "mlp")) == {"width", "layers", "dropout", "norm", "activation"}
    assert "depth" not in model_options(IMAGE_MODELS, "mobilenet_v2")
