"""What a source delivers for the days asked for: relations DuckDB can scan, and what cannot be read.

Nothing is judged or stored here; `contract.py` says what rows must look like. Files are read where they lie (`files.py`). The
rows of a query or a function are streamed into temporary tables first, because they are read more than once.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import duckdb

from monitoring_assets.errors import MonitoringError, SourceUnreadable
from monitoring_assets.ingestion.copies import Copies
from monitoring_assets.ingestion.files import (
    SOURCE_FILE,
    Contents,
    Layout,
    absence,
    contents_of,
    error_text,
    is_local,
    lacking,
    line_by_line,
    literal,
    staged_name,
)
from monitoring_assets.ingestion.postgres import Database, QueryFailed
from monitoring_assets.ingestion.present_files import paths_by_day
from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.monitor_spec.sources import FORMATS
from monitoring_assets.user_functions import load_function
from monitoring_assets.warehouse import quoted, transaction

if TYPE_CHECKING:
    import pyarrow as pa


class DayReader(Protocol):
    """The function that `reader` in the YAML names: it returns one day's rows, wherever they come from.

    It gives an Arrow table or record batch reader (which is streamed), a pandas or polars frame or whatever else has
    `__arrow_c_stream__`, the path of a file or a list of them, or None where nothing has come yet. `options` is what the YAML
    says. An error it raises is noted for its day, whose stored rows stay; a `TransientError` is tried again.
    """

    def __call__(self, day: date, options: Mapping[str, Any], /) -> Any: ...


@dataclass(frozen=True)
class Reading:
    """Rows with the same columns and types.

    `files` maps each path, or name of a day's result, to the partition it was delivered for, None for a glob; `others` to its
    columns that nobody asked for.
    """

    layout: Layout
    files: dict[str, date | None]
    others: dict[str, tuple[str, ...]]

    @property
    def columns(self) -> dict[str, str]:
        return self.layout.types

    @property
    def relation(self) -> str:
        """All rows, with the column `SOURCE_FILE`, and `LINE` and `FAULT` where the layout has lines."""
        return self.layout.scan(list(self.files))


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be read, the partition it was delivered for (None for a glob), and why."""

    file: str
    day: date | None
    reason: str
    is_absent: bool = False


