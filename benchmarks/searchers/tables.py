"""Results of real trainings below `$AUTOSEARCH_DATA`: FCNet, the networks of HPOBench, TaskSet's curves."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from problem import Config, Problem, loss, number, ordinal

_RATES = np.geomspace(1e-5, 1.0, 10)
_DECAYS = np.geomspace(1e-8, 1.0, 10)
_UNITS = (16, 32, 64, 128, 256, 512)


@cache
def _file(name: str) -> dict[str, np.ndarray]:
    with np.load(Path(os.environ["AUTOSEARCH_DATA"], name), allow_pickle=False) as data:
        return dict(data)


def _row(space: dict[str, Any], config: Config) -> int:
    """Row of a configuration: the tables list the grid in order, the last parameter fastest."""
    row = 0
    for name, parameter in space.items():
        choices = parameter if isinstance(parameter, list) else parameter["choices"]
        row = row * len(choices) + choices.index(config[name])
    return row


_FCNET_FILE = "hpo/fcnet.npz"
_FCNET = {
    "activation1": ["relu", "tanh"],
    "activation2": ["relu", "tanh"],
    "batch": ordinal(8, 16, 32, 64),
    "dropout1": ordinal(0.0, 0.3, 0.6),
    "dropout2": ordinal(0.0, 0.3, 0.6),
    "lr": ordinal(5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1),
    "lr_schedule": ["cosine", "const"],
    "units1": ordinal(*_UNITS),
    "units2": ordinal(*_UNITS),
}
_MLP_FILE = "hpo/hpobench_mlp.npz"
_MLP = {
    "alpha": ordinal(*_DECAYS.tolist()),
    "batch": ordinal(4, 6, 10, 16, 25, 40, 64, 101, 161, 256),
    "depth": ordinal(1, 2, 3),
    "lr": ordinal(*_RATES.tolist()),
    "width": ordinal(16, 25, 40, 64, 101, 161, 256, 406, 645, 1024),
}


@cache
def _fcnet() -> np.ndarray:
    return np.log10(_file(_FCNET_FILE)["protein_structure"])


@cache
def _mlp() -> np.ndarray:
    return 1.0 - _file(_MLP_FILE)["phoneme"]


def _drawn(table: Any, space: dict[str, Any]) -> Any:
    """One of the trainings of a configuration, whose mean is the truth."""
    return lambda config, _, rng: {"loss": float(rng.choice(table()[_row(space, config)]))}


TASKSET_FILE = "hpo/taskset_lc.npz"
_TASK = 1  # an LSTM on IMDb; a tenth of its trainings diverge
TASKSET = {
    "lr": number(1e-8, 10.0, log=True),
    "gap1": number(1e-4, 1.0, log=True),
    "gap2": number(1e-6, 1.0, log=True),
    "epsilon": number(1e-10, 1e3, log=True),
    "l1": number(1e-8, 10.0, log=True),
    "l2": number(1e-8, 10.0, log=True),
    "linear_decay": number(1e-7, 1e-4, log=True),
    "exponential_decay": number(1e-6, 1e-3, log=True),
}


def _unit(rows: np.ndarray) -> np.ndarray:
    low, high = np.log(np.array([(p["low"], p["high"]) for p in TASKSET.values()]).T)
    return (np.log(rows) - low) / (high - low)


@cache
def _taskset_points() -> np.ndarray:
    rows = _file(TASKSET_FILE)["hp"][0].astype(float)
    rows[:, 1:3] = 1 - rows[:, 1:3]
    return _unit(rows)


def taskset_row(config: Config) -> int:
    """The nearest of the 1,000 trainings."""
    point = _unit(np.array([[config[name] for name in TASKSET]]))
    return int(((_taskset_points() - point) ** 2).sum(axis=1).argmin())


def taskset_curves(task: int) -> np.ndarray:
    """(1000, 51): validation loss at each checkpoint, the first before training; NaN after it has diverged."""
    return np.asarray(_file(TASKSET_FILE)["curves"][task, :, 1])


def _taskset(config: Config, seed: int) -> dict[str, float] | None:
    """Last validation loss; a training that diverged has failed."""
    del seed
    last = float(taskset_curves(_TASK)[taskset_row(config), -1])
    return None if np.isnan(last) else {"loss": last}


MORE = (
    Problem(
        "fcnet",
        "tables",
        _FCNET,
        loss(lambda c, _: float(_fcnet()[_row(_FCNET, c)].mean())),
        measure=_drawn(_fcnet, _FCNET),
        optimum=lambda _: float(_fcnet().mean(axis=1).min()),
        data=_FCNET_FILE,
    ),
    Problem(
        "hpobench",
        "tables",
        _MLP,
        loss(lambda c, _: float(_mlp()[_row(_MLP, c)].mean())),
        measure=_drawn(_mlp, _MLP),
        optimum=lambda _: float(_mlp().mean(axis=1).min()),
        data=_MLP_FILE,
    ),
    Problem(
        "taskset",
        "tables",
        TASKSET,
        _taskset,
        optimum=lambda _: float(np.nanmin(taskset_curves(_TASK)[:, -1])),
        data=TASKSET_FILE,
    ),
)
