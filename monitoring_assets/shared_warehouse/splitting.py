"""From one DuckDB file for all monitors to a file for each. Nothing is deleted: the one file stays as it was."""

import os
from pathlib import Path

import duckdb

from monitoring_assets.errors import CopyRefused
from monitoring_assets.shared_warehouse.catalog import duckdb_ddl, shapes_in_duckdb
from monitoring_assets.shared_warehouse.copying import Report, schemas_in
from monitoring_assets.sql_text import literal, quoted
from monitoring_assets.warehouse import Warehouse

PART = "file_of_one_monitor"


def split_file(file: Path, folder: Path, report: Report) -> None:
    """Copy each monitor of a file into `folder/MONITOR/warehouse.duckdb`, which appears when it is whole. One that is there is
    left alone, so that what was interrupted goes on.

    Raises
    ------
    CopyRefused
        When there is no such file.
    """
    if not file.exists():
        raise CopyRefused(f"there is no file {file} to split")
    with Warehouse(file, report=report).connect() as connection:
        ((whole,),) = connection.execute("SELECT current_database()").fetchall()
        for monitor in schemas_in(connection):
            target = folder / monitor / "warehouse.duckdb"
            if target.exists():
                report(f"{target} is there already")
                continue
            rows = _copied(connection, whole, monitor, target)
            report(f"{target}: {rows:,} rows")


def _copied(connection: duckdb.DuckDBPyConnection, whole: str, monitor: str, target: Path) -> int:
    """Copies a monitor. Returns how many rows its tables have."""
    copy, rows = target.with_name(f"{target.name}.copying"), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    copy.unlink(missing_ok=True)
    shapes = shapes_in_duckdb(connection, monitor)
    connection.execute(f"ATTACH {literal(str(copy))} AS {PART}")
    try:
        connection.execute(f"USE {PART}")
        for name, shape in shapes.items():
            for sql in duckdb_ddl(monitor, name, shape):
                connection.execute(sql)
            full = f"{quoted(monitor)}.{quoted(name)}"
            ((copied,),) = connection.execute(f"INSERT INTO {full} BY NAME FROM {quoted(whole)}.{full}").fetchall()
            rows += copied
    finally:
        connection.execute(f"USE {quoted(whole)}")
        connection.execute(f"DETACH {PART}")
    os.replace(copy, target)
    return rows
