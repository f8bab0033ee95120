"""Every shipped study, run as it is written but for its size, up to its best trial."""

import contextlib
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch

import autosearch as asr

FOLDER = Path(__file__).parents[1] / "studies"
STUDIES = sorted(FOLDER.glob("*.yaml"))
SMALL = ["budget.trials=2", "resources.runner=inline", "resources.parallel=1"]
# What makes each one small; its methods, objectives and space stay.
SIZES = {
    "autolrs_modern": ["run.epochs=4"],
    "autolrs_outer_lr": ["run.epochs=4"],
    "autolrs_paper": [
        "run.epochs=6",
        "training=[{method: autolrs, low: 1e-3, high: 0.1, options: {tau: 20, tau_max: 40}}]",
    ],
    "command": [],
    "digits": ["run.epochs=3"],
    "evonorm_search": [
        "run.steps=20",
        "run.rejection={stability_steps: 5}",
        "searcher.proxy=10",
        "searcher.rerank=1",
        "budget.trials=10",
    ],
    "fashion_mnist": ["run.epochs=1", "run.train_size=600"],
    "flagship": [
        *("run.epochs=2", "run.train_size=200", "run.val_size=100"),
        *(
            "finally.epochs=1",
            "scheduler={method: asha, min: 1}",
            "searcher.parts.architecture.*={method: robot, pool: 20, metrics: [params]}",
        ),
    ],
    "function": ["scheduler={method: asha, min: 2, max: 3}"],
    "language_model": ["run.epochs=1", "run.train_size=3000"],
    "lr_schedule": ["run.epochs=2"],
    "meta_prune": [
        *("run.network.epochs=1", "run.epochs=1", "run.epochs_before=1"),
        "run.meta={data_models: 2, epochs: 1, residual: 0.01}",
    ],
    "optuna_objective": [],
    "own_data": ["run.epochs=2", "scheduler=null", "finally.epochs=1"],
    "own_network": ["scheduler={method: asha, min: 2, max: 3}"],
    "pbt": [
        "budget.trials=4",
        "run.epochs=4",
        "scheduler={method: pbt, population: 4, interval: 2, quantile: 0.25}",
    ],
    "prune": ["run.network.epochs=1", "run.epochs=1"],
    "robot_fashion_mnist": [
        "run.epochs=1",
        "run.train_size=200",
        "run.val_size=100",
        "searcher.pool=20",
        "searcher.block=10",
    ],
    "robot_mixed": ["run.epochs=1", "run.train_size=200", "run.val_size=100", "searcher.pool=20"],
    "robot_nasbench201": [],
    "stn_digits": ["run.epochs=2"],
    "stn_fashion": ["run.epochs=1", "run.train_size=600", "budget.trials=1"],
    "tabular_classification": ["run.epochs=2"],
    "tabular_regression": ["run.epochs=5"],
}
LONG = ("flagship", "meta_prune", "evonorm_search")


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in LONG else []) for p in STUDIES],
)
def test_a_shipped_study_runs_to_its_best_trial(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER.parent)  # where the README runs them; `command:` names its program from there
    monkeypatch.setenv(
        "PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )  # as activated
    overrides = [*SMALL, f"output={tmp_path}", *SIZES[path.stem]]
    try:
        file = asr.load(path, overrides)
        study = file.run()
    except asr.AutosearchError as error:
        if "AUTOSEARCH_DATA" not in os.environ and "$AUTOSEARCH_DATA" in str(error):
            pytest.skip(f"{path.name} needs real data: set AUTOSEARCH_DATA to a folder of datasets")
        raise
    assert study.history.complete
    assert study.front
    assert (tmp_path / "study.journal").is_file()


def test_every_shipped_study_has_its_size_here() -> None:
    assert sorted(SIZES) == [path.stem for path in STUDIES]


def test_an_own_network_is_tuned_exported_pruned_and_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*SMALL, f"output={tmp_path / 'out'}", *SIZES["own_network"]]
    file = asr.load(FOLDER / "own_network.yaml", overrides)
    best = file.run().best
    with contextlib.closing(file.read()) as record:
        file.export(record, record.history(), best.number, tmp_path / "best")
    code = runpy.run_path(str(FOLDER / "code" / "own_network.py"))
    code["main"](tmp_path / "best", epochs=1)
    before, after = (
        int(line.split(" with ")[1].split()[0]) for line in capsys.readouterr().out.splitlines()[-2:]
    )
    assert 0.3 * before < after <= 0.4 * before
    shape = {"width": best.config["width"], "dropout": best.config["dropout"]}
    loaded = asr.load_pruned(code["Net"](**shape), tmp_path / "best" / "small").eval()
    images = code["data"]()[1][:1]
    exported = torch.export.load(tmp_path / "best" / "small.pt2").module()
    assert torch.allclose(loaded(images), exported(images), atol=1e-5)
