"""Whether the architectures of a space are what a network builds."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import torch
from torch import nn

from autosearch.core import AutosearchError, SpaceError, plugins
from autosearch.core.seeds import derive_rng
from autosearch.space import SearchSpace, nest

_SHAPE, _OUTPUTS = (3, 32, 32), 10  # of the rehearsal: the data are not loaded for a check


class Builds(Protocol):
    """What is asked of a task."""

    @property
    def architecture(self) -> Mapping[str, Any] | None: ...
    def model_options(self, model: str) -> Mapping[str, inspect.Parameter]: ...
    def with_config(self, config: Mapping[str, Any]) -> Self: ...
    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module: ...


def architecture_problems(task: Builds, space: SearchSpace, models: Sequence[str]) -> list[str]:
    """What is wrong with the parameters under `architecture`, a line each with its place in the study file.

    Args:
        task: with the arguments of the run.
        space: of the study.
        models: all that a trial may train.
    """
    placed = any(name.startswith("architecture.") for name in space.parameters)
    builders = {
        m: taken["architecture"] for m in models if "architecture" in (taken := task.model_options(m))
    }
    shipped = plugins.registered("models")
    if placed and not builders:
        return [
            f"space.architecture: model {models[0]!r} builds no architecture. Those that do: {', '.join(shipped)}, "
            "and your own, `./file.py:name` with a keyword `architecture`."
        ]
    if not placed:
        missing = [m for m, option in builders.items() if option.default is inspect.Parameter.empty]
        return [
            f"space.architecture: model {m!r} builds one, and there is none. Add `architecture: {{use: NAME}}`, or "
            "parameters of your own called `architecture.NAME`."
            for m in missing
            if task.architecture is None
        ]
    config = nest(space.sample(derive_rng(0, "architecture"), 1)[0])
    return [line for m in builders if m in shipped for line in _rehearsed(task, {**config, "model": m})]


def _rehearsed(task: Builds, config: Mapping[str, Any]) -> list[str]:
    """What the network says against the architecture of a configuration; its weights are never made."""
    try:
        with torch.device("meta"):
            task.with_config(config).build(_SHAPE, _OUTPUTS)
    except SpaceError as error:
        return [f"space.architecture: {error}"]
    except AutosearchError:
        return []  # another argument's fault, which is reported at its own place
    return []
