"""The phase machine, driven by formulas in place of a network."""

import json
import math

import pytest

from autosearch.core import OptionError
from autosearch.methods.autolrs.controller import Controller
from autosearch.methods.autolrs.settings import Settings, resolve


class Run:
    """A run of a controller on `loss(lr, steps behind the network)`; its snapshots hold the step alone."""

    def __init__(self, controller, loss):
        self.controller, self.loss = controller, loss
        self.step, self.snapshots, self.log, self.restored = 0, {}, [], 0
        self.carry_out(controller.begin())

    def carry_out(self, actions):
        for verb, name in actions:
            if verb == "store":
                self.snapshots[name] = self.step
            elif verb == "restore":
                self.step = self.snapshots[name]
                self.restored += name == "stage"
            else:
                self.snapshots.pop(name, None)

    def go(self, steps, validate=None):
        for _ in range(steps):
            lr, phase = self.controller.lr, self.controller.state.phase
            self.log.append((phase, self.controller.state.stage, self.step, lr))
            self.step += 1
            self.carry_out(self.controller.observe(self.loss(lr, self.step), validate))
            assert self.step == self.controller.state.steps
        assert self.controller.spent == len(self.log)
        return self


def bowl(best):
    """A loss that falls with the steps, fastest at one learning rate."""
    return lambda lr, step: 1 + math.exp(-step / 500 / (1 + math.log(lr / best) ** 2))


def paper(**options):
    options = {"tau_max": 8000, **options}
    return Controller(
        resolve(
            "paper", lr=0.1, lr_range=(1e-3, 1.0), total_steps=options.pop("total", 32_000), options=options
        )
    )


