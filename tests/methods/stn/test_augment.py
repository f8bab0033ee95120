"""Augmentation of batches with a strength for each example."""

import pytest
import torch

from autosearch.methods.stn import augment

X = torch.rand(6, 2, 8, 9) + 0.5


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_a_strength_of_zero_changes_nothing(name):
    values = {name: torch.zeros(6)}
    if name == "cutout_holes":
        values["cutout_length"] = torch.zeros(6)
    assert torch.allclose(augment.augment(X, values), X, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["input_noise", "input_scale", "brightness", "contrast", "shift", "cutout_length"]
)
def test_only_examples_with_a_strength_change(name):
    torch.manual_seed(0)
    strength = (
        torch.tensor([0.0, 3.0, 0.0, 3.0, 0.0, 3.0])
        if name == "cutout_length"
        else torch.tensor([0.0, 0.4] * 3)
    )
    changed = (augment.augment(X, {name: strength}) != X).flatten(1).any(1)
    assert not changed[0::2].any()
    assert changed[1::2].any()


def test_factors_of_scale_lie_between_the_reciprocals():
    x = torch.ones(4000, 1)
    factors = augment.scale(x, torch.tensor([0.5]))
    assert 1 / 1.5 <= float(factors.min()) < 0.68
    assert 1.48 < float(factors.max()) <= 1.5


def test_shifts_move_whole_images_and_bring_in_zeros():
    torch.manual_seed(1)
    moved = augment.shift(X, torch.tensor([0.3]))
    for before, after in zip(X, moved, strict=True):
        found = [
            torch.equal(after, _moved(before, dy, dx)) for dy in range(-3, 4) for dx in range(-3, 4)
        ]  # fmt: skip
        assert sum(found) == 1


def _moved(x, dy, dx):
    out = torch.zeros_like(x)
    _, h, w = x.shape
    out[:, max(0, -dy) : h - max(0, dy), max(0, -dx) : w - max(0, dx)] = x[
        :, max(0, dy) : h - max(0, -dy), max(0, dx) : w - max(0, -dx)
    ]
    return out


def test_cutout_makes_holes_of_at_most_the_length_and_number_asked_for():
    torch.manual_seed(2)
    length, holes = torch.tensor([0.0, 1.0, 2.0, 3.0, 3.0, 8.0]), torch.tensor([4.0, 1.0, 1.0, 0.0, 2.0, 1.0])
    cut = (augment.cutout(X, length, holes) == 0)[:, 0].flatten(1).sum(1)
    assert cut[0] == cut[3] == 0
    assert cut[1] == 1
    assert 1 <= cut[2] <= 4
    assert 1 <= cut[4] <= 18
    assert 9 <= cut[5] <= 64
