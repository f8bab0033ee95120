"""A space of learning-rate schedules in which the usual ones are points, tried first."""

from autosearch.space import Categorical, Fixed, Float, Int, Ordinal, Parameter, Subspace, Value

# Values rather than intervals: the usual lr schedules need exact ones, 0 among them, which a log scale cannot hold.
_STARTS = (0.0, 0.01, 0.04, 0.1)
_ENDS = (0.0, 4e-6, 1e-3, 0.01, 0.04, 0.1, 0.3, 1.0)


def lr_schedule(
    *, peak: bool = True, low: float = 1e-5, high: float = 1.0, cycles: int = 1, knots: bool = False
) -> Subspace:
    """An lr schedule for `lr_schedule` of a task, or for `autosearch.learning.build_lr_schedule` in one's own loop.

    Cosine, WSD, linear, constant, one-cycle, infinite and inverse-sqrt are queued first.

    Args:
        peak: search the peak learning rate too; it replaces the task's `lr`.
        low: smallest peak.
        high: largest peak.
        cycles: most warm restarts on the plateau.
        knots: a free form of five changes instead of the family; needs about three times the trials.
    """
    parameters: dict[str, Parameter] = {}
    if peak:
        parameters["peak"] = Float(low, high, log=True)
    if knots:
        parameters["method"] = Fixed("knots")
        parameters |= {f"knot{i}": Float(-2.0, 1.0) for i in range(1, 6)}
        flat: dict[str, Value] = {f"knot{i}": 0.0 for i in range(1, 6)}
        return Subspace(parameters, first=(flat, {**flat, "knot4": -1.0, "knot5": -2.0}))
    parameters |= {
        "method": Fixed("family"),
        "warmup": Float(0.0, 0.3),
        "r0": Ordinal(_STARTS),
        "warmup_shape": Categorical(["linear", "cosine"]),
        "k_rel": Float(0.0, 1.0),
        "cool": Categorical(["cosine", "inverse_sqrt"]),
        "c": Float(0.05, 1.0, log=True),
        "d_rel": Float(0.0, 1.0),
        "shape": Categorical(["linear", "cosine", "one_minus_sqrt", "exponential"]),
        "fin": Ordinal(_ENDS),
        "cycles": Int(1, cycles) if cycles > 1 else Fixed(1),
    }
    return Subspace(parameters, first=tuple(_points(searched_cycles=cycles > 1)))


def _points(*, searched_cycles: bool) -> list[dict[str, Value]]:
    from autosearch.learning.lr_family import LR_POINTS

    start: dict[str, Value] = {
        "warmup": 0.0, "r0": 0.01, "warmup_shape": "linear", "k_rel": 0.0, "cool": "cosine", "c": 1.0, "d_rel": 1.0,
        "shape": "cosine", "fin": 1e-3,
    }  # fmt: skip
    if searched_cycles:
        start["cycles"] = 1
    return [{**start, **point} for point in LR_POINTS.values()]
