"""The published search on quadratic bowls with noisy gradients, where the best learning rate of a stage is known."""

import math

import numpy as np
import pytest

from autosearch.methods.autolrs.controller import Controller
from autosearch.methods.autolrs.settings import Settings

TAU, STAGES = 400, 8


class Bowl:
    """`sum(h w^2) / 2` under SGD with gradient noise; its state is the expectation of `w^2`, so nothing is random."""

    def __init__(self, dimensions, smallest, noise):
        self.h = np.logspace(smallest, 0, dimensions)
        self.noise = noise
        self.squares = np.full(dimensions, 4.0)

    def after(self, lr, steps, squares=None):
        kept = (1 - lr * self.h) ** (2 * steps)
        settled = lr * self.noise**2 / (self.h * (2 - lr * self.h))
        return kept * (self.squares if squares is None else squares) + settled * (1 - kept)

    def loss(self, squares=None):
        return float((self.h * (self.squares if squares is None else squares)).sum() / 2)


def searched(bowl):
    """(learning rate, best one for the stage, expected loss behind the stage over that of the best)."""
    controller = Controller(Settings(1e-3, 1.0, tau=TAU, tau_max=TAU, total_steps=STAGES * TAU))
    snapshots = {}

    def carry_out(actions):
        for verb, name in actions:
            if verb == "store":
                snapshots[name] = bowl.squares.copy()
            elif verb == "restore":
                bowl.squares = snapshots[name].copy()

    carry_out(controller.begin())
    found = []
    grid = np.geomspace(1e-3, 1.0, 2001)
    for _ in range(STAGES * TAU):
        state = controller.state
        if state.phase == "train" and state.done == 0:
            horizon = min(state.tau, STAGES * TAU - controller.spent)
            losses = [bowl.loss(bowl.after(lr, horizon, snapshots["stage"])) for lr in grid]
            chosen = math.exp(state.x)
            reached = bowl.loss(bowl.after(chosen, horizon, snapshots["stage"]))
            found.append((chosen, float(grid[np.argmin(losses)]), reached / min(losses)))
        loss = bowl.loss()
        bowl.squares = bowl.after(controller.lr, 1)
        carry_out(controller.observe(loss))
    return found


@pytest.mark.parametrize("bowl", [(20, -1.5, 0.5), (5, -0.7, 0.5)], ids=str)
def test_learning_rates_on_a_bowl_are_near_the_best_and_fall_from_stage_to_stage(bowl):
    stages = searched(Bowl(*bowl))
    assert len(stages) == 4
    # A tenth of the first stage does not show the noise that its end will have: too high, as the method's README says.
    assert stages[0][1] < stages[0][0] < 3 * stages[0][1]
    for chosen, best, excess in stages[1:]:
        assert best / 2 < chosen < 2 * best
        assert excess < 1.05
    chosen = [stage[0] for stage in stages]
    assert chosen == sorted(chosen, reverse=True)
