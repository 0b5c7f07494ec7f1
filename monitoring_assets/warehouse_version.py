"""Which version of the tables a monitor's schema holds. An older one is brought up to date in place, a newer one is refused."""

import duckdb

from monitoring_assets.errors import WarehouseNewer
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import table
from monitoring_assets.warehouse_tables import VERSION, VERSION_TABLE


def stored_version(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> int:
    """The version of a schema that has `VERSION_TABLE`.

    Raises
    ------
    WarehouseNewer
        When a newer version of this package wrote it.
    """
    ((found,),) = connection.execute(f"SELECT coalesce(max(version), 0) FROM {table(spec, VERSION_TABLE)}").fetchall()
    if found > VERSION:
        raise WarehouseNewer(
            f"the tables of {spec.name} were written by a newer monitoring-assets (version {found} of the tables, this one knows "
            f"{VERSION}). Upgrade monitoring-assets wherever it runs: an older one would write what the newer one misreads."
        )
    return int(found)


def note_version(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> None:
    """Note that the tables are as this version declares them. Call it inside a transaction."""
    connection.execute(f"DELETE FROM {table(spec, VERSION_TABLE)}")
    connection.execute(f"INSERT INTO {table(spec, VERSION_TABLE)} BY NAME SELECT {VERSION} AS version")
