import math
import time

import numpy as np
import pytest
import torch

from autosearch.core import Goal, OptionError, State
from autosearch.core.ranking import hypervolume
from autosearch.searchers.bayesian.searcher import BayesianSearcher
from autosearch.space import SearchSpace

from .bayesian_histories import MIXED, SQUARE, Builder, optimise, random_history


def bowl(config):
    return (config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2


def branin(config):
    x, y = 15 * config["x"] - 5, 15 * config["y"]
    bend = (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
    return bend + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def mixed(config):
    loss = (math.log10(config["lr"]) + 2) ** 2 + abs(config["layers"] - 3) + (config["opt"] != "sgd")
    return loss + 2 * (config.get("momentum", 0.5) - 0.9) ** 2 + 0.1 * (config["size"] == "s")


def configs(suggestions):
    return [dict(suggestion.config) for suggestion in suggestions]


def test_is_better_than_random_on_branin():
    ours, theirs = [], []
    for seed in range(3):
        history = optimise(BayesianSearcher(), Builder(SQUARE, seed=seed), lambda c: {"loss": branin(c)}, 22)
        ours.append(history.incumbent.values[0])
        draws = SearchSpace(SQUARE).sample(np.random.default_rng(seed), 22)
        theirs.append(min(branin(config) for config in draws))
    assert np.median(ours) < 0.9
    assert np.median(ours) < np.median(theirs)


@pytest.mark.slow
def test_finds_the_best_branch_of_a_mixed_conditional_space():
    history = optimise(BayesianSearcher(), Builder(MIXED, seed=1), lambda c: {"loss": mixed(c)}, 30)
    best = history.incumbent
    assert best.config["opt"] == "sgd"
    assert best.values[0] < 0.5


def test_same_history_and_seed_give_the_same_proposal_bit_by_bit():
    history = random_history(MIXED, mixed, 12, seed=3).history()
    first = BayesianSearcher().suggest(history, 2)
    second = BayesianSearcher().suggest(history, 2)
    assert configs(first) == configs(second)
    assert [s.info for s in first] == [s.info for s in second]


def test_a_fresh_searcher_suggests_what_a_long_lived_one_does():
    old = BayesianSearcher()
    builder = Builder(MIXED, seed=5)
    optimise(old, builder, lambda c: {"loss": mixed(c)}, 12)
    assert configs(old.suggest(builder.history(), 1)) == configs(
        BayesianSearcher().suggest(builder.history(), 1)
    )


def test_another_seed_gives_another_design():
    one, two = (BayesianSearcher().suggest(Builder(SQUARE, seed=s).history(), 2) for s in (0, 1))
    assert configs(one)[1] != configs(two)[1]


def test_the_first_trial_is_the_middle_or_the_defaults():
    space = {**SQUARE, "z": {"type": "float", "low": 1e-4, "high": 1.0, "log": True, "default": 0.1}}
    config = BayesianSearcher().suggest(Builder(space, seed=3).history(), 1)[0].config
    assert config == pytest.approx({"x": 0.5, "y": 0.5, "z": 0.1})


def test_leaves_threads_and_random_states_alone():
    history = random_history(SQUARE, bowl, 8).history()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(7)
        state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        BayesianSearcher().suggest(history, 1)
        assert torch.get_num_threads() == 2
        assert torch.equal(state, torch.random.get_rng_state())
        assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 0.0), (1e-4, 5.0)])
def test_affine_changes_of_the_objective_change_nothing(factor, shift):
    plain = random_history(SQUARE, bowl, 10).history()
    moved = random_history(SQUARE, lambda c: factor * bowl(c) + shift, 10).history()
    one, two = (BayesianSearcher().suggest(h, 1)[0].config for h in (plain, moved))
    # Hyperparameters are found to a tolerance, which rounding moves a little.
    assert one["x"] == pytest.approx(two["x"], abs=2e-3)
    assert one["y"] == pytest.approx(two["y"], abs=2e-3)


