"""A network whose layers answer to hyperparameters, made of the user's own without touching its forward pass."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.methods.stn import attention, layers, recurrent
from autosearch.methods.stn.layers import Response, Slot
from autosearch.methods.stn.signal import Signal

Factory = Callable[..., Response]

_LAYERS: Mapping[type[nn.Module], Factory] = {
    nn.Linear: layers.LinearResponse,
    nn.Conv1d: layers.ConvResponse,
    nn.Conv2d: layers.ConvResponse,
    nn.Conv3d: layers.ConvResponse,
    nn.Embedding: layers.EmbeddingResponse,
    nn.LayerNorm: layers.LayerNormResponse,
    nn.RMSNorm: layers.LayerNormResponse,
    nn.GroupNorm: layers.NormResponse,
    nn.InstanceNorm1d: layers.NormResponse,
    nn.InstanceNorm2d: layers.NormResponse,
    nn.InstanceNorm3d: layers.NormResponse,
    nn.BatchNorm1d: layers.BatchNormResponse,
    nn.BatchNorm2d: layers.BatchNormResponse,
    nn.BatchNorm3d: layers.BatchNormResponse,
    nn.LSTMCell: recurrent.CellResponse,
    nn.GRUCell: recurrent.CellResponse,
    nn.LSTM: recurrent.RecurrentResponse,
    nn.GRU: recurrent.RecurrentResponse,
    nn.MultiheadAttention: attention.AttentionResponse,
}
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_ENCODERS = (nn.TransformerEncoder, nn.TransformerEncoderLayer)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _unsupported(layer: Any) -> str:
    """Why a layer of a known type has no response; empty if it has one."""
    if isinstance(layer, nn.Embedding) and (layer.max_norm is not None or layer.sparse):
        return "max_norm and sparse gradients change the weight behind the response's back"
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm) and len(layer.normalized_shape) != 1:
        return "norms over several dimensions are not covered"
    if isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats:
        return "running statistics are not covered"
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        return "proj_size is not covered"
    if isinstance(layer, nn.MultiheadAttention) and not attention.supports(layer):
        return "keys of another width, added keys, or projections frozen in part are not covered"
    return ""


class Converted:
    """A network with responses; the network's own parameters, state dict and class are what they were.

    Responses live here, not in the network: `model.state_dict()` stays that of the plain network.

    Args:
        model: the user's network, whose layers' forward passes are replaced.
        responses: of its layers, by path.
        signal: what they see.
        width: number of hyperparameters H.

    Attributes:
        scale: V of all layers, (G, H), zero at the start: the response is nothing until it is learnt.
    """

    def __init__(
        self, model: nn.Module, responses: Mapping[str, Response], signal: Signal, width: int
    ) -> None:
        self.model = model
        self.responses = dict(responses)
        self.signal = signal
        self.slots: list[Slot] = [s for r in responses.values() for s in r.slots if isinstance(s, Slot)]
        count = 0
        for slot in self.slots:
            slot.start, count = count, count + slot.size
        weight = self.slots[0].base()[0]
        self.scale = nn.Parameter(torch.zeros(count, width, device=weight.device, dtype=weight.dtype))
        for response in self.responses.values():
            response.layer.forward = response.forward

    def undo(self) -> None:
        """Give the layers their own forward passes back."""
        for response in self.responses.values():
            del response.layer.forward

    def general_parameters(self) -> list[nn.Parameter]:
        """The network's own trainable ones."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def response_parameters(self) -> list[nn.Parameter]:
        """Those that answer to the hyperparameters."""
        own = [p for slot in self.slots for p in slot.parameters()]
        return [self.scale, *own]

    def gains(self, h: torch.Tensor) -> torch.Tensor:
        """Gains of all layers, (B, G), from hypernetwork inputs (B, H)."""
        return h.to(self.scale.dtype) @ self.scale.T

    def bind_dropout(self, path: str, name: str) -> None:
        """Make the hyperparameter `name` the rate of the module at `path`."""
        response: Any = self.responses.get(path)
        if response is None:
            raise OptionError(
                f"{name}: the module at {path!r} is excluded, so its rate cannot be tuned.", name
            )
        response.tuned = name

    def set_dropout(self, values: Mapping[str, float]) -> None:
        """Set the rates of bound modules, which plain passes use."""
        for response in self.responses.values():
            name: Any = getattr(response, "tuned", None)
            if name is not None:
                attribute = "p" if isinstance(response, layers.DropoutResponse) else "dropout"
                setattr(response.layer, attribute, values[name])

    @property
    def shares_weights(self) -> bool:
        """Whether a layer that answers shares its weight with another one."""
        uses = [id(p) for m in self.model.modules() for p in m.parameters(recurse=False)]
        return any(uses.count(id(getattr(s.layer, s.weight_name))) > 1 for s in self.slots)

    def export(self, h: torch.Tensor | None = None) -> nn.Module:
        """The plain network, a copy, with the response to `h` (H,) in its weights where given."""
        plain = copy.deepcopy(self.model)
        for path in self.responses:
            del plain.get_submodule(path).__dict__["forward"]
        if h is not None:
            for slot, gains in self._copied(plain, h):
                slot.fold(gains)
        return plain

    def _copied(self, plain: nn.Module, h: torch.Tensor) -> Iterator[tuple[Slot, torch.Tensor]]:
        """Slots that point to the layers of a copy, with the gains for them."""
        with torch.no_grad():
            gains = self.gains(h.detach()[None])
        names = {id(module): path for path, module in self.model.named_modules()}
        for slot in self.slots:
            twin = copy.copy(slot)
            object.__setattr__(twin, "layer", plain.get_submodule(names[id(slot.layer)]))
            yield twin, gains

    def decay(
        self,
        gains: torch.Tensor,
        optimizer: torch.optim.Optimizer,
        ratios: Mapping[int, float],
        *,
        joint: bool,
    ) -> torch.Tensor:
        """Squared norm that weight decay penalises, (B,): its change by the response, or all of it.

        Args:
            gains: of all layers, (B, G).
            optimizer: of the network.
            ratios: share of the weight decay by the parameter's `id`.
            joint: all of it, with gradients to the network's own weights.
        """
        total = torch.zeros(len(gains), device=gains.device, dtype=gains.dtype)
        answering = set()
        for slot in self.slots:
            weight = getattr(slot.layer, slot.weight_name)
            answering.add(id(weight))
            ratio = ratios.get(id(weight), 0.0)
            if ratio:
                metric = layers.metric_of(optimizer, weight)
                total = total + ratio * slot.decay(gains, metric, joint=joint)
        for p in self.general_parameters() if joint else ():
            if id(p) not in answering and ratios.get(id(p), 0.0):
                total = total + ratios[id(p)] * p.square().sum()
        return total

    def response_norm(self) -> float:
        """Root mean square of V: how much layers answer."""
        return float(self.scale.detach().square().mean().sqrt())

    def state_dict(self) -> dict[str, Any]:
        """Of the responses; the network's own state is the network's."""
        return {
            "scale": self.scale.detach().clone(),
            "slots": [
                {name: p.detach().clone() for name, p in slot.named_parameters()} for slot in self.slots
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from saved responses."""
        if len(state["slots"]) != len(self.slots) or state["scale"].shape != self.scale.shape:
            raise OptionError(
                "the saved responses belong to another network or to other hyperparameters.", "model"
            )
        with torch.no_grad():
            self.scale.copy_(state["scale"])
            for slot, saved in zip(self.slots, state["slots"], strict=True):
                for name, p in slot.named_parameters():
                    p.copy_(saved[name])


def convert(
    model: nn.Module,
    width: int,
    *,
    exclude: Sequence[str] = (),
    unknown: Literal["refuse", "plain"] = "refuse",
    tied: bool = False,
    batch_dim: int = 0,
) -> Converted:
    """Give the trainable layers of a network responses to `width` hyperparameters.

    The network itself is changed: its layers' forward passes are replaced. Parameters stay the same objects, so an
    optimizer over them goes on. Frozen layers stay plain.

    Args:
        model: the user's network, on its device.
        width: number of hyperparameters.
        exclude: paths of layers to leave plain; `*` and `?` stand for any text and any letter.
        unknown: what to do with trainable layers without a known response: refuse them, or leave them plain.
        tied: responses scale and shift units instead of having weights of their own.
        batch_dim: dimension of inputs that counts examples.

    Raises:
        OptionError: if nothing can be converted, or for unknown layers, all of them.
    """
    if any("forward" in module.__dict__ for module in model.modules()):
        raise OptionError(
            "convert: a module of this network has had its forward pass replaced, perhaps by another conversion; "
            "export it first.",
            "model",
        )
    paths = {name for name, _ in model.named_modules()}
    for pattern in exclude:
        if not any(fnmatchcase(path, pattern) for path in paths):
            raise OptionError(f"exclude: no module is called {pattern!r}.", "exclude")
    signal = Signal(batch_dim)
    responses, problems = _responses(model, exclude, signal, tied=tied)
    if problems and unknown == "refuse":
        raise OptionError(
            f"convert: no response is known for trainable layers: {'; '.join(problems)}. Leave them plain with "
            "`exclude`, or all of the kind with `unknown: plain`; freeze them if they should not train.",
            "exclude",
        )
    if not any(len(response.slots) for response in responses.values()):
        frozen = all(not p.requires_grad for p in model.parameters())
        why = "all parameters are frozen" if frozen else "all trainable layers are excluded or unknown"
        raise OptionError(f"convert: the network has no layer that could answer: {why}.", "model")
    return Converted(model, responses, signal, width)


def _responses(
    model: nn.Module, exclude: Sequence[str], signal: Signal, *, tied: bool
) -> tuple[dict[str, Response], list[str]]:
    """Responses by path, and trainable layers without one. A weight in two places answers in the first."""
    responses: dict[str, Response] = {}
    problems: list[str] = []
    covered: set[int] = set()
    for path, module in model.named_modules():
        plain = any(fnmatchcase(path, pattern) for pattern in exclude)
        own = list(module.parameters(recurse=isinstance(module, nn.MultiheadAttention)))
        trains = any(p.requires_grad for p in own) and not any(id(p) in covered for p in own)
        factory = _LAYERS.get(type(module))
        reason = "" if factory is None else _unsupported(module)
        if type(module) in _DROPOUTS and not plain:
            responses[path] = layers.DropoutResponse(module, path, signal, tied=tied)
        elif factory is not None and trains and not plain and not reason:
            responses[path] = factory(module, path, signal, tied=tied)
            covered.update(id(p) for p in own)
        elif isinstance(module, _BATCH_NORMS):
            # Its running statistics must not see passes beside training, whether it answers or not.
            responses[path] = layers.BatchNormResponse(module, path, signal, tied=tied, answers=False)
        elif isinstance(module, _ENCODERS) and not trains:
            responses[path] = attention.EncoderResponse(module, path, signal, tied=tied, answers=False)
        elif trains and not plain:
            why = f": {reason}" if reason else ""
            problems.append(f"{path or 'the network itself'} ({type(module).__name__}{why})")
    return responses, problems
