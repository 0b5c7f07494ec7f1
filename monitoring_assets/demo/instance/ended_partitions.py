"""Plots of a monitor whose days have ended.

The UI plots the newest 120 partitions. To find them Dagster 1.13 counts back from today, whatever the end of the partitions, so
of a year that is over it plots nothing. The demo's instance counts from their end instead; a living monitor needs none of this.
"""

from functools import wraps
from typing import Any

from dagster import TimeWindowPartitionsDefinition
from dagster_shared.record import replace

_counted_from_today = TimeWindowPartitionsDefinition.get_paginated_partition_keys


def count_back_from_the_end() -> None:
    """From now on in this process the newest partitions are those before the end, where that is past."""
    TimeWindowPartitionsDefinition.get_paginated_partition_keys = _counted_from_the_end  # type: ignore[method-assign]


@wraps(_counted_from_today)
def _counted_from_the_end(
    self: TimeWindowPartitionsDefinition, context: Any, limit: int, ascending: bool, cursor: str | None = None
) -> Any:
    end, now = self.end, context.temporal_context.effective_dt
    if end is not None and end < now:
        context = replace(context, temporal_context=replace(context.temporal_context, effective_dt=end))
    return _counted_from_today(self, context, limit, ascending, cursor)
