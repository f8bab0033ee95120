"""Free processes wait for the next trial."""

import pytest
from ray.tune.execution import tune_controller

from autosearch.runners.ray.reuse import processes_kept


def test_tune_keeps_all_free_processes_to_the_end_and_has_its_own_store_back_afterwards() -> None:
    own = tune_controller._ObjectCache
    with processes_kept():
        store = tune_controller._ObjectCache(may_keep_one=True)
    assert tune_controller._ObjectCache is own
    assert store.cache_object("cpu", "a")
    assert store.cache_object("cpu", "b")
    assert list(store.flush_cached_objects(force_all=False)) == []
    assert store.pop_cached_object("cpu") == "a"
    assert store.cache_object("cpu", "c")
    assert list(store.flush_cached_objects(force_all=True)) == ["b", "c"]
    assert store.num_cached_objects == 0


def test_tune_s_own_store_is_back_after_an_error() -> None:
    own = tune_controller._ObjectCache
    with pytest.raises(RuntimeError), processes_kept():
        raise RuntimeError
    assert tune_controller._ObjectCache is own
