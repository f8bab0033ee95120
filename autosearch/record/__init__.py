"""The record: the one truth of a study, kept as an Optuna study in a journal file, a database or memory."""

from autosearch.record.fork import fork
from autosearch.record.open import (
    list_studies,
    open_journal,
    open_memory,
    open_rdb,
    read_history,
)

__all__ = [
    "fork",
    "list_studies",
    "open_journal",
    "open_memory",
    "open_rdb",
    "read_history",
]
