"""Predictions and their labels in a lake, joined where they are: rows of one id are brought together in one task, which judges
the labels against the predictions and measures both, as the warehouse does (`executor.joined`)."""

from collections.abc import Sequence
from datetime import date
from functools import partial

import duckdb
import pyarrow as pa

from monitoring_assets.engines import executor
from monitoring_assets.engines.executor import Joining
from monitoring_assets.engines.lake import LakeRows
from monitoring_assets.engines.lake_days import AccountedLog, accounted_log, delivered_rows, refuse_changes
from monitoring_assets.engines.spark_session import spark_errors
from monitoring_assets.ingestion.labels import label_contract
from monitoring_assets.measuring.delivered import accepted_sql
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import quoted

BUCKETS = "bucket int, side string, content binary"
# Labelled rows that a model is trained on by default, and judged by: more change little, and are 25 columns of 8 MB each.
TRAINING_ROWS = 1_000_000
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
    packed, resolved = _joined(log, labels, Joining(wanted))
    with executor.connected(labels.lake) as own:
        none = [] if packed.num_rows else [executor.joined_part(own, labels.lake, Joining(wanted), resolved, [], [])]
        tables = executor.added(own, labels.lake, wanted, [*none, *executor.unpacked(packed)])
    if wanted.labelled:
        now: dict[date, int] = {}
        for row in tables["labelled"].to_pylist():
            if row["segment"] is None:
                now[row["day"]] = now.get(row["day"], 0) + row["row_count"]
        refuse_changes(log, now)
    return tables


def labelled_relations(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], columns: Sequence[str]
) -> tuple[str, str]:
    """Predictions whose label is known, with these columns, and their labels, as two temporary tables of the connection: of more
    than `TRAINING_ROWS` about so many, drawn by the hash of their ids, the same every time."""
    log, labels = accounted_log(connection, spec, days), labels_of(spec, days)
    known = sum(log.accepted.values())
    asked = Joining(Wanted(), tuple(columns), min(1.0, TRAINING_ROWS / max(known, 1)))
    packed, resolved = _joined(log, labels, asked)
    with executor.connected(labels.lake) as own:
        empty = executor.joined_part(own, labels.lake, asked, resolved.slice(0, 0), [], [])["rows"]
    rows = pa.concat_tables([empty, *(tables["rows"] for tables in executor.unpacked(packed))])
    connection.register("labelled_rows", rows)
    connection.execute("CREATE OR REPLACE TEMP TABLE fetched_predictions AS SELECT * EXCLUDE (__id, __label) FROM labelled_rows")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE fetched_labels AS SELECT day, __id AS prediction_id, __label AS label FROM labelled_rows"
    )
    connection.unregister("labelled_rows")
    return "fetched_predictions", "fetched_labels"


def _joined(log: AccountedLog, labels: LakeRows, asked: Joining) -> tuple[pa.Table, pa.Table]:
    """What the joining tasks found, packed, and the accepted predictions whose id occurred more than once."""
    buckets = max(1, -(-(log.rows.row_count or 0) // ROWS_OF_A_BUCKET))
    repeated, lake = log.rows.resolved
    with duckdb.connect() as own:
        own.register("repeated", repeated)
        resolved = own.sql(f"FROM {accepted_sql('repeated')}").to_arrow_table()
    columns = [quoted(name) for name in asked.columns_read(lake.spec)]
    with spark_errors(log.rows.spark, log.rows.shown):
        predicted = log.rows.frame().mapInArrow(partial(executor.bucketed, lake, "log", columns, buckets), BUCKETS)
        delivered = labels.frame().mapInArrow(partial(executor.bucketed, labels.lake, "labels", ["*"], buckets), BUCKETS)
        together = predicted.unionAll(delivered).repartition(buckets, "bucket")
        found = together.mapInArrow(partial(executor.joined, labels.lake, asked, buckets, resolved), executor.PACKED)
        return found.toArrow(), resolved
