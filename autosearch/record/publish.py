"""Notes, figures and files as the Optuna dashboard keeps them: attributes of the study, written by its driver.

The dashboard's own functions would write through a second storage object beside the driver's, and cannot attach
anything to a finished trial; these write the same attributes through the driver's.

| attribute of the study | what |
|---|---|
| `dashboard:note_ver`, `dashboard:note_str:K` | the study's note in pieces |
| `dashboard:T:note_ver`, `dashboard:T:note_str:K` | the note of the trial with id T |
| `dashboard:plot_data:NAME:K` | a figure as JSON, in pieces |
| `dashboard:artifacts:T:ID` | name and type of the file ID in the folder of artifacts |
"""

import json
import mimetypes
import re
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path

from autosearch.core.errors import RecordError
from autosearch.core.records import Json
from autosearch.record.record import StudyRecord

# Pieces as the dashboard cuts them: text columns of some databases end at 2,048.
_PIECE = 2045
_NAME = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
MOST_ARTIFACT_BYTES = 512 * 1024**2


class DashboardBoard:
    """The dashboard's side of a record that is open for writing. What stands there already is not written again.

    Args:
        record: of the study.
        folder: of artifacts; None: there are none.
    """

    def __init__(self, record: StudyRecord, folder: Path | None) -> None:
        self._record, self._folder = record, folder
        self._written: dict[str, Json] = {
            key: value for key, value in record._attributes().items() if key.startswith("dashboard:")
        }

    def note(self, parts: Iterable[str]) -> None:
        """The study's note, in Markdown; each part is cut for itself, so that a part that stays is not rewritten."""
        self._put_note("dashboard:note", parts)

    def trial_note(self, number: int, text: str) -> None:
        """The note of a trial, in Markdown."""
        self._put_note(f"dashboard:{self._id(number)}:note", [text])

    def _put_note(self, prefix: str, parts: Iterable[str]) -> None:
        pieces = {
            f"{prefix}_str:{i}": piece for i, piece in enumerate(p for part in parts for p in _cut(part))
        }
        changed = self._changed(pieces, f"{prefix}_str:")
        if changed:
            version = self._written.get(f"{prefix}_ver", 0)
            self._put({**changed, f"{prefix}_ver": version + 1})

    def figure(self, name: str, text: str) -> None:
        """A plotly figure as JSON; the one of the same name is replaced.

        Raises:
            RecordError: if the name is not made of letters, digits, `-` and `_`.
        """
        if not _NAME.fullmatch(name):
            raise RecordError(f"figure {name!r}: a name is made of letters, digits, - and _.")
        prefix = f"dashboard:plot_data:{name}:"
        self._put(self._changed({f"{prefix}{i}": piece for i, piece in enumerate(_cut(text))}, prefix))

    def artifact(self, number: int, filename: str, content: bytes | Path) -> None:
        """A file beside a trial; a folder is packed into an archive. One over 512 MiB is left out.

        Raises:
            OSError: if the disk refuses.
        """
        if self._folder is None:
            return
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._record.name}/{number}/{filename}"))
        if not self._store(self._folder / identity, content):
            return
        kind, encoding = mimetypes.guess_type(filename)
        entry = {
            "artifact_id": identity,
            "filename": filename,
            "mimetype": kind or "application/octet-stream",
            "encoding": encoding,
        }
        key = f"dashboard:artifacts:{self._id(number)}:{identity}"
        self._put(self._changed({key: json.dumps(entry)}, key))

    def _store(self, target: Path, content: bytes | Path) -> bool:
        """Write a file that appears whole; whether there is one."""
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.partial")
        if isinstance(content, bytes):
            draft.write_bytes(content)
        else:
            files = sorted(path for path in content.rglob("*") if path.is_file())
            if sum(path.stat().st_size for path in files) > MOST_ARTIFACT_BYTES:
                return False
            # Weights hardly compress: packing them would cost seconds for nothing.
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
                for path in files:
                    archive.write(path, path.relative_to(content))
        draft.replace(target)
        return True

    def _changed(self, pieces: dict[str, Json], prefix: str) -> dict[str, Json]:
        """What differs from what stands there; pieces too many become empty, as the dashboard does it."""
        surplus = {key: "" for key in self._written if key.startswith(prefix) and key not in pieces}
        return {key: value for key, value in {**pieces, **surplus}.items() if self._written.get(key) != value}

    def _put(self, attributes: dict[str, Json]) -> None:
        if attributes:
            self._record.store.set_study(self._record._study.study_id, attributes, {})
            self._written |= attributes

    def _id(self, number: int) -> int:
        try:
            return self._record._ids[number]
        except IndexError:
            raise RecordError(f"there is no trial {number} in {self._record.name!r}.") from None


def _cut(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
