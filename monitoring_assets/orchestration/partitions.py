"""Days as Dagster partitions, in the monitor's time zone."""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache

import dagster as dg

from monitoring_assets.monitor_spec import MonitorSpec


def daily_partitions(spec: MonitorSpec) -> dg.DailyPartitionsDefinition:
    """One partition per day from `start_day` on, to `end_day` where the monitor has one."""
    return _daily(spec.start_day, spec.end_day, spec.time_zone)


@lru_cache(maxsize=10_000)
def _daily(first: date, last: date | None, time_zone: str) -> dg.DailyPartitionsDefinition:
    """Shared by what has the same days, for Dagster keeps with it what it has worked out."""
    end = None if last is None else (last + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), end_date=end, timezone=time_zone)


def days_of(partition_keys: Sequence[str]) -> list[date]:
    return [date.fromisoformat(key) for key in partition_keys]
