"""Training that has been done already: trials look their results up in a table."""

import csv
import gzip
import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autosearch.core import Decision, Job, OptionError, Problem, Progress
from autosearch.core.seeds import derive_rng

_STATE = "state.json"
_COLUMN = re.compile(r"(?P<name>[^\[\]]+?)\s*(?:\[(?P<index>[\d\s:,-]+)\])?")

Second = Literal["steps", "mean", "draw"]


@dataclass(frozen=True, slots=True)
class Key:
    """How one parameter is found in the table: its value in each row, from `column`, looked up in `values`."""

    column: str
    values: tuple[Any, ...] | None = None

    @classmethod
    def parse(cls, name: str, definition: Any) -> "Key":
        """From a column, or from `{column, values}`.

        Raises:
            OptionError: for anything else.
        """
        if isinstance(definition, str):
            return cls(definition)
        if isinstance(definition, Mapping) and set(definition) == {"column", "values"}:
            return cls(definition["column"], tuple(definition["values"]))
        raise OptionError(
            f"keys.{name} must be a column or {{column, values}}, got {definition!r}.", f"keys.{name}"
        )


class TableTask:
    """Looks results up in a table (npz or csv) instead of training: for tabular benchmarks and quick tests.

    A column is a name of the file, for arrays with an index that leaves the rows, and at most one further axis:
    `c10_val`, `ops[:, 0]`, `curves[2, :, 1]`. The further axis of a metric holds steps or repeated runs (`second`).

    Args:
        file: the table, absolute or relative to `data_dir`; `.npz`, `.csv` or `.csv.gz`.
        metrics: metric -> column.
        keys: parameter -> column, or `{column, values}` where the column holds positions in `values`. Together they
            find the row of a configuration.
        row: instead of `keys`, the parameter that is the row's number.
        match: `exact`, or `nearest` row by Euclidean distance: numbers scaled to the column's range (`log` of the
            ones named there), other values 0 apart where equal and 1 elsewhere.
        log: parameters compared on a log scale by `nearest`.
        second: what a metric's further axis is: `steps` of a learning curve; repeated runs of which the `mean` is
            taken, or one is drawn (`draw`) by the trial's seed. NaN repeats are left out.
        cost: column of the seconds that a whole run took, spread evenly over its steps.
        seconds: of each step, where there is no `cost`.
        final: metric -> column, measured once for the chosen trial (test metrics).
        training_free: metric -> column of scores that are known before anything is trained, for searchers that use
            them.
        data_dir: folder of datasets.

    Raises:
        OptionError: if the file is missing, or has not what the options name.
    """

    reusable = True

    def __init__(  # noqa: PLR0913 - options of a study file, all by keyword
        self,
        *,
        file: str,
        metrics: Mapping[str, str],
        keys: Mapping[str, Any] | None = None,
        row: str | None = None,
        match: Literal["exact", "nearest"] = "exact",
        log: tuple[str, ...] = (),
        second: Second = "steps",
        cost: str | None = None,
        seconds: float = 0.0,
        final: Mapping[str, str] | None = None,
        training_free: Mapping[str, str] | None = None,
        data_dir: Path | None = None,
    ) -> None:
        if (keys is None) == (row is None):
            raise OptionError(
                "table needs one of `keys` and `row`, to find the row of a configuration.", "keys"
            )
        if not metrics:
            raise OptionError("table needs at least one metric.", "metrics")
        self._path = _locate(file, data_dir)
        self._metrics, self._final, self._second = dict(metrics), dict(final or {}), second
        self._training_free = dict(training_free or {})
        self._cost, self._seconds, self._row = cost, seconds, row
        self._keys = {name: Key.parse(name, key) for name, key in (keys or {}).items()}
        self._nearest, self._log = match == "nearest", frozenset(log)
        self._table  # noqa: B018 - read now: what is wrong is said before the first trial
        self.max_step = self._table.steps

    def __getstate__(self) -> dict[str, Any]:
        """Without the table: a worker reads the file itself, once."""
        return {name: value for name, value in vars(self).items() if name != "_table"}

    @cached_property
    def _table(self) -> "_Table":
        arrays = _read(self._path, self._path.stat().st_mtime_ns)
        columns = {name: column(arrays, text, self._path) for name, text in self._metrics.items()}
        final = {name: column(arrays, text, self._path) for name, text in self._final.items()}
        free = {name: column(arrays, text, self._path) for name, text in self._training_free.items()}
        for name, values in (*columns.items(), *final.items(), *free.items()):
            if values.dtype.kind not in "biuf":
                raise OptionError(
                    f"{self._path.name}: the metric {name!r} is no column of numbers.", "metrics"
                )
        if self._second != "steps":
            columns = {name: values.reshape(len(values), -1) for name, values in columns.items()}
        rows = {len(values) for values in (*columns.values(), *final.values(), *free.values())}
        steps = {values.shape[1] for values in columns.values() if values.ndim == 2}
        if len(rows) != 1 or (self._second == "steps" and len(steps) > 1):
            shapes = {name: values.shape for name, values in columns.items()}
            raise OptionError(f"{self._path.name}: the columns differ in length: {shapes}.", "metrics")
        cost = None if self._cost is None else column(arrays, self._cost, self._path)
        finder = None if self._row else _Finder(arrays, self._keys, self._log, self._path)
        steps_of = max(steps, default=1) if self._second == "steps" else 1
        return _Table(columns, final, free, cost, finder, steps_of)

    def check(self, problem: Problem) -> None:
        """Refuse objectives that are not in `metrics`, and keys that are no parameters.

        Raises:
            OptionError: naming the first one.
        """
        for name in problem.metric_names:
            if name not in self._metrics:
                raise OptionError(
                    f"objective {name!r} is not among the table's metrics: {', '.join(self._metrics)}.",
                    "metrics",
                )
        known = problem.space.parameters
        for name in (*self._keys, *([self._row] if self._row else [])):
            if name not in known:
                raise OptionError(f"{name!r} finds a row, but is no parameter of the space.", "keys")

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        table, row = self._table, self._find(job.config)
        curves = {name: self._values(values[row], job) for name, values in table.columns.items()}
        seconds = self._seconds if table.cost is None else float(table.cost[row]) / table.steps
        done = 0
        if job.checkpoint is not None:
            done = int(json.loads((job.checkpoint / _STATE).read_text(encoding="utf-8"))["step"])
        for step in range(done + 1, table.steps + 1):
            reported = {name: float(curve[min(step, len(curve)) - 1]) for name, curve in curves.items()}
            yield Progress(reported, step=step, save=_saver(step), data={"row": row}, seconds=seconds)

    def scores(self, config: Mapping[str, Any]) -> Mapping[str, float]:
        """Training-free scores of a nested configuration; NaN where the table's cell is.

        Raises:
            LookupError: if the table has no row for it.
        """
        row = self._find(config)
        return {name: float(values[row]) for name, values in self._table.training_free.items()}

    def finish(self, job: Job) -> Mapping[str, float]:
        row = self._find(job.config)
        return {name: float(np.nanmean(values[row])) for name, values in self._table.final.items()}

    def _find(self, nested: Mapping[str, Any]) -> int:
        """Row of a configuration.

        Raises:
            LookupError: if the table has none.
        """
        table = self._table
        if table.finder is not None:
            config = {name: _reach(nested, name) for name in self._keys}
            return table.finder.nearest(config) if self._nearest else table.finder.exact(config)
        row = int(_reach(nested, self._row or ""))
        size = len(next(iter(table.columns.values())))
        if not 0 <= row < size:
            raise LookupError(f"row {row} is not in {self._path.name}, which has rows 0 to {size - 1}.")
        return row

    def _values(self, cell: np.ndarray, job: Job) -> np.ndarray:
        """(steps,) of one metric of one row."""
        values = np.atleast_1d(cell)
        if self._second == "steps":
            return values
        measured = values[~np.isnan(values)]
        if not len(measured):
            return values[:1]
        if self._second == "mean":
            return np.array([measured.mean()])
        drawn = int(derive_rng(job.seed, "repeat").integers(len(measured)))
        return np.array([measured[drawn]])


