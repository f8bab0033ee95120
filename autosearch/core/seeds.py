"""Seeds that depend on names and numbers alone, never on the order of calls."""

import hashlib

import numpy as np


def derive_seed(seed: int, *path: str | int) -> int:
    """A seed in [0, 2**63) for one purpose, such as `derive_seed(study_seed, "trial", 7)`."""
    text = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_rng(seed: int, *path: str | int) -> np.random.Generator:
    """A generator for one purpose; equal arguments give equal streams on every machine."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *path)))
