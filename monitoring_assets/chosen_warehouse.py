"""Which warehouse a deployment keeps its results in: a DuckDB file in the data folder, one for each monitor, or a PostgreSQL
database."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from monitoring_assets.warehouse import LOCK_PATIENCE_SECONDS, LOG, AnyWarehouse, Warehouse

SETTING = "MONITORING_ASSETS_WAREHOUSE"
# DuckDB reads all tables of a file when it opens it: with 24 of them per monitor 15 ms for one monitor, 1.2 s for 200.
FILE_PER_MONITOR = "file-per-monitor"


def warehouse_kind() -> Literal["duckdb", "postgres"]:
    return "duckdb" if _setting() in ("", FILE_PER_MONITOR) else "postgres"


def warehouse_in(
    folder: Path,
    patience_seconds: float = LOCK_PATIENCE_SECONDS,
    report: Callable[[str], None] = LOG.warning,
    monitor: str = "",
) -> AnyWarehouse:
    """The database that `MONITORING_ASSETS_WAREHOUSE` names, else the file in the data folder: the monitor's own where the
    setting says so."""
    if warehouse_kind() == "postgres":
        from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse

        return PostgresWarehouse(patience_seconds, report)
    return Warehouse(folder / warehouse_file(monitor), patience_seconds, report)


def warehouse_file(monitor: str) -> Path:
    """Where a monitor's results are, from the data folder on. The files have one name, which is that of the catalog in SQL."""
    return Path("warehouses", monitor, "warehouse.duckdb") if _setting() == FILE_PER_MONITOR else Path("warehouse.duckdb")


def warehouse_pool() -> str | None:
    """The pool of the steps that hold the file of all monitors. With a limit of 1, a step that has to wait says so in the UI;
    without one it waits for the file, and says so in its log. A file of one monitor, and a database, are hardly waited for."""
    return "monitoring_assets/warehouse" if warehouse_kind() == "duckdb" and _setting() != FILE_PER_MONITOR else None


def all_warehouses(folder: Path) -> list[AnyWarehouse]:
    """All that hold results of this deployment."""
    if _setting() != FILE_PER_MONITOR:
        return [warehouse_in(folder)]
    return [Warehouse(file) for file in sorted(folder.glob(str(warehouse_file("*"))))]


def _setting() -> str:
    return os.environ.get(SETTING, "").strip()
