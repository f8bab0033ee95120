"""Random state of a training run's own, kept apart from everybody else's in the process."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_NUMPY_SEED_LIMIT = 2**32  # numpy's legacy generator takes 32 bits


class RandomState:
    """The global generators of python, numpy and torch as one training run sees them.

    Inside `active()` the global generators continue this run's own sequences; outside they are the caller's,
    untouched. Runs that take turns in one process therefore do not disturb each other. Not for several threads
    at once: global generators are global.

    Args:
        seed: where the sequences start, in [0, 2**63).
        device: whose generator belongs to the run besides the CPU's.
    """

    def __init__(self, seed: int, device: torch.device | None = None) -> None:
        self._cuda = device if device is not None and device.type == "cuda" else None
        outer = self._capture()
        random.seed(seed)
        np.random.seed(seed % _NUMPY_SEED_LIMIT)  # noqa: NPY002 - users' code may draw from the global one
        torch.default_generator.manual_seed(seed)
        if self._cuda is not None:
            torch.cuda.default_generators[self._cuda_index()].manual_seed(seed)
        self._state = self._capture()
        self._apply(outer)

    @contextmanager
    def active(self) -> Iterator[None]:
        """The global generators are this run's inside, and the caller's again afterwards."""
        outer = self._capture()
        self._apply(self._state)
        try:
            yield
        finally:
            self._state = self._capture()
            self._apply(outer)

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Like `active`, but what is drawn inside leaves no trace: the next draw is as if nothing happened."""
        kept = self._state
        try:
            with self.active():
                yield
        finally:
            self._state = kept

    @classmethod
    def present(cls, device: torch.device | None = None) -> "RandomState":
        """The global generators as they stand."""
        found = cls(0, device)
        found._state = found._capture()
        return found

    def apply(self) -> None:
        """Make the global generators go on from this state, for good."""
        self._apply(self._state)

    def state_dict(self) -> dict[str, Any]:
        """The state in plain numbers, tuples and tensors."""
        python, legacy, cpu, cuda = self._state
        name, keys, position, has_gauss, cached = legacy
        return {
            "python": python,
            "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
            "torch": cpu.clone(),
            "cuda": None if cuda is None else cuda.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; a state without the CUDA part leaves that one as it is."""
        version, words, gauss = state["python"]
        name, keys, position, has_gauss, cached = state["numpy"]
        legacy = (name, keys.numpy().astype(np.uint32), position, has_gauss, cached)
        cuda = self._state[3] if state["cuda"] is None else state["cuda"].clone()
        self._state = ((version, tuple(words), gauss), legacy, state["torch"].clone(), cuda)

    def _cuda_index(self) -> int:
        index = None if self._cuda is None else self._cuda.index
        return torch.cuda.current_device() if index is None else index

    def _capture(self) -> tuple[Any, Any, torch.Tensor, torch.Tensor | None]:
        cuda = None if self._cuda is None else torch.cuda.get_rng_state(self._cuda)
        legacy = np.random.get_state(legacy=True)  # noqa: NPY002
        return random.getstate(), legacy, torch.get_rng_state(), cuda

    def _apply(self, state: tuple[Any, Any, torch.Tensor, torch.Tensor | None]) -> None:
        python, legacy, cpu, cuda = state
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None and self._cuda is not None:
            torch.cuda.set_rng_state(cuda, self._cuda)
