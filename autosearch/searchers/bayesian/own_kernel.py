"""An expert's own kernel: gpytorch's, or a function of points without hyperparameters.

Symbols: `theta` holds the kernel's own parameters as gpytorch keeps them (unconstrained), then log s2, log noise.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from gpytorch.kernels import Kernel
from torch import Tensor

from autosearch.core import OptionError
from autosearch.searchers.bayesian.layout import Layout


@dataclass(frozen=True, slots=True)
class OwnHyper:
    """A kernel with its parameters set, and those around it.

    Attributes:
        correlation: of two sets of points.
        variance: s2.
        noise: variance of the observation noise.
    """

    correlation: Callable[[Tensor, Tensor], Any]
    variance: Tensor
    noise: Tensor


class OwnKernel:
    """The covariance s2 · correlation, with the correlation of an expert's.

    Args:
        factory: `factory(layout)` returns a gpytorch kernel, or a function of two sets of points.
        layout: of the points.

    Raises:
        OptionError: it returns something else.
    """

    def __init__(self, factory: Callable[..., Any], layout: Layout) -> None:
        self.name = getattr(factory, "__name__", type(factory).__name__)
        made = factory() if inspect.isclass(factory) and issubclass(factory, Kernel) else factory(layout)
        if not callable(made):
            raise OptionError(
                f"{self.name}(layout) must return a gpytorch kernel or a function, got {type(made).__name__}.",
                "kernel",
            )
        self.made = made.double() if isinstance(made, Kernel) else made

    def __call__(self, X: Tensor, Z: Tensor, hyper: OwnHyper) -> Tensor:
        """Covariance of the latent function at `X` and `Z`, (…, n, k); differentiable in both."""
        found = hyper.correlation(X, Z.expand(*X.shape[:-2], *Z.shape[-2:]))
        if hasattr(found, "to_dense"):
            found = found.to_dense()
        if not isinstance(found, Tensor) or found.shape != (*X.shape[:-1], Z.shape[-2]):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            wanted = (*X.shape[:-1], Z.shape[-2])
            raise OptionError(f"{self.name} must return a tensor {wanted}, got {shape}.", "kernel")
        return hyper.variance * found

    @staticmethod
    def parameters_of(correlation: Callable[[Tensor, Tensor], Any]) -> list[Tensor]:
        """Those that are to be fitted."""
        if not isinstance(correlation, Kernel):
            return []
        return [parameter for parameter in correlation.parameters() if parameter.requires_grad]

    @property
    def start(self) -> np.ndarray:
        """The kernel's own parameters as they were made."""
        return np.concatenate(
            [np.empty(0), *(p.detach().numpy().ravel() for p in self.parameters_of(self.made))]
        )

    def with_own(self, values: np.ndarray) -> Callable[[Tensor, Tensor], Any]:
        """The correlation with parameters of its own."""
        if not isinstance(self.made, Kernel):
            return cast(Callable[[Tensor, Tensor], Any], self.made)
        made: Callable[[Tensor, Tensor], Any] = copy.deepcopy(self.made)
        rest = torch.from_numpy(values)
        for parameter in self.parameters_of(made):
            here, rest = rest[: parameter.numel()], rest[parameter.numel() :]
            parameter.data = here.reshape(parameter.shape).clone()
        return made

    def log_prior(self, correlation: Callable[[Tensor, Tensor], Any]) -> Tensor:
        """Log density of the kernel's own parameters by the priors that it was given."""
        total = torch.zeros((), dtype=torch.float64)
        if isinstance(correlation, Kernel):
            for _, module, prior, closure, _ in correlation.named_priors():
                total = total + prior.log_prob(closure(module)).sum()
        return total
