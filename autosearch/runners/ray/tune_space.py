"""A search space from Ray Tune's own (`tune.uniform`, `tune.choice`, …), and configurations back from it."""

import math
from collections.abc import Mapping
from typing import Any, cast

from ray.tune.search import sample
from ray.tune.search.variant_generator import parse_spec_vars

from autosearch.core import OptionError
from autosearch.space import Categorical, Config, Float, Int, SearchSpace

_WAY_OUT = "Give RayTuneSearcher a `space` of its own."


class TuneSpace:
    """The parameters of a `param_space`.

    Names and choices there may be any object: in the search space they are numbered.

    Args:
        param_space: nested mapping of constants and Tune's domains.

    Attributes:
        space: the search space.

    Raises:
        OptionError: there is no parameter, or one that only Tune itself can draw.
    """

    def __init__(self, param_space: Mapping[str, Any]) -> None:
        _, domains, grids = parse_spec_vars(dict(param_space))
        if grids:
            raise OptionError(
                f"{_path(grids[0][0])}: grid_search is not for a searcher. Use tune.choice.", "space"
            )
        if not domains:
            raise OptionError(
                "there is nothing to search: param_space has no tune.uniform or the like.", "space"
            )
        self._paths = [tuple(path) for path, _ in domains]
        self._domains = [domain for _, domain in domains]
        for path in self._paths:
            if not all(isinstance(part, str) for part in path):
                raise OptionError(
                    f"{_path(path)}: a parameter inside a list is not understood. {_WAY_OUT}", "space"
                )
        self.space = SearchSpace(
            {f"p{i}": _parameter(_path(path), domain) for i, (path, domain) in enumerate(domains)}
        )

    def nested(self, config: Config) -> dict[str, Any]:
        """A configuration of `space` as Tune hands it to a trainable."""
        whole: dict[str, Any] = {}
        for i, (path, domain) in enumerate(zip(self._paths, self._domains, strict=True)):
            value: Any = config[f"p{i}"]
            inner = whole
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = domain.categories[value] if isinstance(domain, sample.Categorical) else value
        return whole


def _path(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))


def _parameter(name: str, domain: sample.Domain) -> Float | Int | Categorical:
    sampler: Any = domain.get_sampler()  # type: ignore[no-untyped-call]
    step: float | None = None
    if isinstance(sampler, sample.Quantized):
        step, sampler = sampler.q, sampler.sampler
    if isinstance(domain, sample.Categorical) and isinstance(sampler, sample.Uniform):
        return Categorical(tuple(range(len(domain.categories))))
    log = isinstance(sampler, sample.LogUniform)
    if isinstance(domain, sample.Integer) and (log or isinstance(sampler, sample.Uniform)):
        return _whole(name, domain, step, log=log)
    if isinstance(domain, sample.Float) and (log or isinstance(sampler, sample.Uniform)):
        if step is None:
            return Float(domain.lower, domain.upper, log=log)
        if not log:
            low, high = math.ceil(domain.lower / step - 1e-9), math.floor(domain.upper / step + 1e-9)
            return Float(low * step, high * step, grid=step)
    kind = f"{type(domain).__name__} by {type(sampler).__name__}" + (" with steps" if step else "")
    raise OptionError(f"{name}: {kind} is not understood. {_WAY_OUT}", "space")


def _whole(name: str, domain: sample.Integer, step: float | None, *, log: bool) -> Int:
    if step is None or step == 1:  # Tune leaves the upper bound out, but not with steps
        return Int(cast(int, domain.lower), cast(int, domain.upper) - 1, log=log)
    if log:
        raise OptionError(f"{name}: steps on a logarithmic scale are not understood. {_WAY_OUT}", "space")
    low, high = math.ceil(domain.lower / step), math.floor(domain.upper / step)
    return Int(int(low * step), int(high * step), grid=int(step))