def prepare(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> None:
    """The settings every reading relies on: the monitor's time zone, a TRY_CAST that gives NULL, no automatic downloads.

    DuckDB 2.0 moves casts into the CSV reader, where a TRY_CAST that fails is an error (github.com/duckdb/duckdb/issues/23818).
    """
    connection.execute(f"SET TimeZone = '{spec.time_zone}'")
    connection.execute("SET disabled_optimizers = 'type_pushdown'")
    connection.execute("SET autoinstall_known_extensions = false")


def find_readings(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    source: Source,
    days: Sequence[date],
    types: Mapping[str, str],
    folder: Path,
    optional: Collection[str] = (),
) -> tuple[list[Reading], list[Unreadable]]:
    """The sources of these days, grouped by layout, and those that cannot be used.

    `types` are the columns asked for with the types wanted. A file is unusable when it is absent, not what its name says, or
    lacks one of them that is not `optional`. Objects of a store are copied into the folder, where the readings read them.

    Raises
    ------
    SourceUnreadable
        Where the source as a whole cannot be had: a setting is wrong, a package or an environment variable is missing.
    SourceUnavailable
        Where a database does not answer.
    StorageRefused, StorageUnavailable, ObjectGone
        Where an object store cannot be listed or does not answer, or has lost an object since it was listed.
    """
    found = _Found(connection, types, optional, Copies(folder))
    _drop_staged(connection)
    if source.path is None:
        with _reading_days(spec, source) as read:
            for day in days:
                found.add_day(day, f"{_name(source)} ({day})", read)
    else:
        listed = paths_by_day(connection, spec, source, days)
        found.copies.fetch(listed.objects)
        for a_day, list_paths in listed.by_day.items():
            found.add_paths(a_day, list_paths, spec.resolve(source.path, a_day))
    readings = [Reading(layout, files, found.others) for layout, files in found.files.items()]
    return readings, found.unreadable


def without_damaged(connection: duckdb.DuckDBPyConnection, readings: Sequence[Reading]) -> tuple[list[Reading], list[Unreadable]]:
    """The readings without files whose data, not only their header, is damaged; and those files.

    A text file that DuckDB refuses is read line by line; its broken lines are then rows with a fault. Every file is read alone,
    so call it only after a scan has failed.
    """
    kept: dict[Layout, dict[str, date | None]] = {}
    others: dict[str, tuple[str, ...]] = {}
    damaged = []
    for reading in readings:
        others |= reading.others
        for path, day in reading.files.items():
            layout = _sound_layout(connection, reading.layout, path)
            if isinstance(layout, Layout):
                kept.setdefault(layout, {})[path] = day
            else:
                damaged.append(Unreadable(path, day, f"cannot be read: {layout}"))
    return [Reading(layout, files, others) for layout, files in kept.items()], damaged


@dataclass
class _Found:
    """The findings so far: files by layout, their other columns, and what cannot be read."""

    connection: duckdb.DuckDBPyConnection
    types: Mapping[str, str]
    optional: Collection[str]
    copies: Copies
    files: dict[Layout, dict[str, date | None]] = field(default_factory=dict)
    others: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    _tables: dict[str, Layout] = field(default_factory=dict)

    def add_paths(self, day: date | None, list_paths: Callable[[], Sequence[str]], shown: str) -> None:
        try:
            paths = list_paths()
        except duckdb.Error as error:
            self.unreadable.append(Unreadable(shown, day, f"cannot be read: {error_text(error)}"))
            return
        self.copies.fetch_where_present(paths)
        for path in paths:
            contents = contents_of(self.connection, path, self.types, self.optional, self.copies)
            self._add(path, day, contents, is_absent=contents == absence(path))

    def add_day(self, day: date, name: str, read: Callable[[date], Any]) -> None:
        """Add the rows a query or a function gives for one day."""
        try:
            given = read(day)
            paths = _as_paths(given)
            if paths is not None:
                self.add_paths(day, lambda: paths, name)
            elif given is None:
                self._add(name, day, "nothing has come yet", is_absent=True)
            else:
                self._add(name, day, self._staged(name, _as_stream(given)))
        except MonitoringError:
            raise
        except QueryFailed as error:
            self._add(name, day, str(error))
        except Exception as error:  # a user's function may raise anything; the day keeps its rows and says why
            self._add(name, day, f"cannot be read: {_error_with_place(error)}")

    def _add(self, name: str, day: date | None, contents: Contents | str, is_absent: bool = False) -> None:
        if isinstance(contents, str):
            self.unreadable.append(Unreadable(name, day, contents, is_absent))
        else:
            self.files.setdefault(contents.layout, {})[name] = day
            self.others[name] = contents.others

    def _staged(self, name: str, stream: "pa.RecordBatchReader") -> Contents | str:
        """Stream one day's rows into a temporary table, shared by all days with the same columns and types."""
        missing = lacking(stream.schema.names, self.types, self.optional, "the result")
        if missing:
            return missing
        failures: list[Exception] = []
        key = str(stream.schema.remove_metadata())
        table = self._tables[key].table if key in self._tables else staged_name(self.connection)
        put = f"INSERT INTO {quoted(str(table))}" if key in self._tables else f"CREATE TEMP TABLE {quoted(str(table))} AS"
        self.connection.register("arriving", _guarded(stream, failures))
        try:
            with transaction(self.connection):
                self.connection.execute(f"{put} SELECT *, {literal(name)} AS {SOURCE_FILE} FROM arriving")
        except duckdb.Error:
            if failures:
                raise failures[0] from None
            raise
        finally:
            self.connection.unregister("arriving")
        if key not in self._tables:
            described = self.connection.execute(f"DESCRIBE {quoted(str(table))}").fetchall()
            columns = tuple((row[0], row[1]) for row in described if row[0] != SOURCE_FILE)
            self._tables[key] = Layout("arrow", columns, table=table)
        layout = self._tables[key]
        return Contents(layout, tuple(column for column, _ in layout.columns if column not in self.types))


def _sound_layout(connection: duckdb.DuckDBPyConnection, layout: Layout, path: str) -> Layout | str:
    """The layout under which a file can be read to its end, or why there is none."""
    try:
        connection.execute(f"SELECT bit_xor(hash(t)) FROM {layout.scan([path])} t").fetchall()
        return layout
    except duckdb.Error as error:
        place = layout.copies.place(path) if layout.copies else path
        if layout.format not in {"csv", "jsonl"} or layout.table is not None or not is_local(place):
            return error_text(error).replace(place, path)
    try:
        return line_by_line(connection, layout, path, staged_name(connection))
    except Exception as error:  # gzip and zlib have errors of their own
        return error_text(error).replace(place, path)


def _drop_staged(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop the tables that an earlier reading left on this connection."""
    for (table,) in connection.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall():
        if table.startswith("__staged_"):
            connection.execute(f"DROP TABLE {quoted(table)}")


def _name(source: Source) -> str:
    """The quarantine's name for a source that is no file: a database goes by its environment variable, for its address is a
    secret."""
    return f"query on {source.uri_env}" if source.sql else str(source.reader)


@contextmanager
def _reading_days(spec: MonitorSpec, source: Source) -> Iterator[Callable[[date], Any]]:
    if source.sql is not None:
        with Database.opened(str(source.uri_env), spec.time_zone) as database:
            yield partial(database.rows_of, source.sql)
    else:
        read = load_reader(str(source.reader))
        yield lambda day: read(day, source.options)


def load_reader(dotted_path: str) -> DayReader:
    """The function a dotted path names; SourceUnreadable where there is none."""
    return cast(DayReader, load_function(dotted_path, "reader", "(day, options) -> rows", SourceUnreadable))


def _as_paths(given: Any) -> list[str] | None:
    """The paths of files a reader gave, None where it gave something else."""
    if isinstance(given, (str, Path)):
        given = [given]
    if not isinstance(given, (list, tuple)) or not all(isinstance(path, (str, Path)) for path in given):
        return None
    for path in given:
        if not str(path).endswith(FORMATS):
            raise ValueError(f"the path {str(path)!r} ends in none of {', '.join(FORMATS)}")
    return [str(path) for path in given]


def _as_stream(given: Any) -> "pa.RecordBatchReader":
    """Rows of any kind as a stream of Arrow batches."""
    import pyarrow as pa

    if type(given).__module__.partition(".")[0] == "pandas":
        return _frame_as_table(given).to_reader()
    if isinstance(given, pa.RecordBatchReader):
        return given  # through another stream its errors would lose their class and place
    if isinstance(given, pa.RecordBatch):
        given = pa.Table.from_batches([given])
    if not hasattr(given, "__arrow_c_stream__"):
        raise TypeError(
            f"expected an Arrow table or record batch reader, a pandas or polars frame, paths of files or None, "
            f"found {type(given).__name__}"
        )
    return pa.RecordBatchReader.from_stream(given)


def _frame_as_table(frame: Any) -> "pa.Table":
    """A pandas frame as Arrow. A column of mixed types becomes text, so that a wrong value costs its row, not the day."""
    import pandas as pd
    import pyarrow as pa

    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"expected a pandas DataFrame, found a {type(frame).__name__}")
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    for place, name in enumerate(frame.columns):
        values = frame.iloc[:, place]
        try:
            columns[str(name)] = pa.array(values, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            texts = [None if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]
            columns[str(name)] = pa.array(texts, pa.string())
    return pa.table(columns)


def _guarded(stream: "pa.RecordBatchReader", failures: list[Exception]) -> "pa.RecordBatchReader":
    """The same stream; an error that ends it is kept, to be raised again: DuckDB keeps only the text."""
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from stream
        except Exception as error:
            failures.append(error)
            raise

    return pa.RecordBatchReader.from_batches(stream.schema, batches())


def _error_with_place(error: Exception) -> str:
    """An error of the user's code in words: its class, its first line, and where in their file it was raised."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.parent != Path(__file__).parent and "site-packages" not in file.parts:
            place = f" ({file.name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error_text(error)}{place}"
