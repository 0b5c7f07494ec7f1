"""Reading, or deleting, part of a table. The DuckDB file has all of it at hand; a shared warehouse loads as little as it can."""

from collections.abc import Sequence
from datetime import date

import duckdb

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import ROWS_ELSEWHERE, days_accepted, days_held, literal, on_days, quoted, table


def include_all(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, name: str) -> None:
    """Have all rows of a table at hand, of which the operation's scope may have left some out."""
    if hasattr(connection, "include_all"):
        connection.include_all(spec.name, name)


def smallest_rows(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, name: str, baseline_id: str, column: str, rows: int
) -> str:
    """A relation with so many of a baseline's rows, those with the smallest values of a column. A shared warehouse loads no
    others."""
    if hasattr(connection, "smallest_rows"):
        return str(connection.smallest_rows(spec.name, name, baseline_id, column, rows))
    of_baseline = f"baseline_id = {literal(baseline_id)} ORDER BY {quoted(column)} LIMIT {rows}"
    return f"(SELECT * FROM {table(spec, name)} WHERE {of_baseline})"


def state_of_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, name: str, first: date, last: date) -> object:
    """Changes whenever a table's rows of these days do. For it a shared warehouse loads none of them."""
    if hasattr(connection, "state_of_days"):
        return connection.state_of_days(spec.name, name, first, last)
    return connection.execute(
        f"SELECT count(*), bit_xor(hash(held)) FROM {table(spec, name)} AS held WHERE day BETWEEN ? AND ?", [first, last]
    ).fetchall()


def days_with_rows(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, name: str, where: str = "true") -> list[date]:
    """The days of which a table has rows that meet a condition, in order. No rows are loaded, or fetched, for it."""
    if not hasattr(connection, "days_with_rows"):
        found = connection.execute(f"SELECT DISTINCT day FROM {days_held(spec, name, where)} ORDER BY day").fetchall()
        return [day for (day,) in found]
    days: list[date] = connection.days_with_rows(spec.name, name, where)
    if spec.rows is None or name not in ROWS_ELSEWHERE:
        return days
    files = f"SELECT day FROM {table(spec, 'row_files')} WHERE table_name = '{name}' AND {where}"
    return sorted({*days, *(day for (day,) in connection.execute(files).fetchall())})


def accepted_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, where: str = "true") -> list[date]:
    """The days of which rows of the log were accepted, in order, also where they stay in a lake."""
    return _in_account(connection, spec, "inference_log", where) or days_with_rows(connection, spec, "inference_log", where)


def labelled_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> list[date]:
    """The days of which some label is known, in order."""
    return _in_account(connection, spec, "labels", "true") or days_with_rows(connection, spec, "labels", "label IS NOT NULL")


def _in_account(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str, where: str) -> list[date]:
    """The days that the account has of rows in a lake, which the warehouse does not hold."""
    if not spec.is_in_lake:
        return []
    return [day for (day,) in connection.execute(f"SELECT day FROM {days_accepted(spec, asset, where)} ORDER BY day").fetchall()]


def delete_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, name: str, days: Sequence[date]) -> int:
    """Delete all rows of these days, and say how many there were. Call it inside a transaction."""
    target = table(spec, name)
    if hasattr(connection, "keeps") and connection.keeps(target):
        return int(connection.delete_rows(target, days))
    if hasattr(connection, "delete_days"):
        return int(connection.delete_days(spec.name, name, days))
    deleted = connection.execute(f"DELETE FROM {target} WHERE {on_days(days)}").fetchone()
    return deleted[0] if deleted else 0
