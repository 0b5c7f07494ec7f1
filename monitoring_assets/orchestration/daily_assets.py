"""The assets with one partition per day. Each reads its days, opens the warehouse, calls one pure function, writes, and reports
each day's outcome. A range of days is one run.

Pure code is imported when an asset runs, not when definitions load: pandas alone would make loading half as long again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from monitoring_assets.chosen_warehouse import warehouse_kind, warehouse_pool
from monitoring_assets.errors import SourceUnreadable
from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.orchestration.daily_work import daily_work, work_on
from monitoring_assets.orchestration.metadata import (
    ASSET_TAG,
    as_table,
    numbers,
    segments_left_out,
    table_metadata,
    verdict_metadata,
)
from monitoring_assets.orchestration.partitions import daily_partitions, days_of
from monitoring_assets.orchestration.resources import MonitoringHome, errors_for_dagster
from monitoring_assets.warehouse import Scope, transaction

if TYPE_CHECKING:
    from monitoring_assets.drift.daily_scores import ScoredDays
    from monitoring_assets.drift.verdicts import Row
    from monitoring_assets.ingestion.delivery import Delivery

# What a day's data makes, and what its labels make.
DAILY_ASSETS = ("inference_log", "daily_profile", "drift_scores")
LABEL_ASSETS = ("labels", "performance")
# A daily asset is late when its newest partition is older than this.
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=48), warn_window=timedelta(hours=30))


def build_daily_assets(spec: MonitorSpec) -> list[dg.AssetsDefinition]:
    """The daily assets of a monitor; without labels there are no `labels` and no `performance`."""
    assets = [_inference_log(spec), _daily_profile(spec), _drift_scores(spec)]
    return assets if spec.labels is None else [*assets, _labels(spec), _performance(spec)]


def _daily(
    spec: MonitorSpec, name: str, deps: list[str], description: str, source: Source | None = None
) -> Callable[[Callable[..., None]], dg.AssetsDefinition]:
    return dg.asset(
        name=name,
        key_prefix=spec.name,
        group_name=spec.name,
        deps=[*(dg.AssetKey([spec.name, upstream]) for upstream in deps), *_made_by(source)],
        partitions_def=daily_partitions(spec),
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=description,
        owners=spec.owners,
        kinds={warehouse_kind()},
        tags=ASSET_TAG,
        pool=warehouse_pool(),
        metadata=table_metadata(spec, name),
        freshness_policy=FRESHNESS,
    )


def _made_by(source: Source | None) -> list[dg.AssetKey]:
    """The user's asset that makes what a source reads; without partitions of its own it is upstream of every day."""
    return [dg.AssetKey.from_user_string(source.asset)] if source and source.asset else []


