"""Days put into a warehouse as the assets do it: staged without the warehouse, then stored."""

from collections.abc import Sequence
from datetime import date

import duckdb

from monitoring_assets.ingestion.delivery import Delivery, store
from monitoring_assets.ingestion.labels import staged_labels, store_labels
from monitoring_assets.ingestion.prediction_log import staged_log
from monitoring_assets.monitor_spec import Label, MonitorSpec, Source


def ingest_log(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[Delivery]:
    with staged_log(spec, days) as rows:
        return store(connection, spec, rows)


def ingest_labels(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, label: Label, source: Source, days: Sequence[date]
) -> list[Delivery]:
    with staged_labels(spec, label, source, days) as rows:
        return store_labels(connection, spec, rows)
