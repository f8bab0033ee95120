"""The problems of the searcher benchmark. Every optimum is shifted by the seed; none of the settings of a searcher is
chosen per problem.

A problem measures a configuration; `truth` is what counts in the end: the measured value without its noise.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

Config = Mapping[str, Any]
Truth = Callable[[Config, int], dict[str, float]]


@dataclass(frozen=True)
class Problem:
    """A function of a configuration and a seed, with the study that asks for it.

    Attributes:
        space: as in a study file.
        truth: metrics without noise.
        noise: standard deviation added to `loss`.
        reference: worst values that count for the dominated volume, with several objectives.
    """

    name: str
    family: str
    space: Mapping[str, Any]
    truth: Truth
    objectives: Mapping[str, str] = field(default_factory=lambda: {"loss": "minimize"})
    constraints: Sequence[str] = ()
    require: Sequence[str] = ()
    noise: float = 0.0
    batch: int = 1
    reference: tuple[float, ...] = ()


def _float(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, **more}


def _int(low: int, high: int, **more: Any) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high, **more}


def _cube(d: int) -> dict[str, Any]:
    return {f"x{i}": _float(0.0, 1.0) for i in range(d)}


def _vector(config: Config, d: int) -> np.ndarray:
    return np.array([config[f"x{i}"] for i in range(d)])


def _shift(seed: int, d: int) -> np.ndarray:
    return np.random.default_rng(1000 + seed).uniform(0.15, 0.85, d)


def _rotation(seed: int, d: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(77 + seed).normal(size=(d, d)))[0]


def _branin(config: Config, seed: int) -> float:
    move = np.random.default_rng(seed).uniform(-2, 2, 2)
    x, y = 15 * config["x0"] - 5 + move[0] * 0.5, 15 * config["x1"] + move[1] * 0.5
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


def _hartmann(config: Config, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(6)
    x = _vector(config, 6)[order]
    return float(-(np.array([1, 1.2, 3, 3.2]) @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1))))


def _ackley(config: Config, seed: int) -> float:
    z = 20 * (_vector(config, 5) - _shift(seed, 5))
    deep = -20 * np.exp(-0.2 * np.sqrt(np.mean(z**2)))
    return float(deep - np.exp(np.cos(2 * np.pi * z).mean()) + 20 + np.e)


def _rastrigin(config: Config, seed: int) -> float:
    z = 6 * (_vector(config, 4) - _shift(seed, 4))
    return float((z**2 - 10 * np.cos(2 * np.pi * z) + 10).sum())


def _ellipsoid(config: Config, seed: int) -> float:
    z = _rotation(seed, 6) @ (_vector(config, 6) - _shift(seed, 6))
    return float((10 ** (4 * np.arange(6) / 5) * z**2).sum())


def _levy(config: Config, seed: int) -> float:
    w = 1 + 5 * (_vector(config, 20) - _shift(seed, 20))
    middle = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2)
    end = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(np.sin(np.pi * w[0]) ** 2 + middle.sum() + end)


@cache
def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:500]
    x = x[order]
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9), y[order]


def _folds(name: str, seed: int) -> list[tuple[np.ndarray, ...]]:
    from sklearn.model_selection import KFold

    x, y = _data(name)
    split = KFold(3, shuffle=True, random_state=seed).split(x)
    return [(x[a], y[a], x[b], y[b]) for a, b in split]


def _svm(config: Config, seed: int) -> float:
    from sklearn.decomposition import PCA
    from sklearn.svm import SVC

    errors = []
    for x, y, x_test, y_test in _folds("digits", seed):
        pca = PCA(config["components"], random_state=0).fit(x)
        model = SVC(
            kernel=config["kernel"],
            C=config["C"],
            gamma=config.get("gamma", 1.0),
            degree=config.get("degree", 3),
            coef0=config.get("coef0", 0.0),
            max_iter=3000,
        )
        errors.append(np.mean(model.fit(pca.transform(x), y).predict(pca.transform(x_test)) != y_test))
    return float(np.mean(errors))


def _boosting(config: Config, seed: int) -> float:
    from sklearn.ensemble import HistGradientBoostingRegressor

    losses = []
    for x, y, x_test, y_test in _folds("diabetes", seed):
        model = HistGradientBoostingRegressor(
            learning_rate=config["lr"],
            max_leaf_nodes=config["leaves"],
            min_samples_leaf=config["smallest"],
            l2_regularization=config["l2"],
            max_features=config["features"],
            max_iter=config["iterations"],
            max_bins=config["bins"],
            early_stopping=False,
            random_state=0,
        )
        losses.append(np.mean((model.fit(x, y).predict(x_test) - y_test) ** 2) / np.var(y))
    return float(np.mean(losses))


def _training(config: Config, seed: int) -> float:
    """A stand-in for training a network: every optimizer has its own best learning rate and its own parameters."""
    rng = np.random.default_rng(500 + seed)
    kinds = dict(zip(("sgd", "adam", "rmsprop", "lion"), 0.15 * rng.permutation(4), strict=True))
    functions = dict(zip(("relu", "gelu", "tanh"), 0.1 * rng.permutation(3), strict=True))
    best = {"sgd": -1.5, "adam": -3.0, "rmsprop": -3.2, "lion": -4.0}[config["optimizer"]] + rng.uniform(
        -0.4, 0.4
    )
    loss = kinds[config["optimizer"]] + functions[config["activation"]]
    loss += 0.35 * (math.log10(config["lr"]) - best) ** 2
    loss += 0.08 * (math.log2(config["width"]) - rng.uniform(5, 8.5)) ** 2
    loss += (
        0.1 * abs(config["layers"] - int(rng.integers(1, 6)))
        + 0.5 * (config["dropout"] - rng.uniform(0, 0.6)) ** 2
    )
    if "momentum" in config:
        loss += 1.2 * (config["momentum"] - 0.9) ** 2
    else:
        loss += 0.15 * (math.log10(config["decay"]) + 2.5) ** 2
    return math.log1p(loss)


_SVM = {
    "kernel": ["rbf", "poly", "linear"],
    "C": _float(1e-3, 1e3, log=True),
    "gamma": _float(1e-5, 10.0, log=True, when="kernel != 'linear'"),
    "degree": _int(2, 5, when="kernel == 'poly'"),
    "coef0": _float(0.0, 1.0, when="kernel == 'poly'"),
    "components": _int(2, 40),
}
_BOOSTING = {
    "lr": _float(1e-3, 1.0, log=True),
    "leaves": _int(2, 64, log=True),
    "smallest": _int(1, 60, log=True),
    "l2": _float(1e-8, 10.0, log=True),
    "features": _float(0.1, 1.0),
    "iterations": _int(5, 60, log=True),
    "bins": {"type": "ordinal", "choices": [8, 16, 32, 64, 128]},
}
_TRAINING = {
    "lr": _float(1e-5, 1.0, log=True),
    "width": _int(16, 512, log=True),
    "layers": _int(1, 5),
    "optimizer": ["sgd", "adam", "rmsprop", "lion"],
    "activation": ["relu", "gelu", "tanh"],
    "momentum": _float(0.0, 0.99, when="optimizer == 'sgd'"),
    "decay": _float(1e-4, 0.2, log=True, when="optimizer != 'sgd'"),
    "dropout": _float(0.0, 0.8),
}


def _loss(f: Callable[[Config, int], float]) -> Truth:
    return lambda config, seed: {"loss": f(config, seed)}


def _pressure(config: Config, seed: int) -> dict[str, float]:
    """Ackley's function where only a thin shell of the cube is feasible."""
    x = _vector(config, 5)
    return {"loss": _ackley(config, seed), "radius": float(np.sum((x - _shift(seed + 1, 5)) ** 2))}


