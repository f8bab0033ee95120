"""Hyperparameters as a distribution over unconstrained numbers, which gradients can move.

| symbol | meaning | shape |
|---|---|---|
| u | means, unconstrained | (H,) |
| rho | scales before softplus; sigma = softplus(rho) | (H,) |
| eps | standard normal draws | (B, H) |
| lambda | u + sigma * eps | (B, H) |
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch.nn import functional

from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean

_START = 0.1  # share of the interval, on its own scale, at which a hyperparameter without `init` starts
_FLAGS = ("log", "discrete", "shared")
_OPTIONS = ("low", "high", "init", "log", "discrete", "shared", "sigma")
_LINEAR_FROM = 30.0  # from here on softplus is the identity in double precision


@dataclass(frozen=True, slots=True)
class Tuned:
    """One hyperparameter that adapts while the network trains.

    Attributes:
        name: what it is called in the loss and in reports.
        low: lower end, itself never reached; None without.
        high: upper end; None without.
        init: where it starts, strictly inside; None for a tenth of the way, or 0 without ends.
        log: it moves on a logarithmic scale; needs `low > 0`, or `low == 0` without `high`.
        discrete: whole numbers from `low` to `high`, both included.
        shared: one draw for a batch instead of one for each example.
        sigma: initial standard deviation of the draws on the unconstrained scale; None for the preset's.
    """

    name: str
    low: float | None = None
    high: float | None = None
    init: float | None = None
    log: bool = False
    discrete: bool = False
    shared: bool = False
    sigma: float | None = None

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if low is not None and high is not None and not low < high:
            raise OptionError(f"{self.name}: low must be below high, got {low} and {high}.", self.name)
        if any(end is not None and not math.isfinite(end) for end in (low, high)):
            raise OptionError(
                f"{self.name}: ends must be finite; leave one out for none, got {low}, {high}.", self.name
            )
        if self.log and not (low is not None and (low > 0 or (low == 0 and high is None))):
            raise OptionError(
                f"{self.name}: log needs low above 0, or low 0 and no high, got {low}, {high}.", self.name
            )
        if self.discrete and (
            self.log or low is None or high is None or low != int(low) or high != int(high)
        ):
            raise OptionError(
                f"{self.name}: discrete needs whole numbers as low and high and no log, got {low}, {high}.",
                self.name,
            )
        if self.sigma is not None and not self.sigma > 0:
            raise OptionError(f"{self.name}: sigma must be above 0, got {self.sigma}.", self.name)
        if self.init is not None:
            self._check_init(self.init)

    def _check_init(self, init: float) -> None:
        if self.discrete:
            if not (float(self.low or 0) <= init <= float(self.high or 0) and init == int(init)):
                raise OptionError(
                    f"{self.name}: init must be a whole number from {self.low} to {self.high}, got {init}.",
                    self.name,
                )
            return
        inside = (self.low is None or init > self.low) and (self.high is None or init < self.high)
        if not (inside and math.isfinite(init)):
            raise OptionError(
                f"{self.name}: init {init} is not strictly between low {self.low} and high {self.high}: on a bound the "
                "gradient is zero. Start a little inside.",
                self.name,
            )

    @property
    def _ends(self) -> tuple[float | None, float | None]:
        """Of the scale on which it moves; a discrete one has a unit above its last value, all cells being equal."""
        low, high = self.low, self.high
        if self.discrete and high is not None:
            high += 1.0
        if not self.log or low == 0:
            return low, high
        return (None if low is None else math.log(low)), (None if high is None else math.log(high))

    @property
    def start(self) -> float:
        """Unconstrained value at which it starts."""
        if self.init is None:
            if self.low is None and self.high is None:
                return 0.0
            if self.low is not None and self.high is not None:
                return math.log(_START / (1 - _START))
            return math.log(math.expm1(_START))  # of softplus, towards the end that there is
        return self.unconstrain(self.init)

    def unconstrain(self, value: float) -> float:
        """The number that `constrain` makes `value` of, the middle of the cell where discrete."""
        value = value + 0.5 if self.discrete else value
        if self.log:
            value = math.log(value)
            if self.low == 0:
                return value
        low, high = self._ends
        if low is not None and high is not None:
            return math.log(value - low) - math.log(high - value)
        if low is not None:
            return _inverse_softplus(value - low)
        if high is not None:
            return -_inverse_softplus(high - value)
        return value

    def constrain(self, u: torch.Tensor) -> torch.Tensor:
        """Values in the range from unconstrained numbers of any shape; rises with them."""
        low, high = self._ends
        if self.log and self.low == 0:
            return u.exp()
        if low is not None and high is not None:
            value = low + (high - low) * u.sigmoid()
        elif low is not None:
            value = low + functional.softplus(u)
        elif high is not None:
            value = high - functional.softplus(-u)
        else:
            value = u
        if self.log:
            value = value.exp()
        # Rounding may carry sigmoid to 1, which would be one cell too many.
        return value.floor().clamp(self.low, self.high) if self.discrete else value


def _inverse_softplus(value: float) -> float:
    return value if value > _LINEAR_FROM else math.log(math.expm1(value))


def check_ranges(tune: Mapping[str, Any]) -> None:
    """Raises OptionError for a hyperparameter that is given something else than its options."""
    for name, options in tune.items():
        if not isinstance(options, Mapping):
            raise OptionError(
                f"{name}: give its range, such as {{low: 0, high: 0.9}}, not {options!r}.", name
            )


def read_tuned(tune: Mapping[str, Mapping[str, Any]]) -> list[Tuned]:
    """Hyperparameters from `{name: {low, high, init, …}}`.

    Raises:
        OptionError: for an unknown key or impossible ends.
    """
    if not tune:
        raise OptionError("tune: names no hyperparameter.", "tune")
    found = []
    for name, options in tune.items():
        for key in options:
            if key not in _OPTIONS:
                raise OptionError(
                    f"{name}.{key}: unknown option.{did_you_mean(key, _OPTIONS)} Known: {', '.join(_OPTIONS)}.",
                    name,
                )
            if options[key] is not None and not isinstance(options[key], bool if key in _FLAGS else Real):
                kind = "true or false" if key in _FLAGS else "a number"
                raise OptionError(f"{name}.{key}: {kind}, got {options[key]!r}.", name)
        found.append(Tuned(name, **options))
    return found


class Hyperparameters:
    """Means and scales of hyperparameters, as tensors that an optimizer moves.

    Args:
        tuned: the hyperparameters, in order.
        sigma: initial standard deviation of those that have none of their own.
        device: of the tensors.

    Attributes:
        u: means (H,), unconstrained.
        rho: scales (H,) before softplus.
    """

    def __init__(
        self, tuned: Sequence[Tuned], *, sigma: float = 1.0, device: torch.device | None = None
    ) -> None:
        names = [each.name for each in tuned]
        if len(set(names)) < len(names):
            raise OptionError(f"tune: each name once, got {', '.join(names)}.", "tune")
        self.tuned = tuple(tuned)
        self.names = tuple(names)
        scales = [_inverse_softplus(each.sigma or sigma) for each in tuned]
        self.u = torch.tensor([each.start for each in tuned], device=device).requires_grad_()
        self.rho = torch.tensor(scales, device=device).requires_grad_()
        self._shared = torch.tensor([each.shared for each in tuned], device=device)
        self._any_shared = any(each.shared for each in tuned)

    def __len__(self) -> int:
        return len(self.tuned)

    @property
    def sigma(self) -> torch.Tensor:
        """Standard deviations (H,) of the draws, unconstrained scale."""
        return functional.softplus(self.rho)

    def draw(self, n: int) -> torch.Tensor:
        """Standard normal draws (n, H) in opposite pairs; a shared hyperparameter has the same in every row.

        Opposite pairs have mean zero exactly, which takes the noise of first order out of a response's fit.
        """
        half = torch.randn((n + 1) // 2, len(self), device=self.u.device)
        eps = torch.stack((half, -half), dim=1).flatten(0, 1)[:n]
        return torch.where(self._shared, eps[:1], eps) if self._any_shared else eps

    def constrain(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Values in their ranges by name, each (n,), from unconstrained ones (n, H); cut off from gradients."""
        columns = values.detach().unbind(-1)
        return {each.name: each.constrain(column) for each, column in zip(self.tuned, columns, strict=True)}

    def present(self) -> dict[str, float]:
        """Values of the means in their ranges, by name."""
        values = torch.stack(
            list(self.constrain(self.u).values())
        ).tolist()  # one wait for the device, not one each
        return dict(zip(self.names, values, strict=True))

    def entropy(self) -> torch.Tensor:
        """Of the distribution of the draws, nats."""
        return (self.sigma.log() + 0.5 * math.log(2 * math.pi * math.e)).sum()

    def state_dict(self) -> dict[str, Any]:
        """Means, scales, and what they belong to."""
        registry = [[each.name, each.low, each.high, each.log, each.discrete] for each in self.tuned]
        return {"u": self.u.detach().clone(), "rho": self.rho.detach().clone(), "registry": registry}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            OptionError: if it belongs to other hyperparameters.
        """
        own = self.state_dict()["registry"]
        theirs = [list(entry) for entry in state["registry"]]
        if own != theirs:
            raise OptionError(f"tune: the saved state tunes {theirs}, not {own}.", "tune")
        with torch.no_grad():
            self.u.copy_(state["u"])
            self.rho.copy_(state["rho"])
