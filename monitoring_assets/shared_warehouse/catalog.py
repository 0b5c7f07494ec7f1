"""The shapes of the tables on the server: read into DuckDB's terms, and brought to what they have become there."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import duckdb

from monitoring_assets.shared_warehouse.columns import checked_name, duckdb_type, postgres_type
from monitoring_assets.shared_warehouse.server import Session
from monitoring_assets.sql_text import literal, quoted

# Tables whose parts are read in an order.
ORDERED_BY = {"baseline_sample": ("sample_key",)}


@dataclass(frozen=True)
class Shape:
    """The columns of a table, in order: name -> type in DuckDB's terms (None: one we have no use for), and their comments."""

    kinds: Mapping[str, str | None]
    comments: Mapping[str, str | None]

    @property
    def part(self) -> str | None:
        """The column by which rows are replaced together: day, or the baseline they belong to. None: all at once."""
        first = next(iter(self.kinds), None)
        return first if first in {"day", "baseline_id"} else "day" if "day" in self.kinds else None


def monitors_on(session: Session) -> dict[str, str]:
    """The schemas on the server, each with what tells it from one of the same name made anew."""
    found = session.rows(
        "SELECT nspname::text, oid::text FROM pg_namespace "
        "WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')"
    )
    return dict(found)


def shapes_of(session: Session, monitor: str, *, with_comments: bool = True) -> dict[str, Shape]:
    """The tables of a monitor as they are. Comments take most of the time, and only changes of shapes need them."""
    comment = "col_description(c.oid, a.attnum)" if with_comments else "NULL::text"
    rows = session.rows(
        f"SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), {comment} "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid "
        f"WHERE n.nspname = {literal(monitor)} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped "
        "ORDER BY c.relname, a.attnum"
    )
    return _shapes((name, column, duckdb_type(kind), comment) for name, column, kind, comment in rows)


def shapes_in_duckdb(connection: duckdb.DuckDBPyConnection, monitor: str) -> dict[str, Shape]:
    """The tables of a monitor as they are in a DuckDB database."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE schema_name = ? AND NOT internal "
        "AND database_name = current_database() ORDER BY table_name, column_index",
        [monitor],
    )
    return _shapes((name, column, kind, comment) for name, column, kind, comment in rows.fetchall())


def duckdb_ddl(monitor: str, name: str, shape: Shape, *, with_comments: bool = True) -> Iterator[str]:
    """The statements that make a table of this shape in DuckDB."""
    target = f"{quoted(monitor)}.{quoted(name)}"
    columns = ", ".join(f"{quoted(column)} {kind}" for column, kind in shape.kinds.items())
    yield f"CREATE SCHEMA IF NOT EXISTS {quoted(monitor)}"
    yield f"CREATE TABLE {target} ({columns})"
    if with_comments:
        yield from duckdb_comments(monitor, name, shape)


def duckdb_comments(monitor: str, name: str, shape: Shape) -> Iterator[str]:
    for column, comment in shape.comments.items():
        if comment is not None:
            yield f"COMMENT ON COLUMN {quoted(monitor)}.{quoted(name)}.{quoted(column)} IS {literal(comment)}"


def _shapes(columns: Iterable[tuple[str, str, str | None, str | None]]) -> dict[str, Shape]:
    kinds: dict[str, dict[str, str | None]] = {}
    comments: dict[str, dict[str, str | None]] = {}
    for name, column, kind, comment in columns:
        kinds.setdefault(name, {})[column] = kind
        comments.setdefault(name, {})[column] = comment
    return {name: Shape(held, comments[name]) for name, held in kinds.items()}


def keeps_rows(before: Shape | None, after: Shape) -> bool:
    """Whether stored rows stay as they are under the new shape: columns were added at most."""
    return before is None or all(after.kinds.get(column) == kind for column, kind in before.kinds.items())


def ddl(monitor: str, name: str, before: Shape | None, after: Shape | None) -> Iterator[str]:
    """The statements that bring a table of the server to its new shape. Rows that do not stay must be gone before."""
    target = f"{quoted(monitor)}.{quoted(checked_name(name))}"
    if after is None:
        yield f"DROP TABLE {target}"
        return
    declared = {column: f"{quoted(checked_name(column))} {postgres_type(str(kind))}" for column, kind in after.kinds.items()}
    if before is None:
        yield f"CREATE TABLE {target} ({', '.join(declared.values())})"
        if after.part:
            yield f"CREATE INDEX ON {target} ({', '.join(map(quoted, dict.fromkeys((after.part, *ORDERED_BY.get(name, ())))))})"
    else:
        for column, kind in before.kinds.items():
            if after.kinds.get(column) != kind:
                yield f"ALTER TABLE {target} DROP COLUMN {quoted(column)}"
        for column, kind in after.kinds.items():
            if before.kinds.get(column) != kind:
                yield f"ALTER TABLE {target} ADD COLUMN {declared[column]}"
    for column, comment in after.comments.items():
        kept = before is not None and before.kinds.get(column) == after.kinds[column]
        if comment != (before.comments.get(column) if before and kept else None):
            yield f"COMMENT ON COLUMN {target}.{quoted(column)} IS {'NULL' if comment is None else literal(comment)}"


def changed_shapes(
    before: Mapping[str, Shape], after: Mapping[str, Shape], gone: Collection[str]
) -> dict[str, tuple[Shape | None, Shape | None]]:
    """Tables whose shape is another now, with the old and the new one."""
    changed: dict[str, tuple[Shape | None, Shape | None]] = {name: (before[name], None) for name in gone}
    for name, shape in after.items():
        if before.get(name) != shape:
            changed[name] = (before.get(name), shape)
    return changed