@dataclass(frozen=True)
class _Table:
    """The columns in use: each (rows,) or (rows, steps)."""

    columns: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    training_free: dict[str, np.ndarray]
    cost: np.ndarray | None
    finder: "_Finder | None"
    steps: int


class _Finder:
    """From a configuration to its row."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], keys: Mapping[str, Key], log: frozenset[str], path: Path
    ) -> None:
        self._path, self._log = path, log
        self._values = {
            name: _key_values(column(arrays, key.column, path), name, key) for name, key in keys.items()
        }
        if len({len(values) for values in self._values.values()}) != 1:
            raise OptionError(f"{path.name}: the key columns differ in length.", "keys")

    @cached_property
    def _rows(self) -> dict[tuple[Any, ...], int]:
        found: dict[tuple[Any, ...], int] = {}
        for row, values in enumerate(zip(*self._values.values(), strict=True)):
            found.setdefault(values, row)
        return found

    def exact(self, config: Mapping[str, Any]) -> int:
        row = self._rows.get(tuple(config[name] for name in self._values))
        if row is None:
            raise LookupError(f"{self._path.name} has no row for {dict(config)}.")
        return row

    @cached_property
    def _scaled(self) -> dict[str, tuple[np.ndarray, float, float]]:
        """For each numeric key: values in [0, 1], and the offset and width that scale a new one."""
        scaled = {}
        for name, values in self._values.items():
            if all(isinstance(value, int | float) for value in values):
                raw = np.array(values, dtype=float)
                raw = np.log(raw) if name in self._log else raw
                low, width = float(raw.min()), float(np.ptp(raw)) or 1.0
                scaled[name] = ((raw - low) / width, low, width)
        return scaled

    def nearest(self, config: Mapping[str, Any]) -> int:
        distance = np.zeros(len(next(iter(self._values.values()))))
        for name, values in self._values.items():
            if name in self._scaled:
                known, low, width = self._scaled[name]
                value = np.log(config[name]) if name in self._log else config[name]
                distance += (known - (value - low) / width) ** 2
            else:
                distance += np.array([value != config[name] for value in values], dtype=float)
        return int(distance.argmin())


def column(arrays: Mapping[str, np.ndarray], text: str, path: Path) -> np.ndarray:
    """(rows,) or (rows, further) array that a column text such as `curves[2, :, 1]` names.

    Raises:
        OptionError: if the file has no such array, or the index leaves other than one or two axes.
    """
    match = _COLUMN.fullmatch(text.strip())
    name = match["name"] if match else text
    if match is None or name not in arrays:
        raise OptionError(f"{path.name} has no column {name!r}. It has: {', '.join(arrays)}.", "metrics")
    array = arrays[name]
    index = [part.strip() for part in match["index"].split(",")] if match["index"] else []
    if any(part != ":" and not part.lstrip("-").isdigit() for part in index) or len(index) > array.ndim:
        raise OptionError(
            f"column {text!r}: write the index as numbers and `:`, at most {array.ndim}.", "metrics"
        )
    try:
        chosen: np.ndarray = array[tuple(slice(None) if part == ":" else int(part) for part in index)]
    except IndexError as error:
        raise OptionError(f"column {text!r} of {path.name}: {error}", "metrics") from error
    if chosen.ndim not in (1, 2):
        raise OptionError(
            f"column {text!r} of {path.name} has shape {chosen.shape}: an index must leave rows and at most one axis "
            f"more of {array.shape}.",
            "metrics",
        )
    return chosen


def _key_values(array: np.ndarray, name: str, key: Key) -> list[Any]:
    """A key's value in each row, as Python values that compare equal to a configuration's."""
    if array.ndim != 1:
        raise OptionError(
            f"keys.{name}: {key.column!r} must be one value a row, has shape {array.shape}.", "keys"
        )
    if key.values is None:
        found: list[Any] = array.tolist()
        return found
    try:
        return [key.values[position] for position in array.tolist()]
    except (IndexError, TypeError) as error:
        raise OptionError(
            f"keys.{name}: {key.column!r} holds positions beyond the {len(key.values)} values.", "keys"
        ) from error


def _locate(file: str, data_dir: Path | None) -> Path:
    path = Path(file).expanduser()
    if not path.is_absolute():
        if data_dir is None:
            raise OptionError(
                f"{file} is relative to `data_dir`, which is not set. Set it, or $AUTOSEARCH_DATA.", "file"
            )
        path = data_dir / path
    if not path.is_file():
        raise OptionError(f"there is no file {path}. Put it there, or change `file` or `data_dir`.", "file")
    if not path.name.endswith((".npz", ".csv", ".csv.gz")):
        raise OptionError(f"{path.name} must end in .npz, .csv or .csv.gz.", "file")
    return path


@lru_cache(maxsize=4)
def _read(path: Path, modified: int) -> dict[str, np.ndarray]:  # noqa: ARG001 - a changed file is read again
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        opener: Any = gzip.open if path.suffix == ".gz" else Path.open
        # Spreadsheets put a mark in front of UTF-8, and many programs a blank line behind the last row.
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
        return _columns(rows)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} cannot be read: {error}", "file") from error


def _columns(rows: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """The columns below a header.

    Raises:
        ValueError: if there are none, or they are not told apart.
    """
    if len(rows) < 2:
        raise ValueError("it needs a header and at least one row.")
    header = rows[0]
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}.")
    if len(set(header)) < len(header):
        raise ValueError("two columns have the same name.")
    return {name: _typed([row[i] for row in rows[1:]]) for i, name in enumerate(header)}


def _typed(cells: Sequence[str]) -> np.ndarray:
    """Integers where all cells are, else floats (an empty cell is NaN), else texts."""
    for kind, texts in ((int, list(cells)), (float, [cell or "nan" for cell in cells])):
        try:
            return np.array([kind(text) for text in texts])
        except ValueError:
            continue
    return np.array(cells)


def _reach(config: Mapping[str, Any], name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = value[part]
    return value


def _saver(step: int) -> Any:
    def save(folder: Path) -> None:
        (folder / _STATE).write_text(json.dumps({"step": step}), encoding="utf-8")

    return save
