"""Days put into a warehouse as the assets do it: staged without the warehouse, then stored."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from monitoring_assets.ingestion.delivery import Delivery, store
from monitoring_assets.ingestion.labels import staged_labels, store_labels
from monitoring_assets.ingestion.prediction_log import staged_log
from monitoring_assets.monitor_spec import Label, MonitorSpec, Source
from monitoring_assets_tests.example_monitor import FIRST, SECOND, THIRD, contents, example_spec, example_warehouse, write_day

DAYS = [FIRST, SECOND, THIRD]
STORED = ("inference_log", "quarantine", "deliveries")
Tables = dict[str, list[tuple[Any, ...]]]


def ingest_log(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[Delivery]:
    with staged_log(spec, days) as rows:
        return store(connection, spec, rows)


def ingest_labels(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, label: Label, source: Source, days: Sequence[date]
) -> list[Delivery]:
    with staged_labels(spec, label, source, days) as rows:
        return store_labels(connection, spec, rows)


def ingest(home: Path, spec: MonitorSpec, days: Sequence[date]) -> tuple[list[Delivery], Tables]:
    """Ingest days of an example. Gives the deliveries, which must agree with the tables, and the tables."""
    with example_warehouse(home, spec) as connection:
        deliveries = ingest_log(connection, spec, days)
        assert_the_account_is_right(connection, deliveries)
        return deliveries, contents(connection, spec, *STORED)


def assert_the_account_is_right(connection: duckdb.DuckDBPyConnection, deliveries: Sequence[Delivery]) -> None:
    """What a delivery says is what the tables hold."""
    for reported in deliveries:
        stored = connection.execute("SELECT count(*) FROM example.inference_log WHERE day = ?", [reported.day]).fetchone()
        refused = connection.execute(
            "SELECT count(*) FROM example.quarantine WHERE day = ? AND original IS NOT NULL", [reported.day]
        ).fetchone()
        account = connection.execute(
            "SELECT delivered_rows, accepted_rows, quarantined_rows, unreadable FROM example.deliveries WHERE day = ?",
            [reported.day],
        ).fetchall()
        assert (reported.accepted_rows, reported.quarantined_rows) == (stored[0], refused[0])
        assert account == [(reported.delivered_rows, reported.accepted_rows, reported.quarantined_rows, reported.unreadable)]
        assert sum(reported.reasons.values()) == reported.quarantined_rows


def one_day(home: Path, frame: pd.DataFrame, **overrides: Any) -> tuple[Delivery, Tables]:
    """Ingest one frame as the first day; gives the delivery and the tables."""
    spec = example_spec(home, **overrides)
    write_day(home, FIRST, frame=frame, path=spec.log.path)
    deliveries, tables = ingest(home, spec, [FIRST])
    return deliveries[0], tables


def reasons(tables: Tables) -> list[str]:
    """Why rows were refused, in alphabetical order."""
    return sorted(row[3] for row in tables["quarantine"])


def ingest_example(home: Path, days: Sequence[date] = DAYS, **overrides: Any) -> tuple[list[Delivery], Tables]:
    """As `ingest`, of the example monitor with settings of its own."""
    return ingest(home, example_spec(home, **overrides), days)


def as_jsonl(frame: pd.DataFrame) -> str:
    """Rows of the example log as JSON lines."""
    return frame.assign(at=frame["at"].astype("string")).to_json(orient="records", lines=True)
