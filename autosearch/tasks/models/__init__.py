"""Networks that tasks train, by name. All can be traced by `torch.fx`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean
from autosearch.tasks.models.feedforward import Cnn, Mlp, Vgg
from autosearch.tasks.models.language import Lstm, Transformer
from autosearch.tasks.models.layers import ACTIVATIONS, Layer, NormAct
from autosearch.tasks.models.residual import MobileNetV2, PreactResNet, ResNet

__all__ = [
    "ACTIVATIONS",
    "IMAGE_MODELS",
    "LANGUAGE_MODELS",
    "TABLE_MODELS",
    "Layer",
    "NormAct",
    "build_model",
    "model_options",
]

Builder = Callable[..., nn.Module]

IMAGE_MODELS: Mapping[str, Builder] = {
    "mlp": Mlp,
    "cnn": Cnn,
    "resnet": ResNet,
    "preact_resnet": PreactResNet,
    "vgg": Vgg,
    "mobilenet_v2": MobileNetV2,
}
TABLE_MODELS: Mapping[str, Builder] = {"mlp": Mlp}
LANGUAGE_MODELS: Mapping[str, Builder] = {"lstm": Lstm, "transformer": Transformer}


def find_model(models: Mapping[str, Builder], name: str) -> Builder:
    """The builder called `name`.

    Raises:
        OptionError: if there is none.
    """
    if name not in models:
        hint = did_you_mean(name, models)
        raise OptionError(f"unknown model {name!r}.{hint} Known: {', '.join(models)}.", "model")
    return models[name]


def model_options(models: Mapping[str, Builder], name: str) -> frozenset[str]:
    """Names of the options that the model takes, such as `width`."""
    parameters = inspect.signature(find_model(models, name)).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)


def build_model(
    models: Mapping[str, Builder],
    name: str,
    shape: tuple[int, ...],
    outputs: int,
    options: Mapping[str, Any],
) -> nn.Module:
    """A network for examples of `shape` with `outputs` outputs; options that are None keep the model's own default."""
    return find_model(models, name)(shape, outputs, **{k: v for k, v in options.items() if v is not None})
