"""Classification and regression on tables of numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from autosearch.learning import Batch
from autosearch.tasks.classification import Classification
from autosearch.tasks.datasets import CLASS_TABLES, NUMBER_TABLES, Dataset, check_table, load_table
from autosearch.tasks.models import TABLE_MODELS, Builder
from autosearch.tasks.own_data import check_own, is_own, load_own
from autosearch.tasks.training import TrainingTask


@dataclass(frozen=True, kw_only=True)
class TabularClassification(Classification):
    """Trains a perceptron on a table and reports `val_accuracy` and `val_loss` after each epoch.

    All arguments are listed at `TrainingTask`; `dataset` is breast_cancer, wine or digits, or `./file.py:name`, a
    function of your own: it returns (rows, labels), arrays (n, columns) and (n,), or a mapping of train, val and test
    to such pairs.
    """

    dataset: str = "breast_cancer"
    model: str = "mlp"

    models: ClassVar[Mapping[str, Builder]] = TABLE_MODELS

    def check_data(self) -> None:
        _check(self, CLASS_TABLES)

    def load(self) -> Dataset:
        return _load(self, CLASS_TABLES)


@dataclass(frozen=True, kw_only=True)
class TabularRegression(TrainingTask):
    """Trains a perceptron on a table and reports `val_rmse` and `val_loss` after each epoch.

    The target is standardised for training: losses are mean squared errors in its standard deviations, `val_rmse` is
    in its own unit. All arguments are listed at `TrainingTask`; `dataset` is diabetes, or `./file.py:name`, a
    function of your own: it returns (rows, numbers), arrays (n, columns) and (n,), or a mapping of train, val and test
    to such pairs.
    """

    dataset: str = "diabetes"
    model: str = "mlp"

    models: ClassVar[Mapping[str, Builder]] = TABLE_MODELS
    own_metric: ClassVar[str] = "rmse"

    def check_data(self) -> None:
        _check(self, NUMBER_TABLES)

    def load(self) -> Dataset:
        return _load(self, NUMBER_TABLES)

    def network(self, data: Dataset) -> nn.Module:
        return self.build(data.shape, 1)

    def loss(self) -> Callable[[nn.Module, Batch], torch.Tensor]:
        return squared_error

    def measure(self, model: nn.Module, split: Batch, data: Dataset) -> dict[str, float]:
        loss = float(squared_error(model, split))
        return {"loss": loss, "rmse": loss**0.5 * data.target_scale[1]}


def _check(task: TrainingTask, known: tuple[str, ...]) -> None:
    if is_own(task.dataset):
        check_own(task.dataset, task.code_folder)
    else:
        check_table(task.dataset, known)


def _load(task: TrainingTask, known: tuple[str, ...]) -> Dataset:
    if is_own(task.dataset):
        return load_own(
            task.dataset,
            task.code_folder,
            images=False,
            classes=known is CLASS_TABLES,
            train_size=task.train_size,
            val_size=task.val_size,
            split_seed=task.split_seed,
        )
    check_table(task.dataset, known)
    return load_table(
        task.dataset, train_size=task.train_size, val_size=task.val_size, split_seed=task.split_seed
    )


def squared_error(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean squared error of a network with one output."""
    inputs, targets = batch
    return functional.mse_loss(model(inputs).squeeze(1), targets)
