"""How the predictions of a day were served: requests, errors, latencies, dropped rows, from the log's own rows into `serving`.

Nothing is judged here.
"""

import glob
import os
from collections.abc import Sequence
from datetime import date
from typing import Any

import duckdb

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.prediction_logging.segments import read_dropped
from monitoring_assets.warehouse import quoted, replace_days, table, transaction
from monitoring_assets.warehouse_tables import TABLES

LATENCY_SHARES = {"latency_p50_ms": 0.5, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}


def measure_serving(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> dict[date, dict[str, Any]]:
    """Replace these days of `serving` with the figures of their rows in `inference_log`, and return them by day and column.

    A quantile is the smallest latency that this share of the requests did not exceed; a row of a sampled log stands for as
    many requests as its weight says. `spec` is located, for the notes of dropped rows lie beside the log. A monitor without
    `serving` has no such rows.

    Raises
    ------
    SourceUnreadable
        When a note of dropped rows is damaged.
    """
    if spec.serving is None:
        return {}
    dropped = _dropped(spec, days)
    counted = "unnest(?::DATE[]) AS day, unnest(?::BIGINT[]) AS dropped_rows"
    with transaction(connection):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE served AS SELECT * FROM ({_served_sql(spec)}) "
            f"FULL JOIN (SELECT {counted}) USING (day)",
            [list(days), list(dropped), list(dropped.values())],
        )
        rows = "SELECT * REPLACE (coalesce(requests, 0) AS requests, coalesce(logged_rows, 0) AS logged_rows, "
        rows += "coalesce(errors, 0) AS errors, coalesce(dropped_rows, 0) AS dropped_rows) FROM served ORDER BY day"
        replace_days(connection, table(spec, "serving"), days, rows)
    columns = list(TABLES["serving"])
    found = connection.execute(
        f"SELECT {', '.join(columns)} FROM {table(spec, 'serving')} WHERE day IN (SELECT unnest(?::DATE[]))", [list(days)]
    ).fetchall()
    return {row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in found}


def _served_sql(spec: MonitorSpec) -> str:
    serving = spec.serving
    latency = f"CAST({quoted(serving.latency_ms)} AS DOUBLE)" if serving and serving.latency_ms else "NULL::DOUBLE"
    is_error = f"coalesce(trim({quoted(serving.error)}), '') <> ''" if serving and serving.error else "NULL::BOOLEAN"
    stands_for = quoted(spec.sampling_weight) if spec.sampling_weight else "1.0::DOUBLE"
    quantiles = ", ".join(
        f"min(latency) FILTER (isfinite(latency) AND reached >= {share} * timed) AS {name}"
        for name, share in LATENCY_SHARES.items()
    )
    return (
        f"WITH requests AS (SELECT day, {latency} AS latency, {is_error} AS is_error, {stands_for} AS weight "
        f"FROM {table(spec, 'inference_log')} WHERE day IN (SELECT unnest(?::DATE[]))), "
        "ranked AS (SELECT *, sum(weight) FILTER (isfinite(latency)) OVER (PARTITION BY day ORDER BY latency) AS reached, "
        "sum(weight) FILTER (isfinite(latency)) OVER (PARTITION BY day) AS timed FROM requests) "
        "SELECT day, sum(weight) AS requests, count(*) AS logged_rows, count(*) FILTER (is_error) AS errors, "
        f"sum(CASE WHEN is_error THEN weight WHEN NOT is_error THEN 0 END) / sum(weight) AS error_rate, {quantiles} "
        "FROM ranked GROUP BY day"
    )


def _dropped(spec: MonitorSpec, days: Sequence[date]) -> dict[date, int]:
    if spec.log.path is None or "://" in spec.log.path:
        return {}
    home = spec.resolve("")
    path = spec.log.path
    files = {spec.resolve(path, day if spec.log.is_per_day else None) for day in days}
    # Only what the user wrote is a pattern: a data folder may well be called `prod [eu]`.
    folders = {os.path.dirname(glob.escape(home) + file[len(home) :] if file.startswith(home) else file) for file in files}
    return read_dropped(sorted(folders), days)