def _inference_log(spec: MonitorSpec) -> dg.AssetsDefinition:
    @_daily(
        spec,
        "inference_log",
        [],
        "The day's typed rows of the prediction log; broken rows are in `quarantine` with a reason.",
        spec.log,
    )
    def inference_log(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> None:
        from monitoring_assets.engines.day_delivery import read_log
        from monitoring_assets.ingestion.prediction_log import compact_closed_days
        from monitoring_assets.profiling.serving import dropped_rows, measure_serving
        from monitoring_assets.retention.forgetting import forgotten_days

        located, wanted = monitoring_home.located(spec), days_of(context.partition_keys)
        try:
            compacted = compact_closed_days(located, wanted)
        except OSError as error:  # the log may well belong to somebody else
            context.log.warning(f"the segments of the prediction logger stay as they are: {error}")
            compacted = {}
        with errors_for_dagster():
            dropped = dropped_rows(located, wanted)  # before the warehouse is held, as all that is read of the source
        with (
            errors_for_dagster(),
            read_log(located, wanted) as delivered,
            daily_work(context, monitoring_home, spec, "inference_log", seconds_before=delivered.seconds) as (connection, days),
        ):
            deliveries = delivered.store(connection)
            if all(delivery.unreadable for delivery in deliveries):
                raise SourceUnreadable(
                    f"the log of {spec.name}: none of the {len(deliveries)} day(s) asked for could be read: "
                    f"{deliveries[0].unreadable}. Correct `log.{spec.log.kind}` in the monitor's YAML, or deliver what it reads."
                )
            gone = forgotten_days(connection, spec, days)
            served = measure_serving(connection, located, [day for day in days if day not in gone], dropped, delivered.tables)
        _add_delivery_metadata(context, deliveries)
        for day, segments in compacted.items():
            context.add_asset_metadata({"compacted_segments": segments}, partition_key=day.isoformat())
        for day, shown in served.items():
            context.add_asset_metadata(numbers(shown), partition_key=day.isoformat())

    return inference_log


def _daily_profile(spec: MonitorSpec) -> dg.AssetsDefinition:
    @_daily(spec, "daily_profile", ["inference_log", "reference_baseline"], "Mergeable counts of every column, per day.")
    def daily_profile(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> None:
        from monitoring_assets.baselines.in_force import baselines_in_force
        from monitoring_assets.profiling.daily_profiles import measured_in_lake, profile_days

        begun, asked = time.perf_counter(), days_of(context.partition_keys)

        @contextmanager
        def with_baseline() -> Iterator[duckdb.DuckDBPyConnection]:
            with monitoring_home.connect(spec, work_on(spec, asked, "daily_profile")) as connection:
                baselines_in_force(connection, spec, asked)
                yield connection

        with errors_for_dagster():
            tables = measured_in_lake(with_baseline, spec, asked)
        before = time.perf_counter() - begun
        with daily_work(context, monitoring_home, spec, "daily_profile", reads_rows=True, seconds_before=before) as (
            connection,
            days,
        ):
            baselines_in_force(connection, spec, days)
            profiled = profile_days(connection, spec, days, tables) if days else []
        for found in profiled:
            shown = numbers({"rows": found.rows, "missing_fraction": found.missing_fraction, "columns": found.columns})
            context.add_asset_metadata(shown, partition_key=found.day.isoformat())

    return daily_profile


def _drift_scores(spec: MonitorSpec) -> dg.AssetsDefinition:
    @_daily(spec, "drift_scores", ["daily_profile", "reference_baseline"], "Per column, method and window: score and severity.")
    def drift_scores(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> None:
        from monitoring_assets.drift.daily_scores import score_history
        from monitoring_assets.retention.forgetting import Forgotten, forget_rows

        begun = time.perf_counter()
        with errors_for_dagster():
            days = days_of(context.partition_keys)
            scored = score_history(lambda: monitoring_home.connect(spec, work_on(spec, days, "drift_scores")), spec, days)
        with daily_work(context, monitoring_home, spec, "drift_scores", seconds_before=time.perf_counter() - begun):
            pass  # their cost is stored
        forgotten = Forgotten((), 0)
        if spec.retain_days is not None:
            none_of_its_rows = Scope(spec.name, rows=() if spec.rows is None else None)  # kept elsewhere they are not loaded
            with errors_for_dagster(), monitoring_home.connect(spec, none_of_its_rows) as connection:
                forgotten = forget_rows(connection, spec, spared=days)
        for part in scored:
            of_day = part.scores_of_days()
            for day in part.days:
                shown = _drift_metadata(spec, part, day, of_day[day])
                context.add_asset_metadata(shown, partition_key=day.isoformat())
        if forgotten.days:
            shown = numbers({"forgotten_days": len(forgotten.days), "forgotten_rows": forgotten.rows})
            context.add_asset_metadata(shown, partition_key=max(days).isoformat())

    return drift_scores


def _labels(spec: MonitorSpec) -> dg.AssetsDefinition:
    @_daily(
        spec,
        "labels",
        ["inference_log"],
        "Ground truth by prediction id, as late as it comes; the day is the prediction's.",
        spec.labels,
    )
    def labels(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> None:
        from monitoring_assets.engines.day_delivery import read_labels

        located, days = monitoring_home.located(spec), days_of(context.partition_keys)
        with (
            errors_for_dagster(),
            read_labels(located, days, lambda: monitoring_home.connect(spec, work_on(spec, days, "labels"))) as delivered,
            daily_work(context, monitoring_home, spec, "labels", seconds_before=delivered.seconds) as (connection, _),
        ):
            deliveries = delivered.store(connection)
        _add_delivery_metadata(context, deliveries)

    return labels


def _performance(spec: MonitorSpec) -> dg.AssetsDefinition:
    @_daily(spec, "performance", ["inference_log", "labels"], "Realised metrics by window, segment and model version.")
    def performance(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> None:
        from monitoring_assets.performance.reference_metric import fill_reference_metric
        from monitoring_assets.performance.windows import write_performance

        with daily_work(context, monitoring_home, spec, "performance", reads_rows=True) as (connection, days):
            if not days:
                return
            with transaction(connection):
                measured = write_performance(connection, spec, days)
                fill_reference_metric(connection, spec, days)
        for day, shown in _performance_metadata(measured[measured["model_version"].isna()].to_dict("records")).items():
            context.add_asset_metadata(shown, partition_key=day.isoformat())

    return performance


def _performance_metadata(rows: "list[Row]") -> dict[date, dict[str, Any]]:
    """By day: each window's metrics, what they rest on, and why one has no value."""
    found: dict[date, dict[str, Any]] = {}
    for (day, length), some in groupby(sorted(rows, key=_window), key=_window):
        of_window = list(some)
        first, label = of_window[0], f"{length}_day" + ("s" if length > 1 else "")
        counted = {"rows": first["row_count"], "labelled_rows": first["labelled_rows"], "days": first["days_present"]}
        values = {row["metric"]: row["value"] for row in of_window} | counted
        shown = found.setdefault(day, {})
        shown |= numbers({f"{name}_{label}": value for name, value in values.items()})
        reasons = sorted({row["reason"] for row in of_window if row["reason"]})
        if reasons:
            shown[f"why_not_{label}"] = "; ".join(reasons)
    return found


def _window(row: "Row") -> tuple[date, int]:
    return row["day"], row["window_days"]


def _add_delivery_metadata(context: dg.AssetExecutionContext, deliveries: "list[Delivery]") -> None:
    for delivery in deliveries:
        shown: dict[str, Any] = {
            "dagster/partition_row_count": delivery.accepted_rows,
            "accepted_rows": delivery.accepted_rows,
            "quarantined_rows": delivery.quarantined_rows,
        }
        if delivery.reasons:
            shown["quarantined_for"] = as_table([{"reason": reason, "rows": rows} for reason, rows in delivery.reasons.items()])
        if delivery.unreadable:
            shown["not_read"] = f"{delivery.unreadable} (the day keeps the rows it had)"
        if delivery.new_columns:
            shown["new_columns"] = ", ".join(delivery.new_columns)
        if delivery.warnings:
            shown["not_read_besides"] = "; ".join(delivery.warnings)
        context.add_asset_metadata(shown, partition_key=delivery.day.isoformat())


def _drift_metadata(spec: MonitorSpec, part: "ScoredDays", day: date, scores: "list[Row]") -> dict[str, Any]:
    """The day's verdict, its worst columns with a picture of the first, and each column's leading score to plot."""
    from monitoring_assets.drift.verdicts import ranked, window_name

    shown: dict[str, Any] = {"baseline_id": part.baseline.baseline_id} | verdict_metadata(part.verdicts[day])
    if day in part.left_out:
        shown["segments_not_judged"] = segments_left_out(spec, part.left_out[day])
    if not scores:
        return shown
    worst: dict[str, Row] = {}
    for row in ranked(scores):
        worst.setdefault(row["feature"], row)
    columns = ["feature", "window_days", "reference", "change", "method", "score", "threshold", "excess", "severity"]
    shown["worst_columns"] = as_table([{name: _short(row[name]) for name in columns} for row in list(worst.values())[:5]])
    picture = _picture(part, day, next(iter(worst.values())))
    if picture is not None:
        shown["worst_column"] = dg.MetadataValue.md(picture)
    # The scores of all features together are plotted by method.
    leading = {"numeric": spec.drift.numeric_methods[0], "categorical": spec.drift.categorical_methods[0]}
    length, choice = spec.drift.comparisons[0]
    name, kinds = window_name(length, choice), spec.watched_columns
    return shown | numbers(
        {
            f"{row['method']} {row['feature']} ({name})": row["score"]
            for row in scores
            if (row["window_days"], row["reference"]) == (length, choice)
            and (row["feature"] not in kinds or row["method"] == leading[kinds[row["feature"]]])
        }
    )


def _short(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _picture(part: "ScoredDays", day: date, worst: "Row") -> str | None:
    """The column of a score in its window beside what it was compared with; None for all features together."""
    from monitoring_assets.drift.windows import reference_of
    from monitoring_assets.reporting.worst_feature import worst_feature_picture

    key, length = (None, worst["feature"]), int(worst["window_days"])
    current = part.current.get(key)
    if current is None:
        return None
    reference = reference_of(worst["reference"], part.reference.get(key), current, [day], length)
    return None if reference is None else worst_feature_picture(worst["feature"], reference, current.windows([day], length), 0)
