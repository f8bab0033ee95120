"""The tasks of this benchmark: what is tuned inside a run is an ordinary argument of a trial for the rivals."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autosearch.learning import Batch, TrainingLearner
from autosearch.methods.stn.augment import augment
from autosearch.tasks.classification import CrossEntropy
from autosearch.tasks.datasets import Dataset
from autosearch.tasks.image_classification import ImageClassification

SEEN: list[dict[str, float]] = []  # every report of this process; a record keeps fewer of a long trial

LIMIT = [0]  # reports after which a search has spent its compute, 0 for none
_TEST = 1000  # test images that are looked at after every epoch


class Augmented(CrossEntropy):
    """Cross-entropy of a batch augmented with fixed strengths."""

    def __init__(self, label_smoothing: float, strengths: dict[str, float]) -> None:
        super().__init__(label_smoothing)
        self.strengths = strengths

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        values = {name: torch.tensor([value]) for name, value in self.strengths.items() if value > 0}
        if "cutout_length" in values:
            values["cutout_length"] = values["cutout_length"].floor()
        return super().__call__(model, (augment(batch[0], values), batch[1]) if values else batch)


@dataclass(frozen=True, kw_only=True)
class Regularised(ImageClassification):
    """Image classification with input noise, shifts and cutout of a given strength."""

    input_noise: float = 0.0
    shift: float = 0.0
    cutout_length: int = 0

    def load(self) -> Dataset:
        data = super().load()
        return dataclasses.replace(data, test=(data.test[0][:_TEST], data.test[1][:_TEST]))

    def report(
        self, learner: TrainingLearner, trained: Mapping[str, float], seconds: float
    ) -> dict[str, float]:
        """Test metrics after every epoch, for the table alone: nothing is chosen by them."""
        data = self.load()
        found = learner.measure(lambda model: self.measure(model, data.test, data))
        tested = {f"test_{name}": value for name, value in found.items()}
        metrics = {**super().report(learner, trained, seconds), **tested}
        SEEN.append(metrics)
        if len(SEEN) == LIMIT[0]:
            raise KeyboardInterrupt  # which runners obey at once
        return metrics

    def loss(self) -> Augmented:
        names = ("input_noise", "shift", "cutout_length")
        return Augmented(self.label_smoothing, {name: getattr(self, name) for name in names})

    def settings(self, model: nn.Module, loss: Any) -> dict[str, tuple[float, Callable[[float], None]]]:
        def setter(name: str) -> Callable[[float], None]:
            return lambda value: loss.strengths.__setitem__(name, value)

        strengths = {name: (value, setter(name)) for name, value in loss.strengths.items()}
        return {**super().settings(model, loss), **strengths}


# Ranges are the same for every method and all data sets.
RANGES: dict[str, dict[str, Any]] = {
    "dropout": {"low": 0.0, "high": 0.9},
    "weight_decay": {"low": 1e-5, "high": 1e-1, "log": True},
    "label_smoothing": {"low": 0.0, "high": 0.5},
    "input_noise": {"low": 0.0, "high": 1.0},
    "shift": {"low": 0.0, "high": 0.3},
    "cutout_length": {"low": 0, "high": 5, "discrete": True},
}


def digits(seed: int, **arguments: Any) -> Regularised:
    """400 digits to train on; the split follows the seed."""
    return Regularised(
        dataset="digits", model="mlp", width=256, train_size=400, optimizer="sgd", lr=0.03, epochs=120,
        batch_size=64, split_seed=seed, device="cpu", **arguments,
    )  # fmt: skip


def fashion(seed: int, **arguments: Any) -> Regularised:
    """6,000 images of 14 pixels a side; the split follows the seed."""
    return Regularised(
        dataset="fashion_mnist", model="cnn", image_size=14, train_size=6000, val_size=1000, optimizer="sgd",
        lr=0.03, epochs=10, batch_size=128, split_seed=seed, device="cpu", **arguments,
    )  # fmt: skip


def cifar(seed: int, **arguments: Any) -> Regularised:
    """8,000 colour images of 32 pixels a side; the split follows the seed."""
    return Regularised(
        dataset="cifar10_subset", model="cnn", width=16, train_size=8000, val_size=1000, optimizer="sgd", lr=0.03,
        epochs=10, batch_size=128, split_seed=seed, device="cpu", **arguments,
    )  # fmt: skip


TASKS: dict[str, Callable[..., Regularised]] = {"digits": digits, "fashion": fashion, "cifar": cifar}
