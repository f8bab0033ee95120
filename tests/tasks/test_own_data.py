"""The user's own data in built-in tasks."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autosearch.core import Job
from autosearch.core.errors import OptionError, ResolveError
from autosearch.tasks.image_classification import ImageClassification
from autosearch.tasks.image_files import DataError
from autosearch.tasks.own_data import load_own
from autosearch.tasks.tabular import TabularClassification, TabularRegression

HEAD = """\
import numpy as np
import torch
def images(n=100, side=8):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 4
    x = rng.integers(0, 60, (n, 3, side, side)).astype(np.uint8)
    for label in range(4):
        x[y == label, label % 3, : side // 2 + label] += 150
    return x, y
"""


@pytest.fixture
def code(tmp_path: Path) -> Any:
    """Writes a function `load` with this body, and gives its name and folder."""

    def write(body: str) -> tuple[str, Path]:
        text = f"{HEAD}\ndef load():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        (tmp_path / "data.py").write_text(text)
        return "./data.py:load", tmp_path

    return write


def test_images_of_the_users_own_are_trained_on_and_tested_once(code: Any) -> None:
    name, folder = code("return images()")
    task = ImageClassification(
        dataset=name, folder=folder, model="cnn", width=4, epochs=3, batch_size=16, device="cpu"
    )
    task.check_data()
    reports = list(task.run(Job(0, {}, 0)))
    assert reports[-1].metrics["val_accuracy"] > 0.5
    assert task.test_metrics(task.learner(0))["test_accuracy"] >= 0


def test_one_piece_is_split_in_fifths_with_each_class_in_its_share(code: Any) -> None:
    data = load_own(*code("return images()"), images=True, classes=True)
    assert [len(y) for _, y in (data.train, data.val, data.test)] == [60, 20, 20]
    assert all(torch.bincount(y).tolist() == [len(y) // 4] * 4 for _, y in (data.train, data.val, data.test))
    assert data.classes == 4
    assert data.shape == (3, 8, 8)
    torch.testing.assert_close(data.train[0].mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)


def test_splits_that_are_given_stay_as_they_are(code: Any) -> None:
    body = """
    x, y = images(50)
    test = torch.tensor(x[40:]), torch.tensor(y[40:])
    return {"train": (x[:30], y[:30]), "val": (x[30:40], y[30:40]), "test": test}
    """
    data = load_own(*code(body), images=True, classes=True, split_seed=3)
    assert data.test[1].tolist() == [label % 4 for label in range(40, 50)]
    assert sorted(data.train[1].tolist()) == sorted(label % 4 for label in range(30))
    assert data.val[1].tolist() == [label % 4 for label in range(30, 40)]


def test_bytes_and_floats_of_them_are_the_same_images_but_for_their_scale(code: Any) -> None:
    name, folder = code("x, y = images(); return x, y")
    first = load_own(name, folder, images=True, classes=True)
    other = folder / "other.py"
    other.write_text(
        (folder / "data.py").read_text().replace("; return x, y\n", "; return x / 255, y.tolist()\n")
    )
    second = load_own("./other.py:load", folder, images=True, classes=True)
    torch.testing.assert_close(first.train[0], second.train[0], rtol=1e-4, atol=1e-4)


def test_gray_images_without_a_channel_and_smaller_sizes(code: Any) -> None:
    name, folder = code("x, y = images(); return x[:, 0], y")
    assert load_own(name, folder, images=True, classes=True, image_size=4).shape == (1, 4, 4)
    with pytest.raises(OptionError, match="image_size: must divide the images' 8 pixels, got 3"):
        load_own(name, folder, images=True, classes=True, image_size=3)


@pytest.mark.parametrize("task", [TabularClassification, TabularRegression])
def test_tables_of_the_users_own_are_learnt(code: Any, task: Any) -> None:
    name, folder = code("""
        x = np.random.default_rng(1).normal(size=(200, 3)) * [1, 10, 100] + 5
        return x, (x[:, 0] > 5).astype(int)
    """)
    made = task(dataset=name, folder=str(folder), epochs=20, lr=0.01, device="cpu")
    made.check_data()
    metrics = list(made.run(Job(0, {}, 0)))[-1].metrics
    assert metrics.get("val_accuracy", 1 - metrics.get("val_rmse", 0)) > 0.6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "got int"),
        ("return images()[0]", "got ndarray"),
        ("return {'training': images()}", "got a mapping of training"),
        ("x, y = images(); return x, y[:-1]", "100 inputs and 99 targets"),
        ("x, y = images(); return x.transpose(0, 2, 3, 1), y", r"got \(100, 8, 8, 3\)"),
        ("x, y = images(); return x, y + 0.5", "classes must be integers from 0"),
        ("x, y = images(); return x, y - 1", "classes must be integers from 0"),
        ("x, y = images(); return x, np.array(['a'] * 100)", "numpy.unique"),
        ("x, y = images(); return x.astype(str), y", "inputs must be numbers"),
        ("x, y = images(); return np.where(x > 9, np.nan, x), y", "must be finite"),
        ("x, y = images(2); return x, y", "none is left for"),
        ("x, y = images(); return {'train': (x, y), 'test': (x[:, :1], y)}", "several shapes"),
    ],
)
def test_what_the_function_may_not_return_is_said(code: Any, body: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        load_own(*code(body), images=True, classes=True)
    assert "dataset './data.py:load'" in str(raised.value)


def test_a_function_that_is_not_there_is_refused_before_the_study(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("def load(): return 1\n")
    with pytest.raises(ResolveError, match=r"has no 'lod'\. Did you mean 'load'"):
        ImageClassification(dataset="./data.py:lod", folder=tmp_path).check_data()


def test_arrays_are_not_changed(code: Any) -> None:
    x = np.ones((50, 1, 4, 4), np.float32) * 7
    before = x.copy()
    module = code("return DATA, np.arange(50) % 2")
    path = module[1] / "data.py"
    path.write_text("DATA = None\n" + path.read_text())
    from autosearch.tasks.code import Code

    Code(*module).load().__globals__["DATA"] = x
    load_own(*module, images=True, classes=True)
    assert np.array_equal(x, before)
