"""The table task: rows found by keys or number, curves, repeats, costs, and the four files it was made for."""

import gzip
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from autosearch.core import Job, OptionError
from autosearch.core.plugins import check_options
from autosearch.tasks.table import TableTask

ARCHITECTURE = [f"op{i}" for i in range(6)]


def job(config: dict, **changes) -> Job:
    return Job(**{"number": 0, "config": config, "seed": 7, **changes})


def results(task: TableTask, config: dict, **changes) -> list[dict]:
    return [dict(progress.metrics) for progress in task.run(job(config, **changes))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(
        tmp_path / "small.npz",
        index=np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int8),
        lr=np.array([0.001, 0.01, 0.1, 1.0]),
        score=np.array([[1.0, 3.0], [2.0, np.nan], [3.0, 5.0], [np.nan, np.nan]]),
        curve=np.arange(24.0).reshape(2, 4, 3),
        hours=np.array([3.0, 6.0, 9.0, 12.0]),
    )
    (tmp_path / "rows.csv").write_text("op,width,acc\nrelu,16,0.5\ntanh,32,\n", encoding="utf-8")
    with gzip.open(tmp_path / "rows.csv.gz", "wt") as stream:
        stream.write("op,width,acc\nrelu,16,0.25\n")
    return tmp_path


KEYS = {
    "act": {"column": "index[:, 0]", "values": ["relu", "tanh"]},
    "batch": {"column": "index[:, 1]", "values": [8, 16]},
}


def test_keys_find_the_row_through_their_values(folder: Path) -> None:
    task = TableTask(file="small.npz", metrics={"loss": "hours"}, keys=KEYS, data_dir=folder)
    assert results(task, {"act": "tanh", "batch": 8}) == [{"loss": 9.0}]


def test_a_further_axis_is_a_learning_curve_with_its_cost_spread_over_the_steps(folder: Path) -> None:
    task = TableTask(file="small.npz", metrics={"loss": "curve[1]"}, row="r", cost="hours", data_dir=folder)
    progress = list(task.run(job({"r": 2})))
    assert [(p.step, p.metrics["loss"], p.seconds) for p in progress] == [
        (1, 18.0, 3.0),
        (2, 19.0, 3.0),
        (3, 20.0, 3.0),
    ]
    assert task.max_step == 3


def test_repeats_are_averaged_or_drawn_without_their_nans(folder: Path) -> None:
    mean = TableTask(file="small.npz", metrics={"s": "score"}, row="r", second="mean", data_dir=folder)
    assert [results(mean, {"r": r})[0]["s"] for r in range(3)] == [2.0, 2.0, 4.0]
    assert math.isnan(results(mean, {"r": 3})[0]["s"])
    draw = TableTask(file="small.npz", metrics={"s": "score"}, row="r", second="draw", data_dir=folder)
    drawn = {results(draw, {"r": 0}, seed=seed)[0]["s"] for seed in range(20)}
    assert drawn == {1.0, 3.0}
    assert results(draw, {"r": 1})[0]["s"] == 2.0


def test_nearest_compares_on_the_log_scale_where_asked(folder: Path) -> None:
    options = {"file": "small.npz", "metrics": {"loss": "hours"}, "keys": {"lr": "lr"}, "data_dir": folder}
    assert results(TableTask(match="nearest", **options), {"lr": 0.04}) == [{"loss": 6.0}]
    assert results(TableTask(match="nearest", log=("lr",), **options), {"lr": 0.04}) == [{"loss": 9.0}]


def test_csv_columns_become_numbers_or_texts(folder: Path) -> None:
    options = {"metrics": {"acc": "acc"}, "keys": {"op": "op", "net.width": "width"}, "data_dir": folder}
    assert results(TableTask(file="rows.csv", **options), {"op": "relu", "net": {"width": 16}}) == [
        {"acc": 0.5}
    ]
    assert math.isnan(
        results(TableTask(file="rows.csv", **options), {"op": "tanh", "net": {"width": 32}})[0]["acc"]
    )
    assert results(TableTask(file="rows.csv.gz", **options), {"op": "relu", "net": {"width": 16}}) == [
        {"acc": 0.25}
    ]


