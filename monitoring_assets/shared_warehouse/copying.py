"""Moving a warehouse: from the DuckDB file into PostgreSQL, and back: tables, rows and comments, but no views and no rights.

Rows stream through, so memory is bounded. The target is written whole or not at all.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from monitoring_assets.errors import CopyRefused
from monitoring_assets.postgres_address import address_in, is_address
from monitoring_assets.shared_warehouse.catalog import Shape, ddl, duckdb_ddl, monitors_on, shapes_in_duckdb, shapes_of
from monitoring_assets.shared_warehouse.columns import received, sent
from monitoring_assets.shared_warehouse.server import Session, address, session
from monitoring_assets.sql_text import quoted
from monitoring_assets.warehouse import Warehouse

Report = Callable[[str], None]
BATCH_ROWS = 50_000


def copy_warehouse(source: str, target: str, *, replace: bool, report: Report) -> None:
    """Copy a warehouse. One end is the path of a DuckDB file, the other the name of an environment variable that holds a
    postgresql:// address, or such an address.

    Raises
    ------
    CopyRefused
        When the ends are not one of each, the source is not there, or the target holds rows and is not to be replaced.
    """
    from_server, to_server = _address(source), _address(target)
    if from_server and not to_server:
        copy_to_file(from_server, Path(target), replace=replace, report=report)
    elif to_server and not from_server:
        copy_to_server(Path(source), to_server, replace=replace, report=report)
    else:
        raise CopyRefused(
            "one end must be a DuckDB file and the other a database: give the file's path, and the name of the environment "
            "variable that holds the database's address"
        )


def _address(end: str) -> str | None:
    if is_address(end):
        return end
    is_variable = end.isidentifier() and not Path(end).exists() and end in os.environ
    return address_in(end, CopyRefused, "name one that does") if is_variable else None


def copy_to_server(file: Path, uri: str, *, replace: bool, report: Report) -> None:
    """Copy all monitors of a file into a database, in one transaction of it."""
    if not file.exists():
        raise CopyRefused(f"there is no file {file}, and no environment variable of that name")
    with Warehouse(file, report=report).connect() as connection, session(address(uri)) as server:
        monitors = {name: shapes_in_duckdb(connection, name) for name in schemas_in(connection)}
        present = {name: shapes_of(server, name) for name in set(monitors) & set(monitors_on(server))}
        for monitor, shapes in present.items():
            for name in shapes:
                _make_room(server, f"{quoted(monitor)}.{quoted(name)}", replace=replace)
        for monitor, shapes in monitors.items():
            server.run(f"CREATE SCHEMA IF NOT EXISTS {quoted(monitor)}")
            for name, shape in shapes.items():
                for sql in ddl(monitor, name, present.get(monitor, {}).get(name), shape):
                    server.run(sql)
                full = f"{quoted(monitor)}.{quoted(name)}"
                columns = ", ".join(sent(column, str(kind)) for column, kind in shape.kinds.items())
                server.append(monitor, name, connection.sql(f"SELECT {columns} FROM {full}").to_arrow_reader(BATCH_ROWS))
                ((here,),) = connection.execute(f"SELECT count(*) FROM {full}").fetchall()
                ((there,),) = server.rows(f"SELECT count(*) FROM {full}")
                _check(f"{monitor}.{name}", here, there, report)
        server.commit()


def copy_to_file(uri: str, file: Path, *, replace: bool, report: Report) -> None:
    """Copy all monitors of a database, as one snapshot shows them, into a file, which appears when it is whole."""
    if file.exists() and not replace:
        with Warehouse(file).connect() as connection:
            for monitor in schemas_in(connection):
                for name in shapes_in_duckdb(connection, monitor):
                    _refuse_rows(f"{file}: {monitor}.{name}", _has_rows(connection, f"{quoted(monitor)}.{quoted(name)}"))
    with session(address(uri)) as server, _appearing(file) as connection:
        server.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for monitor in monitors_on(server):
            shapes = {name: shape for name, shape in shapes_of(server, monitor).items() if None not in shape.kinds.values()}
            for name, shape in shapes.items():
                for sql in duckdb_ddl(monitor, name, shape):
                    connection.execute(sql)
                _fetch(connection, server, f"{quoted(monitor)}.{quoted(name)}", shape)
                ((here,),) = connection.execute(f"SELECT count(*) FROM {quoted(monitor)}.{quoted(name)}").fetchall()
                ((there,),) = server.rows(f"SELECT count(*) FROM {quoted(monitor)}.{quoted(name)}")
                _check(f"{monitor}.{name}", there, here, report)


def _fetch(connection: duckdb.DuckDBPyConnection, server: Session, full: str, shape: Shape) -> None:
    columns = ", ".join(map(quoted, shape.kinds))
    taken = ", ".join(received(column, str(kind)) for column, kind in shape.kinds.items())
    with server.stream(f"SELECT {columns} FROM {full}") as rows:
        connection.register("arriving_from_server", rows)
        connection.execute(f"INSERT INTO {full} BY NAME SELECT {taken} FROM arriving_from_server")
        connection.unregister("arriving_from_server")


@contextmanager
def _appearing(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a file beside this one, which takes its place at the end."""
    copy = file.with_name(f"{file.name}.copying")
    copy.unlink(missing_ok=True)
    try:
        with Warehouse(copy).connect() as connection:
            yield connection
        os.replace(copy, file)
    finally:
        copy.unlink(missing_ok=True)


def schemas_in(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT schema_name FROM duckdb_tables() WHERE NOT internal AND schema_name <> 'main' "
        "AND database_name = current_database() ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows]


def _has_rows(connection: duckdb.DuckDBPyConnection, full: str) -> bool:
    return bool(connection.execute(f"SELECT 1 FROM {full} LIMIT 1").fetchall())


def _make_room(server: Session, full: str, *, replace: bool) -> None:
    if not replace:
        _refuse_rows(f"the database: {full}", bool(server.rows(f"SELECT 1 FROM {full} LIMIT 1")))
    server.run(f"DELETE FROM {full}")


def _refuse_rows(what: str, has_rows: bool) -> None:
    if has_rows:
        raise CopyRefused(
            f"{what} holds rows already. Give an empty target, or --replace to delete what it holds of these monitors."
        )


def _check(name: str, source: int, target: int, report: Report) -> None:
    if source != target:
        raise CopyRefused(f"{name}: {source:,} rows in the source, {target:,} in the copy. Nothing was kept; run this again.")
    report(f"{name}: {source:,} rows")
