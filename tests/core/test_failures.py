from autosearch.core import Failure
from autosearch.core.failures import from_exception, from_text, grouped, signature


def raised(value: int) -> Failure:
    try:
        raise ValueError(f"width {value} is odd")
    except ValueError as error:
        return from_exception(error)


def test_an_exception_becomes_cause_line_and_traceback() -> None:
    failure = raised(3)
    assert (failure.cause, failure.message) == ("crash", "ValueError: width 3 is odd")
    assert "Traceback (most recent call last)" in failure.traceback
    assert from_exception(MemoryError()).cause == "oom"
    assert from_exception(RuntimeError("CUDA out of memory. Tried to")).cause == "oom"
    assert from_exception(FloatingPointError("loss is nan")).cause == "nan"


def test_text_becomes_a_line() -> None:
    assert from_text("boom\nmore") == Failure("crash", "boom", "boom\nmore")
    assert from_text(" ") == Failure("crash", "no reason given")


def test_a_line_that_never_ends_is_cut_and_kept_whole_beside() -> None:
    long = "x" * 100_000
    for failure in (from_text(long), from_exception(ValueError(long))):
        assert len(failure.message) == 1000
        assert long in failure.traceback


def test_failures_of_one_line_are_alike_whatever_values_they_name() -> None:
    assert signature(raised(3)) == signature(raised(5))
    assert signature(from_text("a")) != signature(from_text("b"))
    assert grouped([raised(3), raised(5), from_text("b")]) == {
        "crash: ValueError: width 3 is odd": 2,
        "crash: b": 1,
    }