def test_a_run_goes_on_from_its_checkpoint(folder: Path) -> None:
    task = TableTask(file="small.npz", metrics={"loss": "curve[1]"}, row="r", data_dir=folder)
    first = next(task.run(job({"r": 0})))
    assert first.save is not None
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    first.save(checkpoint)
    assert [p.step for p in task.run(job({"r": 0}, checkpoint=checkpoint, step=1))] == [2, 3]


def test_final_metrics_are_measured_apart(folder: Path) -> None:
    task = TableTask(
        file="small.npz", metrics={"loss": "hours"}, row="r", final={"test": "score"}, data_dir=folder
    )
    assert results(task, {"r": 0}) == [{"loss": 3.0}]
    assert task.finish(job({"r": 0})) == {"test": 2.0}


def test_pickling_leaves_the_table_behind(folder: Path) -> None:
    task = TableTask(file="small.npz", metrics={"loss": "hours"}, keys=KEYS, data_dir=folder)
    sent = pickle.dumps(task)
    assert len(sent) < 2000
    assert results(pickle.loads(sent), {"act": "relu", "batch": 16}) == [{"loss": 6.0}]


def test_a_configuration_without_a_row_says_so(folder: Path) -> None:
    task = TableTask(file="small.npz", metrics={"loss": "hours"}, keys=KEYS, data_dir=folder)
    with pytest.raises(LookupError, match=r"small.npz has no row for \{'act': 'gelu', 'batch': 8\}"):
        results(task, {"act": "gelu", "batch": 8})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "gone.npz"}, "there is no file .*gone.npz"),
        ({"data_dir": None}, "small.npz is relative to `data_dir`, which is not set"),
        ({"metrics": {"loss": "houres"}}, "small.npz has no column 'houres'. It has: index, lr"),
        ({"metrics": {"loss": "curve"}}, r"shape \(2, 4, 3\)"),
        ({"metrics": {"loss": "curve[7]"}}, "out of bounds"),
        ({"metrics": {"loss": "curve[__import__]"}}, "has no column"),
        ({"metrics": {"a": "hours", "b": "curve[0, 0]"}}, "differ in length"),
        ({"keys": {"batch": {"column": "index[:, 1]", "values": [8]}}, "row": None}, "beyond the 1 values"),
        ({"keys": KEYS}, "one of `keys` and `row`"),
        ({"metrics": {}}, "at least one metric"),
    ],
)
def test_what_the_file_does_not_hold_is_refused(folder: Path, options: dict, message: str) -> None:
    base = {"file": "small.npz", "metrics": {"loss": "hours"}, "row": "r", "data_dir": folder}
    with pytest.raises(OptionError, match=message):
        TableTask(**{**base, **options})


@pytest.mark.parametrize("text", ["\ufeffa,acc\n1,0.5\n", "a,acc\n1,0.5\n\n\n", "a,acc\r\n\r\n1,0.5\r\n"])
def test_marks_and_blank_lines_of_a_csv_file_do_not_matter(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    task = TableTask(file="t.csv", metrics={"acc": "acc"}, keys={"a": "a"}, data_dir=tmp_path)
    assert results(task, {"a": 1}) == [{"acc": 0.5}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a header and at least one row"),
        ("a,acc\n", "a header and at least one row"),
        ("a,acc\n1,2\n1\n", "row 2 has 1 cells, the header 2"),
        ("a,acc\n1,2,3\n", "row 1 has 3 cells, the header 2"),
        ("a,a,acc\n1,2,3\n", "the same name"),
        ("a,acc\n1,good\n", "'acc' is no column of numbers"),
    ],
)
def test_a_csv_file_that_is_no_table_says_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(OptionError, match=message):
        TableTask(file="t.csv", metrics={"acc": "acc"}, keys={"a": "a"}, data_dir=tmp_path)


def test_options_of_a_study_file_are_checked_by_type() -> None:
    problems = check_options(TableTask, {"file": "x.npz", "metrics": {"a": "b"}, "second": "sum"})
    assert [problem.option for problem in problems] == ["second"]


