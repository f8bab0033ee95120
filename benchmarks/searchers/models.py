"""Real scikit-learn models on the data sets that come with scikit-learn, cross-validated; the seed draws the folds."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from problem import Config, Problem, loss, number, ordinal, whole

_FOLDS = 3


@cache
def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:500]
    x = x[order]
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9), y[order]


def _folds(name: str, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    from sklearn.model_selection import KFold

    x, y = _data(name)
    for train, test in KFold(_FOLDS, shuffle=True, random_state=seed).split(x):
        yield x[train], y[train], x[test], y[test]


def _svm(config: Config, seed: int) -> float:
    """Error of a support vector machine on digits."""
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


def _boosting(config: Config, seed: int) -> dict[str, float]:
    """Squared error of boosted trees on diabetes, as a share of the variance, and the leaves of all trees."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    losses, leaves = [], []
    for x, y, x_test, y_test in _folds("diabetes", seed):
        model = HistGradientBoostingRegressor(
            loss=config["error"],
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
        leaves.append(sum(tree.get_n_leaf_nodes() for stage in model._predictors for tree in stage))
    return {"loss": float(np.mean(losses)), "size": float(np.log10(np.mean(leaves)))}


def _classifier(config: Config) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier

    if config["model"] == "logistic":
        return LogisticRegression(C=config["C"], max_iter=200)
    if config["model"] == "neighbours":
        return KNeighborsClassifier(config["k"], weights=config["weights"], p=config["p"])
    if config["model"] == "bayes":
        return GaussianNB(var_smoothing=config["smoothing"])
    return ExtraTreesClassifier(
        25,
        criterion=config["criterion"],
        max_depth=config["depth"],
        max_features=config["features"],
        min_samples_leaf=config["smallest"],
        random_state=0,
    )


def _pipeline(config: Config, seed: int) -> float:
    """Log loss on breast cancer of a scaler, a projection and one of four models."""
    from sklearn.decomposition import PCA
    from sklearn.metrics import log_loss
    from sklearn.preprocessing import QuantileTransformer

    losses = []
    for x, y, x_test, y_test in _folds("breast_cancer", seed):
        if config["scale"] == "quantile":
            scale = QuantileTransformer(n_quantiles=50, output_distribution="normal", random_state=0).fit(x)
            x, x_test = scale.transform(x), scale.transform(x_test)
        pca = PCA(config["components"], whiten=config["whiten"], random_state=0).fit(x)
        model = _classifier(config).fit(pca.transform(x), y)
        chance = np.clip(model.predict_proba(pca.transform(x_test)), 1e-3, 1)
        losses.append(log_loss(y_test, chance / chance.sum(axis=1, keepdims=True)))
    return float(np.log(np.mean(losses)))


def _network(config: Config, seed: int) -> float:
    """Squared error of a small network on diabetes, as a share of the variance; one to three hidden layers."""
    from sklearn.neural_network import MLPRegressor

    widths = [config[f"width{i}"] for i in range(1, config["layers"] + 1)]
    losses = []
    for x, y, x_test, y_test in _folds("diabetes", seed):
        model = MLPRegressor(
            hidden_layer_sizes=widths,
            activation=config["activation"],
            solver=config["solver"],
            alpha=config["alpha"],
            learning_rate_init=config["lr"],
            batch_size=config["batch"],
            momentum=config.get("momentum", 0.9),
            beta_1=config.get("beta", 0.9),
            max_iter=15,
            random_state=0,
        )
        with np.errstate(all="ignore"):
            try:
                predicted = model.fit(x, (y - y.mean()) / y.std()).predict(x_test)
            except ValueError as error:
                if "non-finite" not in str(error):
                    raise
                predicted = np.full(len(y_test), 1e3)  # its weights have overflowed
        squared = np.mean((predicted - (y_test - y.mean()) / y.std()) ** 2)
        losses.append(min(float(squared), 10.0))
    return float(np.mean(losses))


_SVM = {
    "kernel": ["rbf", "poly", "linear"],
    "C": number(1e-3, 1e3, log=True),
    "gamma": number(1e-5, 10.0, log=True, when="kernel != 'linear'"),
    "degree": whole(2, 5, when="kernel == 'poly'"),
    "coef0": number(0.0, 1.0, when="kernel == 'poly'"),
    "components": whole(2, 40),
}
_BOOSTING = {
    "error": ["squared_error", "absolute_error", "gamma", "poisson"],
    "lr": number(1e-3, 1.0, log=True),
    "leaves": whole(2, 64, log=True),
    "smallest": whole(1, 60, log=True),
    "l2": number(1e-8, 10.0, log=True),
    "features": number(0.1, 1.0),
    "iterations": whole(5, 60, log=True),
    "bins": ordinal(8, 16, 32, 64, 128),
}
_PIPELINE = {
    "scale": ["standard", "quantile"],
    "components": whole(2, 30, log=True),
    "whiten": [False, True],
    "model": ["logistic", "neighbours", "bayes", "trees"],
    "C": number(1e-4, 1e3, log=True, when="model == 'logistic'"),
    "k": whole(1, 60, log=True, when="model == 'neighbours'"),
    "weights": {"type": "categorical", "choices": ["uniform", "distance"], "when": "model == 'neighbours'"},
    "p": number(1.0, 4.0, when="model == 'neighbours'"),
    "smoothing": number(1e-9, 1.0, log=True, when="model == 'bayes'"),
    "criterion": {"type": "categorical", "choices": ["gini", "entropy"], "when": "model == 'trees'"},
    "depth": whole(1, 16, log=True, when="model == 'trees'"),
    "features": number(0.05, 1.0, when="model == 'trees'"),
    "smallest": whole(1, 40, log=True, when="model == 'trees'"),
}
_NETWORK = {
    "layers": whole(1, 3),
    "width1": whole(2, 64, log=True),
    "width2": whole(2, 64, log=True, when="layers >= 2"),
    "width3": whole(2, 64, log=True, when="layers >= 3"),
    "activation": ["relu", "tanh", "logistic"],
    "solver": ["sgd", "adam"],
    "momentum": number(0.0, 0.99, when="solver == 'sgd'"),
    "beta": number(0.5, 0.999, when="solver == 'adam'"),
    "lr": number(1e-5, 1.0, log=True),
    "alpha": number(1e-6, 10.0, log=True),
    "batch": ordinal(8, 16, 32, 64, 128),
}

QUICK = (
    Problem("svm", "conditional", _SVM, loss(_svm)),
    Problem("pipeline", "conditional", _PIPELINE, loss(_pipeline)),
    Problem("boosting", "mixed", _BOOSTING, lambda c, s: {"loss": _boosting(c, s)["loss"]}),
)
MORE = (
    Problem("network", "conditional", _NETWORK, loss(_network)),
    Problem("noisy svm", "noisy", _SVM, loss(_svm), noise=0.02),
    Problem("small boosting", "constrained", _BOOSTING, _boosting, constraints=("size <= 1.6",)),
    Problem(
        "error and size",
        "objectives",
        _BOOSTING,
        _boosting,
        {"loss": "minimize", "size": "minimize"},
        reference=(0.8, 3.0),
    ),
)
