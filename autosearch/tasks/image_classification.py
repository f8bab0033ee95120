"""Image classification with small networks, from scikit-learn's digits to CIFAR-10."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from autosearch.learning import Batch
from autosearch.tasks.augmentation import Augmentation
from autosearch.tasks.classification import Classification
from autosearch.tasks.datasets import Dataset, check_image_dataset, load_images
from autosearch.tasks.models import IMAGE_MODELS, Builder
from autosearch.tasks.own_data import check_own, is_own, load_own


@dataclass(frozen=True, kw_only=True)
class ImageClassification(Classification):
    """Trains an image classifier and reports `val_accuracy` and `val_loss` after each epoch.

    All arguments are listed at `TrainingTask`; these come on top. `dataset` is digits, fashion_mnist, mnist, cifar10 or
    cifar10_subset, or `./file.py:name`, a function of your own: it returns (images, labels), arrays of the shapes
    (n, channels, height, width) or (n, height, width) and (n,), or a mapping of train, val and test to such pairs.
    `model` is mlp, cnn, resnet, preact_resnet, vgg, mobilenet_v2, or one for architectures.

    Attributes:
        image_size: pixels a side after average pooling, None for the data's own.
        crop: pixels of padding for random crops.
        flip: mirror images at random.
        cutout: side of a square that is blanked.
        mixup: parameter of the Beta distribution that mixes pairs, 0 for none.
    """

    dataset: str = "digits"
    model: str = "cnn"
    image_size: int | None = None
    crop: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0

    models: ClassVar[Mapping[str, Builder]] = IMAGE_MODELS

    def __post_init__(self) -> None:
        super().__post_init__()
        self._augmentation(classes=1)

    def check_data(self) -> None:
        if is_own(self.dataset):
            check_own(self.dataset, self.code_folder)
        else:
            check_image_dataset(self.dataset, self.data_dir)

    def load(self) -> Dataset:
        if is_own(self.dataset):
            return load_own(
                self.dataset,
                self.code_folder,
                images=True,
                classes=True,
                image_size=self.image_size,
                train_size=self.train_size,
                val_size=self.val_size,
                split_seed=self.split_seed,
            )
        return load_images(
            self.dataset,
            data_dir=self.data_dir,
            image_size=self.image_size,
            train_size=self.train_size,
            val_size=self.val_size,
            split_seed=self.split_seed,
        )

    def fetch(self, data: Dataset) -> Callable[[torch.Tensor, torch.Generator], Batch]:
        augment = self._augmentation(data.classes)
        if not augment.active:
            return super().fetch(data)
        images, labels = data.train

        def augmented(indices: torch.Tensor, generator: torch.Generator) -> Batch:
            return augment(images[indices], labels[indices], generator)

        return augmented

    def _augmentation(self, classes: int) -> Augmentation:
        return Augmentation(self.crop, self.flip, self.cutout, self.mixup, classes)
