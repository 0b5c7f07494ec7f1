"""Giving the space of deleted rows back to the disk: the warehouse is copied into a new file, which replaces the old one.

DuckDB 2.0 reuses the space of deleted rows, but its file does not shrink: after deleting 5/6 of a 104 MiB file, CHECKPOINT and
VACUUM leave 104 MiB, while a copy takes 18. Which rows are deleted is decided in `forgetting.py`.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from monitoring_assets.errors import CompactionFailed
from monitoring_assets.warehouse import AnyWarehouse, Warehouse, literal, quoted

# Names of the two files inside DuckDB while one is copied into the other.
OLD, NEW = "old_warehouse", "new_warehouse"


@dataclass(frozen=True)
class Compacted:
    """Size of the file in bytes, before and after."""

    path: Path
    before: int
    after: int


def compact(warehouse: AnyWarehouse) -> Compacted:
    """Copy everything that is stored into a new file and put it in the place of the old one, which is held meanwhile.

    If it is killed, either the old file or the new one is there, whole. It needs as much free disk as the new file takes. Views,
    indexes and comments are copied too.

    Raises
    ------
    CompactionFailed
        When there is no warehouse, the disk is full, or the copy does not hold every row. The old file is then as it was.
    WarehouseLocked
        When another process still holds the file after `patience_seconds`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     warehouse = Warehouse(Path(folder) / "warehouse.duckdb")
    ...     with warehouse.connect() as connection:
    ...         _ = connection.execute("CREATE TABLE noise AS SELECT random() AS x FROM range(400_000)")
    ...     with warehouse.connect() as connection:
    ...         _ = connection.execute("DELETE FROM noise WHERE x < 0.9")
    ...     done = compact(warehouse)
    >>> done.after < done.before / 2
    True
    """
    if not isinstance(warehouse, Warehouse):
        raise CompactionFailed(
            "the warehouse is a PostgreSQL database, which needs no compaction: its autovacuum makes room for new rows where old "
            "ones were. To give that room back to the disk, let its administrator run VACUUM FULL."
        )
    path = warehouse.path
    if not path.exists():
        raise CompactionFailed(f"there is no warehouse at {path}; MONITORING_ASSETS_HOME says in which folder it lies")
    copy = path.with_name(f"{path.name}.compacting")
    connection = warehouse.patiently(lambda: _attached(path))
    try:
        before = path.stat().st_size
        _discard(copy)  # left behind by a killed compaction
        _copy_into(connection, copy)
        os.replace(copy, path)
        _make_durable(path.parent)
    except (duckdb.Error, OSError) as error:
        raise CompactionFailed(f"{path} could not be compacted and is as it was: {error}") from None
    finally:
        _discard(copy)
        connection.close()
    return Compacted(path, before, path.stat().st_size)


def _attached(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection that holds the file, checkpointed: a write-ahead log left beside it would be applied to the new file.

    The file is attached, not opened: DuckDB then refuses if this process has it open already, instead of sharing it.
    """
    connection = duckdb.connect()
    try:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"ATTACH {literal(str(path))} AS {OLD}")
        connection.execute(f"CHECKPOINT {OLD}")
    except BaseException:
        connection.close()
        raise
    return connection


def _copy_into(connection: duckdb.DuckDBPyConnection, copy: Path) -> None:
    connection.execute(f"ATTACH {literal(str(copy))} AS {NEW}")
    connection.execute(f"COPY FROM DATABASE {OLD} TO {NEW}")
    missing = set(_counts(connection, OLD).items()) ^ set(_counts(connection, NEW).items())
    connection.execute(f"CHECKPOINT {NEW}")
    connection.execute(f"DETACH {NEW}")
    if missing:
        raise CompactionFailed(f"the copy of the warehouse is not equal to it, which was left as it was: {sorted(missing)}")


def _counts(connection: duckdb.DuckDBPyConnection, database: str) -> dict[str, int]:
    """Rows of every table."""
    names = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?", [database]
    ).fetchall()
    found = {}
    for schema, name in names:
        of = f"{quoted(schema)}.{quoted(name)}"
        ((found[of],),) = connection.execute(f"SELECT count(*) FROM {database}.{of}").fetchall()
    return found


def _discard(copy: Path) -> None:
    for file in (copy, copy.with_name(f"{copy.name}.wal")):
        file.unlink(missing_ok=True)


def _make_durable(folder: Path) -> None:
    """Make the new name outlive a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
