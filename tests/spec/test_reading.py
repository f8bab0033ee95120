import math
import os
import time
from pathlib import Path

import pytest

from autosearch.core import SpecError
from autosearch.spec.reading import MAX_BYTES, MAX_ENTRIES, read_file, read_text, read_value


def refusal(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read_text(text, "a.yaml")
    return caught.value.problems


def noted(text: str) -> list[str]:
    error = read_text(text, "a.yaml").error()
    assert error is not None
    return error.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-1.", -1.0),
        ("+3", 3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("1e", "1e"),
        ("[1, a, {b: 2.5}]", [1, "a", {"b": 2.5}]),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = read_value(text)
    assert found == value
    assert type(found) is type(value)


def test_every_entry_has_the_place_of_its_key() -> None:
    document = read_text("a: 1\nb:\n  - x\n  - {c: 2}\n", "f")
    places = {path: (mark.line, mark.column) for path, mark in document.marks.items()}
    assert places == {
        (): (1, 1),
        ("a",): (1, 1),
        ("b",): (2, 1),
        ("b", 0): (3, 5),
        ("b", 1): (4, 5),
        ("b", 1, "c"): (4, 6),
    }


def test_an_unknown_path_has_the_place_of_what_is_around_it() -> None:
    document = read_text("a: 1\nb:\n  c: {d: 2}\n", "f")
    assert document.mark(("b", "c", "nowhere", 3)).line == 3


def test_an_alias_stands_for_its_value() -> None:
    document = read_text("a: &x {low: 1}\nb: *x\n", "f")
    assert document.data == {"a": {"low": 1}, "b": {"low": 1}}
    assert document.data["a"] is not document.data["b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2", "a.yaml:2:1: a tab cannot indent or separate in YAML; use spaces"),
        ("{a: 1", "a.yaml:1:6: this is not YAML: expected ',' or '}', but got '<stream end>'"),
        ("a: 1\n---\nb: 2", "a.yaml:2:1: a second document begins here; the file must hold one"),
        ("a: *x", "a.yaml:1:4: the alias *x stands for nothing before it"),
        ("a: &x [*x]", "a.yaml:1:8: the alias *x stands for nothing before it"),
        ("a: \x01", "a.yaml:1:4: the character '\\x01' is not allowed in YAML"),
        ("a: " + "[" * 50, "a.yaml:1:34: is nested too deeply; at most 30 levels are read"),
        ('a: "\\UFFFFFFFF"', "a.yaml:1:1: after this the file is not YAML"),
        ("%YAML 2.0\n---\na: 1", "a.yaml:1:1: this is not YAML: found incompatible YAML document"),
    ],
)
def test_a_text_that_is_not_one_yaml_document_is_refused_where_it_breaks(text: str, message: str) -> None:
    assert refusal(text)[0].startswith(message)
    assert len(refusal(text)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "a.yaml:2:1 a: is given twice; the first is in line 1"),
        (
            "a: !!python/object/apply:os.system [x]",
            "a.yaml:1:4 a: tags such as tag:yaml.org,2002:python/object",
        ),
        ("a: !!int 3", "a.yaml:1:4 a: tags such as"),
        ("a: .inf", "a.yaml:1:4 a: must be a finite number, not .inf"),
        ("a: -.INF", "a.yaml:1:4 a: must be a finite number"),
        ("a: .nan", "a.yaml:1:4 a: must be a finite number"),
        ("a: 1e999", "a.yaml:1:4 a: must be a finite number, not 1e999"),
        ("a: " + "9" * 5000, "a.yaml:1:4 a: is too large; whole numbers stay below 2**63"),
        ("a: 0x" + "f" * 30, "a.yaml:1:4 a: is too large"),
        ("1: a", "a.yaml:1:1: a key must be text; write '1' in quotes"),
        ("? [a]\n: 1", "a.yaml:1:3: a key must be text, not a list"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "a.yaml:3:3 c: merging by << is not in YAML 1.2"),
        ('a: "\\0"', "a.yaml:1:4 a: holds the character '\\x00'"),
        ('a: "\\ud800"', "a.yaml:1:4 a: holds the character"),
        ("a: " + "x" * 10_001, "a.yaml:1:4 a: has 10001 characters; a text has at most 10000"),
    ],
)
def test_what_a_study_file_must_not_hold_is_noted_where_it_stands(text: str, message: str) -> None:
    assert noted(text)[0].startswith(message)


def test_all_problems_are_noted_in_the_order_of_the_file() -> None:
    lines = noted("b: .inf\na: .nan\nb: 1\n")
    assert [line.split(" ")[0] for line in lines] == ["a.yaml:1:4", "a.yaml:2:4", "a.yaml:3:1"]


def test_problems_beyond_a_hundred_are_counted() -> None:
    lines = noted("".join(f"k{i}: .inf\n" for i in range(150)))
    assert len(lines) == 101
    assert lines[-1] == "a.yaml: and 50 problems more"


def test_an_anchor_bomb_is_refused_at_once() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    start = time.process_time()
    assert f"holds more than {MAX_ENTRIES} entries" in refusal(text)[0]
    assert time.process_time() - start < 1


def test_a_chain_of_aliases_is_not_a_way_to_nest_deeper() -> None:
    text = "? &a0 [x]\n: 1\n" + "".join(f"? &a{i} [*a{i - 1}]\n: 1\n" for i in range(1, 3000)) + "b: *a2999\n"
    assert "is nested too deeply; at most 30 levels are read" in refusal(text)[0]


def test_a_file_of_many_entries_is_refused_in_time() -> None:
    start = time.process_time()
    assert f"holds more than {MAX_ENTRIES} entries" in refusal("[" + "1," * (MAX_BYTES // 2 - 2) + "]")[0]
    assert time.process_time() - start < 5


@pytest.mark.parametrize("content", [b"\xff\xfe\x00a", b"a: 1\nb: \xe9\n", bytes(range(256))])
def test_binary_files_are_refused_at_the_first_bad_byte(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(SpecError, match=r"^a\.yaml:\d+:\d+: .*(UTF-8|not allowed)"):
        read_file(tmp_path / "a.yaml", "a.yaml")


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_file(tmp_path / "a.yaml", "a.yaml").data == {"a": 1}


def test_a_file_of_ten_megabytes_is_refused_without_being_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: 1\n" * 2_000_000)
    start = time.process_time()
    with pytest.raises(SpecError, match=r"^a\.yaml:1:1: is larger than 256 kB"):
        read_file(tmp_path / "a.yaml", "a.yaml")
    assert time.process_time() - start < 0.5


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (tmp_path / "none", "there is no such file"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (Path("a\0b"), "cannot be read"),
    ]:
        with pytest.raises(SpecError, match=message):
            read_file(path, str(path))


def test_numbers_that_are_read_are_finite() -> None:
    assert math.isfinite(read_text("a: 1e999", "f").data["a"])
