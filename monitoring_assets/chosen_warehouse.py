"""Which warehouse a deployment keeps its results in: the DuckDB file in the data folder, or a PostgreSQL database."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from monitoring_assets.warehouse import LOCK_PATIENCE_SECONDS, LOG, AnyWarehouse, Warehouse


def warehouse_kind() -> Literal["duckdb", "postgres"]:
    return "postgres" if os.environ.get("MONITORING_ASSETS_WAREHOUSE", "").strip() else "duckdb"


def warehouse_in(
    folder: Path,
    patience_seconds: float = LOCK_PATIENCE_SECONDS,
    report: Callable[[str], None] = LOG.warning,
) -> AnyWarehouse:
    """The database that `MONITORING_ASSETS_WAREHOUSE` names, else the file in the data folder."""
    if warehouse_kind() == "postgres":
        from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse

        return PostgresWarehouse(patience_seconds, report)
    return Warehouse(folder / "warehouse.duckdb", patience_seconds, report)
