import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autosearch.core import OptionError
from autosearch.learning import BatchStream


def stream(size=10, batch_size=4, seed=0):
    def fetch(indices, generator):
        return indices, torch.rand(len(indices), generator=generator)

    return BatchStream(size, batch_size, fetch, seed=seed)


def take(batches, n):
    return [next(batches) for _ in range(n)]


def equal(one, other):
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


@given(st.integers(1, 60), st.integers(1, 70))
def test_an_epoch_shows_every_example_once_in_even_batches(size, batch_size):
    batches = stream(size, batch_size)
    epoch = [indices for indices, _ in take(batches, batches.batches_per_epoch)]
    assert sorted(torch.cat(epoch).tolist()) == list(range(size))
    lengths = [len(indices) for indices in epoch]
    assert max(lengths) <= batch_size
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == -(-size // batch_size)
    assert (batches.epoch, batches.batch) == (1, 0)


def test_epochs_come_in_different_orders():
    batches = stream(50, 50)
    first, second = next(batches)[0], next(batches)[0]
    assert not torch.equal(first, second)


def test_equal_seeds_give_equal_batches_and_others_do_not():
    assert equal(take(stream(seed=3), 8), take(stream(seed=3), 8))
    assert not equal(take(stream(50, 10, seed=3), 8), take(stream(50, 10, seed=4), 8))


@given(st.integers(0, 12))
def test_a_stream_goes_on_anywhere_from_its_position(n):
    batches = stream()
    take(batches, n)
    state = batches.state_dict()
    expected = take(batches, 7)
    fresh = stream()
    fresh.load_state_dict(state)
    assert equal(take(fresh, 7), expected)
    batches.load_state_dict(state)
    assert equal(take(batches, 7), expected)


@pytest.mark.parametrize("other", [{"size": 11}, {"batch_size": 5}, {"seed": 1}])
def test_a_position_in_another_stream_is_refused(other):
    with pytest.raises(OptionError, match=f"{next(iter(other))}: the saved position"):
        stream(**other).load_state_dict(stream().state_dict())


@pytest.mark.parametrize(("size", "batch_size"), [(0, 4), (4, 0)])
def test_an_empty_stream_is_refused(size, batch_size):
    with pytest.raises(OptionError, match="at least one example"):
        stream(size, batch_size)
