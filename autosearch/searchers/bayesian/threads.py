"""Fits that leave no trace in the process: one torch thread, and a random state of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_threaded() -> Iterator[None]:
    """Torch computes on one thread inside; the caller's number of threads is back afterwards.

    The matrices of a fit are small, so more threads mostly wait for each other: on a machine that is busy with
    trials one fit took forty times longer with the default number. It also makes results equal bit by bit.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """One thread, and torch's random state seeded by `seed`; both are as before afterwards."""
    # Only the generator of the CPU: `torch.manual_seed` would also reseed every accelerator.
    with single_threaded(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
