"""EvoNorm: normalisation-activation layers (Liu et al. 2020), and the evolution that finds new ones."""

from autosearch.methods.evonorm.layers import (
    VARIANTS,
    EvoNorm2d,
    LayerFactory,
    evonorm_b0,
    evonorm_b1,
    evonorm_b2,
    evonorm_s0,
    evonorm_s1,
    evonorm_s2,
)
from autosearch.methods.evonorm.swap import Left, Swap, swap_norm_act

__all__ = [
    "VARIANTS",
    "EvoNorm2d",
    "LayerFactory",
    "Left",
    "Swap",
    "evonorm_b0",
    "evonorm_b1",
    "evonorm_b2",
    "evonorm_s0",
    "evonorm_s1",
    "evonorm_s2",
    "swap_norm_act",
]
