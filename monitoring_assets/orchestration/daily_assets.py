"""The assets with one partition per day. Each reads its days, opens the warehouse, calls one pure function, writes, and tells
per day what happened. A range of days is one run.

Pure code is imported when an asset runs, not when definitions load: pandas alone would make loading half as long again.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets.errors import SourceUnreadable
from monitoring_assets.monitor_spec import MonitorSpec, Source, worst
from monitoring_assets.orchestration.daily_work import daily_work
from monitoring_assets.orchestration.metadata import as_table, numbers, table_metadata
from monitoring_assets.orchestration.partitions import daily_partitions
from monitoring_assets.orchestration.resources import MonitoringHome
from monitoring_assets.warehouse import replace_days, table, transaction

if TYPE_CHECKING:
    from monitoring_assets.drift.daily_scores import ScoredDays
    from monitoring_assets.ingestion.delivery import Delivery

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
        kinds={"duckdb"},
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
        from monitoring_assets.ingestion.prediction_log import ingest_log
        from monitoring_assets.ingestion.serving import measure_serving
        from monitoring_assets.retention.forgetting import forgotten_days

        located = monitoring_home.located(spec)
        with daily_work(context, monitoring_home, spec, "inference_log") as (connection, days):
            deliveries = ingest_log(connection, located, days)
            if all(delivery.unreadable for delivery in deliveries):
                raise SourceUnreadable(
                    f"the log of {spec.name}: none of the {len(deliveries)} day(s) asked for could be read: "
                    f"{deliveries[0].unreadable}. Correct `log.{spec.log.kind}` in the monitor's YAML, or deliver what it reads."
                )
            gone = forgotten_days(connection, spec, days)
            served = measure_serving(connection, located, [day for day in days if day not in gone])
        _tell_deliveries(context, deliveries)
        for day, shown in served.items():
            context.add_asset_metadata(numbers(shown), partition_key=day.isoformat())

    return inference_log


def _daily_profile(spec: MonitorSpec) -> dg.AssetsDefinition:
    @_daily(spec, "daily_profile", ["inference_log", "reference_baseline"], "Mergeable counts of every column, per day.")
    def daily_profile(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> None:
        from monitoring_assets.baselines.in_force import baselines_in_force
        from monitoring_assets.profiling.daily_profiles import profile_days

        with daily_work(context, monitoring_home, spec, "daily_profile", reads_rows=True) as (connection, days):
            baselines_in_force(connection, spec, days)
            profiled = profile_days(connection, spec, days) if days else []
        for found in profiled:
            shown = numbers({"rows": found.rows, "missing_fraction": found.missing_fraction, "columns": found.columns})
            context.add_asset_metadata(shown, partition_key=found.day.isoformat())

    return daily_profile


def _drift_scores(spec: MonitorSpec) -> dg.AssetsDefinition:
    @_daily(spec, "drift_scores", ["daily_profile", "reference_baseline"], "Per column, method and window: score and severity.")
    def drift_scores(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> None:
        import pandas as pd

        from monitoring_assets.drift.daily_scores import score_history
        from monitoring_assets.drift.verdicts import write_verdicts
        from monitoring_assets.retention.forgetting import forget_rows

        with daily_work(context, monitoring_home, spec, "drift_scores") as (connection, days):
            scored = score_history(connection, spec, days)
            frames = [part.scores for part in scored if len(part.scores)]
            with transaction(connection):
                connection.register("scored", pd.concat(frames) if frames else pd.DataFrame({"day": pd.Series(dtype="object")}))
                replace_days(connection, table(spec, "drift_scores"), days, "SELECT * FROM scored ORDER BY ALL")
                write_verdicts(connection, spec, days)
            forgotten = forget_rows(connection, spec, spared=days)
        for part in scored:
            _tell_drift(context, spec, part)
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
        from monitoring_assets.ingestion.labels import ingest_labels

        located = monitoring_home.located(spec)
        if located.label is None or located.labels is None:
            return
        with daily_work(context, monitoring_home, spec, "labels") as (connection, days):
            deliveries = ingest_labels(connection, located, located.label, located.labels, days)
        _tell_deliveries(context, deliveries)

    return labels


def _performance(spec: MonitorSpec) -> dg.AssetsDefinition:
    @_daily(spec, "performance", ["inference_log", "labels"], "Realised metrics of the day, as a whole and by segment.")
    def performance(context: dg.AssetExecutionContext, monitoring_home: MonitoringHome) -> None:
        from monitoring_assets.performance.daily_metrics import measure_days

        with daily_work(context, monitoring_home, spec, "performance", reads_rows=True) as (connection, days):
            if not days:
                return
            measured = measure_days(connection, spec, days)
            with transaction(connection):
                connection.register("measured", measured)
                replace_days(connection, table(spec, "performance"), days, "SELECT * FROM measured ORDER BY ALL")
        overall = measured[measured["segment"].isna()]
        for day, rows in overall.groupby("day"):
            shown: dict[str, Any] = dict(numbers(dict(zip(rows["metric"], rows["value"], strict=True))))
            shown |= numbers({"rows": rows["row_count"].iloc[0], "labelled_rows": rows["labelled_rows"].iloc[0]})
            reasons = sorted({reason for reason in rows["reason"] if reason})
            if reasons:
                shown["why_not"] = "; ".join(reasons)
            context.add_asset_metadata(shown, partition_key=day.isoformat())

    return performance


def _tell_deliveries(context: dg.AssetExecutionContext, deliveries: "list[Delivery]") -> None:
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


def _tell_drift(context: dg.AssetExecutionContext, spec: MonitorSpec, part: "ScoredDays") -> None:
    """Per day: how many columns moved, the worst of them with its picture, and each column's leading score to plot."""
    from monitoring_assets.drift.verdicts import ranked
    from monitoring_assets.reporting.worst_feature import worst_feature_picture

    shortest, choice = spec.drift.comparisons[0]
    scores = part.scores
    if len(scores):
        scores = scores[scores["segment"].isna() & (scores["window_days"] == shortest) & (scores["reference"] == choice)]
    place = {day: index for index, day in enumerate(part.days)}
    windows = {
        column: histogram.windows(part.days, shortest) for (segment, column), histogram in part.current.items() if segment is None
    }
    leading = {"numeric": spec.drift.numeric_methods[0], "categorical": spec.drift.categorical_methods[0]}
    for day, rows in scores.groupby("day") if len(scores) else []:
        first = ranked(rows).drop_duplicates("feature")
        drifted = first[first["severity"].notna() & (first["severity"] != "ok")]
        # The scores of all features together are plotted by method.
        kinds = rows["feature"].map(spec.watched_columns)
        plotted = rows[kinds.isna() | (rows["method"] == kinds.map(leading))]
        columns = ["feature", "change", "method", "score", "threshold", "excess", "severity"]
        shown: dict[str, Any] = {
            "baseline_id": part.baseline.baseline_id,
            "drifted_columns": len(drifted),
            "severity": worst(list(drifted["severity"])),
            "worst_columns": as_table(first[columns].head(5).round(6).to_dict("records")),
        }
        shown |= numbers({f"{row.method} {row.feature}": row.score for row in plotted.itertuples()})
        column = first["feature"].iloc[0]
        reference = part.reference.get((None, column))
        if reference is not None:
            shown["worst_column"] = dg.MetadataValue.md(worst_feature_picture(column, reference, windows[column], place[day]))
        context.add_asset_metadata(shown, partition_key=day.isoformat())