def _two(config: Config, seed: int) -> dict[str, float]:
    x = _vector(config, 4)
    one, other = _shift(seed, 4), _shift(seed + 50, 4)
    wave = 0.1 * float(np.sin(9 * x).sum())
    return {"a": float(((x - one) ** 2).sum()) + wave, "b": float(((x - other) ** 2).sum()) - wave}


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("branin", "smooth", _cube(2), _loss(_branin)),
        Problem("hartmann", "smooth", _cube(6), _loss(_hartmann)),
        Problem("ellipsoid", "ill-conditioned", _cube(6), _loss(_ellipsoid)),
        Problem("ackley", "multimodal", _cube(5), _loss(_ackley)),
        Problem("rastrigin", "multimodal", _cube(4), _loss(_rastrigin)),
        Problem("levy20", "many parameters", _cube(20), _loss(_levy)),
        Problem("svm", "real, conditional", _SVM, _loss(_svm)),
        Problem("boosting", "real, mixed", _BOOSTING, _loss(_boosting)),
        Problem("training", "conditional", _TRAINING, _loss(_training), require=("width * layers <= 1024",)),
        Problem("noisy hartmann", "noisy", _cube(6), _loss(_hartmann), noise=0.2),
        Problem("constrained ackley", "constrained", _cube(5), _pressure, constraints=("radius <= 0.4",)),
        Problem(
            "two objectives",
            "objectives",
            _cube(4),
            _two,
            {"a": "minimize", "b": "minimize"},
            reference=(2.0, 2.0),
        ),
        Problem("batch hartmann", "batch", _cube(6), _loss(_hartmann), batch=4),
    )
}
