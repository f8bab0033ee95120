"""The small networks that a layer has to train: residual with pre-activation, inverted bottlenecks, plain."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean
from autosearch.tasks.models import IMAGE_MODELS, Layer, NormAct
from autosearch.tasks.models.feedforward import GlobalPool, Shape
from autosearch.tasks.models.residual import InvertedBlock

# name -> the task's `model`, `width` and `depth`
ANCHORS: Mapping[str, Mapping[str, Any]] = {
    "residual": {"model": "preact_resnet", "width": 8, "depth": 8},
    "inverted": {"model": "autosearch.methods.evonorm.anchors:Inverted", "width": 8},
    "plain": {"model": "cnn", "width": 8, "depth": 3},
}


def anchor_arguments(name: str) -> dict[str, Any]:
    """What makes a task train the anchor `name`: one of `ANCHORS`, else any network that the task knows.

    Raises:
        OptionError: if there is none.
    """
    if name in ANCHORS:
        return dict(ANCHORS[name])
    if name in IMAGE_MODELS or ":" in name:
        return {"model": name}
    known = [*ANCHORS, *IMAGE_MODELS]
    raise OptionError(f"no anchor {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.", "anchors")


class Inverted(nn.Sequential):
    """Three inverted bottlenecks with expansion 4, the blocks of MobileNetV2 (Sandler et al. 2018, figure 4d).

    Where a bottleneck ends without activation, a layer's linear form stands.
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        width: int = 16,
        dropout: float = 0.0,
        norm: str | Layer = "batch",
        activation: str = "relu6",
    ) -> None:
        norm_act = NormAct(norm, activation)
        modules: list[nn.Module] = [
            nn.Conv2d(shape[0], width, 3, padding=1, bias=norm_act.bias),
            norm_act(width),
            InvertedBlock(width, 2 * width, 2, 4, norm_act),
            InvertedBlock(2 * width, 2 * width, 1, 4, norm_act),
            InvertedBlock(2 * width, 4 * width, 2, 4, norm_act),
            nn.Conv2d(4 * width, 8 * width, 1, bias=norm_act.bias),
            norm_act(8 * width),
            GlobalPool(),
            nn.Dropout(dropout),
            nn.Linear(8 * width, outputs),
        ]
        super().__init__(*modules)
