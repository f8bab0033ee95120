import pytest

from autosearch.core import OptionError, ResolveError, plugins


class Sample:
    """A plug-in with options."""

    def __init__(self, size: int, *, rate: float = 0.5, names: tuple[str, ...] = ()) -> None:
        if size < 1:
            raise ValueError("size must be at least 1")
        self.size, self.rate, self.names = size, rate, names


HERE = f"{__name__}:Sample"


def test_a_class_is_built_from_its_path_and_options() -> None:
    built = plugins.build("searchers", {"method": HERE, "size": 3, "rate": 1, "names": ["a"]})
    assert (built.size, built.rate, built.names) == (3, 1.0, ("a",))


def test_an_instance_is_taken_as_it_is() -> None:
    sample = Sample(1)
    assert plugins.build("searchers", sample) is sample


@pytest.mark.parametrize(
    ("options", "option", "text"),
    [
        ({"size": 1, "raet": 2}, "raet", "Did you mean 'rate'"),
        ({}, "size", "required"),
        ({"size": "3"}, "size", "valid integer"),
        ({"size": True}, "size", "valid integer"),
        ({"size": 0}, "", "at least 1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], option: str, text: str) -> None:
    with pytest.raises(OptionError, match=text) as caught:
        plugins.build("searchers", {"method": HERE, **options})
    assert caught.value.option == option


def test_an_unknown_name_gets_the_nearest_and_all_known() -> None:
    with pytest.raises(
        ResolveError, match=r"unknown searcher 'randm'\. Did you mean 'random'\? Known: .*sobol"
    ):
        plugins.load("searchers", "randm")


def test_a_module_that_is_missing_says_what_was_looked_for() -> None:
    with pytest.raises(ResolveError, match="cannot be loaded from no_such_module:Thing"):
        plugins.load("searchers", "no_such_module:Thing")


def test_a_mapping_without_method_is_refused() -> None:
    with pytest.raises(OptionError, match="needs `method: NAME`"):
        plugins.build("searchers", {"rate": 2})
