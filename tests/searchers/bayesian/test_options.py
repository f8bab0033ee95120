"""What an expert may fix of the searcher."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.logei import qLogExpectedHypervolumeImprovement

from autosearch.core import Goal, OptionError
from autosearch.core.plugins import build, check_options, load
from autosearch.searchers.bayesian.layout import Layout
from autosearch.searchers.bayesian.likelihood import NOISE_LOCATION
from autosearch.searchers.bayesian.own_kernel import OwnKernel
from autosearch.searchers.bayesian.own_posterior import OwnPosterior
from autosearch.searchers.bayesian.searcher import BayesianSearcher
from tests.searchers.bayesian import own_parts
from tests.searchers.bayesian.bayesian_histories import MIXED, SQUARE, Builder, optimise, random_history

OWN = f"{own_parts.__name__}:"


def bowl(config):
    return (config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2


def history(n=14):
    return random_history(SQUARE, bowl, n).history()


def suggest(**options):
    return BayesianSearcher(**options).suggest(history(), 1)[0]


def test_nothing_heavy_loads_before_the_first_suggestion():
    code = (
        "import sys; from autosearch.core.plugins import build;"
        "build('searchers', {'method': 'bayesian', 'kernel': 'product', 'noise': 0.1});"
        "sys.exit(any(name in sys.modules for name in ('torch', 'botorch', 'gpytorch', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "product"},
        {"transform": "gap"},
        {"noise": 0.2},
        {"noise": 0},
        {"draws": 0},
        {"acquisition": "ucb"},
        {"kernel": f"{OWN}periodic"},
        {"kernel": f"{OWN}rbf"},
        {"kernel": f"{OWN}lines"},
        {"acquisition": f"{OWN}means"},
        {"acquisition": f"{OWN}TheirEI"},
    ],
    ids=str,
)
def test_every_option_makes_a_proposal_of_its_own(options):
    usual, chosen = suggest(), suggest(**options)
    assert chosen.info["model"] == "gaussian process"
    assert "instead" not in chosen.info.get("notes", "")
    assert chosen.config != usual.config
    assert chosen == suggest(**options)


def test_far_values_are_bent_unless_that_is_excluded():
    builder = random_history(SQUARE, lambda c: np.exp(12 * bowl(c)), 14)
    one, two = (BayesianSearcher(transform=t).suggest(builder.history(), 1)[0] for t in ("none", "tail"))
    assert one.config != two.config


def test_noise_may_be_left_out_of_what_is_improved_on_and_sampled_more_often():
    noisy = {"noise": 0.1}
    assert suggest(acquisition="log_ei", **noisy).config != suggest(**noisy).config
    assert suggest(samples=64, **noisy).config != suggest(**noisy).config


@pytest.mark.parametrize("kernel", ["periodic", "rbf"])
def test_a_search_with_an_own_kernel_finds_the_minimum(kernel):
    searcher = BayesianSearcher(kernel=f"{OWN}{kernel}")
    found = optimise(searcher, Builder(SQUARE, seed=1), lambda c: {"loss": bowl(c)}, 16)
    assert found.incumbent.values[0] < 0.01


def test_own_parts_work_on_conditional_spaces_in_batches():
    builder = random_history(MIXED, lambda c: c["lr"], 12)
    options = {"kernel": own_parts.periodic, "acquisition": own_parts.means}
    one, two = BayesianSearcher(**options).suggest(builder.history(), 2)
    assert one.config != two.config
    assert one.info["acquisition"] == "means"


def test_a_class_of_botorchs_gets_what_it_asks_for_with_several_objectives():
    builder = Builder(SQUARE, [Goal("a"), Goal("b")])
    optimise(BayesianSearcher(), builder, lambda c: {"a": c["x"], "b": 1 - c["x"] + c["y"]}, 6)
    with pytest.raises(OptionError, match="needs 'partitioning'"):
        BayesianSearcher(acquisition=qLogExpectedHypervolumeImprovement).suggest(builder.history(), 1)
    with pytest.raises(OptionError, match="for one objective"):
        BayesianSearcher(acquisition="ucb").suggest(builder.history(), 1)
    info = BayesianSearcher(acquisition=own_parts.means).suggest(builder.history(), 1)[0].info
    assert info["acquisition"] == "means"


def test_a_kernel_that_cannot_be_fitted_leaves_the_usual_one_and_says_so():
    suggestion = suggest(kernel=own_parts.singular)
    assert "kernel singular could not be fitted" in suggestion.info["notes"]
    assert suggestion.config == suggest().config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": own_parts.misshapen}, r"misshapen must return a tensor \(14, 14\), got \(3,\)"),
        ({"kernel": lambda _: 3}, "must return a gpytorch kernel or a function, got int"),
        ({"acquisition": own_parts.wrong}, "wrong must return a tensor"),
    ],
)
def test_own_code_that_returns_something_else_is_named(options, message):
    with pytest.raises(OptionError, match=message):
        suggest(**options)


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"kernel": "aditive"}, "kernel", "Did you mean 'additive'"),
        ({"kernel": "nowhere.to.be:found"}, "kernel", "nowhere"),
        ({"kernel": "missing.py:kernel"}, "kernel", "no file"),
        ({"acquisition": f"{OWN}absent"}, "acquisition", "absent"),
        ({"acquisition": f"{OWN}OWN"}, "acquisition", "OWN"),
        ({"transform": "log"}, "transform", "'auto'"),
        ({"noise": -1.0}, "noise", "at least 0"),
        ({"noise": float("inf")}, "noise", "finite"),
        ({"draws": -1}, "draws", "at least 0"),
        ({"samples": 0}, "samples", "at least 1"),
        ({"smaples": 8}, "smaples", "Did you mean 'samples'"),
    ],
)
def test_a_wrong_option_is_named_with_a_way_out(options, option, message):
    with pytest.raises(OptionError, match=message) as error:
        build("searchers", {"method": "bayesian", **options})
    assert error.value.option == option


def test_a_file_is_found_whatever_its_name_and_its_faults_are_told(tmp_path):
    good, bad = tmp_path / "random.py", tmp_path / "bad.py"
    good.write_text(Path(own_parts.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    bad.write_text("import nothing_of_that_name\n", encoding="utf-8")
    assert suggest(kernel=f"{good}:rbf").config == suggest(kernel=own_parts.rbf).config
    with pytest.raises(OptionError, match="nothing_of_that_name"):
        BayesianSearcher(kernel=f"{bad}:rbf")
    with pytest.raises(OptionError, match="has no 'absent'"):
        BayesianSearcher(kernel=f"{good}:absent")


def test_options_are_checked_without_building_anything():
    problems = check_options(load("searchers", "bayesian"), {"transform": "log", "draws": "many"})
    assert {problem.option for problem in problems} == {"transform", "draws"}


def test_slopes_of_an_own_kernels_likelihood_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    X, y = torch.from_numpy(rng.random((9, 2))), torch.from_numpy(rng.standard_normal(9))
    posterior = OwnPosterior(OwnKernel(own_parts.periodic, Layout(2)), X, y, torch.full_like(y, np.nan))
    theta = posterior.starts(1)[0] + 0.1 * rng.standard_normal(len(posterior.bounds))
    assert theta[-1] == pytest.approx(NOISE_LOCATION, abs=0.5)
    theta[-1] = -1.0  # beyond the bound of the prior
    value, slope = posterior(theta)
    assert value == pytest.approx(posterior.value(theta))
    steps = 1e-5 * np.eye(len(theta))
    estimate = [(posterior(theta + step)[0] - posterior(theta - step)[0]) / 2e-5 for step in steps]
    assert slope == pytest.approx(estimate, rel=1e-4, abs=1e-6)
