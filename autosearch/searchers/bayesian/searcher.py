"""The Bayesian searcher: models of what was observed decide what runs next.

Torch and BoTorch load with the first suggestion: a study file that names the searcher is checked without them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autosearch.core import History, OptionError, Problem, Suggestion
from autosearch.core.seeds import derive_seed
from autosearch.searchers.bayesian.data import has_partial
from autosearch.searchers.bayesian.layout import Domain, Layout
from autosearch.searchers.bayesian.options import ACQUISITIONS, KERNELS, Options, Transform
from autosearch.searchers.own_code import resolve

if TYPE_CHECKING:
    from autosearch.searchers.bayesian.predictor import BayesianPredictor


class BayesianSearcher:
    """Bayesian optimisation on every kind of space, one or several objectives, with constraints and failures.

    A Gaussian process models each objective, each outcome constraint and where trials fail. The next configuration
    maximises the expected improvement (several objectives: the expected gain of dominated volume), weighed by the
    probability of being feasible and by the users' priors while little is known.

    Every part may be fixed. Where code of one's own is meant, it is a callable, `package.module:object`, or
    `FILE.py:object`:

    - `kernel(layout)` returns a `gpytorch.kernels.Kernel`, whose hyperparameters are fitted with their priors, or a
      function of points (…, n, D) and (…, k, D) that returns their correlations (…, n, k). `layout` says what the
      columns of a point are. A variance, a mean and noise are added.
    - `acquisition(models, X, context)` returns the values (n,) of points `X` (n, D), higher is better, in
      logarithms, as a function of torch tensors. Or it is a class of BoTorch's acquisition functions, which gets
      those arguments that it asks for by name (`model`, `best_f`, `X_baseline`, `X_pending`, `ref_point`).
      Models and `context.values` are standardised, higher is better.

    Args:
        initial: trials of the quasi-random initial design; None: from dimensions, budget and workers.
        conditional: model conditional parameters by their own part of the kernel.
        prior_weight: weight of the users' priors, which falls with the number of observations.
        kernel: `additive` (all parameters together, plus each on its own), `product` (together only), or one's own.
        acquisition: `auto`; for one objective also `log_ei`, `log_nei` (with noise) and `ucb`; or one's own.
        transform: of values before they are modelled: `tail` bends far losses, `gap` takes the logarithm of the
            distance to the best, `none` leaves them; `auto` compares tail and gap (several objectives: none).
        noise: standard error of results that report none, in the objectives' units; None: inferred.
        draws: further sets of hyperparameters that models of few observations are averaged over.
        samples: of unknown values that an acquisition is averaged over.

    Raises:
        OptionError: an option is out of range, or one's own code is not found.
    """

    def __init__(
        self,
        *,
        initial: int | None = None,
        conditional: bool = True,
        prior_weight: float = 10.0,
        kernel: str | Callable[..., Any] = "additive",
        acquisition: str | Callable[..., Any] = "auto",
        transform: Transform = "auto",
        noise: float | None = None,
        draws: int = 3,
        samples: int = 32,
    ) -> None:
        self.options = Options(
            initial=initial,
            conditional=conditional,
            prior_weight=prior_weight,
            kernel=resolve(kernel, KERNELS, "kernel"),
            acquisition=resolve(acquisition, ACQUISITIONS, "acquisition"),
            transform=transform,
            noise=noise,
            draws=draws,
            samples=samples,
        )
        self._domain: Domain | None = None

    def check(self, problem: Problem) -> None:
        """Raises OptionError for a problem without objectives, and for an acquisition of one objective for several."""
        if not problem.objectives:
            raise OptionError("the bayesian searcher needs an objective; use random, sobol or grid", "method")
        chosen = self.options.acquisition
        if len(problem.objectives) > 1 and chosen != "auto" and not callable(chosen):
            raise OptionError(f"{chosen!r} is for one objective; use auto or one of your own", "acquisition")

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """Up to `n` suggestions that know of each other; fewer where the space is exhausted."""
        if n <= 0:
            return []
        from autosearch.searchers.bayesian.batch import Batch
        from autosearch.searchers.bayesian.threads import isolated

        self.check(history.problem)
        with isolated(derive_seed(history.problem.seed, "bayesian", len(history))):
            return Batch(self.options, history, self._domain_of(history)).suggest(n)

    def predictor(self, history: History) -> "BayesianPredictor":
        """Predictions of the models after `history`.

        Raises:
            StudyError: no trial is complete.
        """
        from autosearch.searchers.bayesian.predictor import BayesianPredictor

        return BayesianPredictor(history, self._domain_of(history), self.options)

    def _domain_of(self, history: History) -> Domain:
        # Kept between calls because conditions are parsed and small spaces enumerated; a function of its key alone.
        space, fidelity = history.problem.space, has_partial(history)
        known = self._domain
        if known is None or known.space is not space or (known.layout.fidelity is not None) != fidelity:
            layout = Layout.of(space, conditional=self.options.conditional, fidelity=fidelity)
            self._domain = known = Domain(space, layout)
        return known
