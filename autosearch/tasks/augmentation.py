"""Augmentation of image batches on tensors, every draw from a generator that is handed in."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from autosearch.core.errors import OptionError


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of a training batch, in the order of the attributes.

    Attributes:
        crop: pixels of zeros put around an image before a crop of its own size is taken at random.
        flip: mirror half of the images left to right.
        cutout: side in pixels of a square set to zero, its centre anywhere in the image.
        mixup: parameter of the Beta distribution that pairs of examples and their targets are mixed with; 0 for none.
        classes: number of classes, for mixed targets.

    Sources: DeVries and Taylor 2017 (cutout); Zhang et al. 2018, "mixup", section 2 (one weight a batch).
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0
    classes: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "cutout", "mixup"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name}: at least 0, got {getattr(self, name)}.", name)

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return bool(self.crop or self.flip or self.cutout or self.mixup)

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, channels, height, width) and targets (n,), which become (n, classes) shares under mixup."""
        if self.crop:
            images = random_crop(images, self.crop, generator)
        if self.flip:
            mirrored = torch.rand(len(images), generator=generator).lt(0.5).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        if self.cutout:
            images = cutout(images, self.cutout, generator)
        if self.mixup:
            return mixup(images, targets, self.mixup, self.classes, generator)
        return images, targets


def random_crop(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """A crop of the original size from each image (n, c, h, w) padded with zeros."""
    n, _, height, width = images.shape
    padded = functional.pad(images, [padding] * 4)
    shift = torch.randint(2 * padding + 1, (2, n, 1), generator=generator)
    rows = (shift[0] + torch.arange(height)).to(images.device)
    columns = (shift[1] + torch.arange(width)).to(images.device)
    index = torch.arange(n, device=images.device)[:, None, None]
    # Advanced indices apart from each other put the channels last.
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def cutout(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Each image (n, c, h, w) with one square of zeros, cut off at the border."""
    n, _, height, width = images.shape
    centre_y = torch.randint(height, (n, 1), generator=generator)
    centre_x = torch.randint(width, (n, 1), generator=generator)
    low, high = side // 2, (side - 1) // 2
    y, x = torch.arange(height), torch.arange(width)
    rows = (y >= centre_y - low) & (y <= centre_y + high)
    columns = (x >= centre_x - low) & (x <= centre_x + high)
    hole = (rows[:, :, None] & columns[:, None, :]).to(images.device)
    return images.masked_fill(hole[:, None], 0.0)


def mixup(
    images: torch.Tensor, targets: torch.Tensor, alpha: float, classes: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and one-hot targets mixed with those of a shuffled batch by one weight from Beta(alpha, alpha)."""
    # torch draws no Beta from a generator of one's own, numpy does.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    weight = float(np.random.default_rng(seed).beta(alpha, alpha))
    other = torch.randperm(len(images), generator=generator).to(images.device)
    shares = functional.one_hot(targets, classes).to(images.dtype)
    return torch.lerp(images[other], images, weight), torch.lerp(shares[other], shares, weight)
