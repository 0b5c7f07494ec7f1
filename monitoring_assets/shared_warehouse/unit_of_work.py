"""A DuckDB connection in memory that stands for the shared warehouse, for the length of one operation.

A table that a statement names is loaded from the server before it runs, all tables in one snapshot. At each COMMIT, and after
each change outside a transaction, what has changed goes back (`write_back.py`) before anything counts as committed here.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import duckdb

from monitoring_assets.errors import WarehouseMismatch
from monitoring_assets.shared_warehouse.catalog import (
    Shape,
    changed_shapes,
    duckdb_comments,
    duckdb_ddl,
    keeps_rows,
    monitors_on,
    shapes_in_duckdb,
    shapes_of,
)
from monitoring_assets.shared_warehouse.columns import received
from monitoring_assets.shared_warehouse.server import THE_DATABASE, Session
from monitoring_assets.sql_text import literal, quoted
from monitoring_assets.warehouse import ROW_TABLES, Scope

Name = tuple[str, str]  # monitor, table
Part = date | str | None
Digests = dict[Part, tuple[int, int]]

_IDENTIFIER = r'("(?:[^"]|"")+"|[A-Za-z_]\w*)'
_QUALIFIED = re.compile(rf"{_IDENTIFIER}\s*\.\s*{_IDENTIFIER}")
_CHANGE = re.compile(
    rf"\s*(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE|DELETE\s+FROM|TRUNCATE)\s+{_IDENTIFIER}\s*\.\s*{_IDENTIFIER}", re.IGNORECASE
)
_SHAPING = re.compile(r"\s*(?:ALTER|COMMENT|DROP|CREATE\s+(?!TEMP|OR\s+REPLACE\s+TEMP))", re.IGNORECASE)
# Statements that need no rows of the tables they name.
_SHAPE_ONLY = re.compile(
    r"\s*(?:COMMENT|CREATE\s+(?:SCHEMA|TABLE(?!.*\b(?:AS|FROM)\b))|ALTER\s+TABLE\s+\S+\s+ADD\s+COLUMN)", re.IGNORECASE | re.DOTALL
)
_CATALOG = re.compile(r"duckdb_(?:columns|tables)\s*\(", re.IGNORECASE)
# Queries about one baseline, and the tables of which they need its rows alone: others are a year's retrains.
_OF_A_BASELINE = re.compile(r"\s*SELECT\b.*\bbaseline_id\s*=\s*(?:\?|\$\w+)", re.IGNORECASE | re.DOTALL)
_BY_BASELINE = ("baseline_profiles", "baseline_sample", "baseline_facts")
_CONTROL = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Held:
    """What is in memory of a table: its rows, perhaps, or those of some baselines; its comments, perhaps; and where a statement
    was to change it, a digest of each of its parts as the server has them."""

    has_rows: bool = False
    baselines: frozenset[str] = frozenset()
    has_comments: bool = False
    digests: Digests | None = None


@dataclass
class UnitOfWork:
    """Used like a DuckDB connection. `store` puts what has changed into the database and returns when it is committed there.

    `snapshot` is in a transaction that sees one state of the server, `writer` gives the session that writes.
    """

    duck: duckdb.DuckDBPyConnection
    snapshot: Session
    writer: Callable[[], Session]
    scope: Scope
    patience_seconds: float
    store: Callable[["UnitOfWork", dict[Name, "Change"]], None]
    shapes: dict[str, dict[str, Shape]] = field(default_factory=dict)
    held: dict[Name, Held] = field(default_factory=dict)
    written: dict[Name, dict[str | None, str]] = field(default_factory=dict)
    _monitors: dict[str, str] | None = None
    _before: tuple[dict[Name, Held], Scope] | None = None
    _reshaped: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.duck, name)

    def execute(self, sql: str, parameters: Any = None) -> Any:
        control = _CONTROL.match(sql)
        if control:
            return self._control(control[1].upper(), sql)
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

    @property
    def in_transaction(self) -> bool:
        return self._before is not None

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

    def newest_day(self, monitor: str, name: str) -> date | None:
        """The newest day a table has rows of, wherever they are; none is loaded for it."""
        held, shape = self.held.get((monitor, name)), self._shapes_of(monitor).get(name) if monitor in self.monitors() else None
        if shape is None or (held and held.has_rows and self.scope.rows is None):
            found = self.at_work().execute(f"SELECT max(day) FROM {full_name((monitor, name))}").fetchall()
            return found[0][0]
        loaded = self.scope.condition(monitor, name) if held and held.has_rows else None
        beyond = f" WHERE NOT ({loaded})" if loaded and self.scope.rows else ""
        ((day,),) = self.snapshot.rows(f"SELECT max(day) FROM {full_name((monitor, name))}{beyond}")
        here = self.at_work().execute(f"SELECT max(day) FROM {full_name((monitor, name))}").fetchall()[0][0] if loaded else None
        return max((each for each in (day, here) if each is not None), default=None)

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
            self._before = (dict(self.held), self.scope)
            return result
        if word == "ROLLBACK":
            (self.held, self.scope), self._before, self._reshaped = self._before or ({}, self.scope), None, False
            return self.duck.execute(sql)
        try:
            self._write_back()
        except BaseException:
            with suppress(duckdb.Error):
                self._control("ROLLBACK", "ROLLBACK")
            raise
        result = self.duck.execute(sql)
        self._before = None
        return result

    def _prepare(self, sql: str, parameters: Any) -> None:
        """Have what the statement names."""
        names = [(_plain(schema), _plain(name)) for schema, name in _QUALIFIED.findall(sql)]
        if _CATALOG.search(sql) and "temporary" not in sql:
            self._mirror_all({value for value in _values(parameters) if value in self.monitors()})
        shaping = bool(_SHAPING.match(sql))
        texts = {value for value in _values(parameters) if isinstance(value, str)}
        baselines = texts if _OF_A_BASELINE.match(sql) and all(name != "baselines" for _, name in names) else set()
        for schema, name in dict.fromkeys(names):
            monitor = self._monitor_called(schema)
            found = self._table_called(monitor, name) if monitor else None
            if monitor and found:
                self._mirror((monitor, found), with_comments=shaping)
                if not _SHAPE_ONLY.match(sql):
                    self._load((monitor, found), baselines)
        self._reshaped = self._reshaped or shaping
        change = _CHANGE.match(sql)
        if change:
            schema, table = _plain(change[1]), _plain(change[2])
            of = self._monitor_called(schema) or schema
            target = (of, self._table_called(of, table) or table)
            held = self.held.get(target, Held(has_rows=True))
            if held.digests is None:
                on_server = target[1] in self.shapes.get(of, {})
                self.held[target] = replace(held, digests=self.digests(target) if on_server else {})

    def _after(self, sql: str) -> None:
        if not self.in_transaction and (_CHANGE.match(sql) or _SHAPING.match(sql)):
            self._write_back()

    def _monitor_called(self, name: str) -> str | None:
        return next((monitor for monitor in self.monitors() if monitor.casefold() == name.casefold()), None)

    def _table_called(self, monitor: str, name: str) -> str | None:
        if monitor not in self.monitors():
            return None
        return next((table for table in self._shapes_of(monitor) if table.casefold() == name.casefold()), None)

    def _shapes_of(self, monitor: str) -> dict[str, Shape]:
        if monitor not in self.shapes:
            self.shapes[monitor] = shapes_of(self.snapshot, monitor)
        return self.shapes[monitor]

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
            statements += duckdb_comments(*name, shape)
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
        if baselines and name[1] in _BY_BASELINE:
            missing = baselines - held.baselines
            if missing:
                self._insert(name, shape, f"baseline_id IN ({_listed(missing)})")
                self.held[name] = replace(held, baselines=held.baselines | missing)
            return
        condition = self.scope.condition(*name) if "day" in shape.kinds else None
        if held.baselines:
            condition = f"(baseline_id NOT IN ({_listed(held.baselines)}) OR baseline_id IS NULL)"
        self._insert(name, shape, condition)
        self.held[name] = replace(held, has_rows=True)

    def _insert(self, name: Name, shape: Shape, condition: str | None) -> None:
        columns = ", ".join(map(quoted, shape.kinds))
        where = f" WHERE {condition}" if condition else ""
        arriving = self.snapshot.arrow(f"SELECT {columns} FROM {full_name(name)}{where}")
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

    def _write_back(self) -> None:
        changes = dict(self._changes())
        if changes:
            self.store(self, changes)
        self._reshaped = False
        for name, change in changes.items():
            if change.after is None:
                self.held.pop(name, None)
            elif change.is_whole or change.parts:
                self.held[name] = Held(has_rows=True, has_comments=True, digests=change.digests)

    def _changes(self) -> Iterator[tuple[Name, "Change"]]:
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
        known = self._shapes_of(monitor) if monitor in self.monitors() else {}
        after = {
            name: shape
            if name not in known or self.held[monitor, name].has_comments
            else Shape(shape.kinds, known[name].comments)
            for name, shape in shapes_in_duckdb(self.at_work(), monitor).items()
        }
        gone = [name for name in known if (monitor, name) in self.held and name not in after]
        return changed_shapes(known, after, gone)


@dataclass(frozen=True)
class Change:
    """What has become of a table: its shape before and now, the parts whose rows are others, or that all rows are to be written
    anew, and the digests of the parts now."""

    before: Shape | None
    after: Shape | None
    parts: frozenset[Part]
    digests: Digests
    is_whole: bool

    @property
    def is_reshaped(self) -> bool:
        return self.before != self.after


def full_name(name: Name) -> str:
    return f"{quoted(name[0])}.{quoted(name[1])}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(map(literal, sorted(texts)))


def _values(parameters: Any) -> list[Any]:
    """The values of a statement's parameters, by place or by name."""
    return list(parameters.values()) if isinstance(parameters, dict) else list(parameters or ())


def _plain(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier
