"""Fits leave the caller's threads and random states alone."""

import threading

import torch

from autosearch.searchers.bayesian.threads import isolated


def test_a_fit_in_a_thread_of_its_own_is_pinned_and_the_callers_thread_is_not():
    entered, leave = threading.Event(), threading.Event()
    inside: list[int] = []

    def fit():
        with isolated(3):
            torch.ones(2).sum()
            inside.append(torch.get_num_threads())
            entered.set()
            leave.wait(10)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        worker = threading.Thread(target=fit)
        worker.start()
        assert entered.wait(10)
        assert inside == [1]
        assert torch.get_num_threads() == 3
        leave.set()
        worker.join(10)
        assert torch.get_num_threads() == 3
    finally:
        leave.set()
        torch.set_num_threads(before)


def test_random_states_are_as_before_and_equal_inside():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    drawn = []
    for _ in range(2):
        with isolated(7):
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.random.get_rng_state(), state)
