"""Sizes, forms and settings of the benchmark of pruning; frozen before the reported networks run."""

from typing import Any

BEFORE, AFTER = 2, 3
META = {
    "data_models": 6,
    "held_out": 1,
    "initial": 1.0,
    "epochs": 36,
    "milestone": 24,
    "lr": 2e-3,
    "residual": 0.05,
    "batches": 4,
    "loss": "removed",
    "ahead": 1,
    "settle": 0,
}
DEPGRAPH = {"method": "depgraph", "strength": 5e-4}
REG = 5e-4  # of Torch-Pruning's regulariser
CAP = 0.75  # of the channels of a layer at most go, in the rival's "capped" form
CONTROL = "magnitude"
FORMS = (
    CONTROL, "meta", "depgraph", "torch_pruning", "torch_pruning capped", "layer", "unfloored", "taylor", "bn_scale",
    "random",
)  # fmt: skip
EXTRA = ("magnitude unsettled", "meta unsettled", "meta mnist unsettled", "meta 14 unsettled")
SHORT = (1, 2)  # epochs in all

FASHION = {
    "task": "image_classification",
    "dataset": "fashion_mnist",
    "image_size": 14,
    "train_size": 6000,
    "val_size": 2000,
    "model": "resnet",
    "width": 8,
    "depth": 8,
    "epochs": 12,
    "lr": 3e-3,
    "device": "cpu",
}
CIFAR = {
    **FASHION,
    "dataset": "cifar10_subset",
    "image_size": None,
    "train_size": None,
    "val_size": None,
    "depth": 20,
    "epochs": 30,
}
SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "network": FASHION,
        "speed_ups": (4.0, 6.0, 2.0, 3.0),
        "networks": 5,
        "seeds": 3,
        "forms": FORMS,
    },
    "full": {
        "network": CIFAR,
        "speed_ups": (3.0, 6.0),
        "networks": 3,
        "seeds": 2,
        "forms": (CONTROL, "meta", "depgraph", "layer", "torch_pruning capped"),
    },
}
