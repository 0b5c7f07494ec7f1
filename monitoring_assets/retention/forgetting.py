"""Deleting raw rows that are older than `retain_days`, and knowing for which days that has happened.

Raw rows are those of `inference_log`, of `daily_sample` (whose rows are real ones) and of `quarantine`. What was computed from
them is kept for ever, and so are the labels. `compaction.py` gives the space back to the disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import on_days
from monitoring_assets.warehouse import newest_day, table, transaction
from monitoring_assets.warehouse_reads import accepted_days, days_with_rows, delete_days

RAW_TABLES = ("inference_log", "daily_sample", "quarantine")


@dataclass(frozen=True)
class Forgotten:
    """What was deleted: the days, and the rows of all raw tables."""

    days: tuple[date, ...]
    rows: int


def forget_rows(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, spared: Sequence[date] = ()) -> Forgotten:
    """Delete the raw rows of days before the `retain_days` newest, in one transaction. Repeating it changes nothing.

    Days with rows that are not profiled and scored yet are left for a later call. So are the `spared` days, on which a run is
    working: it may have read them again on purpose.
    """
    first_kept = first_day_kept(connection, spec)
    if first_kept is None:
        return Forgotten((), 0)
    before = f"day < DATE '{first_kept}'"
    old = {day for name in RAW_TABLES for day in days_with_rows(connection, spec, name, before)} - set(spared)
    if not old:
        return Forgotten((), 0)
    profiled, scored = (set(days_with_rows(connection, spec, name, on_days(old))) for name in ("daily_profile", "drift_scores"))
    days = sorted(old - (set(accepted_days(connection, spec, on_days(old))) - (profiled & scored)))
    if not days:
        return Forgotten((), 0)
    with transaction(connection):
        rows = sum(delete_days(connection, spec, name, days) for name in RAW_TABLES)
        connection.execute(
            f"UPDATE {table(spec, 'deliveries')} SET forgotten = true WHERE {on_days(days)} AND asset = 'inference_log'"
        )
    return Forgotten(tuple(days), rows)


def first_day_kept(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, retain_days: int | None = None) -> date | None:
    """The oldest day whose raw rows stay: the newest stored day counts as the first of `retain_days`. None: all stay."""
    retain = retain_days or spec.retain_days
    newest = newest_day(connection, spec) if retain is not None else None
    return None if retain is None or newest is None else newest - timedelta(days=retain - 1)


def forgotten_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> set[date]:
    """Those of the days whose raw rows were deleted and not read again since."""
    found = connection.execute(
        f"SELECT day FROM {table(spec, 'deliveries')} WHERE asset = 'inference_log' AND forgotten "
        "AND day IN (SELECT unnest(?::DATE[]))",
        [list(days)],
    ).fetchall()
    return {day for (day,) in found}


def why_forgotten(spec: MonitorSpec) -> str:
    """The reason why a day without raw rows is left alone, and the remedy."""
    return (
        f"the raw rows of the day were deleted, as `retain_days` says, so what is stored stays as it is; materialise "
        f"{spec.name}/inference_log of the day together with this to read them again, while their source still has them"
    )
