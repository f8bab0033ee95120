"""The bridge to Optuna's samplers."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from autosearch.core import History, OptionError, Problem, Study
from autosearch.core.plugins import build
from autosearch.searchers.optuna_bridge import OptunaSearcher
from autosearch.space import Categorical, Float, Int, Ordinal, SearchSpace
from autosearch.testing.searcher_cases import Case

PLANE = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


class Witness(RandomSampler):
    """A random sampler that shows what it was given."""

    seen: list[FrozenTrial]
    seeds: list[int | None] = []  # noqa: RUF012
    asked: dict[str, BaseDistribution]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        Witness.seeds.append(seed)
        Witness.asked = {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        Witness.seen = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
        Witness.asked[param_name] = param_distribution
        return super().sample_independent(study, trial, param_name, param_distribution)


class Stubborn(RandomSampler):
    """Proposes the upper end of everything, and shows how many trials were running each time."""

    running: list[int] = []  # noqa: RUF012

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        Stubborn.running.append(len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))))
        return param_distribution.high  # type: ignore[attr-defined]


class NeedsSomething(RandomSampler):
    def __init__(self, needed: int) -> None:
        super().__init__(needed)


WITNESS, STUBBORN = f"{__name__}:Witness", f"{__name__}:Stubborn"


def test_optuna_sees_the_history_as_it_is() -> None:
    history = Case("nested", 1, "mixed").build()
    OptunaSearcher(WITNESS).suggest(history, 1)
    states = {"complete": "COMPLETE", "failed": "FAIL", "stopped": "PRUNED"}
    for trial, frozen in zip(history, Witness.seen, strict=True):
        assert frozen.state.name == states.get(trial.state.value, "RUNNING")
        assert frozen.params == dict(trial.config)
        assert frozen.values == (None if trial.values is None else list(trial.values))
        assert list(frozen.constraints.values()) == list(trial.violations)
        assert list(frozen.intermediate_values.values()) == [r.metrics["loss"] for r in trial.curve]


def test_values_of_several_objectives_are_minimised_and_reports_left_out() -> None:
    history = Case("float", 2, "mixed").build()
    OptunaSearcher(WITNESS).suggest(history, 1)
    complete = [t for t in Witness.seen if t.state is TrialState.COMPLETE]
    assert [tuple(t.values) for t in complete] == [t.values for t in history if t.values]
    assert not any(t.intermediate_values for t in Witness.seen)


def test_only_active_parameters_are_asked_for() -> None:
    space = SearchSpace(
        {
            "m": Float(0.0, 1.0, when="kind == 'b'"),
            "kind": Categorical(["a"]),
            "size": Ordinal([1, 10, 100]),
            "g": Float(0.0, 1.0, grid=0.3),
            "n": Int(1, 64, log=True),
        }
    )
    found = OptunaSearcher(WITNESS).suggest(History.of(space, [], np.zeros(0)), 1)[0]
    assert "m" not in Witness.asked
    assert Witness.asked["size"] == IntDistribution(0, 2)
    assert Witness.asked["g"] == FloatDistribution(0.0, 0.9, step=0.3)
    assert Witness.asked["n"] == IntDistribution(1, 64, log=True)
    assert found.config["size"] in (1, 10, 100)


def test_the_seed_comes_from_study_and_number() -> None:
    Witness.seeds.clear()
    searcher = OptunaSearcher(WITNESS)
    history = History.of(PLANE, [], np.zeros(0))
    searcher.suggest(history, 3)
    searcher.suggest(History.of(PLANE, [{"x": 0.5, "y": 0.5}], np.zeros(1)), 1)
    first, second, _, again = Witness.seeds[1:]  # the first of all was made to check the options
    assert first != second == again


def test_infeasible_proposals_count_as_running_and_end_in_a_random_one_that_says_so() -> None:
    space = SearchSpace({"x": Float(0.0, 1.0)}, ["x < 0.5"])
    Stubborn.running.clear()
    found = OptunaSearcher(STUBBORN).suggest(History.of(space, [], np.zeros(0)), 1)[0]
    assert Stubborn.running == list(range(1, 17))
    assert space.satisfies(found.config)
    assert "16 proposals" in found.info["reason"]


def run(sampler: str, trials: int, **options: Any) -> tuple[Study, list[float]]:
    study = Study(PLANE, {"loss": "minimize"}, searcher=OptunaSearcher(sampler, **options), seed=1)
    losses = []
    for _ in range(trials):
        trial = study.ask()
        losses.append(sum((float(v) - 0.37) ** 2 for v in trial.config.values()))  # type: ignore[arg-type]
        study.tell(trial, losses[-1])
    return study, losses


def means(losses: Sequence[float]) -> tuple[float, float]:
    third = len(losses) // 3
    return float(np.mean(losses[:third])), float(np.mean(losses[-third:]))


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("TPESampler", {}),
        ("NSGAIISampler", {"population_size": 8}),
        pytest.param(
            "CmaEsSampler",
            {},
            marks=pytest.mark.skipif(find_spec("cmaes") is None, reason="needs the package cmaes"),
        ),
    ],
)
def test_samplers_learn_though_their_study_is_built_anew_each_time(
    sampler: str, options: dict[str, Any]
) -> None:
    study, losses = run(sampler, 60, **options)
    early, late = means(losses)
    assert late < 0.5 * early
    fresh = OptunaSearcher(sampler, **options)
    for trial in study.history[::10]:
        assert fresh.suggest(study.history.as_of(trial), 1)[0].config == trial.config


def test_generations_of_nsga_travel_in_the_info() -> None:
    study, _ = run("NSGAIISampler", 17, population_size=8)
    generations = [t.info["optuna"]["NSGAIISampler:generation"] for t in study.history]
    assert generations == [0] * 8 + [1] * 8 + [2]


def test_conditional_parameters_that_were_drawn_alone_are_named() -> None:
    case = Case("nested", 1, "mixed").build()
    info = OptunaSearcher("TPESampler", n_startup_trials=1, multivariate=True).suggest(case, 1)[0].info
    assert set(info["independent"]) <= {"momentum", "nesterov", "beta"}
    assert info["independent"]


def test_nobody_hears_of_the_inner_study(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("optuna.storages._in_memory")
    before = logger.disabled
    with caplog.at_level(logging.INFO):
        optuna.logging.enable_propagation()
        try:
            OptunaSearcher().suggest(History.of(PLANE, [], np.zeros(0)), 1)
        finally:
            optuna.logging.disable_propagation()
    assert not caplog.records
    assert logger.disabled is before


@pytest.mark.parametrize(
    ("definition", "option", "message"),
    [
        ({"sampler": "TPESamplr"}, "sampler", "Did you mean 'TPESampler'"),
        ({"sampler": "nonsense"}, "sampler", "Known: .*GPSampler"),
        ({"sampler": "BaseSampler"}, "sampler", "no sampler"),
        ({"sampler": "QMCSampler"}, "sampler", "sobol"),
        ({"sampler": "math:floor"}, "sampler", "no sampler"),
        ({"n_startup_trial": 3}, "n_startup_trial", "Did you mean 'n_startup_trials'"),
        ({"seed": 3}, "seed", "study's seed"),
        (
            {"sampler": "GPSampler", "independent_sampler": RandomSampler()},
            "independent_sampler",
            "study's seed",
        ),
        ({"sampler": "NSGAIISampler", "population_size": 1}, "sampler", "population_size"),
        ({"sampler": f"{__name__}:NeedsSomething"}, "sampler", "needed"),
    ],
)
def test_wrong_names_and_options_are_refused(definition: dict[str, Any], option: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        build("searchers", {"method": "optuna", **definition})
    assert caught.value.option == option


def test_a_sampler_that_refuses_several_objectives_is_an_option_error() -> None:
    class Single(RandomSampler):
        def sample_independent(self, study: optuna.Study, *rest: Any) -> Any:
            self._raise_error_if_multi_objective(study)

    searcher = OptunaSearcher("RandomSampler")
    searcher._class = Single
    with pytest.raises(OptionError, match="multi-objective"):
        searcher.suggest(Case("float", 2, "one").build(), 1)


def test_a_problem_without_objectives_is_refused() -> None:
    with pytest.raises(OptionError, match="needs an objective"):
        OptunaSearcher().check(Problem(PLANE, ()))


def test_a_missing_package_is_named_before_the_study_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosearch.searchers.optuna_bridge.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pip install cmaes"):
        OptunaSearcher("CmaEsSampler").check(Case("float", 1, "empty").build().problem)
