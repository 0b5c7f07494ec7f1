"""The accepted predictions of some days, wherever they lie: what everything that measures them asks, and nothing else.

Rows that the warehouse holds are measured by DuckDB in this process, those of a lake where they are (`engines/lake.py`). Both
give the same tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import duckdb

from monitoring_assets.measuring.measure import Tables, Wanted, measure
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import on_days, quoted, table


class Rows(Protocol):
    """Rows of some days."""

    def on(self, days: Sequence[date]) -> "Rows":
        """Those of these days alone."""
        ...

    def types(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """The columns, with DuckDB's types."""
        ...

    def tables(self, connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> Tables:
        """What `measure` says of them."""
        ...

    def relation(
        self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str], condition: str = "true", at_most: int | None = None
    ) -> str:
        """`day` and these columns of the rows that meet a condition, as a relation of the connection. Where rows lie in a lake
        they are fetched, and replace those fetched before; of more than twice `at_most` rows of the days about so large a share
        is fetched, the same every time."""
        ...


@dataclass(frozen=True)
class StoredRows:
    """Rows that DuckDB reads itself: a table, or a query in parentheses."""

    spec: MonitorSpec
    sql: str

    def on(self, days: Sequence[date]) -> "StoredRows":
        return StoredRows(self.spec, f"(SELECT * FROM {self.sql} WHERE {on_days(days, 'day::DATE')})")

    def types(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {self.sql}").fetchall()}

    def tables(self, connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> Tables:
        return measure(connection, self.sql, self.spec, wanted)

    def relation(
        self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str], condition: str = "true", at_most: int | None = None
    ) -> str:
        listed = ", ".join(["day", *map(quoted, columns)])
        return f"(SELECT {listed} FROM {self.sql} WHERE {condition})"


def logged_rows(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Rows:
    """The accepted predictions of these days."""
    if spec.is_in_lake:
        from monitoring_assets.engines.lake_days import accounted_log

        return accounted_log(connection, spec, days)
    return StoredRows(spec, f"(SELECT * FROM {table(spec, 'inference_log')} WHERE {on_days(days)})")


def labelled_relations(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], columns: Sequence[str]
) -> tuple[str, str]:
    """The predictions of these days, with at least these columns, and their labels, as two relations."""
    if spec.is_in_lake:
        from monitoring_assets.engines import lake_labels

        return lake_labels.labelled_relations(connection, spec, days, columns)
    return table(spec, "inference_log"), table(spec, "labels")