def test_the_direction_is_a_matter_of_sign_alone():
    down, up = Builder(SQUARE), Builder(SQUARE, [Goal("loss", maximize=True)])
    for config in down.problem.space.sample(np.random.default_rng(0), 10):
        down.complete(config, loss=bowl(config))
        up.complete(config, loss=-bowl(config))
    one, two = (BayesianSearcher().suggest(b.history(), 1)[0] for b in (down, up))
    assert one.config == two.config
    assert one.info["mean"] == pytest.approx(-two.info["mean"])


def test_names_of_parameters_change_nothing():
    renamed = {"a": SQUARE["x"], "b": SQUARE["y"]}
    plain = random_history(SQUARE, bowl, 10).history()
    other = random_history(renamed, lambda c: bowl({"x": c["a"], "y": c["b"]}), 10).history()
    one, two = (BayesianSearcher().suggest(h, 1)[0].config for h in (plain, other))
    assert list(one.values()) == list(two.values())


def test_a_batch_avoids_its_own_pending_points():
    history = random_history(SQUARE, bowl, 10).history()
    points = np.array([[c["x"], c["y"]] for c in configs(BayesianSearcher().suggest(history, 4))])
    gaps = [np.abs(points[i] - points[j]).max() for i in range(4) for j in range(i)]
    assert min(gaps) > 1e-3


def test_pending_trials_are_avoided():
    builder = random_history(SQUARE, bowl, 10)
    alone = BayesianSearcher().suggest(builder.history(), 1)[0].config
    builder.begin(alone)
    beside = BayesianSearcher().suggest(builder.history(), 1)[0].config
    assert max(abs(alone["x"] - beside["x"]), abs(alone["y"] - beside["y"])) > 1e-2


def test_constraints_between_parameters_hold():
    space = SearchSpace(MIXED, ["width * layers <= 300", "lr < 0.1 or opt != 'sgd'"])
    builder = Builder(space)
    history = optimise(BayesianSearcher(), builder, lambda c: {"loss": mixed(c)}, 14)
    assert len(history) == 14
    assert all(space.satisfies(trial.config) for trial in history)


def test_a_thin_feasible_set_is_searched():
    space = SearchSpace(SQUARE, ["x - y <= 0.01", "y - x <= 0.01"])
    history = optimise(BayesianSearcher(), Builder(space), lambda c: {"loss": bowl(c)}, 12)
    assert all(space.satisfies(trial.config) for trial in history)
    assert history.incumbent.values[0] < 0.06  # the best on the line is 0.045


def test_an_exhausted_space_gives_nothing_after_each_configuration_was_given_once():
    builder = Builder({"a": ["p", "q", "r"], "b": {"type": "int", "low": 1, "high": 3, "when": "a != 'q'"}})
    history = optimise(BayesianSearcher(), builder, lambda c: {"loss": len(c["a"]) + c.get("b", 0)}, 20)
    assert len(history) == 7
    assert len({builder.problem.space.key(trial.config) for trial in history}) == 7


@pytest.mark.parametrize(
    "space", [{"a": ["only"]}, {"a": 3}, {"a": {"type": "float", "low": 1.0, "high": 1.0}}]
)
def test_a_space_of_a_single_point_is_tried_once(space):
    history = optimise(BayesianSearcher(), Builder(space), lambda c: {"loss": 1.0}, 5)
    assert len(history) == 1


def test_repeats_in_an_exhausted_space_where_noise_is_reported():
    builder = Builder({"a": ["p", "q"]})
    history = optimise(BayesianSearcher(), builder, lambda c: {"loss": 1.0, "loss_sem": 0.1}, 6)
    assert len(history) == 6


