"""The DuckDB warehouse: one file, one schema per monitor, declared tables, a day replaced in one transaction.

Connections are short, because a DuckDB writer blocks every other process. `warehouse_tables.py` says what the tables are.
Nothing here knows statistics, sources or Dagster.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import duckdb
import tenacity

from monitoring_assets.errors import WarehouseLocked, WarehouseMismatch, WarehouseUnusable
from monitoring_assets.feature_changes import change_features, record_changes
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import days_accepted, literal, quoted, stored_table, table
from monitoring_assets.warehouse_tables import EARLIER_ROWS, UPGRADES, VERSION, VERSION_TABLE, tables_of
from monitoring_assets.warehouse_version import note_version, stored_version

if TYPE_CHECKING:
    import pandas as pd

LOG = logging.getLogger(__name__)

# How long a connection waits for a file that another process holds, and how often it says so meanwhile.
LOCK_PATIENCE_SECONDS, REPORTED_EVERY_SECONDS = 60.0, 10.0
# What DuckDB says when another process has the file, on POSIX and on Windows. "lock" alone would match "block" as well.
LOCK_MESSAGES = ("Could not set lock", "Conflicting lock", "being used by another process", "Unique file handle conflict")

# What DuckDB says of a file whose content contradicts itself, wherever in the file that is.
DAMAGED = "Corrupt database file"
DAMAGE_MESSAGES = ("not a valid DuckDB database file", "Could not read enough bytes")

# How DuckDB itself spells types that are declared by a shorter name.
TYPE_NAMES = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}


# Tables with a row per prediction, label or refused row: what they hold of a day is read when the day is worked on.
ROW_TABLES = ("inference_log", "labels", "quarantine", "daily_sample")
# Tables with some rows per day that grow for ever.
RESULT_TABLES = (
    "daily_profile",
    "drift_scores",
    "drift_verdicts",
    "quality",
    "performance",
    "performance_counts",
    "serving",
)


@dataclass(frozen=True)
class Scope:
    """What an operation is about to do, so that a shared warehouse can prepare it; a file, which has everything, ignores it.

    `days` of the monitor are replaced, and nobody else may replace them meanwhile. Of the tables in `ROW_TABLES` only the days
    `rows` are read; None: all of them. Of those in `RESULT_TABLES` only days from `since` to `until` are read; None: all.
    Of `costs`, which every operation writes and only the report of them reads, only `days` are read where there are any.
    """

    monitor: str = ""
    days: tuple[date, ...] = ()
    rows: tuple[date, ...] | None = None
    since: date | None = None
    until: date | None = None

    def condition(self, monitor: str, name: str) -> str | None:
        """Which rows of a table are read, as SQL; None: all."""
        if monitor != self.monitor:
            return None
        if name in RESULT_TABLES:
            bounds = ((">=", self.since), ("<=", self.until))
            return " AND ".join(f"day {sign} DATE '{day}'" for sign, day in bounds if day is not None) or None
        if name == "costs":
            return _one_of(self.days) if self.days else None
        return _one_of(self.rows) if self.rows is not None and name in ROW_TABLES else None


def _one_of(days: Sequence[date]) -> str:
    listed = ", ".join(f"DATE '{day}'" for day in days)
    return f"day IN ({listed})" if days else "false"


EVERYTHING = Scope()


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All that happens inside succeeds, or nothing happened."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        # A failed ROLLBACK means that DuckDB has rolled back already; the error worth telling is the one that came first.
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@dataclass(frozen=True)
class Warehouse:
    """The warehouse file. Creating the object touches nothing; the file appears with the first connection.

    `report` is given a line every ten seconds while another process holds the file.
    """

    path: Path
    patience_seconds: float = LOCK_PATIENCE_SECONDS
    report: Callable[[str], None] = LOG.warning

    @contextmanager
    def connect(self, scope: Scope = EVERYTHING) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, closed at the end. Waits while another process holds the file.

        Raises
        ------
        WarehouseLocked
            When the file is still held after `patience_seconds`.
        WarehouseUnusable
            When the file is damaged or no warehouse, or its folder cannot be used.
        """
        connection = self.patiently(lambda: duckdb.connect(str(self.path)))
        try:
            connection.execute("SET enable_progress_bar = false")
            yield connection
        except duckdb.Error as error:
            if self._is_damage(error):
                raise self._unusable(error) from None
            raise
        finally:
            connection.close()

    def identity(self, connection: duckdb.DuckDBPyConnection, monitor: str) -> tuple[object, ...]:
        """What tells the file from any other, also from one that took its place."""
        return self.path, self.path.stat().st_ino

    def make_ready(self, connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> list[str]:
        """Make the monitor's tables, or bring them up to date, as `ensure_tables` says."""
        return ensure_tables(connection, spec)

    def patiently(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
        """What `connect` gives, tried again while another process holds the file.

        Raises
        ------
        WarehouseLocked, WarehouseUnusable
            As `connect` of the warehouse does.
        """
        self._make_folder()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_lock),
            wait=_pause,
            stop=tenacity.stop_after_delay(self.patience_seconds),
            before_sleep=self._reported_every(REPORTED_EVERY_SECONDS),
            reraise=True,
        )
        try:
            return retrying(self._of_the_file_there_now, connect)
        except duckdb.Error as error:
            if not _is_lock(error):
                raise self._unusable(error) from None
            raise WarehouseLocked(
                f"{self.path} has been held by another process for {self.patience_seconds:g} s: {str(error).splitlines()[0]} "
                "Close the program that has it open (a DuckDB shell, a notebook) and run this again."
            ) from None

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WarehouseUnusable(
                f"the data folder {self.path.parent} cannot be made: {error.strerror or error}. "
                "Set MONITORING_ASSETS_HOME to a folder in which this user may write."
            ) from None

    def _reported_every(self, seconds: float) -> Callable[[tenacity.RetryCallState], None]:
        """Called before each new try; says every so many seconds who holds the file."""
        begun = time.monotonic()
        reported = 0

        def report(state: tenacity.RetryCallState) -> None:
            nonlocal reported
            waited = time.monotonic() - begun
            if waited // seconds > reported:
                reported = int(waited // seconds)
                error = state.outcome.exception() if state.outcome else None
                progress = f"waited {waited:.0f} of at most {self.patience_seconds:g} s"
                self.report(f"{self.path} is held by {_holder(str(error))}; {progress}")

        return report

    def _is_damage(self, error: duckdb.Error) -> bool:
        """Whether it is this file that is damaged: other files are read on the same connection."""
        said = str(error)
        return DAMAGED in said or (str(self.path) in said and any(text in said for text in DAMAGE_MESSAGES))

    def _unusable(self, error: duckdb.Error) -> WarehouseUnusable:
        said = str(error).splitlines()[0]
        if self._is_damage(error):
            remedy = "Restore it from a backup, or move it away: days that are materialised again fill a new one."
        else:
            remedy = "Correct the file's permissions, or set MONITORING_ASSETS_HOME to another folder."
        return WarehouseUnusable(f"the warehouse {self.path} cannot be used: {said} {remedy}")

    def _of_the_file_there_now(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
        """Between opening a file and locking it, a compaction may have put another in its place."""
        before = self.path.stat().st_ino if self.path.exists() else None
        connection = connect()
        if before in (None, self.path.stat().st_ino):
            return connection
        connection.close()
        return self._of_the_file_there_now(connect)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> "pd.DataFrame":
        """The result of one query as a frame."""
        with self.connect() as connection:
            return connection.execute(sql, parameters).df()


class AnyWarehouse(Protocol):
    """What the file and the database have in common."""

    def connect(self, scope: Scope = EVERYTHING) -> AbstractContextManager[duckdb.DuckDBPyConnection]: ...

    def query(self, sql: str, parameters: Sequence[object] = ()) -> "pd.DataFrame": ...

    def identity(self, connection: duckdb.DuckDBPyConnection, monitor: str) -> tuple[object, ...]: ...

    def make_ready(self, connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> list[str]: ...


def _pause(state: tenacity.RetryCallState) -> float:
    return random.uniform(0, longest_pause(state.attempt_number, state.seconds_since_start or 0.0))  # noqa: S311


def longest_pause(tries: int, waited: float) -> float:
    """The most seconds until the next try for a file that another process holds, after so many tries and seconds.

    It grows with the tries, because a failed one costs others some milliseconds. But who has just let the file go for a moment
    would mostly win it again from those who ask once a second: of eight processes that take it nine times for 3 s each, 8 % of
    the waits exceeded a minute. So it shrinks with the time waited, and hardly one in a thousand does.

    >>> [round(longest_pause(tries, waited), 2) for tries, waited in [(1, 0), (4, 0.3), (9, 5), (30, 20), (200, 60)]]
    [0.04, 0.32, 0.71, 0.25, 0.05]
    """
    return min(0.02 * 2 ** min(tries, 10), max(0.05, 0.5 ** (waited / 10)))


def _holder(message: str) -> str:
    """Who holds the file, from DuckDB's message.

    >>> _holder("IO Error: Conflicting lock is held in /usr/bin/python3.11 (PID 4711) by user ann.")
    '/usr/bin/python3.11 (PID 4711)'
    """
    found = re.search(r"held in (.+? \(PID \d+\))", message)
    return found[1] if found else "another process"


def _is_lock(error: BaseException) -> bool:
    return isinstance(error, duckdb.Error) and any(text in str(error) for text in LOCK_MESSAGES)


def ensure_tables(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> list[str]:
    """Make the monitor's schema and tables where they do not exist, add columns the spec has gained, and follow its features.

    Returns what was done to features that have a history, one sentence each.

    Raises
    ------
    WarehouseMismatch
        When a column exists with another type, or the file is called like the monitor.
    WarehouseNewer
        When a newer version of this package wrote the tables.
    """
    present = _present(connection, spec)
    _refuse_rows_left_elsewhere(connection, spec, present)
    is_current = VERSION_TABLE in present and stored_version(connection, spec) == VERSION
    with transaction(connection):
        said = change_features(connection, spec, present)
        if said:
            for sql in _changes(spec, "feature_changes", tables_of(spec)["feature_changes"], present.get("feature_changes")):
                connection.execute(sql)
            record_changes(connection, spec, said)
    if said:
        present = _present(connection, spec)
    changes = [sql for name, columns in tables_of(spec).items() for sql in _changes(spec, name, columns, present.get(name))]
    if changes:
        _refuse_ambiguous_name(connection, spec)
        with transaction(connection):
            for sql in (f"CREATE SCHEMA IF NOT EXISTS {quoted(spec.name)}", *changes):
                connection.execute(sql)
    for name, (column, statements) in UPGRADES.items():
        if column in present.get(name, {}):
            with transaction(connection):
                for sql in statements:
                    connection.execute(sql.format(table=stored_table(spec, name)))
    if not is_current:
        with transaction(connection):
            note_version(connection, spec)
    return said


def _present(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> dict[str, dict[str, tuple[str, str | None]]]:
    """The columns of the monitor's tables as they are: table -> column in lower case -> (type, comment)."""
    found = connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE schema_name = ? AND database_name = current_database() AND NOT internal",
        [spec.name],
    ).fetchall()
    present: dict[str, dict[str, tuple[str, str | None]]] = {}
    for name, column, kind, comment in found:
        present.setdefault(name, {})[column.casefold()] = (kind, comment)
    return present


def _changes(
    spec: MonitorSpec, name: str, columns: dict[str, tuple[str, str]], present: dict[str, tuple[str, str | None]] | None
) -> Iterator[str]:
    """The statements that bring one table to its declaration. None is given where nothing is to do."""
    target = stored_table(spec, name)
    if present is None:
        yield f"CREATE TABLE IF NOT EXISTS {target} ({', '.join(f'{quoted(c)} {kind}' for c, (kind, _) in columns.items())})"
    for column, (kind, meaning) in columns.items():
        stored, comment = (present or {}).get(column.casefold(), (None, None))
        if present is not None and stored is None:
            yield f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {quoted(column)} {kind}"
            if (name, column) in EARLIER_ROWS:
                yield f"UPDATE {target} SET {quoted(column)} = {EARLIER_ROWS[name, column]}"
        elif stored is not None and stored != TYPE_NAMES.get(kind, kind):
            raise WarehouseMismatch(
                f"column {column!r} of {spec.name}.{name} holds {stored}, but the monitor now declares {kind}. "
                "Take its old type back, or name another column."
            )
        if comment is None:
            yield f"COMMENT ON COLUMN {target}.{quoted(column)} IS {literal(meaning)}"


def _refuse_rows_left_elsewhere(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, present: dict[str, dict[str, tuple[str, str | None]]]
) -> None:
    if spec.rows is None and "row_files" in present:
        record = stored_table(spec, "row_files")
        ((days,),) = connection.execute(f"SELECT count(DISTINCT day) FROM {record} WHERE table_name = 'inference_log'").fetchall()
        if days:
            raise WarehouseMismatch(
                f"the rows of {days} days of {spec.name} are in files, and the monitor no longer says where: take `rows` back. "
                f"To keep them in the warehouse from now on, DELETE FROM {record}, then materialise inference_log of these days."
            )


def _refuse_ambiguous_name(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> None:
    """DuckDB cannot tell `name.table` from `schema.table` when the file has the name of a schema."""
    database = connection.execute("SELECT current_database()").fetchone()
    if database and database[0].casefold() == spec.name:
        raise WarehouseMismatch(
            f"the monitor {spec.name!r} has the name of the warehouse file, which SQL cannot tell apart; rename the monitor"
        )


def replace_days(
    connection: duckdb.DuckDBPyConnection, target: str, days: Sequence[date], rows_sql: str, where: str = "true"
) -> None:
    """Put the rows of a query in the place of all rows of those days. Call it inside a transaction.

    `where` narrows what is replaced, for tables that several assets write to.
    """
    if hasattr(connection, "keeps") and connection.keeps(target):
        connection.replace_rows(target, days, rows_sql, where)
        return
    connection.execute(f"DELETE FROM {target} WHERE day IN (SELECT unnest(?::DATE[])) AND {where}", [list(days)])
    connection.execute(f"INSERT INTO {target} BY NAME {rows_sql}")


def newest_day(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> date | None:
    """The newest day that has rows in `inference_log`. For it a shared warehouse loads none of them."""
    if hasattr(connection, "newest_day") and spec.rows is None and not spec.is_in_lake:
        found: date | None = connection.newest_day(spec.name, "inference_log")
        return found
    is_here = spec.rows is None and not spec.is_in_lake
    held = table(spec, "inference_log") if is_here else days_accepted(spec)
    ((newest,),) = connection.execute(f"SELECT max(day) FROM {held}").fetchall()
    return newest


def include_rows(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> None:
    """Have the rows of these days at hand, which the operation's scope may have left out."""
    if hasattr(connection, "include_rows"):
        connection.include_rows(spec.name, days)
