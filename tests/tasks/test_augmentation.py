import pytest
import torch

from autosearch.tasks.augmentation import Augmentation, cutout, mixup, random_crop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(n=64, channels=2, side=6):
    """Images whose pixels are all different and above zero."""
    return torch.arange(1, n * channels * side * side + 1, dtype=torch.float32).view(n, channels, side, side)


def test_a_crop_is_a_shifted_copy_of_its_image():
    images = numbered()
    cropped = random_crop(images, 2, generator())
    padded = torch.nn.functional.pad(images, [2] * 4)
    for before, after in zip(padded, cropped, strict=True):
        windows = before.unfold(1, 6, 1).unfold(2, 6, 1)  # (channels, 5, 5, 6, 6)
        assert (windows == after[:, None, None]).all(dim=(0, 3, 4)).sum() == 1


def test_crops_reach_every_shift():
    images = torch.zeros(2000, 1, 5, 5)
    images[:, :, 2, 2] = 1
    places = random_crop(images, 2, generator()).flatten(1).nonzero()[:, 1]
    assert set(places.tolist()) == set(range(25))


def test_a_flip_mirrors_about_half_of_the_images():
    images = numbered(400)
    flipped, _ = Augmentation(flip=True)(images, torch.zeros(400), generator())
    same = (flipped == images).flatten(1).all(dim=1)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 150 < int(same.sum()) < 250


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_cutout_blanks_one_square_in_all_channels(side):
    images = numbered(300)
    holes = cutout(images, side, generator()) == 0
    assert torch.equal(holes[:, 0], holes[:, 1])
    sizes = holes[:, 0].flatten(1).sum(dim=1)
    assert int(sizes.max()) == side * side
    assert int(sizes.min()) >= 1
    assert torch.equal(cutout(images, side, generator())[~holes], images[~holes])


def test_mixup_mixes_images_and_targets_alike():
    labels = torch.arange(50) % 5
    images = torch.nn.functional.one_hot(labels, 5).float()[:, :, None, None]
    mixed, shares = mixup(images, labels, 0.5, 5, generator())
    assert torch.allclose(mixed[:, :, 0, 0], shares)
    assert torch.allclose(shares.sum(dim=1), torch.ones(50))
    assert int(((shares > 0) & (shares < 1)).any(dim=1).sum()) > 0


def test_equal_generators_give_equal_batches():
    augment = Augmentation(crop=1, flip=True, cutout=2, mixup=0.3, classes=3)
    batch = numbered(8), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    first, again, other = (
        augment(*batch, generator()),
        augment(*batch, generator()),
        augment(*batch, generator(1)),
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_the_data_are_never_changed_in_place():
    images, labels = numbered(8), torch.zeros(8, dtype=torch.int64)
    before = images.clone()
    Augmentation(crop=1, flip=True, cutout=2, mixup=0.3, classes=3)(images, labels, generator())
    assert torch.equal(images, before)