FILES = {
    "fcnet": {
        "file": "hpo/fcnet.npz",
        "metrics": {"mse": "protein_structure"},
        "second": "mean",
        "keys": {
            "activation_1": {"column": "index[:, 0]", "values": ["relu", "tanh"]},
            "activation_2": {"column": "index[:, 1]", "values": ["relu", "tanh"]},
            "batch_size": {"column": "index[:, 2]", "values": [8, 16, 32, 64]},
            "dropout_1": {"column": "index[:, 3]", "values": [0.0, 0.3, 0.6]},
            "dropout_2": {"column": "index[:, 4]", "values": [0.0, 0.3, 0.6]},
            "lr": {"column": "index[:, 5]", "values": [5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1]},
            "lr_schedule": {"column": "index[:, 6]", "values": ["cosine", "const"]},
            "units_1": {"column": "index[:, 7]", "values": [16, 32, 64, 128, 256, 512]},
            "units_2": {"column": "index[:, 8]", "values": [16, 32, 64, 128, 256, 512]},
        },
    },
    "mlp": {"file": "hpo/hpobench_mlp.npz", "metrics": {"score": "car"}, "second": "draw", "row": "row"},
    "taskset": {
        "file": "hpo/taskset_lc.npz",
        "metrics": {"valid": "curves[0, :, 1]", "train": "curves[0, :, 0]"},
        "keys": {"lr": "hp[0, :, 0]", "beta1": "hp[0, :, 1]"},
        "match": "nearest",
        "log": ("lr",),
    },
    "nas": {
        "file": "nas/nasbench201.npz",
        "metrics": {"accuracy": "c10_val_hp12", "params": "c10_params_M"},
        "keys": {f"op{i}": f"ops[:, {i}]" for i in range(6)},
        "cost": "c10_cost_hp12_s",
        "final": {"test": "c10_test"},
    },
}


@pytest.fixture(scope="module")
def data() -> Path:
    path = Path(os.environ.get("AUTOSEARCH_DATA", "data"))
    if not (path / "hpo").is_dir():
        pytest.skip("needs the benchmark tables: set AUTOSEARCH_DATA to the folder that holds hpo/ and nas/")
    return path


def test_the_fcnet_grid_is_found_by_its_values(data: Path) -> None:
    config = dict.fromkeys(["activation_1", "activation_2"], "relu")
    config |= {"batch_size": 8, "dropout_1": 0.0, "dropout_2": 0.0, "lr": 5e-4}
    config |= {"lr_schedule": "cosine", "units_1": 16, "units_2": 32}
    archive = np.load(data / "hpo/fcnet.npz")
    row = np.flatnonzero((archive["index"] == [0, 0, 0, 0, 0, 0, 0, 0, 1]).all(axis=1))[0]
    found = results(TableTask(data_dir=data, **FILES["fcnet"]), config)
    assert found[0]["mse"] == pytest.approx(archive["protein_structure"][row].mean())


def test_an_mlp_repeat_is_drawn_from_its_row(data: Path) -> None:
    found = results(TableTask(data_dir=data, **FILES["mlp"]), {"row": 12})
    assert found[0]["score"] in np.load(data / "hpo/hpobench_mlp.npz")["car"][12].tolist()


def test_taskset_curves_come_from_the_nearest_configuration(data: Path) -> None:
    archive = np.load(data / "hpo/taskset_lc.npz")
    lr, beta1 = archive["hp"][0, 5, :2].tolist()
    found = results(TableTask(data_dir=data, **FILES["taskset"]), {"lr": lr, "beta1": beta1})
    assert len(found) == 51
    np.testing.assert_equal([f["valid"] for f in found], archive["curves"][0, 5, 1].astype(float))


def test_nasbench_rows_carry_cost_and_final_metrics(data: Path) -> None:
    task = TableTask(data_dir=data, **FILES["nas"])
    config = dict(zip(ARCHITECTURE, (4, 2, 1, 2, 1, 1), strict=True))
    (progress,) = task.run(job(config))
    assert progress.metrics["accuracy"] == pytest.approx(63.364)
    assert progress.seconds == pytest.approx(86.653)
    assert task.finish(job(config))["test"] == pytest.approx(85.8633)
