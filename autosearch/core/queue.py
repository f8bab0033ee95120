"""The queue: a folder of configurations that people add by hand while a study runs.

One JSON file each, written under a temporary name and renamed, so a reader never sees half of one. The driver moves
them into the record; the file's name travels along as an identity, so a crash in between queues nothing twice.
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosearch.core.errors import SpaceError
from autosearch.core.files import writing


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One queued file."""

    path: Path

    @property
    def identity(self) -> str:
        return self.path.stem

    def config(self) -> dict[str, Any]:
        """The configuration in the file.

        Raises:
            SpaceError: if the file does not hold a JSON mapping.
        """
        try:
            config = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SpaceError(f"{self.path.name} is not JSON: {error}") from error
        except OSError as error:
            raise SpaceError(f"{self.path.name} cannot be read: {error.strerror}") from error
        if not isinstance(config, dict):
            raise SpaceError(
                f"{self.path.name} must hold a mapping of parameters, got {type(config).__name__}."
            )
        return config

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def refuse(self, reason: str) -> None:
        """Set the file aside with the reason, so that it is not tried again."""
        self.path.with_suffix(".refused").write_text(reason + "\n", encoding="utf-8")
        self.remove()


class Queue:
    """The folder; None is a queue that is always empty."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def __bool__(self) -> bool:
        return self.folder is not None and self.folder.is_dir()

    def items(self) -> list[QueueItem]:
        """Queued files, oldest first."""
        if self.folder is None:
            return []
        return [QueueItem(path) for path in sorted(self.folder.glob("*.json")) if path.is_file()]

    def add(self, config: Mapping[str, Any]) -> Path:
        """Write one configuration; returns its file."""
        if self.folder is None:
            raise SpaceError("this study has no queue folder.")
        # Names sort by time; the random part keeps two writers in one tick apart.
        path = self.folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
        draft = path.with_suffix(".draft")
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(dict(config)), encoding="utf-8")
            draft.rename(path)
        return path
