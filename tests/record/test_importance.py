import numpy as np
import pytest

from autosearch.core import Budget, Goal, History, Problem, State, Transition, Trial
from autosearch.record.importance import ped_anova
from autosearch.space import Categorical, Float, Int, SearchSpace

SPACE = SearchSpace(
    {
        "strong": Float(1e-4, 1.0, log=True),
        "weak": Float(0.0, 1.0),
        "kind": Categorical(["a", "b", None]),
        "inner": Int(1, 64, when="kind == 'a'"),
    }
)


def history_of(trials: int, objectives: int = 1) -> History:
    goals = tuple(Goal(f"loss{i}", maximize=i == 1) for i in range(objectives))
    problem = Problem(SPACE, goals, budget=Budget(trials=trials))
    rng = np.random.default_rng(0)
    found = []
    for number, config in enumerate(SPACE.sample(rng, trials) if trials else []):
        value = (np.log10(float(config["strong"])) + 2) ** 2 + 0.01 * float(config["weak"])  # type: ignore[arg-type]
        values = (float(value), float(config["weak"]))[:objectives]  # type: ignore[arg-type]
        found.append(
            Trial(
                number,
                config,
                State.COMPLETE,
                transitions=(
                    Transition(2 * number, State.RUNNING),
                    Transition(2 * number + 1, State.COMPLETE),
                ),
                values=values,
            )
        )
    return History(problem, found)


def test_the_parameter_that_matters_comes_first_and_shares_sum_to_one() -> None:
    table = ped_anova(history_of(200))["loss0"]
    shares = {name: share for name, (share, _, _) in table.items()}
    assert max(shares, key=lambda name: shares[name]) == "strong"
    assert sum(shares.values()) == pytest.approx(1.0)
    assert set(shares) == {"strong", "weak", "kind", "inner"}


def test_intervals_hold_the_share_and_narrow_with_more_trials() -> None:
    few, many = ped_anova(history_of(40))["loss0"], ped_anova(history_of(400))["loss0"]
    for table in (few, many):
        assert all(0 <= low <= high <= 1 for _, low, high in table.values())
    assert many["strong"][2] - many["strong"][1] < few["strong"][2] - few["strong"][1]


def test_each_objective_has_its_own_table() -> None:
    table = ped_anova(history_of(200, objectives=2))
    assert max(table["loss1"], key=lambda name: table["loss1"][name][0]) == "weak"
    assert max(table["loss0"], key=lambda name: table["loss0"][name][0]) == "strong"


def test_it_is_a_function_of_the_history() -> None:
    assert ped_anova(history_of(60)) == ped_anova(history_of(60))


def test_too_few_trials_or_one_value_give_nothing() -> None:
    assert ped_anova(history_of(0)) == {}
    assert ped_anova(history_of(9)) == {}
    equal = history_of(30)
    trials = [Trial(t.number, t.config, t.state, transitions=t.transitions, values=(1.0,)) for t in equal]
    assert ped_anova(History(equal.problem, trials)) == {}


def test_a_parameter_that_is_hardly_ever_active_has_a_share() -> None:
    history = history_of(30)
    inactive = {"kind": "b"}
    trials = [
        Trial(
            t.number,
            dict(t.config)
            if t.number == 0
            else {n: v for n, v in (t.config | inactive).items() if n != "inner"},
            t.state,
            transitions=t.transitions,
            values=t.values,
        )
        for t in history
    ]
    table = ped_anova(History(history.problem, trials))["loss0"]
    assert table["inner"][1] == 0.0
    assert max(table, key=lambda name: table[name][0]) == "strong"
