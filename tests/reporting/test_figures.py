import dataclasses
import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest

from autosearch.core import Goal, History, State
from autosearch.reporting import figures
from autosearch.reporting.figures.parameters import varied_configs
from autosearch.reporting.figures.style import text, value_axis
from autosearch.space import Categorical, SearchSpace

from .conftest import TWO
from .histories import LinePredictor, make_history

PLAIN = {
    "optimisation_history": figures.optimisation_history,
    "learning_curves": figures.learning_curves,
    "timeline": figures.timeline,
    "states": figures.states,
    "importance": figures.importance,
    "slices": figures.slices,
    "parallel_coordinates": figures.parallel_coordinates,
    "sampled_share": figures.sampled_share,
    "pareto_front": figures.pareto_front,
    "constraints": figures.constraints,
    "fidelity_correlation": figures.fidelity_correlation,
}


@pytest.mark.parametrize("name", list(PLAIN))
def test_every_figure_is_drawn_or_says_what_is_missing(name: str, any_history: History) -> None:
    figure = PLAIN[name](any_history)
    assert isinstance(figure, go.Figure)
    assert figure.layout.title.text
    assert len(figure.data) or figure.layout.annotations[0].text
    json.loads(figure.to_json())


def trace(figure: go.Figure, name: str) -> go.Scatter:
    return next(t for t in figure.data if t.name == name)


def test_the_incumbents_line_only_gets_better(history: History) -> None:
    line = trace(figures.optimisation_history(history), "incumbent")
    assert (np.diff(np.asarray(line.y, dtype=float)) >= 0).all()
    best = history.incumbent
    assert best is not None
    assert float(line.y[-1]) == pytest.approx(best.metrics["accuracy"], rel=1e-6)


def test_an_infeasible_trial_is_marked_and_never_leads() -> None:
    history = make_history(60, constraint=True)
    complete = [t for t in history.complete if t.values]
    best = min(complete, key=lambda t: t.values or ())
    worse = dataclasses.replace(best, violations=(5.0,))
    trials = [worse if t.number == best.number else t for t in history]
    broken = History(history.problem, trials)
    figure = figures.optimisation_history(broken)
    assert best.number in trace(figure, "infeasible").customdata
    assert best.number not in trace(figure, "incumbent").customdata


def test_the_front_holds_no_infeasible_trial() -> None:
    history = make_history(60, objectives=TWO, constraint=True)
    figure = figures.pareto_front(history)
    front, marked = trace(figure, "front"), trace(figure, "infeasible")
    assert set(front.customdata) == {t.number for t in history.front}
    assert not set(front.customdata) & set(marked.customdata)


def test_not_finite_values_leave_no_mark() -> None:
    history = make_history(20, states=[State.COMPLETE, State.FAILED])
    lost = [
        dataclasses.replace(t, metrics={"accuracy": math.nan}, reports=()) if t.failure else t
        for t in history
    ]
    figure = figures.optimisation_history(History(history.problem, lost))
    assert all(t.name != "failed" for t in figure.data)
    assert all(np.isfinite(np.asarray(t.y, dtype=float)).all() for t in figure.data)


def test_names_and_values_that_look_like_markup_are_shown_as_they_are() -> None:
    evil = "<b>x</b><script>alert(1)</script>"
    assert text(evil) == "&lt;b&gt;x&lt;/b&gt;&lt;script&gt;alert(1)&lt;/script&gt;"
    space = SearchSpace({evil: Categorical([evil, "b"])})
    base = make_history(12, 1)
    problem = dataclasses.replace(base.problem, space=space, objectives=(Goal(evil),))
    trials = [
        dataclasses.replace(t, config={evil: evil}, metrics={evil: 1.0}, values=(1.0,) if t.values else None)
        for t in base
    ]
    history = History(problem, trials)
    for draw in PLAIN.values():
        assert "<script>" not in draw(history).to_json()
        assert "<b>" not in draw(history).to_json().replace("<br>", "")


def test_a_far_outlier_on_the_bad_side_does_not_flatten_the_rest() -> None:
    values = [*np.linspace(0.8, 0.9, 20), -1e6]
    axis, words = value_axis(values, Goal("accuracy", maximize=True))
    assert axis["range"][0] > -10
    assert words == "1 values beyond the axis"


def test_values_over_decades_get_a_log_axis() -> None:
    axis, _ = value_axis(list(np.logspace(-4, 2, 20)), Goal("loss"))
    assert axis["type"] == "log"


def test_slices_follow_the_surrogate_through_the_best_trial(history: History) -> None:
    figure = figures.slices(history, LinePredictor(history))
    best = history.incumbent
    assert best is not None
    assert any(t.name == f"surrogate through trial {best.number}" for t in figure.data)


def test_a_slice_varies_one_parameter_and_stays_in_the_space(history: History) -> None:
    best = history.incumbent
    assert best is not None
    for name in history.problem.space.searched:
        for value, config in varied_configs(history, best.config, name):
            assert history.problem.space.validate(config) == config
            assert config.get(name, value) == value


def test_importance_shows_the_most_important_first_with_its_interval(history: History) -> None:
    table = {"accuracy": {"optimizer": (0.9, 0.8, 0.95), "lr": (0.1, 0.0, 0.2)}}
    figure = figures.importance(history, table)
    assert figure.data[0].y[0] == "optimizer"
    assert figure.data[0].error_x.array[0] == pytest.approx(0.05)
    assert figure.data[0].error_x.arrayminus[0] == pytest.approx(0.1)


def test_only_the_most_important_of_many_parameters_are_shown() -> None:
    figure = figures.slices(make_history(40, 60))
    assert "the first 12 of 60 parameters" in {a.text for a in figure.layout.annotations}


def test_five_thousand_trials_are_thinned_out_not_drawn_whole() -> None:
    history = make_history(5000, 4, reports=3)
    assert len(figures.learning_curves(history).to_json()) < 300_000
    assert sum(len(t.y) for t in figures.timeline(history).data) <= 3000


def test_a_perfect_surrogate_has_rank_correlation_one(history: History) -> None:
    predictor = LinePredictor(history)
    observed, _, _ = predictor.cross_validate()
    predictor.cross_validate = lambda: (observed, observed, np.full_like(observed, 0.1))  # type: ignore[method-assign]
    [found] = figures.trust(predictor)
    assert found.correlation == pytest.approx(1.0)
    assert found.within_one == 1.0


def test_calibration_counts_observations_within_the_predicted_deviation() -> None:
    class Fixed:
        def cross_validate(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            observed = np.array([[0.0], [1.5], [3.0], [0.5]])
            return observed, np.zeros((4, 1)), np.ones((4, 1))

    [found] = figures.trust(Fixed())  # type: ignore[arg-type]
    assert (found.within_one, found.within_two, found.count) == (0.5, 0.75, 4)


def test_early_values_that_rank_trials_as_the_final_ones_do_are_trusted(history: History) -> None:
    found = figures.fidelity_trust(history)
    assert [f.step for f in found] == [1, 2, 3, 4]
    assert all(f.correlation > 0.9 for f in found)


def test_a_figure_of_one_objective_of_the_surrogate_has_one_row() -> None:
    history = make_history(40, objectives=TWO)
    both = figures.cross_validation(history, LinePredictor(history))
    one = figures.cross_validation(history, LinePredictor(history), 1)
    assert len(one.data) * 2 == len(both.data)
    assert "latency" in one.layout.xaxis.title.text
