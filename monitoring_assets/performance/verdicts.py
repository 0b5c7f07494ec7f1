"""The verdict of a day on performance: the primary metric over the newest labelled days up to it, against the baseline's."""

from collections.abc import Iterator, Sequence
from datetime import date

import duckdb
import numpy as np

from monitoring_assets.baselines.in_force import baselines_in_force
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.performance.daily_metrics import Standing, standing
from monitoring_assets.performance.realised import PRIMARY_METRIC
from monitoring_assets.warehouse import table


def performance_verdicts(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]
) -> Iterator[tuple[date, Standing]]:
    """For each day, how the model stands on the `performance.window_days` newest labelled days that end with it.

    A day whose own labels are not in yet is not judged.
    """
    found = connection.execute(
        f"SELECT day, value, labelled_rows FROM {table(spec, 'performance')} WHERE segment IS NULL AND metric = ? "
        "AND labelled_rows > 0 AND day <= ? ORDER BY day",
        [PRIMARY_METRIC[spec.task], max(days)],
    ).fetchall()
    labelled = [row[0] for row in found]
    values, rows = (np.array([row[place] for row in found], float) for place in (1, 2))
    for baseline, judged in baselines_in_force(connection, spec, days):
        for day in judged:
            stop = labelled.index(day) + 1 if day in labelled else 0
            start = max(stop - spec.performance.window_days, 0)
            window = slice(start, stop)
            yield day, standing(spec.performance, spec.task, values[window], rows[window], baseline.metric_value)
