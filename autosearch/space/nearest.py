"""Did-you-mean: the known words closest to a mistyped one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_PLACE = {
    letter: (row, column + row / 2)
    for row, letters in enumerate(_ROWS)
    for column, letter in enumerate(letters)
}


def _substitution(a: str, b: str) -> float:
    """Cost of typing `a` for `b`: below one where a finger slips to the next key or only the case differs."""
    if a == b:
        return 0.0
    if a.lower() == b.lower():
        return 0.2
    if {a, b} == {"_", "-"}:
        return 0.5
    here, there = _PLACE.get(a.lower()), _PLACE.get(b.lower())
    if here and there and abs(here[0] - there[0]) <= 1 and abs(here[1] - there[1]) <= 1:
        return 0.9
    return 1.0


def distance(a: str, b: str) -> float:
    """Weighted Damerau-Levenshtein distance between two words (optimal string alignment).

    Source: Boytsov 2011, "Indexing methods for approximate dictionary searching", section 2.
    """
    before: list[float] = []
    row = [float(j) for j in range(len(b) + 1)]
    for i, x in enumerate(a, 1):
        # A doubled or a lost twin letter is the likeliest slip of all, hence 0.9.
        before, last, row = row, before, [float(i)]
        for j, y in enumerate(b, 1):
            drop = 0.9 if i > 1 and a[i - 2] == x else 1.0
            add = 0.9 if j > 1 and b[j - 2] == y else 1.0
            cost = min(before[j] + drop, row[j - 1] + add, before[j - 1] + _substitution(x, y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, last[j - 2] + 0.9)
            row.append(cost)
    return row[-1]


def nearest(word: str, known: Iterable[str], n: int = 1) -> list[str]:
    """Up to `n` known words that `word` may be a typo of, nearest first; empty if none is near.

    A word is near if at most one third of it, and always one letter, would have to change.
    """
    if len(word) > 200:  # nobody mistypes a page; keeps hostile input cheap
        return []
    limit = max(1.0, len(word) / 3)
    ranked = []
    for position, candidate in enumerate(known):
        if abs(len(candidate) - len(word)) > limit:
            continue
        far = distance(word, candidate)
        if far <= limit and far < max(len(word), len(candidate)):
            ranked.append((far, candidate[:1] != word[:1], candidate[-1:] != word[-1:], position, candidate))
    return [entry[-1] for entry in sorted(ranked)[:n]]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The sentence ` Did you mean 'high'?` with a leading space, or nothing."""
    found = nearest(word, known)
    return f" Did you mean '{found[0]}'?" if found else ""
