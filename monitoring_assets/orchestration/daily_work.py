"""What every daily asset does around its pure function: open the warehouse, skip days whose raw rows are gone, measure the cost
and show it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta

import dagster as dg
import duckdb

from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.orchestration.metadata import as_list, numbers
from monitoring_assets.orchestration.partitions import days_of
from monitoring_assets.orchestration.resources import MonitoringHome, errors_for_dagster
from monitoring_assets.warehouse import Scope


def work_on(spec: MonitorSpec, days: Sequence[date], asset: str) -> Scope:
    """What an asset, or the checks of `quality`, do with the warehouse for these days."""
    if not days:
        return Scope(spec.name)
    first, last, reads = min(days), max(days), tuple(days)
    if asset == "drift_scores":
        sampled = days_between(first - timedelta(days=max(spec.drift.windows_days) - 1), last)
        return Scope(spec.name, reads, tuple(sampled), first - timedelta(days=spec.drift.days_back), last)
    if asset == "performance":  # measures the later windows that hold one of the days, too
        reach = timedelta(days=max(spec.performance.windows_days) - 1)
        replaced, read = tuple(days_between(first, last + reach)), tuple(days_between(first - reach, last + reach))
        reference = spec.reference
        if reference.first_day is not None and reference.last_day is not None:
            read += tuple(days_between(reference.first_day, reference.last_day))
        return Scope(spec.name, replaced, read, min(read), max(read))
    return Scope(spec.name, reads, reads, first, last)


def checks_of(spec: MonitorSpec, days: Sequence[date], topic: str) -> Scope:
    """What the checks of a topic read for these days; those of `quality` also store what they find."""
    if topic == "quality" or not days:
        return work_on(spec, days, topic)
    first, last = min(days), max(days)
    if topic == "performance":
        first -= timedelta(days=max(spec.performance.windows_days) - 1)
    return Scope(spec.name, (), tuple(days_between(first, last)), first, last)


@contextmanager
def daily_work(
    context: dg.AssetExecutionContext,
    monitoring_home: MonitoringHome,
    spec: MonitorSpec,
    asset: str,
    *,
    reads_rows: bool = False,
    seconds_before: float = 0.0,
) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[date]]]:
    """A connection and the days to work on; their cost is stored and shown when the work has succeeded.

    With `reads_rows` the days whose raw rows were deleted are left out, and their metadata says so: without rows, what is
    stored of them would be replaced by nothing. `seconds_before` is what was spent on them before, without the warehouse.
    """
    from monitoring_assets.feature_changes import changes_to_show
    from monitoring_assets.retention.costs import measured_cost
    from monitoring_assets.retention.forgetting import forgotten_days, why_forgotten

    days = days_of(context.partition_keys)
    with errors_for_dagster(), monitoring_home.connect(spec, work_on(spec, days, asset)) as connection:
        gone = forgotten_days(connection, spec, days) if reads_rows else set()
        for day in sorted(gone):
            context.add_asset_metadata({"kept_as_stored": why_forgotten(spec)}, partition_key=day.isoformat())
        present = [day for day in days if day not in gone]
        with measured_cost(connection, spec, asset, present, seconds_before) as costs:
            yield connection, present
        changes = changes_to_show(connection, spec, asset)
    if changes:
        context.add_asset_metadata({"feature_changes": as_list(changes)}, partition_key=max(days).isoformat())
    for cost in costs:
        shown = {"seconds": cost.seconds, "source_bytes": cost.source_bytes, "stored_bytes": cost.stored_bytes}
        context.add_asset_metadata(numbers(shown), partition_key=cost.day.isoformat())
