"""How the predictions of a batch were served, as tables that add up: requests, errors, latencies.

What follows from them (`served_days`) is what the table `serving` holds, but for dropped rows, which are no rows.
"""

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from monitoring_assets.measuring.cells import bounded_cells, number_sql
from monitoring_assets.measuring.exact_sums import ROWS
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import quoted

LATENCY_SHARES = {"latency_p50_ms": 0.5, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}
SUMS = {"requests": ROWS, "logged_rows": "BIGINT", "errors": "BIGINT", "failed_requests": ROWS}


def served(connection: duckdb.DuckDBPyConnection, rows: str, spec: MonitorSpec) -> dict[str, pa.Table]:
    """The tables `served` and `latencies` of a relation."""
    serving = spec.serving
    is_error = f"coalesce(trim({quoted(serving.error)}), '') <> ''" if serving and serving.error else "NULL::BOOLEAN"
    weight = f"{_weight(spec)}::{ROWS}"
    sums = (
        f"SELECT day, sum({weight}) AS requests, count(*) AS logged_rows, count(*) FILTER ({is_error}) AS errors, "
        f"sum(CASE WHEN {is_error} THEN {weight} WHEN NOT {is_error} THEN 0 END) AS failed_requests FROM {rows} GROUP BY day"
    )
    latency = f"CAST({quoted(serving.latency_ms)} AS DOUBLE)" if serving and serving.latency_ms else "NULL::DOUBLE"
    numbers = (
        f"(SELECT day, {number_sql('latency')} AS lower, lower AS upper, n FROM "
        f"(SELECT day, {latency} AS latency, {weight} AS n FROM {rows}) WHERE isfinite(latency))"
    )
    return {"served": _by_day(connection, sums), "latencies": bounded_cells(connection, numbers, ["day"], {"n": ROWS})}


def added_served(connection: duckdb.DuckDBPyConnection, parts: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of all rows, from those of batches put below each other."""
    connection.register("served_batches", parts["served"])
    connection.register("latency_batches", parts["latencies"])
    sums = ", ".join(f"sum({name})::{kind} AS {name}" for name, kind in SUMS.items())
    added = {
        "served": _by_day(connection, f"SELECT day, {sums} FROM served_batches GROUP BY day"),
        "latencies": bounded_cells(connection, "latency_batches", ["day"], {"n": ROWS}),
    }
    connection.unregister("served_batches")
    connection.unregister("latency_batches")
    return added


def served_days(connection: duckdb.DuckDBPyConnection, parts: Mapping[str, pa.Table]) -> pa.Table:
    """`serving` without its dropped rows. A quantile is the smallest latency that so large a share of the requests did not
    exceed, of crowded latencies the largest of its cell."""
    connection.register("served_parts", parts["served"])
    connection.register("latency_parts", parts["latencies"])
    quantiles = ", ".join(f"min(upper) FILTER (reached >= {share} * timed) AS {name}" for name, share in LATENCY_SHARES.items())
    found = connection.sql(f"""
        WITH ranked AS (
            SELECT *, sum(n) OVER (PARTITION BY day ORDER BY upper) AS reached, sum(n) OVER (PARTITION BY day) AS timed
            FROM latency_parts),
        quantiles AS (SELECT day, {quantiles} FROM ranked GROUP BY day)
        SELECT day, requests::DOUBLE AS requests, logged_rows, errors,
               failed_requests::DOUBLE / requests::DOUBLE AS error_rate, {", ".join(LATENCY_SHARES)}
        FROM served_parts LEFT JOIN quantiles USING (day) ORDER BY day""").to_arrow_table()
    connection.unregister("served_parts")
    connection.unregister("latency_parts")
    return found


def _by_day(connection: duckdb.DuckDBPyConnection, sums: str) -> pa.Table:
    return connection.sql(f"SELECT * FROM ({sums}) ORDER BY day").to_arrow_table()


def _weight(spec: MonitorSpec) -> str:
    return quoted(spec.sampling_weight) if spec.sampling_weight else "1"
