"""Two spaces of networks in stages: MobileNet-like blocks of any kernel and expansion, ResNets of any width and depth.

Sources: Cai et al. 2020, "Once-for-all", section 3.2 (kernel, expansion, depth, width); Radosavovic et al. 2020,
"Designing network design spaces", section 3.2 (widths and depths of stages).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from autosearch.core import OptionError
from autosearch.space import Fixed, Int, Ordinal, Parameter, SpaceError, Subspace
from autosearch.space.expressions import Expression
from autosearch.space.operators import show

MOBILENET, RESNET = "elastic_mobilenet", "elastic_resnet"


def elastic_mobilenet(
    *,
    stages: int = 4,
    depth: int = 4,
    kernels: tuple[int, ...] = (3, 5, 7),
    expansions: tuple[int, ...] = (3, 4, 6),
    widths: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25),
    blocks: bool = False,
) -> Subspace:
    """MobileNet-like stages: their depth, each one's kernel and expansion, and the network's width.

    For `model: elastic_mobilenet`.

    Args:
        stages: of the network.
        depth: most blocks in a stage; two at least are there.
        kernels: sides of the depthwise convolutions.
        expansions: of a block's channels inside.
        widths: factors on all channels.
        blocks: kernel and expansion for each block instead of each stage.

    Raises:
        OptionError: there is no stage, or fewer than two blocks are allowed.
    """
    if stages < 1 or depth < 2:
        name = "stages" if stages < 1 else "depth"
        raise OptionError(f"one stage and two blocks at least, got {stages} and {depth}.", name)
    parameters: dict[str, Parameter] = {"space": Fixed(MOBILENET), "width": Ordinal(list(widths))}
    for s in range(1, stages + 1):
        parameters[f"depth{s}"] = Int(2, depth)
        for place, there in _places(s, depth, blocks=blocks):
            parameters[f"kernel{place}"] = Ordinal(list(kernels), when=there)
            parameters[f"expansion{place}"] = Ordinal(list(expansions), when=there)
    return Subspace(parameters)


def _places(stage: int, depth: int, *, blocks: bool) -> list[tuple[str, Expression | None]]:
    """The suffixes of a stage's parameters, with the condition under which they exist."""
    if not blocks:
        return [(str(stage), None)]
    return [
        (f"{stage}_{b}", None if b <= 2 else Expression.parse(f"depth{stage} >= {b}"))
        for b in range(1, depth + 1)
    ]


def mobile_blocks(architecture: Mapping[str, Any]) -> list[list[tuple[int, int]]]:
    """(kernel, expansion) of each block, a list for each stage.

    Raises:
        SpaceError: a parameter is missing.
    """
    found: list[list[tuple[int, int]]] = []
    while f"depth{len(found) + 1}" in architecture:
        s = len(found) + 1
        stage = []
        for b in range(1, _whole(architecture, MOBILENET, f"depth{s}") + 1):
            own = f"kernel{s}_{b}" in architecture
            place = f"{s}_{b}" if own else f"{s}"
            stage.append(
                (
                    _whole(architecture, MOBILENET, f"kernel{place}"),
                    _whole(architecture, MOBILENET, f"expansion{place}"),
                )
            )
        found.append(stage)
    _some(found, MOBILENET)
    return found


def mobile_to_text(architecture: Mapping[str, Any]) -> str:
    """Width, then each block as kernel and expansion, stages between bars: `x1.0 | 3e6 5e4 | 7e6 3e3`."""
    stages = (
        " ".join(f"{kernel}e{expansion}" for kernel, expansion in stage)
        for stage in mobile_blocks(architecture)
    )
    return f"x{_width(architecture):g} | " + " | ".join(stages)


def _width(architecture: Mapping[str, Any]) -> float:
    value = architecture.get("width")
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise SpaceError(f"{MOBILENET}: width must be a factor above 0, got {show(value)}.", ("width",))
    return float(value)


def elastic_resnet(
    *, stages: int = 3, depth: int = 4, width: int = 8, most: int = 64, growing: bool = True
) -> Subspace:
    """ResNets in stages: how many blocks each one has, and how many channels; for `model: elastic_resnet`.

    Args:
        stages: of the network; each but the first halves the image.
        depth: most blocks in a stage.
        width: fewest channels of a stage, and the spacing of their numbers.
        most: most channels.
        growing: no stage has fewer channels than the one before.

    Raises:
        OptionError: there is no stage.
    """
    if stages < 1:
        raise OptionError(f"one stage at least, got {stages}.", "stages")
    parameters: dict[str, Parameter] = {"space": Fixed(RESNET)}
    for s in range(1, stages + 1):
        parameters[f"depth{s}"] = Int(1, depth)
        parameters[f"width{s}"] = Int(width, most, grid=width)
    order = [f"width{s} <= width{s + 1}" for s in range(1, stages)] if growing else []
    return Subspace(parameters, require=tuple(order))


def resnet_stages(architecture: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(blocks, channels) of each stage.

    Raises:
        SpaceError: a parameter is missing.
    """
    found: list[tuple[int, int]] = []
    while f"depth{len(found) + 1}" in architecture:
        s = len(found) + 1
        found.append((_whole(architecture, RESNET, f"depth{s}"), _whole(architecture, RESNET, f"width{s}")))
    _some(found, RESNET)
    return found


def resnet_to_text(architecture: Mapping[str, Any]) -> str:
    """Blocks and channels of each stage: `2x16 3x32 1x64`."""
    return " ".join(f"{blocks}x{channels}" for blocks, channels in resnet_stages(architecture))


def _whole(architecture: Mapping[str, Any], space: str, name: str) -> int:
    value = architecture.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpaceError(f"{space}: {name} must be a whole number above 0, got {show(value)}.", (name,))
    return value


def _some(stages: Sequence[Any], space: str) -> None:
    if not stages:
        raise SpaceError(
            f"{space}: depth1, the blocks of the first stage, is missing. "
            f"Write `space: {{architecture: {{use: {space}}}}}`.",
            ("depth1",),
        )
