"""The nearest legal key is the one that was meant, for 95 % of all single typos."""

import random
import string
from collections.abc import Callable, Iterator

import pytest

from autosearch.core import plugins
from autosearch.space import nearest
from autosearch.spec.keys import FORMS, SECTIONS, TOP
from autosearch.spec.spaces import SPACE_FILE_KEYS

from .conftest import HEAD, RUN, SPACE

PARAMETER_KEYS = {
    "float": ("type", "low", "high", "log", "grid", "when", "prior", "default"),
    "categorical": ("type", "choices", "when", "prior", "default"),
    "prior": ("center", "confidence"),
}


def option_groups() -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind in ("searchers", "schedulers", "tasks"):
        for name in plugins.registered(kind):
            options = plugins.option_parameters(plugins.load(kind, name))
            if options:
                yield f"{kind}.{name}", tuple(options)


def groups() -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "top", tuple(TOP)
    yield "run", FORMS
    yield "space file", SPACE_FILE_KEYS
    yield from ((name, tuple(key.name for key in keys)) for name, keys in SECTIONS.items())
    yield from PARAMETER_KEYS.items()
    yield from option_groups()


def typos(word: str) -> set[str]:
    """Every word one slip away: a letter lost, doubled or added, replaced, or swapped with the next."""
    letters = string.ascii_lowercase + "_"
    found = {word[:i] + word[i + 1 :] for i in range(len(word))}
    found |= {word[:i] + a + word[i:] for i in range(len(word) + 1) for a in letters}
    found |= {word[:i] + a + word[i + 1 :] for i in range(len(word)) for a in letters}
    found |= {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
    return found


def some(words: set[str]) -> list[str]:
    """Eight of them, the same in every run; all of them take minutes."""
    return random.Random(0).sample(sorted(words), 8)


def test_the_key_that_was_meant_is_suggested_for_95_percent_of_single_typos() -> None:
    right = total = 0
    worst: dict[str, float] = {}
    for group, keys in groups():
        hits = [nearest(typo, keys) == [key] for key in keys for typo in some(typos(key) - set(keys))]
        worst[group] = sum(hits) / len(hits)
        right += sum(hits)
        total += len(hits)
    assert right / total >= 0.95, sorted(worst.items(), key=lambda item: item[1])[:5]
    assert min(worst.values()) >= 0.9, min(worst.items(), key=lambda item: item[1])


@pytest.mark.parametrize("key", [key for key in TOP if key not in ("study", "training")])
def test_a_mistyped_key_at_the_top_is_answered_with_the_right_one(
    problems: Callable[..., list[str]], key: str
) -> None:
    base = {line.split(":")[0]: line for line in (HEAD + RUN + SPACE).splitlines()}
    line = base.pop(key, f"{key}: x")
    for typo in (key[:-1], key[0] + key, key[1] + key[0] + key[2:]):
        text = "\n".join(base.values()) + f"\n{typo}{line.removeprefix(key)}\n"
        assert any(f" {typo}: unknown key. Did you mean '{key}'?" in found for found in problems(text)), typo
