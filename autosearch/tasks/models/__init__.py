"""Networks that tasks train, by name. All can be traced by `torch.fx`.

A name is one of the tables below, of the plug-in group `autosearch.models`, or code of the user's, `./file.py:name` or
`package.module:name`. A builder is called as `(shape, outputs, **options)`; its parameters behind these are options.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from autosearch.core import plugins
from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean
from autosearch.tasks.code import Code
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


def find_model(models: Mapping[str, Builder], name: str, folder: Path | None = None) -> Builder:
    """The builder called `name`; a relative file is looked for in `folder`.

    Raises:
        OptionError: if there is none.
        ResolveError: if the user's code or a plug-in cannot be loaded.
    """
    if name in models:
        return models[name]
    if ":" in name:
        return Code(name, folder).load()
    known = [*models, *plugins.registered("models")]
    if name not in known:
        hint = did_you_mean(name, known)
        raise OptionError(f"unknown model {name!r}.{hint} Known: {', '.join(known)}.", "model")
    found: Builder = plugins.load("models", name)
    return found


def model_options(
    models: Mapping[str, Builder], name: str, folder: Path | None = None
) -> Mapping[str, inspect.Parameter]:
    """The options that the model takes, such as `width`, by name."""
    parameters = list(inspect.signature(find_model(models, name, folder)).parameters.values())[2:]
    return {p.name: p for p in parameters}


def build_model(
    models: Mapping[str, Builder],
    name: str,
    shape: tuple[int, ...],
    outputs: int,
    options: Mapping[str, Any],
    folder: Path | None = None,
) -> nn.Module:
    """A network for examples of `shape` with `outputs` outputs; options that are None keep the model's own default."""
    given = {k: v for k, v in options.items() if v is not None}
    return find_model(models, name, folder)(shape, outputs, **given)
