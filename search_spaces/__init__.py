"""Spaces that ship with autosearch, placed into a study by `{use: NAME}`.

Each is a function that returns a Subspace, registered through the entry point `autosearch.spaces`; its keyword
arguments are the options of `use`.
"""

from autosearch.space import Categorical, Expression, Float, Int, Parameter, Subspace, Value
from search_spaces.lr_schedule import lr_schedule

__all__ = ["classifier", "lr_schedule"]


def classifier(*, dropout: bool = True) -> Subspace:
    """Training settings of a small image or tabular classifier: lr, weight decay, batch size, optimizer, dropout.

    Args:
        dropout: search the dropout rate too.
    """
    parameters: dict[str, Parameter] = {
        "lr": Float(1e-4, 1e-1, log=True),
        "weight_decay": Float(1e-6, 1e-2, log=True),
        "batch_size": Int(16, 256, log=True),
        "optimizer": Categorical(["sgd", "adamw"]),
        "momentum": Float(0.0, 0.99, when=Expression.parse("optimizer == 'sgd'")),
    }
    start: dict[str, Value] = {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 64, "optimizer": "adamw"}
    if dropout:
        parameters["dropout"] = Float(0.0, 0.6)
        start["dropout"] = 0.0
    return Subspace(parameters, first=(start,))
