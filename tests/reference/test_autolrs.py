"""AutoLRS on a quadratic bowl, where the best learning rate of a stage is known in closed form."""

import math

import numpy as np
import pytest

from autosearch.methods.autolrs.controller import Controller
from autosearch.methods.autolrs.settings import Settings

H, NOISE = np.array([1.0, 0.1]), 0.3


def moments_after(second, lr):
    """E[w²] after one step of SGD with gradient noise of standard deviation NOISE, for L = sum h w² / 2."""
    return (1 - lr * H) ** 2 * second + (lr * NOISE) ** 2


def loss_after(second, lr, steps):
    """The closed form after `steps` steps at one learning rate."""
    shrink = (1 - lr * H) ** (2 * steps)
    floor = lr * NOISE**2 / (H * (2 - lr * H))
    return float((H / 2 * (shrink * second + floor * (1 - shrink))).sum())


def best_of_grid(second, steps, low, high):
    lrs = np.geomspace(low, high, 400)
    losses = [loss_after(second, lr, steps) for lr in lrs]
    return lrs[int(np.argmin(losses))], min(losses)


def test_the_recursion_has_its_closed_form():
    second = np.array([4.0, 9.0])
    moments = second
    for _ in range(25):
        moments = moments_after(moments, 0.3)
    assert float((H / 2 * moments).sum()) == pytest.approx(loss_after(second, 0.3, 25), rel=1e-12)


def test_stages_choose_near_the_best_learning_rate_and_it_falls():
    low, high = 1e-2, 1.5
    settings = Settings(low, high, tau=40, tau_max=160, ratio=2, total_steps=6000, score="exponential")
    controller = Controller(settings)
    second, snapshots, stages = np.array([100.0, 100.0]), {}, {}

    def carry_out(actions):
        nonlocal second
        for verb, name in actions:
            if verb == "store":
                snapshots[name] = second
            elif verb == "restore":
                second = snapshots[name]

    carry_out(controller.begin())
    for _ in range(3500):
        state = controller.state
        if state.phase == "train" and state.done == 0:
            stages[state.stage] = (math.exp(state.x), state.tau, second)
        second = moments_after(second, controller.lr)
        carry_out(controller.observe(float((H / 2 * second).sum())))
    chosen = []
    for lr, tau, start in stages.values():
        best, loss = best_of_grid(start, tau, low, high)
        assert loss_after(start, lr, tau) <= 1.05 * loss or 0.5 <= lr / best <= 2
        chosen.append(lr)
    assert len(chosen) >= 3
    assert chosen[-1] < chosen[0] / 2
