"""Processes that run one trial after another, kept while the next suggestion is being made."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune.execution import tune_controller
from ray.tune.utils.object_cache import _ObjectCache


class _KeepAll(_ObjectCache):
    """Tune's store of free processes, which gives none up before the end of the search."""

    def cache_object(self, key: Any, obj: Any) -> bool:
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:  # noqa: FBT001, FBT002 - Tune's own
        if force_all:
            yield from super().flush_cached_objects(force_all=True)


@contextmanager
def processes_kept() -> Iterator[None]:
    """A span in which Tune keeps every free process for the next trial.

    Tune keeps one only. Where a second trial ends before the next suggestion is there, it ends that process and starts
    another, which takes seconds; and the start is given up each time that another trial ends before, so that one
    worker may stay without a process until the end of the study.
    """
    tune: Any = tune_controller
    original = tune._ObjectCache
    tune._ObjectCache = _KeepAll
    try:
        yield
    finally:
        tune._ObjectCache = original
