"""Rows of a table that Spark reads where it lies: asked here, in the driver, measured in the executors (`executor.py`).

Map: every task measures its rows by batches. Reduce: tables are added up, in reducing tasks first where there are many. No
row reaches the driver but those that share their id with another, and those of a crowded bin or an expectation that asks for
them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from monitoring_assets.engines import executor
from monitoring_assets.engines.executor import Lake
from monitoring_assets.engines.spark_session import session_of, spark_errors
from monitoring_assets.errors import EngineUnusable, SourceUnreadable
from monitoring_assets.ingestion.files import lacking
from monitoring_assets.measuring.delivered import accepted_sql
from monitoring_assets.measuring.measure import Tables, Wanted, measure
from monitoring_assets.monitor_spec import Source, Spark
from monitoring_assets.sql_text import quoted

# Rows whose tables the driver adds up alone: those of some hundred tasks. Of more, reducing tasks add up first.
ROWS_OF_THE_DRIVER, REDUCING_TASKS = 50_000_000, 8
# Rows that may share an id with others of their day: they are compared in the driver.
MOST_REPEATED = 1_000_000
# The accepted rows of repeated ids, and rows that were fetched.
RESOLVED, FETCHED = "resolved_rows", "fetched_rows"


@dataclass(frozen=True)
class LakeRows:
    """Rows of some days of a table. `has_repeats` is False where it is known that no two of a day share an id; `row_count`
    is about how many rows there are, None where unknown. With `has_originals` refused rows are kept with all the table's
    columns, else with those asked for."""

    lake: Lake
    source: Source
    spark: Spark
    has_repeats: bool = True
    row_count: int | None = None
    has_originals: bool = False

    @property
    def shown(self) -> str:
        return f"{self.lake.spec.name}, table {self.source.table}"

    def on(self, days: Sequence[date]) -> "LakeRows":
        """The rows of these days alone."""
        return replace(self, lake=replace(self.lake, days=tuple(sorted(days))))

    def tables(self, connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> Tables:
        """What `measure` says of these rows. The connection is not used: the warehouse may be closed meanwhile."""
        del connection
        resolved, lake = self.resolved
        asked = None if self.has_originals else ()
        with spark_errors(self.spark, self.shown):
            packed = self.frame(asked).mapInArrow(partial(executor.measured_batches, lake, wanted), executor.PACKED)
            if (self.row_count or 0) > ROWS_OF_THE_DRIVER:
                packed = packed.repartition(REDUCING_TASKS).mapInArrow(
                    partial(executor.added_tasks, lake, wanted), executor.PACKED
                )
            found = packed.toArrow()
        with executor.connected(lake) as own:
            parts = [self._measured_here(own, resolved, wanted)] if resolved.num_rows else []
            if not parts and not found.num_rows:
                parts = [self._measured_here(own, resolved, wanted)]  # no rows at all: empty tables
            return executor.added(own, lake, wanted, [*parts, *executor.unpacked(found)])

    def relation(
        self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str], condition: str = "true", at_most: int | None = None
    ) -> str:
        """Rows fetched into a temporary table, see `day_rows.Rows.relation`."""
        if at_most is not None and (self.row_count or 0) > 2 * at_most:
            share = int(at_most / (self.row_count or 1) * 2**64)
            condition = f"({condition}) AND {self.lake.identity_sql} < {share}"
        resolved, lake = self.resolved
        names = [quoted(name) for name in columns]
        with spark_errors(self.spark, self.shown):
            frame = self.frame()
            packed = frame.mapInArrow(partial(executor.accepted_rows, lake, names, condition), executor.PACKED).toArrow()
        parts = [tables["rows"] for tables in executor.unpacked(packed)]
        connection.register(RESOLVED, resolved)
        listed = ", ".join(["day", *names])
        parts.append(connection.sql(f"SELECT {listed} FROM {accepted_sql(RESOLVED)} WHERE {condition}").to_arrow_table())
        connection.unregister(RESOLVED)
        connection.register("fetched", pa.concat_tables(parts))
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {FETCHED} AS FROM fetched")
        connection.unregister("fetched")
        return FETCHED

    def other_columns(self) -> list[str]:
        """The table's columns that the monitor does not ask for."""
        return [name for name in self._types if name not in self.lake.types and name != self.lake.day_column]

    def counted(self) -> "LakeRows":
        """The same rows, counted: Spark takes the number from the table's own statistics."""
        with spark_errors(self.spark, self.shown):
            return replace(self, row_count=self.frame([self.lake.day_column]).count())

    @property
    def _columns(self) -> list[str]:
        return list(dict.fromkeys([*self.lake.types, self.lake.day_column]))

    @cached_property
    def _types(self) -> Mapping[str, str]:
        """The table's columns with Spark's names of their types.

        Raises
        ------
        SourceUnreadable
            When a column that is asked for is absent, or the day column is neither a date nor a text.
        """
        with spark_errors(self.spark, self.shown):
            fields = session_of(self.spark).read.table(self.source.table).schema.fields
        found = {each.name: each.dataType.simpleString() for each in fields}
        asked = dict.fromkeys([*self.lake.types, self.lake.day_column], "")
        missing = lacking(list(found), asked, (), "the table")
        if missing:
            remedy = "" if self.lake.day_column in found else ". `day_column` names the column that says a row's day"
            raise SourceUnreadable(f"{self.shown}: {missing}{remedy}.")
        if found[self.lake.day_column] not in ("date", "string"):
            raise SourceUnreadable(
                f"{self.shown}: the day column {self.lake.day_column!r} holds {found[self.lake.day_column]}; a date or its text "
                "(2026-03-02) was expected. Name another column in `day_column`, or a view that has one."
            )
        return found

    def frame(self, columns: Sequence[str] | None = ()) -> Any:
        """Spark's frame of these days' rows: the columns asked for, or these, or all (None)."""
        types = self._types
        wanted = types if columns is None else columns or self._columns
        frame = session_of(self.spark).read.table(self.source.table)
        days = [day.isoformat() for day in self.lake.days]
        of_days = frame[self.lake.day_column].isin(days if types[self.lake.day_column] == "string" else list(self.lake.days))
        # A nested name would be taken for a field of a structure.
        return frame.where(of_days).select(*(f"`{name.replace('`', '``')}`" for name in wanted))

    @cached_property
    def resolved(self) -> tuple[pa.Table, Lake]:
        """The rows that share their id with another of their day, judged: of equal ids the first by content is accepted, the
        others are refused. And how the other rows are read: without those."""
        if not self.has_repeats:
            return self._none, self.lake
        with spark_errors(self.spark, self.shown):
            id_, day = self.lake.spec.id, self.lake.day_column
            grouped = self.frame([id_, day]).dropna(subset=[f"`{id_}`"]).groupBy(f"`{id_}`", f"`{day}`").count()
            repeated = grouped.where("count > 1").limit(MOST_REPEATED + 1).drop("count").toArrow()
            if not repeated.num_rows:
                return self._none, self.lake
            if repeated.num_rows > MOST_REPEATED:
                raise EngineUnusable(
                    f"{self.shown}: more than {MOST_REPEATED:,} values of {id_!r} occur more than once on their day, so it does "
                    "not tell rows apart. Name the column that does in `id`, or drop the copies from the table."
                )
            lake = replace(self.lake, left_out=self._identities(repeated))
            packed = self.frame(None).mapInArrow(partial(executor.left_out_rows, lake), executor.PACKED).toArrow()
        rows = pa.concat_tables([tables["rows"] for tables in executor.unpacked(packed)])
        with executor.connected(lake) as own:
            own.register("left_out_rows", rows)
            return own.sql(executor.first_of_each_id("left_out_rows", id_)).to_arrow_table(), lake

    @cached_property
    def _none(self) -> pa.Table:
        columns = {"day": "DATE", **self.lake.types, "__reason": "VARCHAR", "__source": "VARCHAR", "__original": "VARCHAR"}
        listed = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in columns.items())
        with executor.connected(self.lake) as own:
            return own.sql(f"SELECT {listed} WHERE false").to_arrow_table()

    def _identities(self, rows: pa.Table) -> np.ndarray:
        ids_only = replace(self.lake, types={self.lake.spec.id: "VARCHAR"}, event_time=None, rules={})
        with executor.connected(ids_only) as own:
            ids_only.judge(own, rows)
            found = own.sql(f"SELECT DISTINCT {self.lake.identity_sql}::UBIGINT AS i FROM {executor.DELIVERED} ORDER BY i")
            numbers: np.ndarray = found.to_arrow_table()["i"].to_numpy()
            return numbers

    def _measured_here(self, own: duckdb.DuckDBPyConnection, resolved: pa.Table, wanted: Wanted) -> Tables:
        own.register(RESOLVED, resolved)
        rows = RESOLVED if wanted.delivered is not None else accepted_sql(RESOLVED)
        found = measure(own, rows, self.lake.spec, wanted)
        own.unregister(RESOLVED)
        return found
