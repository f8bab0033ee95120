"""Files that people name: what the system refuses is said with the place."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autosearch.core.errors import StudyError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A span that writes to `path`, or below it.

    Raises:
        StudyError: if the system refuses.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise StudyError(f"{place}: cannot be written: {error.strerror or error}.") from error
