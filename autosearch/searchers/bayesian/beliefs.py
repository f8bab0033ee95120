"""What is believed after a history: a model of each objective, of each outcome constraint, and of where trials fail."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from autosearch.searchers.bayesian.acquisition import LogBelow
from autosearch.searchers.bayesian.data import Data
from autosearch.searchers.bayesian.design import farthest
from autosearch.searchers.bayesian.gp import AnyKernel, GaussianProcess, spread_out
from autosearch.searchers.bayesian.kernel import MixedKernel
from autosearch.searchers.bayesian.layout import Layout
from autosearch.searchers.bayesian.likelihood import FitError, fit
from autosearch.searchers.bayesian.options import Options
from autosearch.searchers.bayesian.own_kernel import OwnKernel
from autosearch.searchers.bayesian.transforms import Outcome

# What a singular fit or a singular posterior raises, wherever it arises.
NUMERICAL = (FitError, NotPSDError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
MOST = 1000
# Observations that maps of values are compared on; the plain one is left where another is likelier by a margin.
_LEAST_COMPARED, _MOST_COMPARED, _MARGIN = 8, 40, 2.0
BY_GAP = "values are modelled by the logarithm of their gap to the best"
FEW = 40  # observations up to which the objective is averaged over several draws of hyperparameters
_USUAL = Options()


@dataclass(frozen=True, slots=True)
class Belief:
    """A modelled quantity: its process, and the map between its values and the process's."""

    model: GaussianProcess
    outcome: Outcome

    def describe(self, point: np.ndarray) -> tuple[float, float]:
        """Mean and standard deviation at a point (D,), in the quantity's units, higher is better."""
        with torch.no_grad():
            mean, variance = self.model.moments(torch.from_numpy(point[None]))
        mu, sd = float(mean), float(variance.sqrt())
        low, middle, high = self.outcome.inverse(np.array([mu - sd, mu, mu + sd]))
        return float(middle), float(high - low) / 2


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Models of everything that was observed.

    Attributes:
        X: (n, D) points that the objectives were fitted on.
        feasible: (n,) bool.
        trial: (n,) numbers of the trials that the rows of `X` come from.
        objectives: one of each objective.
        limits: log probabilities of meeting each outcome constraint, and of not failing where trials failed.
        notes: what a person should know about the fits.
    """

    X: Tensor
    feasible: Tensor
    trial: np.ndarray
    objectives: tuple[Belief, ...]
    limits: tuple[LogBelow, ...]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Notes:
    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)


def believe(data: Data, layout: Layout, options: Options = _USUAL) -> Beliefs:
    """Fit all models.

    Raises:
        NUMERICAL: if an objective's covariance is singular whatever is done.
    """
    notes = _Notes()
    keep = _subset(data, notes)
    X = torch.from_numpy(data.X[keep])
    early = farthest(data.X_partial, MOST - len(keep) // 2) if len(data.X_partial) else np.arange(0)
    every = torch.cat([X, torch.from_numpy(data.X_partial[early])])
    objectives = [
        _belief(
            layout,
            every,
            np.append(data.Y[keep, j], data.Y_partial[early, j]),
            np.append(data.sem[keep, j], data.sem_partial[early, j]),
            notes,
            options,
            alone=data.Y.shape[1] == 1,
        )
        for j in range(data.Y.shape[1])
    ]
    if len(early):
        notes.add(f"{len(early)} reports before the end of trials are modelled by fidelity")
    limits = [_limit(layout, X, data.V[keep, j], notes) for j in range(data.V.shape[1])]
    if len(data.failed):
        limits.append(_success(layout, data, notes))
    # Improvement is measured from results at full fidelity.
    feasible = torch.from_numpy(np.append(data.feasible[keep], np.zeros(len(early), dtype=bool)))
    trial = np.append(data.trial[keep], data.trial_partial[early])
    return Beliefs(every, feasible, trial, tuple(objectives), tuple(limits), tuple(notes.lines))


def _belief(
    layout: Layout,
    X: Tensor,
    y: np.ndarray,
    sem: np.ndarray,
    notes: _Notes,
    options: Options,
    *,
    alone: bool,
) -> Belief:
    first = None
    if options.transform == "auto" and alone:
        outcome, first = _likeliest(layout, X, y, sem, options)
    elif options.transform == "gap":
        outcome = Outcome.of_gap(y) or Outcome.fit(y)
    else:
        # Volume is measured in what models see: bent values would make the ends of a front worth less.
        outcome = Outcome.fit(y, bend=options.transform == "tail")
    if outcome.knee == 0.0:
        notes.add(BY_GAP)
    z, known = outcome.forward(y), (sem * outcome.slope(y)) ** 2
    # Volumes are not averaged over hyperparameters.
    draws = options.draws if alone and len(y) <= FEW else 0
    return Belief(_modelled(layout, X, z, known, notes, options, draws, first), outcome)


def _modelled(
    layout: Layout,
    X: Tensor,
    z: np.ndarray,
    known: np.ndarray,
    notes: _Notes,
    options: Options,
    draws: int,
    first: np.ndarray | None,
) -> GaussianProcess:
    """An objective's process; where an expert's kernel fails, that of the usual one."""
    kernel = _kernel(layout, options)
    try:
        return _fitted(layout, X, z, known, notes, draws, first, kernel)
    except NUMERICAL as error:
        if not isinstance(kernel, OwnKernel):
            raise
        notes.add(f"kernel {kernel.name} could not be fitted ({error}): the usual one instead")
        return _fitted(layout, X, z, known, notes, draws)


def _kernel(layout: Layout, options: Options) -> AnyKernel:
    if callable(options.kernel):
        return OwnKernel(options.kernel, layout)
    return MixedKernel(layout, additive=options.kernel == "additive")


def _likeliest(
    layout: Layout, X: Tensor, y: np.ndarray, sem: np.ndarray, options: Options = _USUAL
) -> tuple[Outcome, np.ndarray | None]:
    """The map of values that makes them likeliest: bent in the far tail alone, or by the gap to the best.

    Also the hyperparameters that the comparison found for it, None where there was none.
    """
    plain = Outcome.fit(y)
    if len(y) < _LEAST_COMPARED or (by_gap := Outcome.of_gap(y)) is None:
        return plain, None
    keep = spread_out(len(y), _MOST_COMPARED)
    (gap, of_gap), (usual, of_plain) = (
        _evidence(_kernel(layout, options), X[keep], y[keep], sem[keep], outcome)
        for outcome in (by_gap, plain)
    )
    return (by_gap, of_gap) if gap - usual > _MARGIN else (plain, of_plain)


def _evidence(
    kernel: AnyKernel, X: Tensor, y: np.ndarray, sem: np.ndarray, outcome: Outcome
) -> tuple[float, np.ndarray | None]:
    """Log density of values, up to a constant, where a process is fitted to what `outcome` makes of them; and how."""
    slope = outcome.slope(y)
    z, known = torch.from_numpy(outcome.forward(y)), torch.from_numpy((sem * slope) ** 2)
    found = fit(kernel, X, z, known, starts=1, steps=16)
    return found.evidence + float(np.log(slope).sum()), found.theta


def _limit(layout: Layout, X: Tensor, margin: np.ndarray, notes: _Notes) -> LogBelow:
    """The probability that a margin is at most 0."""
    # Large violations are bent, since only where the margin changes its sign matters: -margin is higher-is-better.
    outcome = Outcome.fit(-margin)
    model = _fitted(layout, X, -outcome.forward(-margin), np.full(len(margin), np.nan), notes)
    return LogBelow(model, -float(outcome.forward(np.zeros(1))[0]))


def _success(layout: Layout, data: Data, notes: _Notes) -> LogBelow:
    """The probability that a trial does not fail: regression on +1 for failures and -1 for results.

    Hardly anything is tried where it is less than a share of what it is at the surest trial: half, and up to three
    quarters the more trials have failed. The best values often lie along where trials fail. Once they are known,
    nothing promises an improvement but what lies beyond, and with the probability as a factor alone most trials failed.
    """
    points = np.concatenate([data.X, data.failed])
    labels = np.concatenate([-np.ones(len(data.X)), np.ones(len(data.failed))])
    keep = farthest(points, MOST) if len(points) > MOST else np.arange(len(points))
    known = np.full(len(keep), np.nan)
    model = _fitted(layout, torch.from_numpy(points[keep]), labels[keep], known, notes)
    with torch.no_grad():
        surest = float(LogBelow(model, 0.0)(model.X).max())
    share = 0.5 + 0.25 * len(data.failed) / len(points)
    return LogBelow(model, 0.0, least=surest + math.log(share))


def _fitted(
    layout: Layout,
    X: Tensor,
    z: np.ndarray,
    known: np.ndarray,
    notes: _Notes,
    draws: int = 0,
    first: np.ndarray | None = None,
    kernel: AnyKernel | None = None,
) -> GaussianProcess:
    model = GaussianProcess.fitted(
        layout, X, torch.from_numpy(z), torch.from_numpy(known), draws=draws, first=first, kernel=kernel
    )
    if model.how != "map":
        notes.add("a likelihood could not be maximised: default hyperparameters")
    return model


def _subset(data: Data, notes: _Notes) -> np.ndarray:
    """Rows to model: all up to a bound; beyond it the best quarter, and points that cover the rest."""
    n = len(data.X)
    if n <= MOST:
        return np.arange(n)
    notes.add(f"modelled {MOST} of {n} trials: the best and a cover of the rest")
    score = np.argsort(np.argsort(-data.Y, axis=0), axis=0).min(axis=1) + n * ~data.feasible
    order = np.argsort(score, kind="stable")
    best, rest = order[: MOST // 4], np.sort(order[MOST // 4 :])
    return np.sort(np.concatenate([best, rest[farthest(data.X[rest], MOST - len(best))]]))