def test_no_duplicates_on_a_small_grid():
    builder = Builder({"a": {"type": "int", "low": 0, "high": 5}, "b": {"type": "int", "low": 0, "high": 5}})
    history = optimise(
        BayesianSearcher(), builder, lambda c: {"loss": (c["a"] - 2) ** 2 + (c["b"] - 3) ** 2}, 20
    )
    assert len({(t.config["a"], t.config["b"]) for t in history}) == 20
    assert history.incumbent.values[0] == 0


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [2.0] * 8,
        [1e300, 1.0, 2.0, -1e300, 3.0, 0.5, 1.5, 1.1],
        [1e308, -1e308, 0.0, 1.0],
        [math.inf, 1.0, 2.0, 3.0],
        [1e-300, 2e-300, 3e-300, 4e-300],
        [math.nan, 1.0, 2.0],
    ],
)
def test_goes_on_whatever_the_values(values):
    builder = Builder(SQUARE)
    for config, value in zip(
        builder.problem.space.sample(np.random.default_rng(0), len(values)), values, strict=True
    ):
        builder.complete(config, loss=value)
    suggestions = BayesianSearcher(initial=1).suggest(builder.history(), 2)
    assert len(suggestions) == 2
    assert all(math.isfinite(s.info["value"]) for s in suggestions)
    assert all(math.isfinite(s.info["mean"]) for s in suggestions)


def test_goes_on_when_every_trial_failed():
    builder = Builder(SQUARE)
    history = optimise(BayesianSearcher(), builder, lambda c: "crash", 12)
    assert len(history) == 12
    assert "no trial has succeeded" in BayesianSearcher().suggest(history, 1)[0].info["reason"]


def test_repeated_points_with_different_values_do_not_break_the_fit():
    builder = Builder(SQUARE)
    for i in range(12):
        builder.complete({"x": 0.25 * (i % 3), "y": 0.5}, loss=float(i))
    assert BayesianSearcher(initial=1).suggest(builder.history(), 1)[0].info["model"] == "gaussian process"


@pytest.mark.slow
def test_learns_where_trials_run_out_of_memory():
    def train(config):
        return "oom" if config["x"] + config["y"] > 1.2 else {"loss": 1 - config["x"]}

    early = optimise(BayesianSearcher(), Builder(SQUARE, seed=2), train, 40)
    assert sum(t.failure is not None for t in early[20:]) < 12
    assert early.incumbent.values[0] < 0.05


def test_preempted_trials_say_nothing_about_the_configuration():
    builder = random_history(SQUARE, bowl, 8)
    before = BayesianSearcher(initial=1).suggest(builder.history(), 1)
    for x in (0.3, 0.31):
        builder.fail({"x": x, "y": 0.6}, "preempted")
    from autosearch.searchers.bayesian.data import gather
    from autosearch.searchers.bayesian.layout import Domain, Layout

    space = builder.problem.space
    data = gather(builder.history(), Domain(space, Layout.of(space)))
    assert before
    assert len(data.failed) == 0


@pytest.mark.slow
def test_several_objectives_reach_along_the_front():
    goals = [Goal("a"), Goal("b", maximize=True)]

    def both(config):
        return {"a": config["x"] ** 2 + config["y"], "b": -((config["x"] - 1) ** 2) - config["y"]}

    builder = Builder(SQUARE, goals)
    history = optimise(BayesianSearcher(), builder, both, 18)
    worst = np.array([1.1, 1.1])
    random = builder.problem.space.sample(np.random.default_rng(0), 100)
    theirs = np.array([builder.problem.signed(both(config)) for config in random])
    ours = np.array([trial.values for trial in history.complete])
    assert len(history.front) >= 7
    assert hypervolume(ours, worst) > hypervolume(theirs, worst)


def test_more_objectives_than_a_volume_can_be_computed_of_are_scalarised():
    goals = [Goal(f"o{i}") for i in range(5)]
    builder = Builder(SQUARE, goals)
    optimise(BayesianSearcher(), builder, lambda c: {f"o{i}": abs(c["x"] - i / 4) for i in range(5)}, 8)
    assert BayesianSearcher().suggest(builder.history(), 1)[0].info["model"] == "gaussian process"


def test_outcome_constraints_are_met():
    def measure(config):
        return {"loss": config["x"] + config["y"], "size": config["x"] * config["y"]}

    builder = Builder(SQUARE, constraints=["size >= 0.25"], seed=1)
    history = optimise(BayesianSearcher(), builder, measure, 22)
    assert history.incumbent.values[0] < 1.03  # the best feasible value is 1


