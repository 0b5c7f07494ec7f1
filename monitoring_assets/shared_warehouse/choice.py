"""Where results are kept: the one place that decides between the DuckDB file and the shared warehouse."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from monitoring_assets.warehouse import LOCK_PATIENCE_SECONDS, AnyWarehouse, Warehouse

_LOG = logging.getLogger(__name__)
VARIABLE = "MONITORING_ASSETS_WAREHOUSE"


def warehouse_in(
    folder: Path,
    patience_seconds: float = LOCK_PATIENCE_SECONDS,
    report: Callable[[str], None] = _LOG.warning,
) -> AnyWarehouse:
    """The database that `MONITORING_ASSETS_WAREHOUSE` names; where it names none, the file in the data folder."""
    if os.environ.get(VARIABLE, "").strip():
        from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse

        return PostgresWarehouse(patience_seconds, report)
    return Warehouse(folder / "warehouse.duckdb", patience_seconds, report)
