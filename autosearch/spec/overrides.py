"""`--set key=value`: entries put over those of the file before anything is checked."""

import re
from typing import Any

from autosearch.core.errors import SpecError
from autosearch.space import Where
from autosearch.spec.document import Document, Mark, subtree
from autosearch.spec.reading import read_text

_PART = re.compile(r"`([^`]+)`(?:\.|$)|([^.`]+)(?:\.|$)")
_NAMED = ("searcher", "scheduler")  # a bare NAME there is short for {method: NAME}


def apply_override(document: Document, text: str) -> None:
    """Put one `key=value` into a document; what is wrong with it becomes a problem of the document.

    A key's dots lead inwards; where a name has dots itself it is found as it is, or stands in backticks. A number
    leads into a list. The value is YAML; nothing stands for null.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    mark = Mark(override=key or text[:60])
    parts = _split(key)
    if not equals or not parts:
        document.problems.append((mark, (), f"must be KEY=VALUE such as budget.trials=50, not {text[:60]!r}"))
        return
    try:
        part = read_text(value, "--set")
    except SpecError as error:
        reason = error.problems[0].split(": ", 1)[-1]
        document.problems.append((mark, (), f"the value is not YAML: {reason}"))
        return
    where: Where = ()
    target = document.data
    while True:
        step, parts = _step(target, parts)
        where = (*where, step)
        message = _refusal(target, step)
        if message:
            document.problems.append((mark, where, message))
            return
        if not parts:
            break
        target = _enter(target, step, where)
    target[step] = part.data
    for old in subtree(document.marks, where):
        del document.marks[old]
    for length in range(1, len(where) + 1):
        document.marks.setdefault(where[:length], mark)
    document.marks.update({(*where, *inner): mark for inner in part.marks})
    document.problems[:] = [p for p in document.problems if p[1][: len(where)] != where]
    document.problems.extend((mark, (*where, *inner), message) for _, inner, message in part.problems)


def _split(key: str) -> list[tuple[str, bool]]:
    """The parts of a key and whether each was quoted; empty if the key cannot be read."""
    parts: list[tuple[str, bool]] = []
    position = 0
    while position < len(key):
        match = _PART.match(key, position)
        if match is None:
            return []
        parts.append((match[1], True) if match[1] else (match[2], False))
        position = match.end()
    return [] if key.endswith(".") else parts


def _step(target: Any, parts: list[tuple[str, bool]]) -> tuple[str | int, list[tuple[str, bool]]]:
    """The next key, the longest of those that the mapping holds, and the parts left."""
    name, quoted = parts[0]
    if isinstance(target, list) and name.isascii() and name.isdigit():
        return int(name[:9]), parts[1:]
    if isinstance(target, dict) and not quoted:
        for length in range(len(parts), 1, -1):
            joined = ".".join(part for part, _ in parts[:length])
            if joined in target:
                return joined, parts[length:]
    return name, parts[1:]


def _refusal(target: Any, step: str | int) -> str:
    if isinstance(target, dict):
        return ""
    if isinstance(target, list):
        if isinstance(step, int) and step < len(target):
            return ""
        return f"the list has the items 0 to {len(target) - 1}" if target else "the list is empty"
    return "leads into an entry that is neither a mapping nor a list"


def _enter(target: Any, step: str | int, where: Where) -> Any:
    """What stands at `step`, made a mapping where there is nothing yet or a bare NAME."""
    inner = target.get(step) if isinstance(target, dict) else target[step]
    named = where in [(name,) for name in _NAMED] or (len(where) == 2 and where[0] == "training")
    if inner is None:
        inner = target[step] = {}
    elif isinstance(inner, str) and named:
        inner = target[step] = {"method": inner}
    return inner