@pytest.mark.parametrize(("radius", "reason"), [(0.0, "feasibility"), (1.0, "initial design")])
def test_the_initial_design_ends_halfway_where_nothing_is_feasible(radius, reason):
    builder = Builder(SQUARE, constraints=[f"r <= {radius}"], seed=1)
    for config in builder.problem.space.sample(np.random.default_rng(0), 3):
        builder.complete(config, loss=config["x"], r=0.5)
    (suggestion,) = BayesianSearcher().suggest(builder.history(), 1)
    assert suggestion.info["reason"] == reason
    (fixed,) = BayesianSearcher(initial=4).suggest(builder.history(), 1)
    assert fixed.info["reason"] == "initial design"


def test_looks_for_feasibility_first():
    builder = Builder(SQUARE, constraints=["size >= 1.9"])
    for config in builder.problem.space.sample(np.random.default_rng(0), 8):
        builder.complete(config, loss=config["x"], size=config["x"] + config["y"])
    suggestion = BayesianSearcher().suggest(builder.history(), 1)[0]
    assert suggestion.info["reason"] == "feasibility"
    assert suggestion.config["x"] + suggestion.config["y"] > 1.6


def test_noise_reported_with_results_is_used():
    def history(sem):
        builder = Builder(SQUARE)
        for k, config in enumerate(builder.problem.space.sample(np.random.default_rng(0), 12)):
            builder.complete(config, loss=bowl(config) + 0.2 * (-1) ** k, loss_sem=sem)
        return builder.history()

    from autosearch.searchers.bayesian.beliefs import believe
    from autosearch.searchers.bayesian.data import gather
    from autosearch.searchers.bayesian.layout import Domain, Layout

    layout = Layout(2)
    shares = []
    for sem in (1e-3, 0.2):
        seen = history(sem)
        beliefs = believe(gather(seen, Domain(seen.problem.space, layout)), layout)
        shares.append(beliefs.objectives[0].model.noise_share)
    assert shares[0] < 0.01 < shares[1]


@pytest.mark.slow
def test_a_prior_at_the_optimum_helps_and_a_wrong_one_is_overcome():
    def wished(center):
        wish = {"center": center, "confidence": "high"}
        return {name: {**definition, "prior": wish} for name, definition in SQUARE.items()}

    def f(config):
        return {"loss": (config["x"] - 0.85) ** 2 + (config["y"] - 0.85) ** 2}

    right, none, wrong = [], [], []
    for seed in range(2):
        right.append(optimise(BayesianSearcher(), Builder(wished(0.85), seed=seed), f, 8).incumbent.values[0])
        none.append(optimise(BayesianSearcher(), Builder(SQUARE, seed=seed), f, 8).incumbent.values[0])
        wrong.append(optimise(BayesianSearcher(), Builder(wished(0.1), seed=seed), f, 30).incumbent.values[0])
    assert np.mean(right) < np.mean(none)
    assert max(wrong) < 1e-2


def test_each_suggestion_says_how_it_came_about():
    info = BayesianSearcher().suggest(random_history(SQUARE, bowl, 12).history(), 1)[0].info
    assert {"searcher", "model", "acquisition", "value", "mean", "std", "reason"} <= set(info)
    assert info["reason"] in ("exploit", "explore")
    design = BayesianSearcher().suggest(Builder(SQUARE).history(), 1)[0].info
    assert design["reason"] == "initial design"


