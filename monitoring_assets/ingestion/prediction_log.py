"""The prediction log of some days: from its source into `inference_log`, what breaks the contract into `quarantine`."""

from collections.abc import Sequence
from datetime import date

import duckdb

from monitoring_assets.ingestion.delivery import Contract, Delivery, deliver
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import quoted


def ingest_log(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[Delivery]:
    """Replace these days of `inference_log` with what the source holds for them, and account for every row."""
    stored = {name: quoted(name) for name in spec.log_columns}
    return deliver(connection, spec, Contract("inference_log", spec.log_columns, spec.event_time, stored), spec.log, days)
