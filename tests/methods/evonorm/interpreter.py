"""Layer graphs evaluated slowly, in 64 bits, with every node written out in full: what GraphLayer is held against."""

import numpy as np

from autosearch.methods.evonorm.graphs import Graph

EPS = 1e-5


def evaluate(graph: Graph, x: np.ndarray, v0: np.ndarray, v1: np.ndarray, group_size: int) -> np.ndarray:
    """(n, c, h, w) output of `graph` before weight and bias, in training mode."""
    shape = x.shape
    full = {
        "x": x.astype(np.float64),
        "zero": np.zeros(shape),
        "v0": np.broadcast_to(v0[None, :, None, None], shape),
        "v1": np.broadcast_to(v1[None, :, None, None], shape),
    }
    for k, node in enumerate(graph.nodes, start=1):
        full[f"n{k}"] = apply(node.operation, [full[name] for name in node.inputs], group_size)
    return full[f"n{len(graph.nodes)}"]


def apply(operation: str, inputs: list[np.ndarray], group_size: int) -> np.ndarray:
    kind, _, over = operation.partition("_")
    if over:
        return aggregate(kind, over, inputs[0], group_size)
    a, b = inputs[0], inputs[-1]
    match kind:
        case "add":
            return a + b
        case "mul":
            return a * b
        case "div":
            sign = np.where(b < 0, -1.0, 1.0)
            return a / (sign * np.maximum(np.abs(b), EPS))
        case "max":
            return np.maximum(a, b)
        case "neg":
            return -a
        case "sigmoid":
            return np.where(a >= 0, 1 / (1 + np.exp(-np.abs(a))), 1 - 1 / (1 + np.exp(-np.abs(a))))
        case "tanh":
            return np.tanh(a)
        case "exp":
            return np.exp(a)
        case "log":
            return np.sign(a) * np.log(np.maximum(np.abs(a), EPS))
        case "abs":
            return np.abs(a)
        case "square":
            return a * a
        case "sqrt":
            return np.sign(a) * np.sqrt(np.maximum(np.abs(a), EPS))
    raise AssertionError(operation)


def aggregate(kind: str, over: str, a: np.ndarray, group_size: int) -> np.ndarray:
    n, c = a.shape[:2]
    result = np.empty_like(a)
    for i in range(n):
        for j in range(c):
            first = j - j % group_size
            part = {
                "bwh": a[:, j],
                "wh": a[i, j],
                "whc": a[i],
                "whg": a[i, first : first + group_size],
            }[over]
            if kind == "mean":
                result[i, j] = part.mean()
            elif kind == "rms":
                result[i, j] = np.sqrt((part**2).mean() + EPS)
            else:
                result[i, j] = np.sqrt(((part - part.mean()) ** 2).mean() + EPS)
    return result