@pytest.mark.parametrize("options", [{"initial": 0}, {"prior_weight": -1.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError):
        BayesianSearcher(**options)


def test_a_problem_without_objectives_is_refused():
    with pytest.raises(OptionError, match="objective"):
        BayesianSearcher().check(Builder(SQUARE, []).problem)


def test_stopped_trials_teach_what_their_reports_say():
    """Trials in the right half are stopped early; without their reports its hill is unknown."""

    def hills(x):
        return (x - 0.2) ** 2 + (x > 0.5) * math.sin(2 * math.pi * (x - 0.5)) ** 2

    def curve(config, steps):
        return [1 / step + hills(config["x"]) for step in range(1, steps + 1)]

    errors = []
    for stopped in (False, True):
        builder = Builder({"x": SQUARE["x"]}, fidelity=(1, 9))
        for k in range(20):
            config = {"x": (k + 0.5) / 20}
            if config["x"] < 0.5:
                builder.run(config, curve(config, 9))
            elif stopped:
                builder.run(config, curve(config, 3), State.STOPPED)
            else:
                builder.fail(config, "preempted")
        searcher = BayesianSearcher(initial=1)
        at = np.linspace(0.55, 0.95, 9)
        mean, _ = searcher.predictor(builder.history()).predict([{"x": float(x)} for x in at])
        errors.append(np.abs(mean[:, 0] - 1 / 9 - [hills(x) for x in at]).mean())
    assert errors[1] < 0.6 * errors[0]
    suggestion = searcher.suggest(builder.history(), 1)[0]
    assert "fidelity" in suggestion.info["notes"]
    assert suggestion.config["x"] < 0.5


def test_reports_of_running_trials_teach_before_they_end():
    """The right half was never finished; a running trial there says after 6 of 9 steps that it is bad."""

    def curve(level, steps):
        return [level + 1 / step for step in range(1, steps + 1)]

    means = []
    for reports in (0, 6):
        builder = Builder({"x": SQUARE["x"]}, fidelity=(1, 9))
        for k in range(8):
            builder.run({"x": 0.05 * k}, curve(0.1 * k, 9))
        builder.run({"x": 0.8}, curve(4.0, reports), State.RUNNING)
        searcher = BayesianSearcher(initial=1)
        mean, _ = searcher.predictor(builder.history()).predict([{"x": 0.8}])
        means.append(float(mean[0, 0]))
    assert means[1] > 2.0 > means[0]


def test_over_a_thousand_trials_a_subset_is_modelled_and_said_so():
    history = random_history(SQUARE, bowl, 1050).history()
    begun = time.process_time()
    suggestion = BayesianSearcher().suggest(history, 1)[0]
    assert time.process_time() - begun < 6  # about 0.4 s on an idle machine
    assert "modelled 1000 of 1050 trials" in suggestion.info["notes"]
    assert bowl(suggestion.config) < 0.01


def test_conditional_parameters_of_other_branches_leave_a_branch_alone():
    """Two trials that differ only in a parameter that both lack are the same to the model."""
    from autosearch.searchers.bayesian.kernel import Hyper, MixedKernel
    from autosearch.searchers.bayesian.layout import Domain, Layout

    space = SearchSpace({"opt": ["sgd", "adam"], "momentum": MIXED["momentum"]})
    layout = Layout.of(space)
    points = Domain(space, layout).points(
        [{"opt": "adam"}, {"opt": "sgd", "momentum": 0.1}, {"opt": "sgd", "momentum": 0.9}]
    )
    one = torch.ones(1, dtype=torch.float64)
    hyper = Hyper(0.3 * one, 0.5 * one, 0.6 * one, one[0], one[0], 0 * one[0])
    x = torch.from_numpy(points)
    covariance = MixedKernel(layout)(x, x, hyper)
    expected = math.exp(-0.5) * 0.6
    assert covariance[0, 1] == pytest.approx(expected)
    assert covariance[0, 2] == pytest.approx(expected)
    assert 0.36 < float(covariance[1, 2]) < 0.5
    assert torch.linalg.eigvalsh(covariance).min() > 0


def test_the_kernel_is_positive_definite_over_nested_branches():
    from autosearch.searchers.bayesian.kernel import Hyper, MixedKernel
    from autosearch.searchers.bayesian.layout import Domain, Layout

    space = SearchSpace(MIXED)
    layout = Layout.of(space)
    assert len(layout.groups) == 2
    x = torch.from_numpy(Domain(space, layout).points(space.sample(np.random.default_rng(0), 80)))
    kernel = MixedKernel(layout)
    rng = np.random.default_rng(1)
    for _ in range(10):
        drawn = [torch.from_numpy(rng.lognormal(size=n)) for n in (len(kernel.numeric), len(kernel.choices))]
        rhos = torch.from_numpy(rng.uniform(size=kernel.groups))
        hyper = Hyper(*drawn, rhos, *torch.tensor([1.0, 0.0, 0.3]).double())
        assert torch.linalg.eigvalsh(kernel(x, x, hyper)).min() > -1e-8
