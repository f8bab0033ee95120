"""Augmentation of batches with a strength for each example; discrete strengths need no gradient and get none.

Strengths are of shape (B,) or (1,), inputs (B, …) floating point, images (B, C, height, width). All draws are torch's.
"""

from collections.abc import Callable, Mapping

import torch


def noise(x: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Inputs plus normal noise of standard deviation `strength`."""
    return x + _column(strength, x) * torch.randn_like(x)


def scale(x: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Inputs times a factor for each example, between 1 / (1 + strength) and 1 + strength."""
    low, high = 1 / (1 + strength), 1 + strength
    return x * _column(low + (high - low) * _uniform(x), x)


def brightness(x: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Inputs plus a constant for each example, between -strength and strength."""
    return x + _column(strength * (2 * _uniform(x) - 1), x)


def contrast(x: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Distances from the mean of each example times a factor between 1 - strength and 1 + strength."""
    mean = x.mean(dim=tuple(range(1, x.ndim)), keepdim=True)
    return mean + (x - mean) * _column(1 + strength * (2 * _uniform(x) - 1), x)


def shift(x: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Images moved by whole pixels, up and sideways, by up to `strength` of their side; zeros come in."""
    n, _, height, width = x.shape
    moved = [
        torch.round(strength * side * (2 * _uniform(x) - 1)).long()[:, None]
        + torch.arange(side, device=x.device)
        for side in (height, width)
    ]
    inside = [(place >= 0) & (place < side) for place, side in zip(moved, (height, width), strict=True)]
    rows, columns = (place.clamp(0, side - 1) for place, side in zip(moved, (height, width), strict=True))
    examples = torch.arange(n, device=x.device)[:, None, None]
    found = x[examples, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
    return found * (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def cutout(x: torch.Tensor, length: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
    """Images with `holes` squares of `length` pixels a side set to zero, cut off at the border; both whole numbers."""
    _, _, height, width = x.shape
    kept = torch.ones(len(x), height, width, dtype=torch.bool, device=x.device)
    for i in range(int(holes.max())):
        wanted = ((holes > i) & (length > 0))[:, None, None]
        inside = []
        for side in (height, width):
            start = (_uniform(x) * side).floor() - ((length - 1) / 2).floor()
            place = torch.arange(side, device=x.device) - start[:, None]
            inside.append((place >= 0) & (place < length[:, None]))
        kept &= ~(inside[0][:, :, None] & inside[1][:, None, :] & wanted)
    return x * kept[:, None]


_SIMPLE: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "input_noise": noise,
    "input_scale": scale,
    "brightness": brightness,
    "contrast": contrast,
    "shift": shift,
}
_CUTOUT = ("cutout_length", "cutout_holes")
AUGMENTATIONS = (*_SIMPLE, *_CUTOUT)
"""Names that `augment` knows."""

IMAGES_ONLY = ("shift", *_CUTOUT)


def augment(x: torch.Tensor, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Inputs changed by every augmentation that `values` has a strength of; cutout has one hole unless told."""
    if "cutout_length" in values:
        length = values["cutout_length"]
        x = cutout(x, length, values.get("cutout_holes", torch.ones_like(length)))
    for name, change in _SIMPLE.items():
        if name in values:
            x = change(x, values[name])
    return x


def _column(strength: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return strength.view(-1, *[1] * (x.ndim - 1))


def _uniform(x: torch.Tensor) -> torch.Tensor:
    return torch.rand(len(x), device=x.device)
