"""The loop that one would write after BoTorch's tutorials: ten Sobol points, `SingleTaskGP` with its defaults on the
unit cube with categories one-hot, qLogNoisyEI or qLogNEHVI, `optimize_acqf`. It knows no conditions: an inactive
parameter stands where it was proposed."""

import warnings
from collections.abc import Mapping
from typing import Any

import botorch
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.optim import optimize_acqf
from gpytorch.mlls import ExactMarginalLogLikelihood, SumMarginalLogLikelihood
from protocol import Config, Outcome, active, serve
from unit import Unit

_INITIAL = 10


class BoTorchLoop:
    def __init__(self, setup: Mapping[str, Any]) -> None:
        torch.manual_seed(setup["seed"])
        self.setup, self.unit = setup, Unit(setup["space"])
        self.sobol = torch.quasirandom.SobolEngine(self.unit.width, scramble=True, seed=setup["seed"])
        self.X = torch.empty(0, self.unit.width, dtype=torch.double)
        self.Y = torch.empty(0, setup["objectives"] + setup["constraints"], dtype=torch.double)
        self.asked = self.X

    def ask(self, n: int) -> list[Config]:
        proposed = self.sobol.draw(n, dtype=torch.double) if len(self.X) < _INITIAL else self._best(n)
        values = [self.unit.values(x.tolist()) for x in proposed]
        self.asked = torch.tensor([self.unit.point(v) for v in values], dtype=torch.double)
        return [active(self.setup["space"], lambda p, v=v: v[p["name"]]) for v in values]

    def tell(self, outcomes: list[Outcome]) -> None:
        for x, outcome in zip(self.asked, outcomes, strict=True):
            if outcome["values"] is not None:
                y = [-v for v in outcome["values"]] + outcome["constraints"]  # BoTorch maximises
                self.X = torch.cat([self.X, x[None]])
                self.Y = torch.cat([self.Y, torch.tensor([y], dtype=torch.double)])

    def _best(self, n: int) -> torch.Tensor:
        models = [SingleTaskGP(self.X, y[:, None]) for y in self.Y.T]
        model = models[0] if len(models) == 1 else ModelListGP(*models)
        marginal = ExactMarginalLogLikelihood if len(models) == 1 else SumMarginalLogLikelihood
        fit_gpytorch_mll(marginal(model.likelihood, model))
        m = self.setup["objectives"]
        limits = [lambda z, i=i: z[..., m + i] for i in range(self.setup["constraints"])] or None
        shared = {"X_baseline": self.X, "prune_baseline": True, "constraints": limits}
        if m == 1:
            first = GenericMCObjective(lambda z, X=None: z[..., 0])  # noqa: ARG005, N803 - BoTorch's signature
            acquisition = qLogNoisyExpectedImprovement(model, objective=first, **shared)
        else:
            acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model,
                ref_point=[-r for r in self.setup["reference"]],
                objective=IdentityMCMultiOutputObjective(outcomes=list(range(m))),
                **shared,
            )
        bounds = torch.stack([torch.zeros(self.unit.width), torch.ones(self.unit.width)]).double()
        points, _ = optimize_acqf(acquisition, bounds, n, num_restarts=10, raw_samples=512, sequential=True)
        return points


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    serve(BoTorchLoop, f"botorch {botorch.__version__}")
