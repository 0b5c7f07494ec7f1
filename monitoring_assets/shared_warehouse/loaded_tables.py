"""What an operation has loaded of the shared warehouse into its DuckDB database in memory, and what it asks of the server without
loading it. All is of one snapshot of the server.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

import duckdb

from monitoring_assets.errors import WarehouseMismatch
from monitoring_assets.shared_warehouse.catalog import (
    Shape,
    duckdb_comments,
    duckdb_ddl,
    monitors_on,
    shapes_in_duckdb,
    shapes_of,
)
from monitoring_assets.shared_warehouse.changes import Digests, Held, Name, full_name
from monitoring_assets.shared_warehouse.columns import received
from monitoring_assets.shared_warehouse.known_baselines import MADE_TOGETHER, known_or_loaded, state_of
from monitoring_assets.shared_warehouse.server import THE_DATABASE, Session
from monitoring_assets.shared_warehouse.statements import (
    BY_BASELINE,
)
from monitoring_assets.sql_text import literal, quoted
from monitoring_assets.warehouse import ROW_TABLES, Scope

if TYPE_CHECKING:
    import pyarrow as pa

# What the smallest rows of a baseline are copied to, out of the way of the tables that go back.
SMALLEST_ROWS = "smallest_rows_of_a_baseline"


@dataclass(kw_only=True)
class LoadedTables:
    """`snapshot` is in a transaction that sees one state of the server; `held` is what is in memory of each table."""

    duck: duckdb.DuckDBPyConnection
    snapshot: Session
    scope: Scope
    shapes: dict[str, dict[str, Shape]] = field(default_factory=dict)  # without comments
    commented: dict[str, dict[str, Shape]] = field(default_factory=dict)
    held: dict[Name, Held] = field(default_factory=dict)
    in_transaction: bool = False
    _monitors: dict[str, str] | None = None

    def monitors(self) -> dict[str, str]:
        """The schemas on the server, each with what tells it from one of the same name made anew."""
        if self._monitors is None:
            self.begin_snapshot()
            self._monitors = monitors_on(self.snapshot)
        return self._monitors

    def begin_snapshot(self) -> None:
        """From here on the server is seen in the state it is in now."""
        self.snapshot.rollback()
        self.snapshot.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def see_newest(self) -> None:
        """Let go of the snapshot, and of the tables' shapes, which change; what is read after that is of a new snapshot."""
        self.snapshot.rollback()
        self._monitors = None
        self.shapes.clear()
        self.commented.clear()

    def include_rows(self, monitor: str, days: Sequence[date]) -> None:
        """Have the rows of these days too, where the scope left them out."""
        missing = sorted(set(days) - set(self.scope.rows or ()))
        if self.scope.rows is None or monitor != self.scope.monitor or not missing:
            return
        self.scope = replace(self.scope, rows=(*self.scope.rows, *missing))
        listed = ", ".join(f"DATE '{day}'" for day in missing)
        for name in [name for name, held in self.held.items() if held.has_rows and name[0] == monitor and name[1] in ROW_TABLES]:
            shape = self.shapes.get(monitor, {}).get(name[1])
            if shape is not None and "day" in shape.kinds:
                self._insert(name, shape, f"day IN ({listed})")
                digests = self.held[name].digests
                if digests is not None:
                    now = self.digests(name)
                    added: Digests = {part: now[part] for part in missing if part in now}
                    self.held[name] = replace(self.held[name], digests=digests | added)

    def include_all(self, monitor: str, name: str) -> None:
        """Have the rows of a table that the scope left out, too."""
        found = (monitor, name)
        if self._table_called(monitor, name) is None:
            return
        self._mirror(found, with_comments=False)
        held, condition = self.held[found], self.scope.condition(monitor, name)
        if held.has_all_rows:
            return
        known = self.digests(found)
        if not held.has_rows or condition:
            self._insert(found, self._shapes_of(monitor)[name], f"NOT ({condition})" if held.has_rows else None)
        if held.digests is not None:
            added = {part: digest for part, digest in self.digests(found).items() if part not in known}
            held = replace(held, digests=held.digests | added)
        self.held[found] = replace(held, has_rows=True, has_all_rows=True)

    def smallest_rows(self, monitor: str, name: str, baseline_id: str, column: str, rows: int) -> str:
        """A relation with so many of a baseline's rows, those with the smallest values of a column."""
        of_baseline = f"baseline_id = {literal(baseline_id)} ORDER BY {quoted(column)} LIMIT {rows}"
        held = self.held.get((monitor, name), Held())
        if held.has_rows or baseline_id in held.baselines or self._table_called(monitor, name) is None:
            return f"(SELECT * FROM {full_name((monitor, name))} WHERE {of_baseline})"
        shape = self._shapes_of(monitor)[name]
        taken = ", ".join(received(each, str(kind)) for each, kind in shape.kinds.items())
        arriving = self._of_baseline((monitor, name), baseline_id, of_baseline)
        self.duck.register("arriving_from_server", arriving)
        self.duck.execute(f"CREATE OR REPLACE TEMP TABLE {SMALLEST_ROWS} AS SELECT {taken} FROM arriving_from_server")
        self.duck.unregister("arriving_from_server")
        return SMALLEST_ROWS

    def state_of_days(self, monitor: str, name: str, first: date, last: date) -> object:
        """What tells a table's stored rows of these days from any others, without loading them."""
        if self._table_called(monitor, name) is None:
            return None
        ((state,),) = self.snapshot.rows(
            "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(ctid::text || ' ' || xmin::text, 0)), 0) "
            f"FROM {full_name((monitor, name))} WHERE day BETWEEN DATE '{first}' AND DATE '{last}'"
        )
        return state

    def days_with_rows(self, monitor: str, name: str, where: str) -> list[date]:
        """The days of which a table has rows that meet a condition, in order; none is loaded for it."""
        if self._table_called(monitor, name) is None:
            return []
        of, beyond, found = full_name((monitor, name)), self._not_loaded(monitor, name), []
        if (monitor, name) in self.held and self.held[monitor, name].has_rows:
            found = self.at_work().execute(f"SELECT DISTINCT day FROM {of} WHERE {where}").fetchall()
        if beyond:  # from each day to the next by the index, however many rows a day has
            first = f"SELECT day FROM {of} WHERE ({where}) AND ({beyond})"
            found += self.snapshot.rows(
                f"WITH RECURSIVE found AS (({first} ORDER BY day LIMIT 1) UNION ALL SELECT "
                f"({first} AND day > found.day ORDER BY day LIMIT 1) FROM found WHERE found.day IS NOT NULL) "
                "SELECT day FROM found WHERE day IS NOT NULL"
            )
        return sorted({day for (day,) in found})

    def delete_days(self, monitor: str, name: str, days: Sequence[date]) -> int:
        """Delete all rows of these days, and return how many there were; none is loaded for it."""
        found, listed = (monitor, name), ", ".join(f"DATE '{day}'" for day in days)
        if self._table_called(monitor, name) is None or not days:
            return 0
        self._mirror(found, with_comments=False)
        self._load(found, set())
        held, beyond = self.held[found], self._not_loaded(monitor, name) or "false"
        elsewhere = self.snapshot.rows(
            f"SELECT day, count(*) FROM {full_name(found)} WHERE day IN ({listed}) AND ({beyond}) GROUP BY day"
        )
        of_server: Digests = {day: (count, 0) for day, count in elsewhere}
        digests = self.digests(found) if held.digests is None else held.digests
        self.held[found] = replace(held, digests=digests | of_server)
        deleted = self.at_work().execute(f"DELETE FROM {full_name(found)} WHERE day IN ({listed})").fetchone()
        return sum(count for count, _ in of_server.values()) + (deleted[0] if deleted else 0)

    def _not_loaded(self, monitor: str, name: str) -> str | None:
        """Which rows of a table are on the server alone, as SQL; None where none is."""
        held = self.held.get((monitor, name), Held())
        if not held.has_rows:
            return "true"
        condition = None if held.has_all_rows else self.scope.condition(monitor, name)
        return f"NOT ({condition})" if condition else None

    def newest_day(self, monitor: str, name: str) -> date | None:
        """The newest day a table has rows of, wherever they are; none is loaded for it."""
        of, is_stored = full_name((monitor, name)), self._table_called(monitor, name) is not None
        beyond = self._not_loaded(monitor, name) if is_stored else None
        held = self.held.get((monitor, name), Held(has_rows=not is_stored))
        days = self.snapshot.rows(f"SELECT max(day) FROM {of} WHERE {beyond}") if beyond else []
        if held.has_rows:
            days += self.at_work().execute(f"SELECT max(day) FROM {of}").fetchall()
        return max((day for (day,) in days if day is not None), default=None)

    def _monitor_called(self, name: str) -> str | None:
        return next((monitor for monitor in self.monitors() if monitor.casefold() == name.casefold()), None)

    def _table_called(self, monitor: str, name: str) -> str | None:
        if monitor not in self.monitors():
            return None
        return next((table for table in self._shapes_of(monitor) if table.casefold() == name.casefold()), None)

    def _shapes_of(self, monitor: str) -> dict[str, Shape]:
        if monitor not in self.shapes:
            self.shapes[monitor] = shapes_of(self.snapshot, monitor, with_comments=False)
        return self.shapes[monitor]

    def _commented_shapes_of(self, monitor: str) -> dict[str, Shape]:
        if monitor not in self.commented:
            self.commented[monitor] = shapes_of(self.snapshot, monitor)
        return self.commented[monitor]

    def at_work(self) -> duckdb.DuckDBPyConnection:
        """A connection for statements of our own: inside a transaction the same, else another, which leaves results untouched."""
        return self.duck if self.in_transaction else self.duck.cursor()

    def _mirror(self, name: Name, *, with_comments: bool) -> None:
        """Have an empty table of the same shape, its comments too where they are asked for."""
        shape, held = self._shapes_of(name[0])[name[1]], self.held.get(name)
        statements: list[str] = []
        if held is None:
            unknown = [column for column, kind in shape.kinds.items() if kind is None]
            if unknown:
                raise WarehouseMismatch(
                    f"{THE_DATABASE}: the columns {unknown} of {'.'.join(name)} are of types that no column of a monitor has. "
                    "Move them to a table of your own."
                )
            statements += duckdb_ddl(*name, shape, with_comments=False)
        if with_comments and not (held and held.has_comments):
            statements += duckdb_comments(*name, self._commented_shapes_of(name[0])[name[1]])
        if statements:
            self.at_work().execute("; ".join(statements))
        held = held or Held()
        self.held[name] = replace(held, has_comments=held.has_comments or with_comments)

    def _mirror_all(self, monitors: set[str]) -> None:
        """Have the shapes of all tables of these monitors; without any, of all."""
        for monitor in monitors or self.monitors():
            for name in self._shapes_of(monitor):
                self._mirror((monitor, name), with_comments=True)

    def _load(self, name: Name, baselines: set[str]) -> None:
        """Have the rows that the scope asks for; of a table by baselines, where only some are asked for, theirs."""
        held, shape = self.held[name], self._shapes_of(name[0])[name[1]]
        if held.has_rows:
            return
        if baselines and name[1] in BY_BASELINE:
            for baseline_id in sorted(baselines - held.baselines):
                self._put(name, shape, self._of_baseline(name, baseline_id, f"baseline_id = {literal(baseline_id)}"))
            self.held[name] = replace(held, baselines=held.baselines | baselines)
            return
        condition = self.scope.condition(*name) if "day" in shape.kinds else None
        if held.baselines:
            condition = f"(baseline_id NOT IN ({', '.join(map(literal, sorted(held.baselines)))}) OR baseline_id IS NULL)"
        self._insert(name, shape, condition)
        self.held[name] = replace(held, has_rows=True)

    def _arriving(self, name: Name, shape: Shape, condition: str | None) -> "pa.Table":
        columns = ", ".join(map(quoted, shape.kinds))
        where = f" WHERE {condition}" if condition else ""
        return self.snapshot.arrow(f"SELECT {columns} FROM {full_name(name)}{where}")

    def _of_baseline(self, name: Name, baseline_id: str, condition: str) -> "pa.Table":
        """Rows of a baseline; this process may have them."""
        shape = self._shapes_of(name[0])[name[1]]
        if name[1] not in MADE_TOGETHER or MADE_TOGETHER[0] not in self._shapes_of(name[0]):
            return self._arriving(name, shape, condition)
        schema = self.monitors()[name[0]]
        key = (self.snapshot.uri, schema, name, baseline_id, condition)
        state = (tuple(shape.kinds.items()), state_of(self.snapshot, name[0], baseline_id))
        return known_or_loaded(key, state, lambda: self._arriving(name, shape, condition))

    def _insert(self, name: Name, shape: Shape, condition: str | None) -> None:
        self._put(name, shape, self._arriving(name, shape, condition))

    def _put(self, name: Name, shape: Shape, arriving: "pa.Table") -> None:
        if not arriving.num_rows:
            return
        work = self.at_work()
        taken = ", ".join(received(column, str(kind)) for column, kind in shape.kinds.items())
        work.register("arriving_from_server", arriving)
        work.execute(f"INSERT INTO {full_name(name)} BY NAME SELECT {taken} FROM arriving_from_server")
        work.unregister("arriving_from_server")

    def digests(self, name: Name) -> Digests:
        """Rows and content of each part of a table, as it is in memory."""
        part = self.part_of(name)
        rows = self.at_work().execute(
            f"SELECT {quoted(part) if part else 'NULL'}, count(*), coalesce(sum(hash(whole_row)::HUGEINT), 0) "
            f"FROM {full_name(name)} AS whole_row GROUP BY 1"
        )
        return {key: (count, total) for key, count, total in rows.fetchall()}

    def part_of(self, name: Name) -> str | None:
        shape = self.shapes.get(name[0], {}).get(name[1]) or self.shape_in_memory(name)
        return shape.part if shape else None

    def shape_in_memory(self, name: Name) -> Shape | None:
        return shapes_in_duckdb(self.at_work(), name[0]).get(name[1])
