"""Data of your own for a built-in task: a function without arguments that returns arrays."""

from sklearn.datasets import load_digits


def load():
    """Images (n, height, width) and labels (n,); a fifth each is set aside for validation and for the test."""
    digits = load_digits()
    return digits.images / 16, digits.target


def load_split():
    """The same where splits are given; `test` is left out here, so a fifth of `train` is set aside for it."""
    images, labels = load()
    return {"train": (images[:1400], labels[:1400]), "val": (images[1400:], labels[1400:])}
