"""Responses of LSTM and GRU, cells and layers: written out step by step, as weights differ between examples."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from autosearch.core.errors import OptionError
from autosearch.methods.stn.layers import Response, Slot, dropped

State = tuple[torch.Tensor, ...]


def _lstm(from_input: torch.Tensor, from_state: torch.Tensor, state: State) -> State:
    into, forget, candidate, out = (from_input + from_state).chunk(4, -1)
    cell = forget.sigmoid() * state[1] + into.sigmoid() * candidate.tanh()
    return out.sigmoid() * cell.tanh(), cell


def _gru(from_input: torch.Tensor, from_state: torch.Tensor, state: State) -> State:
    reset_x, update_x, new_x = from_input.chunk(3, -1)
    reset_h, update_h, new_h = from_state.chunk(3, -1)
    update = (update_x + update_h).sigmoid()
    new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
    # Not `lerp`, which refuses the two types that autocast makes of them.
    return (new + update * (state[0] - new),)


class CellResponse(Response):
    """Of `nn.LSTMCell` and `nn.GRUCell`."""

    def make_slots(self, layer: Any, *, tied: bool) -> list[Slot]:
        return [
            Slot(layer, f"weight_{k}", f"bias_{k}" if layer.bias else None, tied=tied) for k in ("ih", "hh")
        ]

    def forward(self, input: torch.Tensor, hx: Any = None) -> Any:  # noqa: A002 - the name of the layer
        """(B, D) and the state -> the next state."""
        if self.signal.gains is None:
            return self.plain(input, hx)
        x, long = input, isinstance(self.layer, nn.LSTMCell)
        if hx is None:
            zero = torch.zeros(len(x), self.layer.hidden_size, device=x.device, dtype=x.dtype)
            state: State = (zero, zero) if long else (zero,)
        else:
            state = tuple(hx) if long else (hx,)
        x = self.affine(0, x, functional.linear, first=True)
        state = (_lstm if long else _gru)(x, self.affine(1, state[0], functional.linear, first=True), state)
        return state if long else state[0]


class RecurrentResponse(Response):
    """Of `nn.LSTM` and `nn.GRU`, several layers and both directions; the fast kernels still do the plain passes.

    Attributes:
        tuned: name of the hyperparameter that is the dropout between layers; None leaves the layer's own.
    """

    tuned: str | None = None

    def make_slots(self, layer: Any, *, tied: bool) -> list[Slot]:
        return [
            Slot(layer, f"weight_{kind}{end}", f"bias_{kind}{end}" if layer.bias else None, tied=tied)
            for end in self._ends(layer)
            for kind in ("ih", "hh")
        ]

    @staticmethod
    def _ends(layer: Any) -> list[str]:
        ways = ("", "_reverse") if layer.bidirectional else ("",)
        return [f"_l{i}{way}" for i in range(layer.num_layers) for way in ways]

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - the name of the layer
        """Sequences (B, T, D), or (T, B, D) without `batch_first` -> outputs and last states, as the plain layer."""
        layer, x = self.layer, input
        if self.signal.gains is None and (self.tuned is None or self.signal.values is None):
            return self.plain(input, hx)
        if isinstance(x, PackedSequence) or x.ndim != 3:
            raise OptionError(
                f"{self.name}: packed or unbatched sequences have no place for a response; pad them, "
                "or exclude the layer.",
                self.name,
            )
        if not layer.batch_first:
            x = x.transpose(0, 1)
        long = isinstance(layer, nn.LSTM)
        step = _lstm if long else _gru
        ways = 2 if layer.bidirectional else 1
        first = self._first_states(x, hx, long=long)
        last: list[State] = []
        for i in range(layer.num_layers):
            if i:
                x = self._between(x)
            outputs = []
            for way in range(ways):
                k = i * ways + way
                y, state = self._run(2 * k, x, first[k], step, backwards=way == 1)
                outputs.append(y)
                last.append(state)
            x = torch.cat(outputs, -1) if ways == 2 else outputs[0]
        if not layer.batch_first:
            x = x.transpose(0, 1)
        ends = tuple(torch.stack(part) for part in zip(*last, strict=True))
        return x, (ends if long else ends[0])

    def _first_states(self, x: torch.Tensor, hx: Any, *, long: bool) -> list[State]:
        layer = self.layer
        count = layer.num_layers * (2 if layer.bidirectional else 1)
        if hx is None:
            zero = torch.zeros(len(x), layer.hidden_size, device=x.device, dtype=x.dtype)
            return [(zero, zero) if long else (zero,)] * count
        parts = hx if long else (hx,)
        return [tuple(part[k] for part in parts) for k in range(count)]

    def _run(
        self,
        slot: int,
        x: torch.Tensor,
        state: State,
        step: Callable[[torch.Tensor, torch.Tensor, State], State],
        *,
        backwards: bool,
    ) -> tuple[torch.Tensor, State]:
        from_input = self.affine(slot, x, functional.linear, first=True).unbind(1)
        outputs: list[torch.Tensor] = []
        for now in reversed(from_input) if backwards else from_input:
            state = step(now, self.affine(slot + 1, state[0], functional.linear, first=True), state)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if backwards else outputs, 1), state

    def _between(self, x: torch.Tensor) -> torch.Tensor:
        values: Mapping[str, torch.Tensor] | None = self.signal.values
        if self.tuned is None or values is None or not self.layer.training:
            return functional.dropout(x, self.layer.dropout, self.layer.training)
        return dropped(x, values[self.tuned].view(-1, 1, 1))
