"""Statistics of batch normalisation measured anew: after a removal the old ones describe another network."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> None:
    """Set running means and variances to plain averages over `batches`, whose first part is the network's input.

    Weights, modes and momenta stay; a network without batch normalisation is left alone.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain average over batches
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                model(batch if isinstance(batch, torch.Tensor) else batch[0])
    finally:
        for module, mode in modes:
            module.training = mode
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
