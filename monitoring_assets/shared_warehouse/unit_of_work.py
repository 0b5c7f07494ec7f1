"""A DuckDB connection in memory that stands for the shared warehouse, for the length of one operation.

A table that a statement names is loaded from the server before it runs, all tables in one snapshot. At each COMMIT, and after
each change outside a transaction, what has changed goes back (`write_back.py`) before anything counts as committed here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import duckdb

from monitoring_assets.shared_warehouse.catalog import (
    Shape,
    changed_shapes,
    keeps_rows,
    shapes_in_duckdb,
)
from monitoring_assets.shared_warehouse.changes import Change, Held, Name, full_name
from monitoring_assets.shared_warehouse.server import Session
from monitoring_assets.shared_warehouse.statements import (
    baselines_asked_for,
    changed_table,
    control_word,
    is_shaping,
    lists_tables,
    needs_no_rows,
    tables_named,
    values_of,
)
from monitoring_assets.sql_text import literal
from monitoring_assets.warehouse import Scope

if TYPE_CHECKING:
    pass
from monitoring_assets.shared_warehouse.loaded_tables import LoadedTables


@dataclass(kw_only=True)
class UnitOfWork(LoadedTables):
    """Used like a DuckDB connection. `store` puts what has changed into the database and returns when it is committed there.

    `writer` gives the session that writes, which sees what was stored since the snapshot.
    """

    writer: Callable[[], Session]
    patience_seconds: float
    store: Callable[["UnitOfWork", dict[Name, Change]], None]
    written: dict[Name, dict[str | None, str]] = field(default_factory=dict)
    _before: tuple[dict[Name, Held], Scope] | None = None
    _reshaped: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.duck, name)

    def execute(self, sql: str, parameters: Any = None) -> Any:
        control = control_word(sql)
        if control:
            return self._control(control, sql)
        self._prepare(sql, parameters)
        result = self.duck.execute(sql, parameters)
        self._after(sql)
        return result

    def executemany(self, sql: str, parameters: Any = None) -> Any:
        self._prepare(sql, None)
        result = self.duck.executemany(sql, parameters)
        self._after(sql)
        return result

    def sql(self, query: str, **options: Any) -> Any:
        self._prepare(query, options.get("params"))
        return self.duck.sql(query, **options)

    def stored_sizes(self, monitor: str, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        """What tables take on the server, indexes included, in bytes, and their rows as it last estimated or counted them."""
        found: dict[str, tuple[int, int]] = {}
        session = self.writer()  # which sees what was stored since the snapshot
        for name in names:
            ((size, rows),) = session.rows(
                f"SELECT pg_total_relation_size(oid), CASE WHEN reltuples > 0 THEN reltuples::bigint "
                f"ELSE (SELECT count(*) FROM {full_name((monitor, name))}) END "
                f"FROM pg_class WHERE oid = {literal(full_name((monitor, name)))}::regclass"
            )
            found[name] = (size, rows)
        session.rollback()
        return found

    def _control(self, word: str, sql: str) -> Any:
        if word == "BEGIN":
            result = self.duck.execute(sql)
            self._before, self.in_transaction = (dict(self.held), self.scope), True
            return result
        if word == "ROLLBACK":
            (self.held, self.scope), self._before, self._reshaped = self._before or ({}, self.scope), None, False
            self.in_transaction = False
            return self.duck.execute(sql)
        try:
            self._write_back()
        except BaseException:
            with suppress(duckdb.Error):
                self._control("ROLLBACK", "ROLLBACK")
            raise
        result = self.duck.execute(sql)
        self._before, self.in_transaction = None, False
        return result

    def _prepare(self, sql: str, parameters: Any) -> None:
        """Have what the statement names."""
        names, shaping = tables_named(sql), is_shaping(sql)
        if lists_tables(sql):
            self._mirror_all({value for value in values_of(parameters) if value in self.monitors()})
        baselines = baselines_asked_for(sql, parameters)
        for schema, name in dict.fromkeys(names):
            monitor = self._monitor_called(schema)
            found = self._table_called(monitor, name) if monitor else None
            if monitor and found:
                self._mirror((monitor, found), with_comments=shaping)
                if not needs_no_rows(sql):
                    self._load((monitor, found), baselines)
        self._reshaped = self._reshaped or shaping
        change = changed_table(sql)
        if change:
            of = self._monitor_called(change[0]) or change[0]
            target = (of, self._table_called(of, change[1]) or change[1])
            held = self.held.get(target, Held(has_rows=True))
            if held.digests is None:
                on_server = target[1] in self.shapes.get(of, {})
                self.held[target] = replace(held, digests=self.digests(target) if on_server else {})

    def _after(self, sql: str) -> None:
        if not self.in_transaction and (changed_table(sql) or is_shaping(sql)):
            self._write_back()

    def _write_back(self) -> None:
        changes = dict(self._changes())
        if changes:
            self.store(self, changes)
        self._reshaped = False
        for name, change in changes.items():
            if change.after is None:
                self.held.pop(name, None)
            elif change.is_whole or change.parts:
                held = self.held.get(name, Held(has_all_rows=True, has_comments=True))
                self.held[name] = replace(held, has_rows=True, digests=change.digests)

    def _changes(self) -> Iterator[tuple[Name, Change]]:
        shapes: dict[Name, tuple[Shape | None, Shape | None]] = {}
        if self._reshaped:
            in_memory = [
                name
                for (name,) in self.at_work().execute("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal").fetchall()
            ]
            for monitor in in_memory:
                shapes |= {(monitor, name): both for name, both in self._reshaped_tables(monitor).items()}
        for name, (before, after) in shapes.items():
            stays = after is not None and keeps_rows(before, after)
            held = self.held.get(name, Held(has_rows=True))
            if after is None or (stays and before is not None and held.digests is None):
                yield name, Change(before, after, frozenset(), {}, is_whole=False)
            else:
                yield name, Change(before, after, frozenset(), self.digests(name), is_whole=True)
        for name, held in self.held.items():
            if held.digests is not None and name not in shapes:
                now = self.digests(name)
                parts = frozenset(part for part in {*now, *held.digests} if now.get(part) != held.digests.get(part))
                if parts:
                    shape = self._shapes_of(name[0])[name[1]]
                    yield name, Change(shape, shape, parts, now, is_whole=False)

    def _reshaped_tables(self, monitor: str) -> dict[str, tuple[Shape | None, Shape | None]]:
        """Those of a monitor whose shape in memory is no longer the server's."""
        known = self._commented_shapes_of(monitor) if monitor in self.monitors() else {}
        after = {
            name: shape
            if name not in known or self.held[monitor, name].has_comments
            else Shape(shape.kinds, known[name].comments)
            for name, shape in shapes_in_duckdb(self.at_work(), monitor).items()
        }
        gone = [name for name in known if (monitor, name) in self.held and name not in after]
        return changed_shapes(known, after, gone)
