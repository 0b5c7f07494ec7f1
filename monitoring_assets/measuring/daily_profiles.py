"""Profiling days of the warehouse: the only time drift reads raw rows. `kernel.py` and `sample.py` say what a
profile and a sample are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.measuring.kernel import write_profiles
from monitoring_assets.measuring.refinement import refine_profiles
from monitoring_assets.measuring.sample import write_samples
from monitoring_assets.measuring.stored_grids import ensure_grids
from monitoring_assets.measuring.watched import watched_rows
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import replace_days, table, transaction
from monitoring_assets.warehouse_tables import PROFILE_COLUMNS


@dataclass(frozen=True)
class ProfiledDay:
    """What was profiled of a day; `missing_fraction` is of all watched columns together, None where there are no rows."""

    day: date
    rows: int
    missing_fraction: float | None
    columns: int


def profile_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[ProfiledDay]:
    """Replace the profiles and the samples of these days by those of `inference_log` now. Bins come from the reference, so there
    must be a baseline.
    """
    listed = ", ".join(f"DATE '{day}'" for day in days)
    rows = watched_rows(spec, f"(SELECT * FROM {table(spec, 'inference_log')} WHERE day IN ({listed}))")
    profiles, samples = table(spec, "daily_profile"), table(spec, "daily_sample")
    with transaction(connection):
        grids = ensure_grids(connection, spec, rows, spec.watched_columns)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE profiled_days AS FROM {profiles} LIMIT 0")
        of = ("profiled_days", rows, spec.watched_columns)
        write_profiles(connection, *of, grids, spec.segments, spec.sampling_weight)
        refine_profiles(connection, spec, *of)
        replace_days(connection, profiles, days, f"SELECT {', '.join(PROFILE_COLUMNS)} FROM profiled_days ORDER BY ALL")
        replace_days(connection, samples, days, f"FROM {samples} LIMIT 0")
        write_samples(connection, samples, rows, spec.id, list(spec.features), spec.sampling_weight)
    found = connection.execute(
        "SELECT day, max(row_count), sum(missing) / greatest(sum(missing + present), 1), count(DISTINCT feature) FROM "
        "(SELECT *, null_count + nan_count + infinite_count AS missing, coalesce(list_sum(counts), 0) AS present "
        "FROM profiled_days WHERE segment IS NULL) GROUP BY day"
    ).fetchall()
    by_day = {day: ProfiledDay(day, *facts) for day, *facts in found}
    return [by_day.get(day, ProfiledDay(day, 0, None, 0)) for day in days]
