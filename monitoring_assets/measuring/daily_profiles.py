"""Profiling days of the warehouse: the only time drift reads raw rows. `kernel.py` and `sample.py` say what a
profile and a sample are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.measuring.grid import Grid
from monitoring_assets.measuring.kernel import write_profiles
from monitoring_assets.measuring.model_versions import rows_by_version, version_segments
from monitoring_assets.measuring.refinement import refine_profiles
from monitoring_assets.measuring.sample import write_samples
from monitoring_assets.measuring.stored_grids import ensure_grids
from monitoring_assets.measuring.watched import watched_rows
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import on_days
from monitoring_assets.warehouse import literal, replace_days, table, transaction
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
    rows = watched_rows(spec, f"(SELECT * FROM {table(spec, 'inference_log')} WHERE {on_days(days)})")
    profiles, samples = table(spec, "daily_profile"), table(spec, "daily_sample")
    with transaction(connection):
        grids = ensure_grids(connection, spec, rows, spec.watched_columns)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE profiled_days AS FROM {profiles} LIMIT 0")
        write_profiles(connection, "profiled_days", rows, spec.watched_columns, grids, spec.segments, spec.sampling_weight)
        _write_versions(connection, spec, rows, grids)
        refine_profiles(connection, spec, "profiled_days", rows, spec.watched_columns, by_version=True)
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


def _write_versions(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: str, grids: Mapping[str, Grid]) -> None:
    """Profile the predictions of each model version apart, where the log names versions."""
    segments, columns = version_segments(spec), dict.fromkeys(spec.prediction.watched, "numeric")
    if not segments:
        return
    connection.execute("CREATE OR REPLACE TEMP TABLE profiled_versions AS FROM profiled_days LIMIT 0")
    by_version = rows_by_version(spec, rows)
    write_profiles(connection, "profiled_versions", by_version, columns, grids, segments, spec.sampling_weight)
    named = f"starts_with(segment, {literal(f'{segments[0]}=')}) AND segment <> {literal(f'{segments[0]}=')}"
    connection.execute(
        "INSERT INTO profiled_days BY NAME FROM profiled_versions WHERE segment IS NOT NULL "
        f"AND day IN (SELECT day FROM profiled_versions WHERE {named})"
    )
