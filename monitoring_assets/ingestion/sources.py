"""Where delivered rows lie: which files hold the days asked for, and whether they can be read.

Nothing is judged or stored here. A reading is a relation DuckDB can scan; what its rows must look like is `contract.py`'s.
"""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from monitoring_assets.monitor_spec import MonitorSpec, Source

# The column in which a scan tells the file of each row.
SOURCE_FILE = "__source_file"

# What may separate the values of a CSV file: the first under which the header holds every column needed.
DELIMITERS = (",", ";", "\t", "|")
# To learn the header of a CSV file costs 4 ms so, and 13 ms with DuckDB's own types and buffer.
HEADER_ONLY = "all_varchar = true, auto_type_candidates = ['VARCHAR'], buffer_size = 2100000"


@dataclass(frozen=True)
class Reading:
    """Files with the same columns and types. `files` maps each path to the partition it was delivered for, None for a glob.

    `delimiter` separates the values of CSV files, and is None for Parquet.
    """

    columns: dict[str, str]
    files: dict[str, date | None]
    delimiter: str | None = None

    @property
    def relation(self) -> str:
        """All files as one table function, with the column `SOURCE_FILE`."""
        return scan_sql(list(self.files), self.columns, self.delimiter)


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be read, the partition it was delivered for (None for a glob), and why."""

    file: str
    day: date | None
    reason: str
    is_absent: bool = False


@dataclass(frozen=True)
class _Layout:
    columns: dict[str, str]
    delimiter: str | None


def prepare(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> None:
    """Set what every reading relies on: the zone of the monitor, and TRY_CAST that gives NULL.

    DuckDB 2.0 moves casts into the CSV reader, where a TRY_CAST that fails is an error (github.com/duckdb/duckdb/issues/23818).
    """
    connection.execute(f"SET TimeZone = '{spec.time_zone}'")
    connection.execute("SET disabled_optimizers = 'type_pushdown'")


def find_readings(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    source: Source,
    days: Sequence[date],
    needed: Sequence[str],
) -> tuple[list[Reading], list[Unreadable]]:
    """The files that hold these days, grouped by layout, and those that cannot be used.

    A file is unusable when it is absent, not what its name says, or lacks a needed column.
    """
    groups: dict[tuple[object, ...], dict[str, date | None]] = {}
    unreadable: list[Unreadable] = []
    for day in days if source.is_per_day else [None]:
        for path in _paths(spec, source, day):
            layout = _layout(connection, path, needed)
            if isinstance(layout, str):
                unreadable.append(Unreadable(path, day, layout, is_absent=layout == _absence(path)))
            else:
                groups.setdefault((layout.delimiter, *layout.columns.items()), {})[path] = day
    readings = [Reading(dict(columns), files, delimiter) for (delimiter, *columns), files in groups.items()]  # type: ignore[arg-type]
    return readings, unreadable


def without_damaged(connection: duckdb.DuckDBPyConnection, readings: Sequence[Reading]) -> tuple[list[Reading], list[Unreadable]]:
    """The readings without files whose data, not only their header, is damaged; and those files.

    It reads every file alone, so call it only after a scan has failed.
    """
    kept, damaged = [], []
    for reading in readings:
        sound = {}
        for path, day in reading.files.items():
            try:
                scan = scan_sql([path], reading.columns, reading.delimiter)
                connection.execute(f"SELECT bit_xor(hash(t)) FROM {scan} t").fetchall()
                sound[path] = day
            except duckdb.Error as error:
                damaged.append(Unreadable(path, day, f"cannot be read: {told(error)}"))
        if sound:
            kept.append(Reading(reading.columns, sound, reading.delimiter))
    return kept, damaged


def scan_sql(files: Sequence[str], columns: dict[str, str], delimiter: str | None) -> str:
    """A table function that reads files of one layout. CSV stays text: the contract says what it means."""
    if delimiter is None:
        return f"read_parquet({listed(files)}, filename = '{SOURCE_FILE}', hive_types_autocast = false)"
    declared = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in columns)
    return f"read_csv({listed(files)}, {csv_dialect(delimiter)}, auto_detect = false, columns = {{{declared}}})"


def told(error: Exception) -> str:
    """What DuckDB says went wrong, without its advice: the first line, and for CSV the line of the file."""
    lines = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in str(error).splitlines()]
    kept = [line for line in lines[1:] if line.startswith(("Original Line", "Expected Number", "Value when"))]
    return "; ".join([lines[0], *kept])[:500] if lines else type(error).__name__


def csv_dialect(delimiter: str) -> str:
    """RFC 4180. DuckDB's sniffer would leave out lines that start with # and, to make a file fit, its first or last lines."""
    return (
        f"header = true, delim = {_literal(delimiter)}, quote = '\"', escape = '\"', comment = '', skip = 0, "
        f"null_padding = false, strict_mode = true, hive_partitioning = false, filename = '{SOURCE_FILE}'"
    )


def _paths(spec: MonitorSpec, source: Source, day: date | None) -> list[str]:
    """The files of a day, or of the whole source; the pattern itself where none is there."""
    path = spec.resolve(source.path, day)
    if Path(path).exists() or "://" in path or not glob.has_magic(source.path):
        return [path]
    # Only what the user wrote is a pattern: a data folder may well be called `prod [eu]`.
    pattern = path if path == source.path else path.replace(*_escaped_home(spec), 1)
    return sorted(glob.glob(pattern, recursive=True)) or [path]


def _escaped_home(spec: MonitorSpec) -> tuple[str, str]:
    home = spec.resolve("")
    return home, glob.escape(home)


def _absence(path: str) -> str:
    return f"no file at {path}"


def _layout(connection: duckdb.DuckDBPyConnection, path: str, needed: Sequence[str]) -> _Layout | str:
    """The columns of a file, or why it cannot be used."""
    if "://" not in path and not Path(path).exists():
        return _absence(path)
    if "://" not in path and Path(path).stat().st_size == 0:
        return "the file is empty (0 bytes)"
    reasons = []
    for delimiter in DELIMITERS if ".csv" in path[-7:] else (None,):
        scan = (
            scan_sql([path], {}, None)
            if delimiter is None
            else f"read_csv({listed([path])}, {csv_dialect(delimiter)}, {HEADER_ONLY})"
        )
        try:
            described = connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()
        except duckdb.Error as error:
            reasons.append(f"cannot be read: {told(error)}")
            continue
        columns = {row[0]: row[1] for row in described if row[0] != SOURCE_FILE}
        missing = [name for name in needed if name not in columns]
        if not missing:
            return _Layout(columns, delimiter)
        reasons.append(
            f"column {', '.join(map(repr, missing))} is not in the file; it has {', '.join(map(repr, columns))}"[:1000]
        )
    return reasons[0]


def listed(files: Sequence[str]) -> str:
    return "[" + ", ".join(map(_literal, files)) + "]"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
