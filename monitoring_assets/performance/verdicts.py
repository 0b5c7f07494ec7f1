"""The verdict of a day on performance: how the model that serves stands against its baseline, on the longest window that ends
with the day.

A model answers for its own predictions only: those of days since its baseline is in force, of which the log says that it made
them, where the log says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import isfinite

import duckdb

from monitoring_assets.baselines.in_force import Baseline, baselines_in_force
from monitoring_assets.ingestion.label_maturity import days_with_mature_labels
from monitoring_assets.monitor_spec import SEVERITIES, MonitorSpec, Severity
from monitoring_assets.performance.counts import PerformanceCounts
from monitoring_assets.performance.metrics import PRIMARY_METRIC, improvement, metrics_of
from monitoring_assets.performance.windows import Window, windows
from monitoring_assets.warehouse import table


@dataclass(frozen=True)
class Standing:
    """How the primary metric of a window stands against the baseline's. `fall` is positive when it got worse; `severity` is None
    where it cannot be judged, and `reason` says why. `baseline_id` is the baseline whose model is judged."""

    metric: str
    value: float
    baseline_value: float
    labelled_rows: int
    fall: float
    severity: Severity | None
    reason: str
    baseline_id: str
    model_version: str | None
    days_present: int


def performance_verdicts(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]
) -> Iterator[tuple[date, Standing]]:
    """For each day, how the model that served on it stands on the longest of `performance.windows_days`.

    A day whose own labels do not count yet is not judged.
    """
    length = [spec.performance.judged_window_days]
    for baseline, judged in baselines_in_force(connection, spec, days):
        for window in windows(connection, spec, judged, length, with_segments=False):
            yield window.last_day, standing(spec, window, baseline)


def current_standing(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline: Baseline) -> Standing:
    """How the model of a baseline stands on the newest day with a label of its own predictions."""
    found = connection.execute(
        f"SELECT DISTINCT day FROM {table(spec, 'performance_counts')} WHERE labelled_rows > 0 AND segment IS NULL "
        "AND day >= $since AND ($version IS NULL OR model_version IS NULL OR model_version = $version)",
        {"since": baseline.valid_from, "version": baseline.model_version},
    ).fetchall()
    counting = days_with_mature_labels(connection, spec, [day for (day,) in found])
    if not counting:
        return standing(
            spec, Window(baseline.valid_from or spec.start_day, spec.performance.judged_window_days, {}, ()), baseline
        )
    (window,) = windows(connection, spec, [max(counting)], [spec.performance.judged_window_days], with_segments=False)
    return standing(spec, window, baseline)


def standing(spec: MonitorSpec, window: Window, baseline: Baseline) -> Standing:
    """Judge a window by the rows of the model that serves, against its baseline."""
    own = window_of_the_model(window, baseline)
    counts, metric, limits = own.total(), PRIMARY_METRIC[spec.task], spec.performance
    version = baseline.model_version or (own.versions[0] if own.versions else None)
    before = float("nan") if baseline.metric_value is None else baseline.metric_value
    measured, rows = metrics_of(counts, spec.task)[metric], int(counts.effective_rows + 1e-6)

    def state(fall: float, severity: Severity | None, reason: str) -> Standing:
        return Standing(
            metric, measured.value, before, rows, fall, severity, reason, baseline.baseline_id, version, own.days_present
        )

    why_not = (
        _why_not(spec, _since(window, baseline), own, rows, version) or measured.reason or _why_no_baseline(spec, metric, before)
    )
    if why_not is not None:
        return state(float("nan"), None, why_not)
    fall = -improvement(spec.task, measured.value, before)
    severity = SEVERITIES[sum(fall > cut for cut in (limits.margin_minor, limits.margin_moderate, limits.margin_severe))]
    rows_of = f"{rows:,} {_kind(counts)}labelled rows of {own.days_present} day(s){_of(version)}"
    return state(fall, severity, f"{metric} {measured.value:.3f} on {rows_of}, {before:.3f} on the baseline")


def window_of_the_model(window: Window, baseline: Baseline) -> Window:
    """The part of a window that the baseline's model predicted: of days since the baseline is in force, what the log says is that
    version's, and what it names no version for. Of a model trained elsewhere the version is the newest day's most frequent."""
    since, version = _since(window, baseline), baseline.model_version
    if version is None and since.counts:
        newest = max(day for day, _, _ in since.counts)
        version = max((counts.row_count, key[2] or "") for key, counts in since.counts.items() if key[0] == newest)[1]
    return replace(window, counts={key: counts for key, counts in since.counts.items() if key[2] in (None, version)})


def _since(window: Window, baseline: Baseline) -> Window:
    first = baseline.valid_from or date.min
    return replace(window, counts={key: counts for key, counts in window.counts.items() if key[0] >= first})


def _why_not(spec: MonitorSpec, since: Window, own: Window, rows: int, version: str | None) -> str | None:
    """Why a window cannot be judged, whatever its metric is. `since` are all rows since the model serves, `own` its own ones."""
    needed, last = spec.performance.minimum_labelled_rows, own.last_day
    if rows < needed:
        others = [name for name in since.versions if name not in own.versions]
        named = f"; the log's rows are of version {', '.join(others)}" if others and not rows else ""
        return f"{rows:,} {_kind(own.total())}labelled rows{_of(version)} yet, {needed:,} needed{named}"
    if not any(day == last and last in own.counting and counts.labelled_rows for (day, _, _), counts in own.counts.items()):
        return f"no labels of {last}{_of(version)} that count yet"
    return None


def _why_no_baseline(spec: MonitorSpec, metric: str, value: float) -> str | None:
    if isfinite(value):
        return None
    return (
        f"the baseline has no {metric}: its rows have no predictions with labels, or fewer than "
        f"{spec.performance.minimum_labelled_rows:,} such rows"
    )


def _kind(counts: PerformanceCounts) -> str:
    return "" if abs(counts.effective_rows - counts.measured_rows) < 0.5 else "effective "


def _of(version: str | None) -> str:
    return f" of version {version}" if version else ""
