"""Functions of the unit cube. The seed moves every optimum, so that nobody gains by the centre or a corner."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from problem import Config, Problem, loss, number, whole


def _cube(d: int) -> dict[str, Any]:
    return {f"x{i}": number(0.0, 1.0) for i in range(d)}


def _vector(config: Config, d: int) -> np.ndarray:
    return np.array([config[f"x{i}"] for i in range(d)])


def _place(seed: int, d: int) -> np.ndarray:
    return np.random.default_rng(1000 + seed).uniform(0.15, 0.85, d)


def _rotation(seed: int, d: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(77 + seed).normal(size=(d, d)))[0]


def _branin(config: Config, seed: int) -> float:
    # All three minima stay inside: they lie at least 0.5 from the bounds.
    move = np.random.default_rng(seed).uniform(-0.4, 0.4, 2)
    x, y = 15 * config["x0"] - 5 + move[0], 15 * config["x1"] + move[1]
    bend = (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
    return float(bend + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_HARTMANN = -3.32236801  # its minimum, at coordinates between 0.15 and 0.66


def _hartmann6(x: np.ndarray, seed: int) -> float:
    rng = np.random.default_rng(seed)
    z = x[rng.permutation(len(x))[:6]] - rng.uniform(-0.1, 0.3, 6)
    return float(-(np.array([1, 1.2, 3, 3.2]) @ np.exp(-(_A * (z - _P) ** 2).sum(axis=1))))


def _hartmann(config: Config, seed: int) -> float:
    return _hartmann6(_vector(config, 6), seed)


def _sparse(config: Config, seed: int) -> float:
    """Hartmann's function of six among fifty parameters."""
    return _hartmann6(_vector(config, 50), seed)


def _ackley(config: Config, seed: int) -> float:
    z = 20 * (_vector(config, 5) - _place(seed, 5))
    deep = -20 * np.exp(-0.2 * np.sqrt(np.mean(z**2)))
    return float(deep - np.exp(np.cos(2 * np.pi * z).mean()) + 20 + np.e)


def _rastrigin(config: Config, seed: int) -> float:
    z = 6 * (_vector(config, 4) - _place(seed, 4))
    return float((z**2 - 10 * np.cos(2 * np.pi * z) + 10).sum())


def _styblinski(config: Config, seed: int) -> float:
    # The deepest minimum, -39.16617 for each parameter at -2.903534, lies where the seed says.
    z = 7 * (_vector(config, 8) - _place(seed, 8)) - 2.903534
    return float((z**4 - 16 * z**2 + 5 * z).sum() / 2)


def _ellipsoid(config: Config, seed: int) -> float:
    z = _rotation(seed, 6) @ (_vector(config, 6) - _place(seed, 6))
    return float((10 ** (4 * np.arange(6) / 5) * z**2).sum())


def _rosenbrock(d: int) -> Callable[[Config, int], float]:
    def f(config: Config, seed: int) -> float:
        z = 1 + 3 * (_vector(config, d) - _place(seed, d))
        return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())

    return f


def _levy(d: int) -> Callable[[Config, int], float]:
    def f(config: Config, seed: int) -> float:
        w = 1 + 5 * (_vector(config, d) - _place(seed, d))
        middle = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2)
        end = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
        return float(np.sin(np.pi * w[0]) ** 2 + middle.sum() + end)

    return f


def _training(config: Config, seed: int) -> float:
    """A stand-in for training a network: every optimizer has its own best learning rate and its own parameters."""
    rng = np.random.default_rng(500 + seed)
    kinds = dict(zip(("sgd", "adam", "rmsprop", "lion"), 0.15 * rng.permutation(4), strict=True))
    functions = dict(zip(("relu", "gelu", "tanh"), 0.1 * rng.permutation(3), strict=True))
    best = {"sgd": -1.5, "adam": -3.0, "rmsprop": -3.2, "lion": -4.0}[config["optimizer"]]
    best += rng.uniform(-0.4, 0.4)
    loss = kinds[config["optimizer"]] + functions[config["activation"]]
    loss += 0.35 * (math.log10(config["lr"]) - best) ** 2
    loss += 0.08 * (math.log2(config["width"]) - rng.uniform(5, 8.5)) ** 2
    loss += 0.1 * abs(config["layers"] - int(rng.integers(1, 6)))
    loss += 0.5 * (config["dropout"] - rng.uniform(0, 0.6)) ** 2
    if "momentum" in config:
        loss += 1.2 * (config["momentum"] - 0.9) ** 2
    else:
        loss += 0.15 * (math.log10(config["decay"]) + 2.5) ** 2
    return math.log1p(loss)


_TRAINING = {
    "lr": number(1e-5, 1.0, log=True),
    "width": whole(16, 512, log=True),
    "layers": whole(1, 5),
    "optimizer": ["sgd", "adam", "rmsprop", "lion"],
    "activation": ["relu", "gelu", "tanh"],
    "momentum": number(0.0, 0.99, when="optimizer == 'sgd'"),
    "decay": number(1e-4, 0.2, log=True, when="optimizer != 'sgd'"),
    "dropout": number(0.0, 0.8),
}


