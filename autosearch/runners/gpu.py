"""Every CUDA call that a worker makes."""

import sys


def cap_memory(share: float) -> None:
    """Let this process allocate at most `share` (0 to 1) of its GPU's memory; more is a CUDA out-of-memory error.

    Ray's fractions are book-keeping only: without a cap one trial takes what its neighbour was promised.
    """
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


def release_memory() -> None:
    """Give cached blocks back, so that the next trial in this process starts with an empty GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
