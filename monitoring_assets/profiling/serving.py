"""How the predictions of a day were served: requests, errors, latencies, dropped rows, from the log's own rows into `serving`.

Nothing is judged here.
"""

import glob
import os
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import duckdb

from monitoring_assets.engines.day_rows import logged_rows
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.measuring.served import served_days
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.prediction_logging.segments import read_dropped
from monitoring_assets.warehouse import replace_days, table, transaction
from monitoring_assets.warehouse_tables import TABLES


def measure_serving(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    days: Sequence[date],
    dropped: Mapping[date, int],
    tables: Tables | None = None,
) -> dict[date, dict[str, Any]]:
    """Replace these days of `serving` with the figures of their rows in `inference_log`, and return them by day and column.

    A row of a sampled log stands for as many requests as its weight says (`measuring/served.py`). `dropped` are the
    `dropped_rows` of days. A monitor without `serving` has no such rows. `tables` are what was measured of the days already.
    """
    if spec.serving is None:
        return {}
    noted = {day: dropped[day] for day in days if day in dropped}
    counted = "unnest(?::DATE[]) AS day, unnest(?::BIGINT[]) AS dropped_rows"
    tables = tables or logged_rows(connection, spec, days).tables(connection, Wanted(serving=True))
    with transaction(connection):
        connection.register("served_days", served_days(connection, tables))
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE served AS FROM served_days FULL JOIN (SELECT {counted}) USING (day)",
            [list(noted), list(noted.values())],
        )
        connection.unregister("served_days")
        rows = "SELECT * REPLACE (coalesce(requests, 0) AS requests, coalesce(logged_rows, 0) AS logged_rows, "
        rows += "coalesce(errors, 0) AS errors, coalesce(dropped_rows, 0) AS dropped_rows) FROM served ORDER BY day"
        replace_days(connection, table(spec, "serving"), days, rows)
    columns = list(TABLES["serving"])
    found = connection.execute(
        f"SELECT {', '.join(columns)} FROM {table(spec, 'serving')} WHERE day IN (SELECT unnest(?::DATE[]))", [list(days)]
    ).fetchall()
    return {row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in found}


def dropped_rows(spec: MonitorSpec, days: Sequence[date]) -> dict[date, int]:
    """The rows that the prediction logger noted, beside the log, as dropped on these days. `spec` is located.

    Raises
    ------
    SourceUnreadable
        When a note of dropped rows is damaged.
    """
    if spec.serving is None or spec.log.path is None or "://" in spec.log.path:
        return {}
    home = spec.resolve("")
    path = spec.log.path
    files = {spec.resolve(path, day if spec.log.is_per_day else None) for day in days}
    # Only what the user wrote is a pattern: a data folder may well be called `prod [eu]`.
    folders = {os.path.dirname(glob.escape(home) + file[len(home) :] if file.startswith(home) else file) for file in files}
    return read_dropped(sorted(folders), days)
