"""Candidates in other processes: what is found is what one process finds, bit for bit."""

import functools
import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import torch

import autosearch
from autosearch.core import OptionError
from autosearch.methods.autolrs.side_by_side import SideBySide, packed
from tests.methods.autolrs.loop_code import network, train_step, val_loss
from tests.methods.autolrs.test_scheduler import OPTIONS, X, Y, equal, loader, optimizer_of
from tests.methods.autolrs.test_training import METHODS, TASK

TOTAL = 120


class Here(Executor):
    """Runs what it is given at once, in this process, and leaves the process's random state as it was."""

    def __init__(self):
        self.count = 0

    def submit(self, run, /, *arguments):
        self.count += 1
        kept = torch.get_rng_state()
        future = Future()
        future.set_result(run(*arguments))
        torch.set_rng_state(kept)
        return future


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


def run(preset, kind, executor, *, validated=False):
    model = network()
    optimizer = optimizer_of(model, kind)
    options = {**OPTIONS[preset], "validate_every": 1} if preset == "paper" else OPTIONS[preset]
    scheduler = autosearch.AutoLRS(
        optimizer,
        model,
        preset=preset,
        total_steps=TOTAL,
        executor=executor,
        train_step=train_step,
        val_loss=functools.partial(val_loss, model, X[:16], Y[:16]) if validated else None,
        **options,
    )
    torch.manual_seed(6)
    phases = [
        scheduler.step(train_step(model, optimizer, batch)).phase for batch in scheduler.batches(loader())
    ]
    return scheduler, model, phases


def assert_equal(one, other):
    first, second = one.controller.state_dict(), other.controller.state_dict()
    assert first == second


@pytest.mark.parametrize(
    ("preset", "kind", "validated"),
    [("paper", "sgd", True), ("paper", "adamw", False), ("modern", "sgd", False), ("modern", "adamw", True)],
)
def test_candidates_elsewhere_lead_to_the_same_run_bit_for_bit(preset, kind, validated):
    alone, model, phases = run(preset, kind, None, validated=validated)
    executor = Here()
    beside, copy, trained = run(preset, kind, executor, validated=validated)
    assert_equal(alone, beside)
    assert equal(list(model.state_dict().values()), list(copy.state_dict().values()))
    assert len(phases) == TOTAL
    assert trained == [phase for phase in phases if phase != "search"]
    assert executor.count >= 3


@pytest.mark.slow
@pytest.mark.parametrize("preset", OPTIONS)
def test_real_processes_lead_to_the_same_run_bit_for_bit(preset, processes):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone, model, _ = run(preset, "sgd", None, validated=True)
        beside, copy, _ = run(preset, "sgd", processes, validated=True)
    finally:
        torch.set_num_threads(threads)
    assert_equal(alone, beside)
    assert equal(list(model.state_dict().values()), list(copy.state_dict().values()))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("steps", [300, 13, 1])
def test_a_tasks_candidates_elsewhere_lead_to_the_same_snapshots(name, steps):
    task = TASK.trained_by([METHODS[name]])
    alone, beside = task.trained_learner(3), task.trained_learner(3)
    executor = Here()
    beside.use(SideBySide(executor, 4), packed((task, 3)))
    total = TASK.epochs * alone.batches.batches_per_epoch
    for done in range(0, min(total, 40 * steps), steps):
        some = min(steps, total - done)
        assert alone.advance(some) == beside.advance(some)
        assert alone.evaluate() == beside.evaluate()
        # A snapshot in the middle of a candidate holds the steps that were made elsewhere.
        if done % 3 == 0:
            assert same(alone.snapshot(), beside.snapshot())
    assert executor.count >= 3


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_the_first_candidates_are_begun_together():
    executor = Here()
    task = TASK.trained_by([METHODS["modern"]])
    learner = task.trained_learner(3)
    learner.use(SideBySide(executor, 4), packed((task, 3)))
    learner.advance(1)
    # The start, the one above it, and what follows whether that is better or worse.
    assert executor.count == 4
    size = learner.controller.settings.probe(learner.controller.state.tau)
    learner.advance(3 * size - 1)
    assert len(learner.controller.state.tried) == 3
    assert executor.count == 4


def test_an_executor_needs_a_step_and_processes():
    model = network()
    optimizer = optimizer_of(model, "sgd")
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(OptionError, match="the function that makes one optimizer step"):
            autosearch.AutoLRS(optimizer, model, total_steps=100, executor=threads)
        with pytest.raises(OptionError, match="threads share torch's random state"):
            autosearch.AutoLRS(optimizer, model, total_steps=100, executor=threads, train_step=train_step)


STUDY = """
study: s
run: {task: tabular_classification, dataset: wine, width: 8, layers: 1, optimizer: sgd, epochs: 12, batch_size: 8,
      device: cpu}
objectives: {val_loss: minimize}
space: {weight_decay: 0.0}
training: [{method: autolrs, low: 1e-3, high: 1, options: {min_probe: 4}, side_by_side: %s}]
budget: {trials: 1}
resources: {cpus: 2, parallel: 1}
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trial_on_two_cpus_finds_the_same_side_by_side(tmp_path):
    found = []
    for beside in ("true", "false"):
        path = tmp_path / f"{beside}.yaml"
        path.write_text(STUDY % beside + f"output: out_{beside}\n")
        trial = autosearch.load(path).run().history[0]
        assert trial.failure is None
        found.append((trial.metrics["val_loss"], trial.metrics["search_steps"], trial.data["lr_choices"]))
    assert found[0] == found[1]
    assert found[0][1] > 0
