import gzip
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch

from autosearch.core import OptionError
from autosearch.tasks.datasets import check_image_dataset, load_images, load_table, load_text
from autosearch.tasks.image_files import DataError, read_cifar10, read_idx
from autosearch.tasks.splits import split_order


def sizes(data):
    return [len(split[0]) for split in (data.train, data.val, data.test)]


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path):
    """A folder with a tiny data set in MNIST's files: each image holds its own number."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for prefix, n in (("train", 60), ("t10k", 20)):
        images = np.broadcast_to(np.arange(n)[:, None, None], (n, 28, 28))
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(n) % 10)))
    return tmp_path


def test_digits_come_with_fixed_stratified_splits():
    data = load_images("digits")
    assert sizes(data) == [1079, 359, 359]
    assert data.shape == (1, 8, 8)
    assert data.classes == 10
    for _, labels in (data.train, data.val, data.test):
        shares = torch.bincount(labels, minlength=10) / len(labels)
        assert shares.min() > 0.09
    assert abs(float(data.train[0].mean())) < 1e-5
    assert float(data.train[0].std()) == pytest.approx(1, abs=1e-3)


def test_no_example_stands_in_two_splits():
    data = load_table("diabetes")
    rows = torch.cat([data.train[0], data.val[0], data.test[0]])
    assert len(rows.unique(dim=0)) == 442


@pytest.mark.parametrize(
    ("name", "columns", "classes", "rows"),
    [("breast_cancer", 30, 2, 569), ("wine", 13, 3, 178), ("digits", 64, 10, 1797), ("diabetes", 10, 0, 442)],
)
def test_tables_have_their_columns_and_classes(name, columns, classes, rows):
    data = load_table(name)
    assert data.shape == (columns,)
    assert data.classes == classes
    assert sum(sizes(data)) == rows
    assert torch.isfinite(data.train[0]).all()


def test_regression_targets_are_standardised_and_can_be_scaled_back():
    from sklearn.datasets import load_diabetes

    data = load_table("diabetes")
    mean, deviation = data.target_scale
    back = torch.cat([data.train[1], data.val[1], data.test[1]]) * deviation + mean
    assert sorted(back.round().tolist()) == sorted(load_diabetes().target.tolist())


def test_targets_that_do_not_differ_are_not_scaled():
    data = load_table("diabetes", train_size=1)
    assert data.train[1].tolist() == [0.0]
    assert data.target_scale[1] == 1.0
    assert torch.isfinite(data.val[1]).all()


def test_a_smaller_training_set_is_part_of_a_larger_one_and_moves_no_other_split():
    small, large = load_table("digits", train_size=100), load_table("digits", train_size=500)
    assert torch.equal(small.train[1], large.train[1][:100])
    assert torch.equal(small.val[1], large.val[1])
    counts = torch.bincount(small.train[1], minlength=10)
    assert counts.min() >= 8
    assert counts.max() <= 12


def test_another_split_seed_gives_other_splits():
    assert not torch.equal(load_table("wine").val[1], load_table("wine", split_seed=1).val[1])


def test_every_stretch_of_the_order_holds_each_class_in_its_share():
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    order = split_order(labels, 1000, seed=4)
    assert sorted(order) == list(range(1000))
    for start in (0, 137, 600):
        counts = np.bincount(labels[order[start : start + 200]], minlength=3)
        assert np.all(np.abs(counts - [100, 60, 40]) < 2)


def test_idx_files_are_read_with_their_published_test_set(mnist):
    data = load_images("mnist", data_dir=mnist)
    assert sizes(data) == [50, 10, 20]
    assert data.shape == (1, 28, 28)
    plain = torch.cat([data.train[0], data.val[0]])[:, 0, 0, 0]
    assert len(plain.unique()) == 60


def test_plain_idx_files_are_read_as_gzipped_ones(mnist):
    zipped = load_images("mnist", data_dir=mnist)
    for path in list((mnist / "mnist").iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert torch.equal(load_images("mnist", data_dir=mnist, val_size=10).train[0], zipped.train[0])


def test_images_are_averaged_down(mnist):
    assert load_images("mnist", data_dir=mnist, image_size=14).shape == (1, 14, 14)
    with pytest.raises(OptionError, match="image_size: must divide the images' 28 pixels, got 10"):
        load_images("mnist", data_dir=mnist, image_size=10)


@pytest.mark.parametrize("option", ["train_size", "val_size"])
def test_a_size_beyond_the_data_is_refused(option):
    with pytest.raises(OptionError, match=f"{option}: between 1 and .*got 99999"):
        load_images("digits", **{option: 99999})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: gzip.compress(gzip.decompress(raw)[:-5]), "cut short"),
        (lambda raw: gzip.compress(b"\0\0\x0d\x03" + bytes(12)), "not an IDX file"),
        (lambda raw: raw[:-9], "cannot be read"),
        (lambda raw: b"<html>not found</html>", "cannot be read"),
    ],
)
def test_a_damaged_idx_file_is_named(mnist, damage, message):
    path = mnist / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"train-images.*{message}"):
        read_idx(path)


def batch(n, **extra):
    images = np.arange(n * 3072, dtype=np.uint64).astype(np.uint8).reshape(n, 3072)
    return {b"data": images, b"labels": [i % 10 for i in range(n)], **extra}


NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_cifar10_is_read_from_its_own_format(tmp_path, form):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    if form == "folder":
        (folder / "cifar-10-batches-py").mkdir()
        for name in NAMES:
            (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(batch(20), protocol=2))
    else:
        with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as tar:
            for name in NAMES:
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = len(raw := pickle.dumps(batch(20), protocol=2))
                tar.addfile(info, io.BytesIO(raw))
    data = load_images("cifar10", data_dir=tmp_path)
    assert sizes(data) == [90, 10, 20]
    assert data.shape == (3, 32, 32)


class Harmful:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("hostile", [Harmful(), np.array([Harmful()], dtype=object)])
def test_a_cifar_file_cannot_run_code(tmp_path, hostile, capsys):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(pickle.dumps(batch(2, x=hostile), protocol=2))
    with pytest.raises(DataError, match=r"print does not belong into a data file"):
        read_cifar10(tmp_path)
    assert "code was run" not in capsys.readouterr().out


def test_an_incomplete_cifar_folder_names_the_missing_batch(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match="data_batch_1 is missing"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("fashion_mnist", "train-images-idx3-ubyte.gz"),
        ("mnist", "t10k-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar10_subset", "cifar10_subset.npz"),
    ],
)
def test_missing_files_are_named_with_their_place(name, wanted, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=f"{wanted}.* into .*{name}"):
        check_image_dataset(name, tmp_path)
    monkeypatch.delenv("AUTOSEARCH_DATA", raising=False)
    with pytest.raises(DataError, match=r"set data_dir or \$AUTOSEARCH_DATA"):
        check_image_dataset(name, None)


def test_an_unknown_dataset_is_refused_with_the_nearest():
    with pytest.raises(OptionError, match="Did you mean 'fashion_mnist'"):
        load_images("fashon_mnist")


def test_a_text_is_cut_in_its_own_order(tmp_path):
    (tmp_path / "text").mkdir()
    text = "".join(chr(97 + i % 7) for i in range(1000)) + "ä"
    (tmp_path / "text" / "tale.txt").write_text(text, encoding="utf-8")
    data = load_text("tale", data_dir=tmp_path)
    assert data.classes == 8
    assert sizes(data) == [800, 99, 99]
    inputs, targets = data.train
    assert torch.equal(inputs[1:], targets[:-1])
    assert inputs[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert data.test[1][-1] == 7


def test_a_missing_text_names_what_is_there(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "tale.txt").write_text("x" * 100)
    with pytest.raises(DataError, match=r"put tael.txt into .*Did you mean 'tale'"):
        load_text("tael", data_dir=tmp_path)


def test_a_text_that_is_too_short_or_not_utf8_is_refused(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "short.txt").write_text("x" * 100)
    with pytest.raises(DataError, match="too short: a split has 9"):
        load_text("short", data_dir=tmp_path, context=64)
    (tmp_path / "text" / "latin.txt").write_bytes(b"\xe4" * 100)
    with pytest.raises(DataError, match="not UTF-8"):
        load_text("latin", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "train", "test"),
    [("fashion_mnist", (1, 14, 14), 1000, 10000), ("mnist", (1, 14, 14), 1000, 10000)],
)
def test_the_real_idx_files_are_read(data_dir, name, shape, train, test):
    data = load_images(name, data_dir=data_dir, image_size=14, train_size=1000, val_size=500)
    assert sizes(data) == [train, 500, test]
    assert data.shape == shape
    assert torch.bincount(data.train[1]).tolist() == pytest.approx([100] * 10, abs=15)


def test_the_real_cifar10_subset_is_read(data_dir):
    data = load_images("cifar10_subset", data_dir=data_dir, train_size=500, val_size=100)
    assert sizes(data) == [500, 100, 2000]
    assert data.shape == (3, 32, 32)
    assert data.classes == 10


def test_the_real_text_is_read(data_dir):
    data = load_text("tinyshakespeare", data_dir=data_dir)
    assert data.classes == 65
    assert sum(sizes(data)) > 1_000_000
