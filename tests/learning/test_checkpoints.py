import os

import pytest
import torch

from autosearch.learning import CheckpointError, export_weights, load_checkpoint, save_checkpoint
from autosearch.learning.checkpoints import FILE_NAME, detached

STATE = {"a": torch.arange(3), "b": [1, (2.5, None, True)], "c": {"d": "text", 4: torch.ones(2)}}


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    save_checkpoint(tmp_path / "deep" / "folder", STATE)
    loaded = load_checkpoint(tmp_path / "deep" / "folder")
    assert torch.equal(loaded["a"], STATE["a"])
    assert loaded["b"] == STATE["b"]
    assert torch.equal(loaded["c"][4], torch.ones(2))


def test_saving_leaves_one_file_and_replaces_the_one_before(tmp_path):
    save_checkpoint(tmp_path, {"x": 1})
    save_checkpoint(tmp_path, {"x": 2})
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert load_checkpoint(tmp_path) == {"x": 2}


def test_a_failed_save_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"x": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, {"x": 2})
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert load_checkpoint(tmp_path) == {"x": 1}


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=f"no checkpoint in .*{FILE_NAME} is missing"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_checkpoint_is_refused(share, tmp_path):
    path = save_checkpoint(tmp_path, {"x": torch.arange(10_000)})
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)


class Harmful:
    def __reduce__(self):
        return (print, ("code was run",))


def test_a_checkpoint_cannot_run_code(tmp_path, capsys):
    torch.save({"x": Harmful()}, tmp_path / FILE_NAME)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)
    assert "code was run" not in capsys.readouterr().out


def test_a_detached_copy_shares_no_memory():
    weight = torch.ones(3, requires_grad=True)
    copy = detached({"w": [weight, (weight,)]})
    with torch.no_grad():
        weight.zero_()
    assert copy["w"][0].tolist() == [1, 1, 1]
    assert copy["w"][1][0].tolist() == [1, 1, 1]
    assert not copy["w"][0].requires_grad


def test_a_checkpoint_without_a_network_has_no_weights(tmp_path):
    save_checkpoint(tmp_path, {"compression": {}})
    assert not export_weights(tmp_path, tmp_path / "weights.pt")
    assert not export_weights(tmp_path / "nowhere", tmp_path / "weights.pt")
    assert not (tmp_path / "weights.pt").exists()
