"""Processes beside a trial that owns several devices."""

import os

import pytest
import torch

from autosearch.runners import devices


def threads_and_process():
    return torch.get_num_threads(), os.getpid()


def test_a_trial_on_one_device_has_no_processes_beside_it():
    assert devices.workers() is None
    for cpus, gpus in ((1, 0), (1.9, 0), (4, 1), (4, 0.5)):
        with devices.offered(cpus, gpus, seed=1):
            assert devices.workers() is None


def test_there_is_a_process_for_each_gpu_else_for_each_cpu():
    for cpus, gpus, count in ((2, 0, 2), (8, 2, 2), (1, 3, 3)):
        with devices.offered(cpus, gpus, seed=7):
            assert devices.workers().count == count
            assert devices.workers().seed == 7
        assert devices.workers() is None


@pytest.mark.slow
def test_the_processes_share_the_trials_cpus_and_end_with_it():
    with devices.offered(2, 0, seed=1):
        executor = devices.workers().executor
        assert devices.workers().executor is executor
        threads, process = executor.submit(threads_and_process).result()
    assert threads == 1
    assert process != os.getpid()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(os.getpid)
