"""Which hyperparameter is which part of a network or its optimizer."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.methods.stn.hyper import Tuned, check_ranges, read_tuned
from autosearch.methods.stn.penalties import PENALTIES
from autosearch.space import did_you_mean

_BOUND = ("dropout", "weight_decay", *PENALTIES)  # what needs no word in the loss
_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def dropping(model: nn.Module) -> list[str]:
    """Paths of modules that drop: dropout layers, and attention and recurrent layers that were given a rate."""
    found = []
    for path, module in model.named_modules():
        inside = type(module) is nn.MultiheadAttention and module.dropout > 0
        between = type(module) in (nn.LSTM, nn.GRU) and module.dropout > 0 and module.num_layers > 1
        if type(module) in _LAYERS or inside or between:
            found.append(path)
    return found


def bind(
    model: nn.Module, optimizer: torch.optim.Optimizer, tune: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Tuned], dict[str, str]]:
    """The hyperparameters, with `per_layer` written out; and those that are dropout rates, by the path of the module.

    Raises:
        OptionError: for a dropout that no module has, a rate beyond [0, 1), or a weight decay that cannot be.
    """
    check_ranges(tune)
    paths = dropping(model)
    written: dict[str, Mapping[str, Any]] = {}
    for name, options in tune.items():
        plain = {key: value for key, value in options.items() if key not in ("per_layer", "of")}
        if "of" in options and name not in PENALTIES:
            raise OptionError(f"{name}.of: only penalties are of a module.", name)
        if not options.get("per_layer"):
            written[name] = plain
            continue
        if name != "dropout":
            raise OptionError(f"{name}.per_layer: only dropout can be of single layers.", name)
        written.update({f"dropout.{path}": plain for path in paths if f"dropout.{path}" not in tune})
        _refuse_none(paths)
    tuned = read_tuned(written)
    drops: dict[str, str] = {}
    for each in tuned:
        head, _, path = each.name.partition(".")
        if head != "dropout":
            continue
        _refuse_none(paths)
        if path and path not in paths:
            raise OptionError(
                f"{each.name}: no module at {path!r} drops.{did_you_mean(path, paths)} These do: {', '.join(paths)}.",
                each.name,
            )
        if each.low is None or each.high is None or not (0 <= each.low < each.high <= 1):
            raise OptionError(
                f"{each.name}: a rate needs low and high in [0, 1], got {each.low} and {each.high}.",
                each.name,
            )
        if path:
            drops[path] = each.name
    if "dropout" in written:
        drops.update({path: "dropout" for path in paths if path not in drops})
    _check_weight_decay(tuned, optimizer)
    return tuned, drops


def _refuse_none(paths: list[str]) -> None:
    if not paths:
        raise OptionError(
            "dropout: the network has no dropout layer to bind. Put `nn.Dropout()` where units should be dropped; "
            "calls of `functional.dropout` cannot be seen.",
            "dropout",
        )


def _check_weight_decay(tuned: list[Tuned], optimizer: torch.optim.Optimizer) -> None:
    for each in tuned:
        if each.name != "weight_decay":
            continue
        if each.low is None or each.low < 0:
            raise OptionError(f"weight_decay: needs low of at least 0, got {each.low}.", each.name)
        if not any("weight_decay" in group for group in optimizer.param_groups):
            raise OptionError(f"weight_decay: {type(optimizer).__name__} has none.", each.name)


class Noted(dict[str, torch.Tensor]):
    """Values for the loss that note which of them it reads; going through them reads all."""

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        super().__init__(values)
        self._unread = {name for name in values if name.partition(".")[0] not in _BOUND}

    def __getitem__(self, name: str) -> torch.Tensor:
        self._unread.discard(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        self._unread.discard(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self._unread.clear()
        return super().__iter__()

    def keys(self) -> Any:
        """As of a dict."""
        self._unread.clear()
        return super().keys()

    def items(self) -> Any:
        """As of a dict."""
        self._unread.clear()
        return super().items()

    def values(self) -> Any:
        """As of a dict."""
        self._unread.clear()
        return super().values()

    def warn(self) -> None:
        """Warns of values that nobody has read, as nothing depends on them."""
        for name in sorted(self._unread):
            warnings.warn(
                f"{name}: the loss did not read it, and nothing of that name is bound, so nothing will be learnt of it."
                f"{did_you_mean(name, _BOUND)}",
                stacklevel=4,
            )
