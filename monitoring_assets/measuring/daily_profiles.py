"""Profiling days of the warehouse: the only time drift reads raw rows. `kernel.py` and `sample.py` say what a
profile and a sample are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.measuring.day_rows import logged_rows
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.measuring.refinement import refine_profiles
from monitoring_assets.measuring.stored_grids import ensure_grids
from monitoring_assets.monitor_spec import MonitorSpec
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
    rows = logged_rows(connection, spec, days)
    profiles, samples = table(spec, "daily_profile"), table(spec, "daily_sample")
    with transaction(connection):
        grids = ensure_grids(connection, spec, rows, spec.watched_columns)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE profiled_days AS FROM {profiles} LIMIT 0")
        wanted = Wanted({name: grids[name] for name in spec.watched_columns}, sample=True, by_version=True)
        tables = rows.tables(connection, wanted)
        _put_profiles(connection, spec, tables)
        refine_profiles(connection, spec, "profiled_days", rows, spec.watched_columns, by_version=True)
        replace_days(connection, profiles, days, f"SELECT {', '.join(PROFILE_COLUMNS)} FROM profiled_days ORDER BY ALL")
        connection.register("measured", tables["sample"])
        replace_days(connection, samples, days, "FROM measured")
        connection.unregister("measured")
    found = connection.execute(
        "SELECT day, max(row_count), sum(missing) / greatest(sum(missing + present), 1), count(DISTINCT feature) FROM "
        "(SELECT *, null_count + nan_count + infinite_count AS missing, coalesce(list_sum(counts), 0) AS present "
        "FROM profiled_days WHERE segment IS NULL) GROUP BY day"
    ).fetchall()
    by_day = {day: ProfiledDay(day, *facts) for day, *facts in found}
    return [by_day.get(day, ProfiledDay(day, 0, None, 0)) for day in days]


def _put_profiles(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, tables: Tables) -> None:
    """The profiles into `profiled_days`; those of the model versions only of days of which the log names one."""
    for name, where in (("profile", "true"), ("version_profile", _names_a_version(spec))):
        if name in tables:
            connection.register("measured", tables[name])
            connection.execute(f"INSERT INTO profiled_days BY NAME FROM measured WHERE {where}")
            connection.unregister("measured")


def _names_a_version(spec: MonitorSpec) -> str:
    version = literal(f"{spec.prediction.model_version}=")
    return f"day IN (SELECT day FROM measured WHERE starts_with(segment, {version}) AND segment <> {version})"
