"""Reads Optuna's journal format straight from its lines: what `JournalStorage` does, for what a record needs.

Optuna's own replay copies a trial's attributes at every line and keeps what only the dashboard needs; this one
changes rows in place and skips such lines unread, which makes it several times faster.
"""

import json
from typing import Any

from autosearch.core.errors import RecordError
from autosearch.record.store import MALFORMED, Row, Status, StudyRow

CREATE_STUDY = 0
DELETE_STUDY = 1
SET_STUDY_USER_ATTR = 2
SET_STUDY_SYSTEM_ATTR = 3
CREATE_TRIAL = 4
SET_TRIAL_PARAM = 5
SET_TRIAL_STATE_VALUES = 6
SET_TRIAL_INTERMEDIATE_VALUE = 7
SET_TRIAL_USER_ATTR = 8
SET_TRIAL_SYSTEM_ATTR = 9

START = b'{"op_code":'
# Lines for the dashboard alone; all writers put `op_code` first, without blanks.
_SKIPPED = tuple(f'{{"op_code":{op},' for op in (SET_TRIAL_INTERMEDIATE_VALUE, SET_TRIAL_USER_ATTR))
# Lines that are decoded in one call: less overhead a line, bounded memory.
_CHUNK = 512


class Replay:
    """The state of a journal after the lines applied so far.

    Attributes:
        studies: by id.
        numbers: study id -> ids of its trials, by number.
        rows: trial id -> trial; may be emptied by the owner, later lines about missing rows are then ignored.
        lines: applied so far.
        trials: created so far, those of deleted studies included: the next trial gets this id.
    """

    def __init__(self) -> None:
        self.studies: dict[int, StudyRow] = {}
        self.numbers: dict[int, list[int]] = {}
        self.rows: dict[int, Row] = {}
        self.lines = 0
        self.trials = 0
        self._next_study = 0

    def feed(self, data: bytes, where: str) -> None:
        """Apply whole lines.

        Raises:
            RecordError: for a line that is no journal entry, with its number.
        """
        try:
            lines = data.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            broken = self.lines + data.count(b"\n", 0, error.start) + 1
            raise _broken(where, broken) from error
        lines.pop()
        for start in range(0, len(lines), _CHUNK):
            chunk = lines[start : start + _CHUNK]
            entries = self._decode(chunk, where)
            applied = 0
            try:
                for entry in entries:
                    self._apply(entry)
                    applied += 1
            except MALFORMED as error:
                lines_of = [i for i, line in enumerate(chunk) if not line.startswith(_SKIPPED)]
                raise _broken(where, self.lines + lines_of[applied] + 1) from error
            self.lines += len(chunk)

    def _decode(self, lines: list[str], where: str) -> list[dict[str, Any]]:
        wanted = [line for line in lines if not line.startswith(_SKIPPED)]
        try:
            entries = json.loads(f"[{','.join(wanted)}]")
            if len(entries) == len(wanted) and all(type(e) is dict and "op_code" in e for e in entries):
                return entries  # type: ignore[no-any-return]
        except (ValueError, RecursionError):
            pass  # the loop below finds the line
        for number, line in enumerate(lines, self.lines + 1):
            try:
                if not isinstance(json.loads(line)["op_code"], int):
                    raise TypeError
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise _broken(where, number) from error
        raise _broken(where, self.lines + 1)

    def _apply(self, entry: dict[str, Any]) -> None:
        op = entry["op_code"]
        if op == SET_TRIAL_SYSTEM_ATTR:
            row = self._unfinished(entry)
            if row is not None:
                row.system.update(_mapping(entry["system_attr"]))
        elif op == CREATE_TRIAL:
            self._create_trial(entry)
        elif op == SET_TRIAL_STATE_VALUES:
            self._set_state(entry)
        elif op == SET_TRIAL_PARAM:
            row = self._unfinished(entry)
            if row is not None:
                row.params[entry["param_name"]] = entry["param_value_internal"]
        elif op == SET_STUDY_SYSTEM_ATTR:
            if entry["study_id"] in self.studies:
                self.studies[entry["study_id"]].system.update(_mapping(entry["system_attr"]))
        elif op == CREATE_STUDY:
            self._create_study(entry)
        elif op == DELETE_STUDY and self.studies.pop(entry["study_id"], None):
            for trial_id in self.numbers.pop(entry["study_id"]):
                self.rows.pop(trial_id, None)

    def _unfinished(self, entry: dict[str, Any]) -> Row | None:
        row = self.rows.get(entry["trial_id"])
        return None if row is None or row.status.finished else row

    def _create_study(self, entry: dict[str, Any]) -> None:
        name = entry["study_name"]
        if type(name) is not str:
            raise TypeError("a study's name is text")
        if any(study.name == name for study in self.studies.values()):
            return
        self.studies[self._next_study] = StudyRow(self._next_study, name)
        self.numbers[self._next_study] = []
        self._next_study += 1

    def _create_trial(self, entry: dict[str, Any]) -> None:
        study_id = entry["study_id"]
        if study_id not in self.studies:
            return
        values = entry.get("values")
        if values is None and entry.get("value") is not None:
            values = [entry["value"]]
        self.rows[self.trials] = Row(
            self.trials,
            Status(entry.get("state", Status.RUNNING)),
            _mapping(entry.get("params", {})),
            _mapping(entry.get("system_attrs", {})),
            _list(values),
        )
        self.numbers[study_id].append(self.trials)
        self.trials += 1

    def _set_state(self, entry: dict[str, Any]) -> None:
        row = self._unfinished(entry)
        if row is not None:
            values = _list(entry["values"])
            row.status = Status(entry["state"])
            if values is not None:
                row.values = values


def _mapping(found: Any) -> dict[str, Any]:
    if type(found) is not dict:
        raise TypeError("attributes and parameters are mappings")
    return found


def _list(found: Any) -> list[Any] | None:
    if found is not None and type(found) is not list:
        raise TypeError("values are a list")
    return found


def _broken(where: str, line: int) -> RecordError:
    return RecordError(
        f"{where}: line {line} is not an entry of an Optuna journal. If the file is one, restore it from a copy or "
        "remove that line; else choose another `storage`."
    )
