"""The worked examples of embedding, run as their readers would run them."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from autosearch.core import State

FOLDER = Path(__file__).parents[2] / "studies" / "code" / "embedding"


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / f"{name}.py"))


def alone(code: str, folder: Path) -> str:
    """What a process of its own prints, which may start and leave Ray sessions."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**environment, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pipeline_that_owns_the_loop_goes_on_where_it_stopped(tmp_path: Path) -> None:
    main = load("own_loop")["main"]
    storage = tmp_path / "study.journal"
    first = main(storage, trials=4)
    again = main(storage, trials=7)
    assert len(again.history) == 7
    assert [t.config for t in again.history[:4]] == [t.config for t in first.history]
    assert {t.state for t in again.history} <= {State.COMPLETE, State.STOPPED}
    assert again.best.values[0] < 0.2


def test_scikit_learn_searches_around_and_within_a_pipeline() -> None:
    search, whole = load("sklearn_pipeline")["main"](trials=6)
    assert set(search.best_params_) >= {"svm__C", "svm__kernel"}
    assert search.best_score_ > 0.9
    assert set(whole["search"].best_params_) == {"C"}


def test_an_optuna_study_is_continued_from_its_own_trials(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    began, fresh = load("optuna_study")["main"](storage, trials=4)
    kept = optuna.load_study(study_name="mine", storage=storage)
    assert [t.params for t in kept.trials] == [t.params for t in began.trials]
    assert len(kept.trials) == 14
    ours = [t for t in kept.trials if "autosearch" in t.system_attrs]
    assert [t.number for t in ours] == [10, 11, 12, 13]
    assert len(fresh.trials) == 4


@pytest.mark.ray
def test_a_study_in_a_session_with_other_work_leaves_both_as_they_were(tmp_path: Path) -> None:
    code = """
import json, os, ray, inside_ray
study = inside_ray.main(trials=4)
up = ray.is_initialized()
print(json.dumps([up, [t.state.value for t in study.history], study.problem.workers]))
"""
    out = alone(code, tmp_path).splitlines()
    assert "the other work went on: 1 -> 2" in out
    assert json.loads(out[-1]) == [True, ["complete"] * 4, 2]


@pytest.mark.ray
def test_a_tuner_of_ray_s_takes_our_searcher(tmp_path: Path) -> None:
    code = f"import ray_tune_search as e; best = e.main(trials=4, folder={str(tmp_path)!r}); print(best.config['lr'])"
    out = alone(code, tmp_path).splitlines()
    assert out[-2].startswith("best of 4: ")
    assert 1e-4 <= float(out[-1]) <= 1.0


needs_lightning = pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="needs `pip install lightning` (extra `lightning`)"
)


@needs_lightning
def test_lightning_reports_each_epoch_stops_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    code = """
import json, lightning_callback as e
study = e.main(trials=5, runner="inline")
print(json.dumps([[t.state.value, t.step] for t in study.history]))
"""
    ends = json.loads(alone(code, tmp_path).splitlines()[-1])
    assert len(ends) == 5
    assert all(step == 4 for state, step in ends if state == "complete")
    assert any(state == "stopped" and step < 4 for state, step in ends), ends


@needs_lightning
@pytest.mark.ray
def test_lightning_runs_in_workers(tmp_path: Path) -> None:
    code = "import lightning_callback as e; print([t.state.value for t in e.main(trials=3).history])"
    assert "complete" in alone(code, tmp_path).splitlines()[-1]


def test_every_example_is_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    with warnings.catch_warnings():
        assert [p.stem for p in FOLDER.glob("*.py") if p.stem not in text] == []
