"""How good a model trained elsewhere was on the reference: the metric of the first baseline, where it has predictions and labels.

The metric of a baseline that came with a promotion is the candidate's cross-validated one (`retraining/training.py`).
"""

from collections.abc import Sequence
from datetime import date

import duckdb

from monitoring_assets.baselines.in_force import select_baselines
from monitoring_assets.baselines.reference import REFERENCE_ROWS, ReferenceRows
from monitoring_assets.ingestion.label_maturity import days_with_mature_labels
from monitoring_assets.measuring.labelled import labelled
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.performance.counting import counts_of, labelled_tables, read_counts, uncounted_days, write_counts
from monitoring_assets.performance.counts import PerformanceCounts, pooled
from monitoring_assets.performance.metrics import PRIMARY_METRIC, metrics_of
from monitoring_assets.sql_text import days_accepted
from monitoring_assets.warehouse import quoted, table


def metric_of_reference(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, reference: ReferenceRows
) -> tuple[str, float] | None:
    """The primary metric of the staged reference's own predictions; None where it has none, or its labels do not count yet."""
    if spec.label is None or not reference.has_prediction or not reference.has_label:
        return None
    if spec.reference.path is None and not _is_mature(connection, spec):
        return None
    if spec.is_in_lake and spec.reference.path is None:
        days = days_between(reference.first_day, reference.last_day)
        counted = counts_of(labelled_tables(connection, spec, days), spec.task)
        value = _metric(spec, [counts for (_, segment, _), counts in counted if segment is None])
        return None if value is None else (PRIMARY_METRIC[spec.task], value)
    weight = f"coalesce({quoted(spec.sampling_weight)}, 1.0)" if spec.sampling_weight else "1.0"
    rows = (
        f"(SELECT day, {quoted(spec.label.column)} AS __label, {quoted(spec.prediction.column)} AS __score, NULL AS __predicted, "
        f"{weight} AS __weight, NULL::VARCHAR AS __version FROM {REFERENCE_ROWS})"
    )
    value = _metric(spec, [counts for _, counts in counts_of(labelled(connection, rows, spec, by=[]), spec.task)])
    return None if value is None else (PRIMARY_METRIC[spec.task], value)


def fill_reference_metric(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, measured: Sequence[date]) -> None:
    """Give the first baseline its metric, where the reference is a range of the log whose labels came, or changed, since it was
    made. `measured` are the days counted just now. Repeating it changes nothing. Call it inside a transaction."""
    first, last = spec.reference.first_day, spec.reference.last_day
    if first is None or last is None:
        return
    is_known = any(baseline.metric_value is not None for baseline in select_baselines(connection, spec, "sequence = 0", []))
    if (is_known and not any(first <= day <= last for day in measured)) or not _is_mature(connection, spec):
        return
    write_counts(connection, spec, uncounted_days(connection, spec, first, last))
    value = _metric(spec, list(read_counts(connection, spec, first, last, with_segments=False).values()))
    if value is not None:
        connection.execute(
            f"UPDATE {table(spec, 'baselines')} SET metric = $metric, metric_value = $value WHERE sequence = 0 "
            "AND first_day >= $first AND last_day <= $last AND (metric_value IS NULL OR metric_value <> $value)",
            {"metric": PRIMARY_METRIC[spec.task], "value": value, "first": first, "last": last},
        )


def _metric(spec: MonitorSpec, parts: list[PerformanceCounts]) -> float | None:
    if not parts:
        return None
    counts, metric = pooled(parts), PRIMARY_METRIC[spec.task]
    measured = metrics_of(counts, spec.task)[metric]
    if counts.effective_rows < spec.performance.minimum_labelled_rows or measured.reason is not None:
        return None
    return float(f"{measured.value:.12g}")


def _is_mature(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> bool:
    """Whether the labels of all the reference's days in the log count: those of its first days alone would be another metric."""
    found = connection.execute(
        f"SELECT day FROM {days_accepted(spec, 'inference_log')} WHERE day BETWEEN ? AND ?",
        [spec.reference.first_day, spec.reference.last_day],
    ).fetchall()
    days: list[date] = [day for (day,) in found]
    return bool(days) and len(days_with_mature_labels(connection, spec, days)) == len(days)
