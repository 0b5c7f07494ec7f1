"""Predictions and their labels in a lake, joined where they are: rows of one id are brought together in one task, which judges
the labels against the predictions and measures both, as the warehouse does (`executor.joined`)."""

from collections.abc import Sequence
from datetime import date
from functools import partial

import duckdb
import pyarrow as pa

from monitoring_assets.engines import executor
from monitoring_assets.engines.lake import LakeRows
from monitoring_assets.engines.lake_days import AccountedLog, delivered_rows, refuse_changes
from monitoring_assets.engines.spark_session import spark_errors
from monitoring_assets.ingestion.labels import label_contract
from monitoring_assets.measuring.delivered import accepted_sql
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import quoted

BUCKETS = "bucket int, side string, content binary"
# Predictions that one task joins with their labels.
ROWS_OF_A_BUCKET = 400_000


def labels_of(spec: MonitorSpec, days: Sequence[date]) -> LakeRows:
    """The labels that the monitor's table holds for these days."""
    if spec.label is None or spec.labels is None:
        raise ValueError(f"{spec.name} has no labels")
    return delivered_rows(spec, label_contract(spec, spec.label, spec.labels), spec.labels, days)


def joined_tables(log: AccountedLog, labels: LakeRows, wanted: Wanted) -> Tables:
    """Of the days' predictions and labels: how the labels stand to the contract (`wanted.delivered`), and the predictions with
    their labels (`wanted.labelled`).

    Raises
    ------
    RowsChanged
        When other predictions are accepted than `inference_log` has counted.
    """
    spec = labels.lake.spec
    buckets = max(1, -(-(log.rows.row_count or 0) // ROWS_OF_A_BUCKET))
    resolved, lake = log.rows.resolved
    columns = [quoted(name) for name in executor.columns_joined(spec)]
    with spark_errors(log.rows.spark, log.rows.shown):
        predicted = log.rows.frame().mapInArrow(partial(executor.bucketed, lake, "log", columns, buckets), BUCKETS)
        told = labels.frame().mapInArrow(partial(executor.bucketed, labels.lake, "labels", ["*"], buckets), BUCKETS)
        together = predicted.unionAll(told).repartition(buckets, "bucket")
        found = together.mapInArrow(partial(executor.joined, labels.lake, wanted, buckets, _accepted(resolved)), executor.PACKED)
        packed = found.toArrow()
    with executor.connected(labels.lake) as own:
        parts = list(executor.unpacked(packed)) or [executor.joined_part(own, labels.lake, wanted, _accepted(resolved), [], [])]
        tables = executor.added(own, labels.lake, wanted, parts)
    if wanted.labelled:
        now: dict[date, int] = {}
        for row in tables["labelled"].to_pylist():
            if row["segment"] is None:
                now[row["day"]] = now.get(row["day"], 0) + row["row_count"]
        refuse_changes(log, now)
    return tables


def _accepted(resolved: pa.Table) -> pa.Table:
    with duckdb.connect() as own:
        own.register("resolved", resolved)
        return own.sql(f"FROM {accepted_sql('resolved')}").to_arrow_table()
