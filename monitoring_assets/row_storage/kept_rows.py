"""A warehouse whose rows of `inference_log` and `quarantine` are kept elsewhere, as `rows` of the monitor says.

Readers see them as relations under the names that `sql_text.table` gives, of the days that the operation declares. A day's file
is stored first and recorded in the transaction that stores the day's account; what it replaces is deleted after that transaction.
So whenever a run is killed, the recorded files are those of one state, whole.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb

from monitoring_assets.errors import MonitoringError
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.row_storage.row_files import ORPHAN_SECONDS, RowFiles
from monitoring_assets.sql_text import ROWS_ELSEWHERE, literal, on_days, quoted, stored_table, table
from monitoring_assets.warehouse import EVERYTHING, AnyWarehouse, Scope

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
# Rows of a file that are read and written at once.
ROW_GROUP_ROWS = 20_480
ARRIVED = "__rows_to_keep"
# More files than that are read into a temporary table, if they are small together; else every query opens each of them.
MANY_FILES, SMALL_BYTES = 8, 64 << 20


def with_rows(warehouse: AnyWarehouse, spec: MonitorSpec) -> AnyWarehouse:
    """The warehouse as the monitor uses it. The spec must be located, for the rows may be in a folder."""
    return warehouse if spec.rows is None else WarehouseOfKeptRows(warehouse, spec)


@dataclass(frozen=True)
class WarehouseOfKeptRows:
    """A warehouse of results, and the rows of one monitor beside it."""

    results: AnyWarehouse
    spec: MonitorSpec

    @contextmanager
    def connect(self, scope: Scope = EVERYTHING) -> Iterator["KeptRows"]:
        """A connection as the warehouse gives it, on which the monitor's rows are there too.

        Raises
        ------
        StorageRefused, StorageUnavailable, ObjectGone
            When the rows cannot be read or stored, once something asks for them.
        """
        with TemporaryDirectory(prefix="monitoring-assets-") as folder, self.results.connect(scope) as connection:
            days = None if scope.rows is None or scope.monitor != self.spec.name else frozenset(scope.rows)
            yield KeptRows(connection, self.spec, days, Path(folder))

    def identity(self, connection: "KeptRows", monitor: str) -> tuple[object, ...]:
        return self.results.identity(connection.inner, monitor)

    def make_ready(self, connection: "KeptRows", spec: MonitorSpec) -> list[str]:
        return self.results.make_ready(connection.inner, spec)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> "pd.DataFrame":
        with self.connect() as connection:
            found: pd.DataFrame = connection.execute(sql, parameters).df()
            return found


class KeptRows:
    """Used like a DuckDB connection. Rows are fetched when a statement first names their relation."""

    def __init__(self, inner: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: frozenset[date] | None, folder: Path) -> None:
        self.inner, self.spec = inner, spec
        self._days, self._folder, self._files = days, folder, RowFiles.of(spec)
        self._reads_all = days is None
        self._places: dict[str, Path] = {}
        self._shown: set[str] = set()
        self._superseded: list[str] = []
        self._added: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def execute(self, sql: str, parameters: Any = None) -> Any:
        self._have(sql)
        result = self.inner.execute(sql, parameters)
        if sql == "COMMIT":
            self._tidy(self._superseded)
        elif sql == "ROLLBACK":
            self._tidy(self._added)
            self._shown.clear()
        return result

    def executemany(self, sql: str, parameters: Any = None) -> Any:
        self._have(sql)
        return self.inner.executemany(sql, parameters)

    def sql(self, query: str, **options: Any) -> Any:
        self._have(query)
        return self.inner.sql(query, **options)

    def include_rows(self, monitor: str, days: Sequence[date]) -> None:
        """Have the rows of these days too, where the scope left them out."""
        if self._days is not None and not self._days.issuperset(days):
            self._days |= frozenset(days)
            self._shown.clear()
        if hasattr(self.inner, "include_rows"):
            self.inner.include_rows(monitor, days)

    def narrow(self, days: Sequence[date]) -> None:
        """Where the scope was all rows, read only those of the days named in this way."""
        if self._reads_all and not (self._days is not None and self._days.issuperset(days)):
            self._days = frozenset(days) | (self._days or frozenset())
            self._shown.clear()

    def keeps(self, target: str) -> bool:
        """Whether a relation is of rows that are kept elsewhere."""
        return target in {table(self.spec, name) for name in ROWS_ELSEWHERE}

    def replace_rows(self, target: str, days: Sequence[date], rows_sql: str, where: str) -> None:
        """As `warehouse.replace_days`: store the rows of a query as the files of their days."""
        name = self._name_of(target)
        asset = (re.search(r"asset = '(\w+)'", where) or ["", name])[1]
        if self._days is not None:
            self._days |= frozenset(days)
        self._forget(name, days, f"asset = '{asset}'", where)
        self._have(rows_sql)
        files = self._written(name, asset, days, rows_sql)
        self._files.add([(file, path) for path, (_, file, _) in files.items()])
        self._added += files
        self._places |= {path: file for path, (_, file, _) in files.items()}
        columns = json.dumps({column: column for column, _ in self._columns_of(name)}, ensure_ascii=False)
        rows = [(day, name, asset, path, count, file.stat().st_size, columns) for path, (day, file, count) in files.items()]
        if rows:
            values = "?::DATE AS day, ? AS table_name, ? AS asset, ? AS path, ? AS row_count, ? AS size_bytes, ? AS file_columns"
            self.inner.executemany(f"INSERT INTO {table(self.spec, 'row_files')} BY NAME SELECT {values}", rows)
        self._show(name, is_read_once=True)

    def delete_rows(self, target: str, days: Sequence[date]) -> int:
        """Delete all rows of these days, and say how many there were. Call it inside a transaction."""
        name = self._name_of(target)
        deleted = self._forget(name, days, "true", "true")
        self._shown.discard(name)
        return deleted

    def _forget(self, name: str, days: Sequence[date], of_files: str, of_rows: str) -> int:
        """Take the records of files away, and rows that were stored before the monitor kept its rows elsewhere."""
        record, among = table(self.spec, "row_files"), f"table_name = '{name}' AND {of_files} AND {on_days(days)}"
        found = self.inner.execute(f"SELECT path, row_count FROM {record} WHERE {among}").fetchall()
        self.inner.execute(f"DELETE FROM {record} WHERE {among}")
        stored = f"{stored_table(self.spec, name)} WHERE {on_days(days)} AND {of_rows}"
        ((held,),) = self.inner.execute(f"SELECT count(*) FROM {stored}").fetchall()
        self.inner.execute(f"DELETE FROM {stored}")
        self._superseded += [path for path, _ in found]
        return sum(count for _, count in found) + held

    def _written(self, name: str, asset: str, days: Sequence[date], rows_sql: str) -> dict[str, tuple[date, Path, int]]:
        """The rows of a query as files of this machine: the path each is to have -> (day, file, rows)."""
        one = len(days) == 1
        if not one:
            self.inner.execute(f"CREATE OR REPLACE TEMP TABLE {ARRIVED} AS {rows_sql}")
        declared = ", ".join(f"NULL::{kind} AS {quoted(column)}" for column, kind in self._columns_of(name))
        found = {}
        for day in days:
            rows = rows_sql if one else f"FROM {ARRIVED} WHERE day = DATE '{day}'"
            path = self._files.new_path(name, asset, day)
            file = self._folder / path.replace("/", "-")
            every_column = f"SELECT * FROM (SELECT {declared} LIMIT 0) UNION ALL BY NAME SELECT * FROM ({rows})"
            ((count,),) = self.inner.execute(
                f"COPY ({every_column}) TO {literal(str(file))} "
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
            ).fetchall()
            if count:
                found[path] = (day, file, count)
        if not one:
            self.inner.execute(f"DROP TABLE {ARRIVED}")
        return found

    def _name_of(self, target: str) -> str:
        return next(name for name in ROWS_ELSEWHERE if table(self.spec, name) == target)

    def _have(self, sql: str) -> None:
        for name in ROWS_ELSEWHERE:
            if name not in self._shown and table(self.spec, name) in sql:
                self._show(name)

    def _show(self, name: str, is_read_once: bool = False) -> None:
        """Make the relation anew: the recorded files of the days asked for, and what the warehouse itself has.

        Many small files are read into a table, unless they are read once.
        """
        among = "true" if self._days is None else on_days(sorted(self._days))
        record = f"{table(self.spec, 'row_files')} WHERE table_name = '{name}' AND {among}"
        recorded = self.inner.execute(f"SELECT path, file_columns, size_bytes FROM {record} ORDER BY day, asset").fetchall()
        self._places |= self._files.places([path for path, _, _ in recorded], self._folder, self._places)
        by_columns: dict[str, list[str]] = {}
        for path, columns, _ in recorded:
            by_columns.setdefault(columns, []).append(str(self._places[path]))
        today = self._columns_of(name)
        parts = []
        for columns, places in by_columns.items():
            written = json.loads(columns)
            held = {column: quoted(written[column]) if column in written else "NULL" for column, _ in today}
            values = ", ".join(f"{held[column]}::{kind} AS {quoted(column)}" for column, kind in today)
            listed = ", ".join(map(literal, places))
            parts.append(f"SELECT {values} FROM read_parquet([{listed}], hive_partitioning = false)")
        if not is_read_once and len(recorded) > MANY_FILES and sum(size for _, _, size in recorded) < SMALL_BYTES:
            gathered = quoted(f"__files of {name}")
            self.inner.execute(f"CREATE OR REPLACE TEMP TABLE {gathered} AS {' UNION ALL '.join(parts)}")
            parts = [f"FROM {gathered}"]
        parts.append(f"SELECT {', '.join(quoted(column) for column, _ in today)} FROM {stored_table(self.spec, name)}")
        self.inner.execute(f"CREATE OR REPLACE TEMP VIEW {table(self.spec, name)} AS {' UNION ALL '.join(parts)}")
        self._shown.add(name)

    def _columns_of(self, name: str) -> list[tuple[str, str]]:
        """The columns of the table as they are today, which has the shape of the rows wherever they are."""
        described = self.inner.execute(f"DESCRIBE {stored_table(self.spec, name)}").fetchall()
        return [(row[0], row[1]) for row in described]

    def _tidy(self, paths: list[str]) -> None:
        """Delete files that no record names any more, or none ever did. What cannot be is left for a compaction."""
        try:
            self._files.remove(paths)
        except MonitoringError as error:
            _LOG.warning(f"{self.spec.name}: files of rows that were replaced are left for `monitoring-assets compact`: {error}")
        self._superseded, self._added = [], []


def read_rows_of(connection: duckdb.DuckDBPyConnection, days: Sequence[date]) -> None:
    """Say of which days rows are about to be read, where the scope of the connection was all of them: files of others stay where
    they are. Once it was said, every reader on the connection has to."""
    if isinstance(connection, KeptRows):
        connection.narrow(days)


def remove_orphans(connection: KeptRows, older_than: float = ORPHAN_SECONDS) -> int:
    """Delete the files that killed runs left behind, and say how many there were."""
    files = RowFiles.of(connection.spec)
    recorded = connection.inner.execute(f"SELECT path FROM {table(connection.spec, 'row_files')}").fetchall()
    orphans = files.orphans({path for (path,) in recorded}, older_than)
    files.remove(orphans)
    return len(orphans)
