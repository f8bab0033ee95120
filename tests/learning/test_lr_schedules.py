import itertools
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

import search_spaces
from autosearch.core import OptionError
from autosearch.learning import LR_POINTS, LR_SCHEDULES, LrFamily, Recorded, build_lr_schedule, peak_lr
from autosearch.learning.lr_knots import LrKnots
from autosearch.space import SearchSpace


def driven_by_torch(schedule, steps):
    """Factors that `schedule` gives through torch's LambdaLR."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    driver = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    return factors_of(driver, optimizer, steps)


def factors_of(driver, optimizer, steps):
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        driver.step()
    return factors


def test_cosine_equals_torchs_own():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    driver = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100, eta_min=0.05)
    expected = factors_of(driver, optimizer, 101)
    found = driven_by_torch(build_lr_schedule({"method": "cosine", "final": 0.05}, 100), 101)
    assert found == pytest.approx(expected, abs=1e-9)


def test_step_equals_torchs_own():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    driver = torch.optim.lr_scheduler.MultiStepLR(optimizer, [40, 70], gamma=0.2)
    expected = factors_of(driver, optimizer, 100)
    definition = {"method": "step", "milestones": [0.4, 0.7], "gamma": 0.2}
    assert driven_by_torch(build_lr_schedule(definition, 100), 100) == pytest.approx(expected)


def test_constant_stays_at_one():
    assert {build_lr_schedule("constant", 10)(n) for n in range(20)} == {1.0}


def test_the_warm_up_rises_in_a_straight_line_and_the_rest_follows():
    schedule = build_lr_schedule("cosine", 100, warmup=0.1)
    assert [schedule(n) for n in range(10)] == pytest.approx([(n + 1) / 11 for n in range(10)])
    assert schedule(10) == 1.0
    assert schedule(100) == pytest.approx(0.0)
    assert schedule(500) == pytest.approx(0.0)


@pytest.mark.parametrize("name", LR_SCHEDULES)
def test_every_lr_schedule_survives_pickling(name):
    options = {"points": [[0, 1.0], [20, 0.1]]} if name == "recorded" else {}
    schedule = build_lr_schedule({"method": name, **options}, 50, warmup=0.2)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize(
    ("definition", "warmup", "message"),
    [
        ("cosin", 0.0, "Did you mean 'cosine'"),
        ({"final": 0.1}, 0.0, "unknown lr schedule None"),
        ({"method": "cosine", "finl": 0.1}, 0.0, "unexpected keyword argument 'finl'"),
        ("cosine", 1.0, r"warmup: a share of the run in \[0, 1\)"),
    ],
)
def test_an_impossible_lr_schedule_is_refused(definition, warmup, message):
    with pytest.raises(OptionError, match=message):
        build_lr_schedule(definition, 100, warmup)


# -- the family: usual lr schedules as points ---------------------------------------------------------------


def curve_of_torch(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    return factors_of(make(optimizer), optimizer, steps)


@pytest.mark.parametrize(
    ("point", "make"),
    [
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 200)),
        ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=200)),
        ("constant", lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0)),
        # A share of 0.3 of 200 steps; torch counts the steps of a phase one shorter than its share of 201.
        (
            "one_cycle",
            lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=201, pct_start=61 / 201),
        ),
    ],
)
def test_points_of_the_family_equal_torchs_own(point, make):
    found = [LrFamily(200, **LR_POINTS[point])(n) for n in range(201)]
    assert found == pytest.approx(curve_of_torch(make, 201), abs=1e-6)


def test_restarts_on_the_plateau_equal_torchs_own():
    family = LrFamily(200, d_rel=0.0, c=0.1, cycles=4)
    expected = curve_of_torch(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 50, eta_min=0.1), 200
    )
    assert [family(n) for n in range(200)] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("steps", [4, 10, 250])
def test_one_cycle_equals_torchs_own_at_every_length(steps):
    expected = curve_of_torch(lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=steps), steps)
    schedule = build_lr_schedule("one_cycle", steps)
    assert [schedule(n) for n in range(steps)] == pytest.approx(expected, abs=1e-6)


def test_wsd_follows_its_formula():
    schedule, W, D, N = LrFamily(1000, **LR_POINTS["wsd"]), 30, 194, 1000
    for n in range(N + 1):
        expected = n / W if n < W else min(1.0, (N - n) / D)
        assert schedule(n) == pytest.approx(expected, abs=1e-6)


def test_infinite_has_the_values_of_its_definition():
    # Peak 1e-3, plateau 2.5e-4, end 1e-5; warm-up 100, cool-down to 300, plateau to 1000, end at 1200.
    schedule = LrFamily(
        1200, warmup=1 / 12, r0=0.0, k_rel=200 / 1100, c=0.25, d_rel=200 / 900, shape="exponential", fin=0.04
    )
    found = [1e-3 * schedule(n) for n in (0, 50, 100, 200, 300, 999, 1000, 1100, 1200)]
    expected = [0, 5e-4, 1e-3, 6.25e-4, 2.5e-4, 2.5e-4, 2.5e-4, 5e-5, 1e-5]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_the_infinite_point_keeps_its_parts_apart():
    schedule = LrFamily(1000, **LR_POINTS["infinite"])
    assert schedule(50) == pytest.approx(1.0)
    assert schedule(100) == pytest.approx((1 + 0.25) / 2)
    assert [schedule(n) for n in (150, 500, 800)] == pytest.approx([0.25] * 3)
    assert [schedule(n) for n in (900, 1000)] == pytest.approx([0.25 * 0.04**0.5, 0.01])


def test_inverse_sqrt_follows_its_formula():
    schedule, c = LrFamily(1000, **LR_POINTS["inverse_sqrt"]), 0.25
    for n in range(50, 800, 25):
        x = (n - 50) / 750
        g, g1 = 1 / math.sqrt(1 + 10 * x) - 1, 1 / math.sqrt(11) - 1
        assert schedule(n) == pytest.approx(1 + (c - 1) / g1 * g, abs=1e-6)


shares = st.floats(0.0, 1.0)


@given(
    warmup=st.floats(0.05, 0.3), r0=shares, k_rel=st.floats(0.1, 0.9), c=st.floats(0.05, 1.0),
    d_rel=st.floats(0.1, 1.0), fin=shares, warmup_shape=st.sampled_from(["linear", "cosine"]),
    cool=st.sampled_from(["cosine", "inverse_sqrt"]), shape=st.sampled_from(["linear", "cosine", "exponential"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_family_is_continuous_and_stays_in_range(**options):
    schedule = LrFamily(20_000, **options)
    factors = [schedule(n) for n in range(20_001)]
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)
    # Steepest is exponential decay to 1e-6 of itself, 13.8 times the mean slope of a part.
    left = 1 - options["warmup"]
    cool = left * options["k_rel"]
    shortest = min(options["warmup"], cool, (left - cool) * options["d_rel"])
    assert max(abs(a - b) for a, b in itertools.pairwise(factors)) <= 14 / (20_000 * shortest)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": 1.5}, "warmup: a share"),
        ({"c": 0.0}, "c: a share"),
        ({"shape": "square"}, "shape: linear, cosine"),
        ({"cycles": 0}, "cycles: at least 1"),
    ],
)
def test_an_impossible_point_of_the_family_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        LrFamily(100, **options)


def test_the_peak_of_a_definition_is_a_learning_rate_and_no_factor():
    definition = {"method": "family", "peak": 0.05, "d_rel": 0.0}
    assert peak_lr(definition, 0.1) == 0.05
    assert peak_lr("cosine", 0.1) == 0.1
    assert build_lr_schedule(definition, 10)(5) == 1.0
    with pytest.raises(OptionError, match="peak: a learning rate above 0"):
        build_lr_schedule({**definition, "peak": 0.0}, 10)


# -- the free form and replay -------------------------------------------------------------------------------


# Rounded, because SciPy divides by the steps: the smallest of all floats overflow there.
@given(st.lists(st.floats(-2.0, 1.0).map(lambda step: round(step, 6)), min_size=5, max_size=5))
@settings(max_examples=30, deadline=None)
def test_knots_are_joined_as_scipy_joins_them(changes):
    schedule = LrKnots(100, *changes)
    reference = PchipInterpolator(np.linspace(0, 100, 6), np.cumsum([0.0, *changes]))
    found = [math.log(schedule(n)) for n in range(101)]
    assert found == pytest.approx(list(reference(np.arange(101))), abs=1e-9)


def test_a_recorded_lr_schedule_replays_and_stretches():
    recorded = Recorded(100, ((0, 1.0), (40, 0.5), (70, 0.1)))
    assert [recorded(n) for n in (0, 39, 40, 69, 70, 500)] == [1.0, 1.0, 0.5, 0.5, 0.1, 0.1]
    longer = build_lr_schedule(json.loads(json.dumps(recorded.definition())), 200)
    assert [longer(n) for n in (0, 79, 80, 139, 140)] == [1.0, 1.0, 0.5, 0.5, 0.1]


@pytest.mark.parametrize("points", [[], [[1, 1.0]], [[0, 1.0], [0, 0.5]], [[0, math.nan]]])
def test_an_impossible_recording_is_refused(points):
    with pytest.raises(OptionError, match="points"):
        build_lr_schedule({"method": "recorded", "points": points}, 10)


# -- the space ----------------------------------------------------------------------------------------------


def test_the_shipped_space_tries_the_usual_lr_schedules_first():
    space = SearchSpace({"lr_schedule": search_spaces.lr_schedule()})
    assert len(space.first) == len(LR_POINTS)
    for config, point in zip(space.first, LR_POINTS.values(), strict=True):
        definition = {name.split(".")[1]: value for name, value in config.items()}
        found = build_lr_schedule(definition, 500)
        expected = LrFamily(500, **point)
        assert [found(n) for n in range(501)] == pytest.approx([expected(n) for n in range(501)])


@pytest.mark.parametrize("options", [{}, {"cycles": 3}, {"knots": True}, {"peak": False}])
def test_every_configuration_of_the_shipped_space_is_an_lr_schedule(options):
    space = SearchSpace({"lr_schedule": search_spaces.lr_schedule(**options)})
    for config in space.sample(np.random.default_rng(0), 40):
        definition = {name.split(".")[1]: value for name, value in config.items()}
        schedule = build_lr_schedule(definition, 100)
        assert all(0 <= schedule(n) < 150 for n in range(101))
        assert ("peak" in definition) == options.get("peak", True)