def modern(total=4000, **options):
    """Three short stages that search; the choice of a candidate is used as it is."""
    options = {"tau": total // 20, "horizon_exponent": 0.0, "first_candidates": 5, **options}
    return Controller(
        resolve("modern", lr=0.05, lr_range=None, total_steps=total, options=options),
        lambda step: 1 - step / total,
    )


def test_the_papers_stages_double_and_the_last_is_cut_to_what_remains():
    run = Run(paper(), bowl(0.05)).go(32_000)
    stages = sorted({stage for _, stage, _, _ in run.log})
    trained = [sum(p == "train" and s == stage for p, s, _, _ in run.log) for stage in stages]
    searched = [sum(p == "search" and s == stage for p, s, _, _ in run.log) for stage in stages]
    assert trained == [1000, 2000, 4000, 8000, 1000]
    assert abs(sum(searched) - sum(trained)) <= 10
    assert run.restored == 10 * len(stages)
    assert run.step == 16_000


def test_every_candidate_begins_where_the_stage_began_with_its_own_learning_rate():
    run = Run(paper(), bowl(0.05)).go(2000)
    search = [entry for entry in run.log if entry[0] == "search" and entry[1] == 0]
    for i in range(10):
        own = search[100 * i : 100 * (i + 1)]
        assert [step for _, _, step, _ in own] == list(range(100))
        assert len({lr for *_, lr in own}) == 1
    assert len({lr for *_, lr in search}) == 10


def test_the_candidate_of_lowest_forecast_is_trained():
    run = Run(paper(), bowl(0.05)).go(1500)
    tried = run.controller.state.tried
    chosen = run.controller.state.choices[0]
    assert math.log(chosen[3]) == pytest.approx(min(tried, key=lambda t: t[1])[0])
    assert {lr for phase, _, _, lr in run.log if phase == "train"} == {chosen[3]}


def test_validation_losses_take_over_once_stages_have_their_full_length():
    calls = []

    def validate():
        calls.append(controller.state.tau)
        return 1.0 + 0.5 * math.exp(-controller.state.steps / 500)

    controller = Controller(Settings(1e-3, 1.0, tau=1000, tau_max=2000, total_steps=14_000), validates=True)
    Run(controller, bowl(0.05)).go(14_000, validate)
    assert set(calls) == {2000}
    # Candidates of 200 steps, one validation every 50; ten of them in each of the three long stages.
    assert len(calls) == controller.state.validated == 3 * 10 * 4


def test_the_warm_up_is_a_straight_rise_that_nothing_searches():
    controller = Controller(Settings(1e-3, 1.0, warmup_steps=50, warmup_lr=0.1, total_steps=4000))
    run = Run(controller, bowl(0.05)).go(60)
    assert [lr for phase, _, _, lr in run.log if phase == "warmup"] == pytest.approx(
        [0.1 * (i + 1) / 50 for i in range(50)]
    )
    assert run.log[50][0] == "search"


# -- modern -------------------------------------------------------------------------------------------------


def test_the_modern_search_follows_the_base_schedule_and_ends_with_it():
    run = Run(modern(score="exponential"), bowl(0.2)).go(4000)
    last = [entry for entry in run.log if entry[0] == "train"][-1]
    assert last[3] < 1e-3
    shares = [p == "search" for p, *_ in run.log]
    assert not any(shares[2400:])
    assert sum(shares) < 0.25 * 4000


def test_the_modern_search_moves_towards_the_better_learning_rate():
    for best in (0.01, 0.3):
        run = Run(modern(score="exponential"), bowl(best)).go(4000)
        chosen = run.controller.state.choices[-1][3]
        assert abs(math.log(chosen / best)) < abs(math.log(0.05 / best))


def test_the_winner_goes_on_from_where_its_own_steps_ended():
    run = Run(modern(score="exponential"), bowl(0.5)).go(400)
    state = run.controller.state
    first = next(entry for entry in run.log if entry[0] == "train")
    assert first[2] == 20  # not 0: the network keeps the winner's probe
    assert state.choices[0][3] > 0.05
    assert run.step == state.steps == run.controller.spent - state.lost
    assert [step for step, _ in state.trace] == sorted(step for step, _ in state.trace)


def test_a_stage_that_begins_late_does_not_search():
    run = Run(modern(until=0.0), bowl(0.2)).go(4000)
    assert {phase for phase, *_ in run.log} == {"train"}
    assert [lr for *_, lr in run.log] == pytest.approx([0.05 * (1 - t / 4000) for t in range(4000)])


def test_a_range_test_finds_the_start_and_is_rolled_back():
    settings = resolve("modern", lr=1e-3, lr_range=(1e-4, 1.0), total_steps=2000, options={})
    run = Run(Controller(settings), lambda lr, step: math.inf if lr > 0.3 else 2 / (1 + 10 * lr * step))
    run.go(240)
    sweep = [entry for entry in run.log if entry[0] == "range"]
    assert 80 < len(sweep) < 100
    assert sweep[0][3] == pytest.approx(1e-4)
    assert run.controller.state.choices or run.controller.state.phase == "search"
    assert 1e-4 < math.exp(run.controller.state.tried[0][0]) < 0.3


def test_a_candidates_learning_rate_is_lowered_to_that_of_a_longer_run():
    run = Run(modern(horizon_exponent=0.5, until=0.01), bowl(0.3)).go(300)
    trained = run.controller.state.choices[0][3]
    used = [lr for phase, stage, step, lr in run.log if phase == "search" and step == 0]
    assert any(lr / trained == pytest.approx(math.sqrt(4000 / 20), rel=0.02) for lr in used)


# -- faults -------------------------------------------------------------------------------------------------


def test_a_diverging_candidate_is_cut_short_and_never_chosen():
    run = Run(paper(), lambda lr, step: math.nan if lr > 0.1 else bowl(0.05)(lr, step)).go(3000)
    assert all(choice[3] <= 0.1 for choice in run.controller.state.choices)
    assert run.controller.state.diverged > 0
    lengths = [lr for phase, stage, _, lr in run.log if phase == "search" and stage == 0 and lr > 0.1]
    assert len(lengths) == len(set(lengths))


def test_a_first_candidate_that_diverges_late_is_no_reference_for_the_others():
    run = None

    def loss(lr, step):
        state = run.controller.state if run is not None else None
        if (
            state is not None
            and state.stage == 0
            and not state.tried
            and state.phase == "search"
            and state.done > 14
        ):
            return math.nan
        return bowl(0.02)(lr, step)

    run = Run(modern(first_candidates=4), loss)
    run.go(4000)
    state = run.controller.state
    assert state.diverged == 1
    assert state.choices
    assert state.phase == "train"


def test_a_run_that_ends_inside_a_candidate_keeps_what_was_trained():
    for total in range(1, 60):
        controller = Controller(
            Settings(
                1e-3,
                1.0,
                total_steps=total,
                tau=20,
                tau_max=40,
                min_probe=7,
                candidates=4,
                first_candidates=4,
            )
        )
        run = Run(controller, bowl(0.1)).go(total)
        assert not controller.searching or controller.state.done == 0
        trained = [step for phase, _, step, _ in run.log if phase == "train"]
        assert run.step == len(trained)
    run = Run(Controller(Settings(1e-3, 1.0, start=0.1, total_steps=30, range_test=50)), bowl(0.1)).go(30)
    assert run.step == 0


def test_when_all_candidates_diverge_the_interval_shrinks_and_says_so():
    controller = Controller(Settings(1e-3, 1.0, tau=100, candidates=3, first_candidates=3, total_steps=2000))
    run = Run(controller, lambda lr, step: math.nan if controller.state.high >= 0 else 1.0 / step)
    with pytest.warns(UserWarning, match=r"all 3 candidates diverged; learning rates up to 0.1 "):
        run.go(300)
    assert controller.state.high == pytest.approx(math.log(0.1))
    assert controller.state.choices[0][3] <= 0.1


def test_a_network_that_dies_at_every_candidate_is_tried_again_at_lower_learning_rates():
    controller = Controller(
        resolve("modern", lr=1e-3, lr_range=(1e-4, 1.0), total_steps=2000, options={}),
        lambda step: 1 - step / 2000,
    )

    def loss(lr, step):
        if controller.state.phase == "range":
            return 2.3 / (1 + 10 * lr)
        return 2.3 if controller.state.high >= 0 else bowl(0.05)(lr, step)

    run = Run(controller, loss)
    with pytest.warns(UserWarning, match=r"left the network dead, .*; learning rates up to 0.1 are"):
        run.go(900)
    assert controller.state.rescues == 1
    assert controller.state.choices[0][3] <= 0.1


def test_when_even_the_smallest_learning_rate_diverges_it_is_an_error():
    controller = Controller(Settings(1e-3, 1.0, tau=100, candidates=3, first_candidates=3))
    with pytest.raises(FloatingPointError, match="diverged at all 3 learning rates"), pytest.warns():
        Run(controller, lambda lr, step: math.nan).go(100)


@pytest.mark.filterwarnings("ignore:all .* candidates diverged")
def test_training_that_diverges_goes_back_to_the_start_of_the_stage():
    broken = {700}

    def loss(lr, step):
        return math.nan if step in broken and not broken.remove(step) else bowl(0.05)(lr, step)

    run = Run(paper(), loss)
    with pytest.warns(UserWarning, match="back to the start of the stage with a learning rate of"):
        run.go(1800)
    before, after = run.log[1699][3], run.log[1700]
    assert after[2] == 0
    assert after[3] == pytest.approx(before / 4)


@pytest.mark.parametrize(
    "loss",
    [lambda lr, step: 2.0, lambda lr, step: 1 + 0.01 * step],
    ids=["constant", "rising"],
)
def test_a_loss_that_tells_nothing_leads_back_to_the_base_schedule_with_one_warning(loss):
    with pytest.warns(UserWarning, match="the loss tells nothing of learning rates") as caught:
        run = Run(modern(), loss).go(4000)
    assert len(caught) == 1
    assert run.controller.state.given_up
    late = [(t, lr) for t, (*_, lr) in enumerate(run.log) if t > 2000]
    assert all(lr == pytest.approx(0.05 * (1 - t / 4000)) for t, lr in late)


@pytest.mark.parametrize("make", [paper, modern], ids=["paper", "modern"])
@pytest.mark.parametrize("cut", [1, 37, 260, 333, 1500, 2900])
def test_a_resumed_run_decides_as_an_undisturbed_one(make, cut):
    whole = Run(make(), bowl(0.2)).go(3500)
    first = Run(make(), bowl(0.2)).go(cut)
    second = Run(make(), bowl(0.2))
    second.controller.load_state_dict(json.loads(json.dumps(first.controller.state_dict())))
    second.step, second.snapshots = first.step, first.snapshots
    second.log = list(first.log)
    assert second.go(3500 - cut).log == whole.log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "newest"}, "preset: modern or paper"),
        ({"preset": "paper", "lr_range": None}, "lr_range: the paper's search needs"),
        ({"lr_range": (1.0, 0.1)}, "lr_range: two learning rates"),
        ({"total_steps": None}, "total_steps: the modern preset needs"),
        ({"options": {"candidats": 3}}, "unknown option 'candidats'. Did you mean 'candidates'"),
        ({"options": {"ratio": 0}}, "ratio: at least 1"),
        ({"options": {"score": "best"}}, "score: one of exponential, smoothed, cooled, last, got 'best'"),
        ({"options": {"trust": 0.5}}, "trust: a factor above 1, or 0 for none"),
        ({"options": {"warmup_steps": -3}}, "warmup_steps: at least 0"),
        ({"options": {"hysteresis": math.nan}}, "hysteresis: at least 0"),
        ({"options": {"start": 5.0}}, "start: between 0.001 and 1"),
        ({"options": {"warmup_steps": 9, "warmup_lr": 0.0}}, "warmup_lr: above 0"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    given = {"preset": "modern", "lr": 0.1, "lr_range": (1e-3, 1.0), "total_steps": 1000, "options": {}}
    given |= arguments
    with pytest.raises(OptionError, match=message):
        resolve(given.pop("preset"), **given)
