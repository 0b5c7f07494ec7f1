"""Realised performance of days: predictions joined with their labels, measured as a whole and by segment.

The metrics themselves are in `realised.py`; what a fall leads to is the retrain policy's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.monitor_spec import SEVERITIES, MonitorSpec, Performance, Severity
from monitoring_assets.performance.realised import METRICS, PRIMARY_METRIC, Measured, Task, improvement, measure
from monitoring_assets.warehouse import quoted, table


def measure_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> pd.DataFrame:
    """The table `performance` of these days: per day, segment and metric a value or the reason there is none."""
    by = list(dict.fromkeys([*spec.segments, *spec.protected_attributes]))
    frame = labelled_predictions(connection, spec, days, by)
    of_day = dict(list(frame.groupby("day", sort=False))) if len(frame) else {}
    rows: list[tuple[object, ...]] = []
    for day in days:
        rows += _measure_group(spec, day, None, of_day.get(pd.Timestamp(day), frame.iloc[:0]))
    for column in by:
        for (stamp, value), group in frame.groupby(["day", column], sort=True):
            rows += _measure_group(spec, stamp.date(), f"{column}={value}", group)
    return pd.DataFrame(rows, columns=["day", "segment", "metric", "value", "row_count", "labelled_rows", "reason"])


def labelled_predictions(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], extra: Sequence[str] = ()
) -> pd.DataFrame:
    """Every prediction of these days: `day`, `prediction`, `predicted` (class, or NULL), `weight` (how many rows it stands for),
    `label` (NaN where unknown)."""
    chosen = spec.prediction.predicted_class
    columns = [f"p.{quoted(spec.prediction.column)} AS prediction", f"{f'p.{quoted(chosen)}' if chosen else 'NULL'} AS predicted"]
    weight = f"coalesce(p.{quoted(spec.sampling_weight)}, 1.0)" if spec.sampling_weight else "1.0::DOUBLE"
    columns += [f"{weight} AS weight"]
    columns += [f"p.{quoted(name)}" for name in extra]
    return connection.execute(
        f"SELECT p.day, {', '.join(columns)}, l.label FROM {table(spec, 'inference_log')} p LEFT JOIN {table(spec, 'labels')} l "
        f"ON l.day = p.day AND l.prediction_id = p.{quoted(spec.id)} WHERE p.day IN (SELECT unnest(?::DATE[])) "
        f"ORDER BY p.day, p.{quoted(spec.id)}",
        [list(days)],
    ).df()


def _measure_group(spec: MonitorSpec, day: date, segment: str | None, group: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    labels = group["label"].to_numpy(float)
    labelled = int(np.isfinite(labels).sum())
    if labelled:
        predicted = group["predicted"].to_numpy() if spec.prediction.predicted_class else None
        cut = spec.performance.class_cut
        measured = measure(labels, group["prediction"], predicted, spec.task, cut, group["weight"])
    else:
        delay = spec.label.delay_days if spec.label else None
        due = "this monitor has no labels" if delay is None else f"no labels yet, due {delay} days after the prediction"
        measured = dict.fromkeys(METRICS[spec.task], Measured(float("nan"), due if len(group) else "0 predictions"))
    for metric, (value, reason) in measured.items():
        yield (day, segment, metric, value, len(group), labelled, reason)


@dataclass(frozen=True)
class Standing:
    """How the primary metric of a window stands against the baseline's. `fall` is positive when it got worse."""

    metric: str
    value: float
    baseline_value: float
    labelled_rows: int
    fall: float
    severity: Severity | None
    reason: str


def standing(
    limits: Performance, task: Task, values: np.ndarray, labelled_rows: np.ndarray, baseline_value: float | None
) -> Standing:
    """Judge daily values of the primary metric, averaged by labelled rows, against the baseline's value.

    Severity is None where it cannot be judged: too few labelled rows, no baseline value.

    Examples
    --------
    >>> standing(Performance(), "classification", np.array([0.6, 0.62]), np.array([900, 900]), 0.70).severity
    'severe'
    """
    metric = PRIMARY_METRIC[task]
    known = np.isfinite(values) & (labelled_rows > 0)
    rows = int(labelled_rows[known].sum())
    value = float(np.average(values[known], weights=labelled_rows[known])) if rows else float("nan")
    nothing = float("nan") if baseline_value is None else baseline_value
    if rows < limits.minimum_rows:
        reason = f"{rows:,} labelled rows, {limits.minimum_rows:,} needed"
        return Standing(metric, value, nothing, rows, float("nan"), None, reason)
    if baseline_value is None or not np.isfinite(baseline_value):
        return Standing(metric, value, nothing, rows, float("nan"), None, f"the baseline has no {metric}")
    fall = -improvement(task, value, baseline_value)
    cuts = (limits.margin_minor, limits.margin_moderate, limits.margin_severe)
    severity: Severity = SEVERITIES[sum(fall > cut for cut in cuts)]
    told = f"{metric} {value:.3f} on {rows:,} labelled rows, {baseline_value:.3f} on the baseline"
    return Standing(metric, value, baseline_value, rows, fall, severity, told)
