import random
import string

from autosearch.space import nearest

KEYS = [
    "study", "seed", "run", "objectives", "constraints", "space", "require", "searcher", "scheduler", "training",
    "budget", "resources", "limits", "retries", "keep", "loggers", "data_dir", "storage", "output", "trials",
    "minutes", "cost", "choices", "confidence", "center", "default", "prior",
]  # fmt: skip


def typo(word, rng):
    at = rng.randrange(len(word))
    letter = rng.choice(string.ascii_lowercase)
    kind = rng.choice(["drop", "add", "swap", "replace"])
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    if kind == "add":
        return word[:at] + letter + word[at:]
    if kind == "replace":
        return word[:at] + letter + word[at + 1 :]
    at = rng.randrange(len(word) - 1)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def test_the_meant_key_is_found_for_95_percent_of_single_typos():
    rng = random.Random(0)
    cases = [(word, wrong) for word in KEYS for _ in range(8) if (wrong := typo(word, rng)) not in KEYS]
    right = sum(nearest(wrong, KEYS) == [word] for word, wrong in cases)
    assert right / len(cases) >= 0.95


def test_short_keys_of_a_parameter_are_found():
    keys = ["type", "low", "high", "log", "grid", "when", "prior", "default"]
    assert nearest("hgih", keys) == ["high"]
    assert nearest("lwo", keys) == ["low"]
    assert nearest("lgo", keys) == ["log"]
    assert nearest("Low", keys) == ["low"]


def test_words_unlike_any_key_get_no_suggestion():
    assert nearest("banana", KEYS) == []
    assert nearest("x" * 10_000, KEYS) == []
    assert nearest("", KEYS) == []


def test_several_suggestions_come_nearest_first():
    assert nearest("widths", ["depth", "width", "widths_2"], n=2) == ["width", "widths_2"]
