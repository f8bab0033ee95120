"""YAML 1.2 from a file or a text into a Document: parser events only, so nothing in it can be constructed or run."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from autosearch.core.errors import SpecError
from autosearch.space import Where
from autosearch.spec.document import Document, Mark

# The parser takes about 10 s for a megabyte; with these bounds any file is answered within two.
MAX_BYTES = 256 * 1024
MAX_ENTRIES = 10_000
MAX_DEPTH = 30
MAX_TEXT = 10_000

Event = Any  # the events of ruamel.yaml do not declare their attributes

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")


def read_file(path: Path, label: str) -> Document:
    """The document in a file.

    Raises:
        SpecError: the file cannot be read, or is not one YAML document within the bounds.
    """
    try:
        if path.is_dir():
            raise SpecError([f"{label}: is a folder; name the file in it"])
        if path.exists() and not path.is_file():  # a device or a pipe may never end
            raise SpecError([f"{label}: is not a regular file"])
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError([f"{label}: there is no such file"]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([f"{label}: cannot be read: {reason}"]) from error
    if len(content) > MAX_BYTES:
        raise _fatal(
            label, Mark(), f"is larger than {MAX_BYTES // 1024} kB; a file of this kind is short text"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        message = f"the byte 0x{content[error.start]:02x} is not UTF-8 text; save the file as UTF-8"
        raise _fatal(label, _mark_after(before), message) from None
    return read_text(text, label)


def read_text(text: str, label: str) -> Document:
    """The document in a text.

    Raises:
        SpecError: it is not one YAML document within the bounds.
    """
    reader = _Reader(label)
    root = reader.read(text)
    document = Document(label, problems=reader.problems)
    if root is not None:
        document.marks[()] = root.mark
        document.data = _plain(root, (), document)
    return document


def read_value(text: str) -> Any:
    """The plain value of one YAML text, such as the right side of `lr=1e-3`.

    Raises:
        SpecError: it is not YAML.
    """
    document = read_text(text, "value")
    error = document.error()
    if error is not None:
        raise error
    return document.data


@dataclass(frozen=True, slots=True)
class _Node:
    """A value with its place; `value` holds scalars, a list of nodes, or a mapping key -> (place, node).

    `size` and `depth` count it with all that is in it, aliases in full.
    """

    value: Any
    mark: Mark
    size: int = 1
    depth: int = 0


def _plain(node: _Node, where: Where, document: Document) -> Any:
    if isinstance(node.value, list):
        items = []
        for i, child in enumerate(node.value):
            document.marks[(*where, i)] = child.mark
            items.append(_plain(child, (*where, i), document))
        return items
    if isinstance(node.value, dict):
        mapping = {}
        for key, (mark, child) in node.value.items():
            document.marks[(*where, key)] = mark
            mapping[key] = _plain(child, (*where, key), document)
        return mapping
    return node.value


class _Reader:
    """Turns parser events into nodes; problems of single entries are collected, those of form end the reading."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.problems: list[tuple[Mark, Where, str]] = []
        self.anchors: dict[str, _Node] = {}
        self.last = Mark()

    def read(self, text: str) -> _Node | None:
        events = self._events(text)
        root: _Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refuse(event, "a second document begins here; the file must hold one")
                root = self._node(next(events), events, ())
            elif isinstance(event, StreamEndEvent):
                break
        return root

    def _events(self, text: str) -> Iterator[Event]:
        stream = iter(YAML(typ="safe", pure=True).parse(text))
        for _ in range(MAX_ENTRIES * 3):
            try:
                event = next(stream)
            except StopIteration:
                return
            except ReaderError as error:
                mark = _mark_after(text[: error.position])
                message = f"the character {text[error.position]!r} is not allowed in YAML"
                raise _fatal(self.label, mark, message) from None
            except MarkedYAMLError as error:
                raise self._syntax(error) from None
            except (YAMLError, ValueError, OverflowError) as error:  # bad escapes and version numbers
                raise _fatal(self.label, self.last, f"after this the file is not YAML: {error}") from None
            self.last = _mark(event)
            yield event
        raise self._too_many()

    def _node(self, event: Event, events: Iterator[Event], where: Where) -> _Node:
        if len(where) > MAX_DEPTH:
            raise self._too_deep(event)
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise self._refuse(event, f"the alias *{event.anchor} stands for nothing before it")
            node = self.anchors[event.anchor]
            if len(where) + node.depth > MAX_DEPTH:
                raise self._too_deep(event)
            return node
        if event.tag is not None:
            message = f"tags such as {event.tag} are not read; take it away, or quote what is meant as text"
            self.problems.append((_mark(event), where, message))
        if isinstance(event, ScalarEvent):
            node = _Node(self._scalar(event, where), _mark(event))
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event, events, where)
        else:
            node = self._mapping(event, events, where)
        if node.size > MAX_ENTRIES:
            raise self._too_many()
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _sequence(self, start: Event, events: Iterator[Event], where: Where) -> _Node:
        items: list[_Node] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, events, (*where, len(items))))
        return _collection(items, items, start)

    def _mapping(self, start: Event, events: Iterator[Event], where: Where) -> _Node:
        entries: dict[str, tuple[Mark, _Node]] = {}
        inner: list[_Node] = []
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key, mark = self._key(event, events, where), _mark(event)
            node = self._node(next(events), events, (*where, "" if key is None else key))
            inner.append(node)
            if key is None:
                continue
            if key in entries:
                first = entries[key][0].line
                self.problems.append((mark, (*where, key), f"is given twice; the first is in line {first}"))
                continue
            entries[key] = (mark, node)
        return _collection(entries, inner, start)

    def _key(self, event: Event, events: Iterator[Event], where: Where) -> str | None:
        """The key, None if there is a problem with it."""
        if isinstance(event, AliasEvent) or not isinstance(event, ScalarEvent):
            self._node(event, events, (*where, ""))  # a key is one level deeper, as its value is
            self.problems.append(
                (_mark(event), where, "a key must be text, not a list, a mapping or an alias")
            )
            return None
        key = self._node(event, events, where).value
        plain = event.style is None
        if plain and event.value == "<<":
            self.problems.append(
                (_mark(event), where, "merging by << is not in YAML 1.2; write the keys out")
            )
            return None
        if not isinstance(key, str):
            self.problems.append(
                (_mark(event), where, f"a key must be text; write '{event.value[:60]}' in quotes")
            )
            return None
        return key

    def _scalar(self, event: Event, where: Where) -> Any:
        text: str = event.value
        unwanted = _UNWANTED.search(text)
        if unwanted:
            message = f"holds the character {unwanted.group()!r}, which has no place in a study file"
            self.problems.append((_mark(event), where, message))
            return _UNWANTED.sub("?", text)
        if len(text) > MAX_TEXT:
            message = f"has {len(text)} characters; a text has at most {MAX_TEXT}"
            self.problems.append((_mark(event), where, message))
            return text[:MAX_TEXT]
        if event.style is not None or event.tag is not None:
            return text
        value = resolve(text)
        if isinstance(value, float) and not math.isfinite(value):
            self.problems.append((_mark(event), where, f"must be a finite number, not {text[:60]}"))
            return 0
        if isinstance(value, int) and abs(value) >= 2**63:
            message = f"is too large; whole numbers stay below 2**63, not {text[:60]}"
            self.problems.append((_mark(event), where, message))
            return 0
        return value

    def _syntax(self, error: MarkedYAMLError) -> SpecError:
        place = error.problem_mark or error.context_mark
        mark = Mark(line=place.line + 1, column=place.column + 1) if place is not None else self.last
        problem = str(error.problem or error.context or error)
        if "'\\t'" in problem:
            return _fatal(self.label, mark, "a tab cannot indent or separate in YAML; use spaces")
        context = f" {error.context}" if error.context and error.problem else ""
        return _fatal(self.label, mark, f"this is not YAML: {problem}{context}")

    def _refuse(self, event: Event, message: str) -> SpecError:
        return _fatal(self.label, _mark(event), message)

    def _too_deep(self, event: Event) -> SpecError:
        return self._refuse(event, f"is nested too deeply; at most {MAX_DEPTH} levels are read")

    def _too_many(self) -> SpecError:
        return _fatal(
            self.label, self.last, f"holds more than {MAX_ENTRIES} entries, aliases counted in full"
        )


def resolve(text: str) -> bool | int | float | str | None:
    """What an unquoted text stands for in YAML 1.2 (core schema): `1e-3` is a number, `no` is a text."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        if len(text) > 40:  # Python refuses to read thousands of digits
            return 2**63
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _collection(value: Any, inner: list[_Node], start: Event) -> _Node:
    size = 1 + sum(node.size for node in inner)
    return _Node(value, _mark(start), size, 1 + max((node.depth for node in inner), default=0))


def _mark(event: Event) -> Mark:
    return Mark(line=event.start_mark.line + 1, column=event.start_mark.column + 1)


def _mark_after(text: str) -> Mark:
    return Mark(line=text.count("\n") + 1, column=len(text) - text.rfind("\n"))


def _fatal(label: str, mark: Mark, message: str) -> SpecError:
    document = Document(label)
    document.problems.append((mark, (), message))
    error = document.error()
    return error if error is not None else SpecError([f"{label}: {message}"])
