"""Days as Dagster partitions, in the monitor's time zone."""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from monitoring_assets.monitor_spec import MonitorSpec


def daily_partitions(spec: MonitorSpec) -> dg.DailyPartitionsDefinition:
    """One partition per day from `start_day` on, to `end_day` where the monitor has one."""
    end = None if spec.end_day is None else (spec.end_day + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(start_date=spec.start_day.isoformat(), end_date=end, timezone=spec.time_zone)


def days_of(partition_keys: Sequence[str]) -> list[date]:
    return [date.fromisoformat(key) for key in partition_keys]
