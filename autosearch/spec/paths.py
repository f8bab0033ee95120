"""Paths and code references as a study file writes them, made absolute against its folder."""

import os
from pathlib import Path

_SQLITE = "sqlite:///"


def absolute(text: str, folder: Path) -> Path:
    """The path without `..`, from `folder` if it is relative; `~` is the home folder."""
    home = text == "~" or text.startswith("~/")
    return Path(os.path.normpath(folder / (Path(text).expanduser() if home else text)))


def is_file(path: Path) -> bool:
    """Whether there is a regular file; a name that no system can hold is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def absolute_storage(text: str, folder: Path) -> str:
    """A journal file's absolute path, or the URL with an SQLite file's path made absolute."""
    if "://" not in text:
        return str(absolute(text, folder))
    rest = text.removeprefix(_SQLITE)
    if rest != text and rest and not rest.startswith(("/", ":", "file:")):
        return f"{_SQLITE}{absolute(rest, folder)}"
    return text


def split_reference(text: str) -> tuple[str, str] | None:
    """`package.module:name` or `./file.py:name` in two; None if it is neither."""
    home, _, name = text.rpartition(":")
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    if is_source(home) or all(part.isidentifier() for part in home.split(".")):
        return home, name
    return None


def is_source(home: str) -> bool:
    """Whether the part before the colon is a Python file and not a module."""
    return home.endswith(".py") and home != ".py"