def _bowl(x: np.ndarray, seed: int) -> float:
    z = x - _place(seed, 5)
    return float((np.array([1, 2, 4, 8, 16]) * z**2).sum() + 0.2 * np.sin(7 * z).sum())


def _radius(x: np.ndarray, seed: int) -> float:
    return float(((x - _place(seed + 1, 5)) ** 2).sum())


def _wave(x: np.ndarray, seed: int) -> float:
    phase = np.random.default_rng(300 + seed).uniform(0, 6, 5)
    return float(np.sin(8 * x + phase).sum())


def _constrained(config: Config, seed: int) -> dict[str, float]:
    """A wavy bowl; feasible in parts of a ball beside its bottom, about 2 % of the cube."""
    x = _vector(config, 5)
    return {"loss": _bowl(x, seed), "radius": _radius(x, seed), "wave": _wave(x, seed)}


@cache
def _constrained_optimum(seed: int) -> float:
    from scipy.optimize import minimize

    limits = [
        {"type": "ineq", "fun": lambda x: 0.2 - _radius(x, seed)},
        {"type": "ineq", "fun": lambda x: 0.5 - _wave(x, seed)},
    ]
    found = []
    for start in _place(seed + 1, 5) + np.random.default_rng(seed).uniform(-0.3, 0.3, (60, 5)):
        end = minimize(_bowl, np.clip(start, 0, 1), (seed,), "SLSQP", bounds=[(0, 1)] * 5, constraints=limits)
        if _radius(end.x, seed) <= 0.2 + 1e-6 and _wave(end.x, seed) <= 0.5 + 1e-6:
            found.append(float(end.fun))
    return min(found)


def _two_at(x: np.ndarray, seed: int) -> np.ndarray:
    """(n, 2) for points (n, 4)."""
    wave = 0.1 * np.sin(9 * x).sum(axis=1)
    one, other = ((x - _place(seed + k, 4)) ** 2 for k in (0, 50))
    return np.stack([one.sum(axis=1) + wave, other.sum(axis=1) - wave], axis=1)


def _two(config: Config, seed: int) -> dict[str, float]:
    a, b = _two_at(_vector(config, 4)[None], seed)[0]
    return {"a": float(a), "b": float(b)}


_CORNER = (0.8, 0.8)


@cache
def _two_optimum(seed: int) -> float:
    """Minus the volume of the front, found by ever smaller random steps from the points on it (to about 1e-3)."""
    from autosearch.core.ranking import hypervolume, non_dominated

    rng = np.random.default_rng(seed)
    front = rng.uniform(size=(20_000, 4))
    for size in (0.0, *np.geomspace(0.1, 0.002, 40)):
        near = front[rng.integers(len(front), size=5_000)]
        near = np.clip(near + size * rng.standard_normal(near.shape), 0, 1)
        front = np.concatenate([front, near])
        front = front[non_dominated(_two_at(front, seed))]
        front = front[rng.permutation(len(front))[:3_000]]
    return -hypervolume(_two_at(front, seed), np.array(_CORNER))


def _zero(seed: int) -> float:
    del seed
    return 0.0


def _known(value: float) -> Callable[[int], float]:
    return lambda seed: _zero(seed) + value


QUICK = (
    Problem("hartmann", "smooth", _cube(6), loss(_hartmann), optimum=_known(_HARTMANN)),
    Problem("ellipsoid", "ill-conditioned", _cube(6), loss(_ellipsoid), optimum=_zero),
    Problem("ackley", "multimodal", _cube(5), loss(_ackley), optimum=_zero),
    Problem("rastrigin", "multimodal", _cube(4), loss(_rastrigin), optimum=_zero),
    Problem("levy20", "many parameters", _cube(20), loss(_levy(20)), optimum=_zero),
    Problem("noisy hartmann", "noisy", _cube(6), loss(_hartmann), noise=0.2, optimum=_known(_HARTMANN)),
    Problem(
        "constrained",
        "constrained",
        _cube(5),
        _constrained,
        constraints=("radius <= 0.2", "wave <= 0.5"),
        optimum=_constrained_optimum,
    ),
    Problem(
        "two objectives",
        "objectives",
        _cube(4),
        _two,
        {"a": "minimize", "b": "minimize"},
        reference=_CORNER,
        optimum=_two_optimum,
    ),
    Problem("batch rosenbrock", "batch", _cube(4), loss(_rosenbrock(4)), batch=4, optimum=_zero),
)
MORE = (
    Problem("branin", "smooth", _cube(2), loss(_branin), optimum=_known(0.39788736)),
    Problem("rosenbrock", "ill-conditioned", _cube(8), loss(_rosenbrock(8)), optimum=_zero),
    Problem("styblinski", "multimodal", _cube(8), loss(_styblinski), optimum=_known(-39.1661657 * 8)),
    Problem("levy50", "many parameters", _cube(50), loss(_levy(50)), optimum=_zero),
    Problem("sparse50", "many parameters", _cube(50), loss(_sparse), optimum=_known(_HARTMANN)),
    Problem("training", "conditional", _TRAINING, loss(_training)),
)
