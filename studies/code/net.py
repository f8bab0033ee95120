"""A network of your own for a built-in task: a function of the shape of an example and the number of classes."""

from torch import nn


def build(shape, outputs, *, width=16, dropout=0.0):
    """Options by keyword are the task's of that name; a space may search them."""
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(2 * width, outputs),
    )  # fmt: skip
