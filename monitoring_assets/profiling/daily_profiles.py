"""Profiling days of the warehouse: the only time drift reads raw rows. `kernel.py` and `sample.py` say what a
profile and a sample are.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.engines.day_rows import Rows, logged_rows
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.profiling.refinement import refine_profiles
from monitoring_assets.profiling.stored_grids import ensure_grids
from monitoring_assets.retention.forgetting import forgotten_days
from monitoring_assets.warehouse import literal, replace_days, table, transaction
from monitoring_assets.warehouse_tables import PROFILE_COLUMNS

Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


@dataclass(frozen=True)
class ProfiledDay:
    """What was profiled of a day; `missing_fraction` is of all watched columns together, None where there are no rows."""

    day: date
    rows: int
    missing_fraction: float | None
    columns: int


def measured_in_lake(connect: Connect, spec: MonitorSpec, days: Sequence[date]) -> Tables | None:
    """What `profile_days` stores of rows in a lake, measured while the warehouse is closed; None of rows that it holds."""
    if not spec.is_in_lake:
        return None
    with connect() as connection:
        gone = forgotten_days(connection, spec, days)
        rows = logged_rows(connection, spec, [day for day in days if day not in gone])
        wanted = _wanted(connection, spec, rows)
    with duckdb.connect() as own:
        return rows.tables(own, wanted)


def profile_days(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], tables: Tables | None = None
) -> list[ProfiledDay]:
    """Replace the profiles and the samples of these days by those of `inference_log` now. Bins come from the reference, so there
    must be a baseline. `tables` are what was measured of the days already.
    """
    rows = logged_rows(connection, spec, days)
    profiles, samples = table(spec, "daily_profile"), table(spec, "daily_sample")
    with transaction(connection):
        tables = tables or rows.tables(connection, _wanted(connection, spec, rows))
        connection.execute(f"CREATE OR REPLACE TEMP TABLE profiled_days AS FROM {profiles} LIMIT 0")
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


def _wanted(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: Rows) -> Wanted:
    grids = ensure_grids(connection, spec, rows, spec.watched_columns)
    return Wanted({name: grids[name] for name in spec.watched_columns}, sample=True, by_version=True)


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
