"""What a baseline teaches about sound data: missing shares, ranges, categories, volume, rhythm, relations. No raw rows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date

import duckdb
import numpy as np

from monitoring_assets.baselines.in_force import baselines_in_force
from monitoring_assets.errors import BaselineMissing
from monitoring_assets.measuring.correlations import fisher_z
from monitoring_assets.measuring.histograms import Histogram, Key, read_histograms
from monitoring_assets.monitor_spec import MonitorSpec, Quality
from monitoring_assets.quality.expectations import Correlation, LastEvent, ReferenceFacts, Volume
from monitoring_assets.warehouse import table

# The usual missing share of a column is one that this fraction of the reference's days stay below: feeds drop out for hours.
USUAL_DAYS = 0.95
# A median absolute deviation, times this, estimates the standard deviation of a normal distribution.
MAD_TO_DEVIATION = 1.4826
# A median of fewer days says little.
FEWEST_DAYS = 3


def facts_in_force(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]
) -> Iterator[tuple[str | None, ReferenceFacts, list[date]]]:
    """For each baseline in force on some of these days its id, its facts and those days; no id and no facts before the first."""
    try:
        in_force = baselines_in_force(connection, spec, days)
    except BaselineMissing:
        yield None, ReferenceFacts(), list(days)
        return
    for baseline, judged in in_force:
        yield baseline.baseline_id, read_facts(connection, spec, baseline.baseline_id), judged


def read_facts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str) -> ReferenceFacts:
    """The facts of a stored baseline."""
    where = "baseline_id = ? AND segment IS NULL"
    profiles = read_histograms(connection, table(spec, "baseline_profiles"), where, [baseline_id])
    stored = connection.execute(
        f"SELECT fact, columns, value, row_count FROM {table(spec, 'baseline_facts')} WHERE baseline_id = ? ORDER BY ALL",
        [baseline_id],
    ).fetchall()
    gaps = [(value, rows) for fact, _, value, rows in stored if fact == "hours_before_end"]
    by_pair: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for fact, columns, value, rows in stored:
        if fact == "correlation" and set(columns) <= set(spec.features):
            by_pair.setdefault((columns[0], columns[1]), []).append((value, rows))
    facts = reference_facts(profiles, spec, last_event_of(gaps))
    for pair, found in by_pair.items():
        if len(found) >= FEWEST_DAYS and all(column in facts.minimum for column in pair):  # else one is constant
            ranges = [(facts.minimum[column], facts.maximum[column]) for column in pair]
            facts.correlations[pair] = replace(correlation_of(found), ranges=(ranges[0], ranges[1]))
    return facts


def reference_facts(
    baseline: Mapping[Key, Histogram],
    spec: MonitorSpec,
    last_event: LastEvent | None = None,
    correlations: Mapping[tuple[str, str], Correlation] | None = None,
) -> ReferenceFacts:
    """The facts of a baseline's daily histograms over all rows. A constant or empty column teaches nothing about values."""
    facts = ReferenceFacts(last_event=last_event, correlations=dict(correlations or {}))
    for (segment, column), histogram in baseline.items():
        if segment is None:
            _learn_missing(facts, column, histogram)
            if histogram.kind == "categorical":
                # Buckets of rare categories have no names: a category in one cannot be distinguished from a new one.
                if histogram.is_exact:
                    facts.categories[column] = [str(category) for category in histogram.support]
            elif np.isfinite(histogram.minimum).any():
                _learn_values(facts, column, histogram, spec.quality)
    days, volumes = _daily_rows(baseline)
    facts.weekday_rows.update(weekday_volumes(days, volumes))
    predictions = baseline.get((None, spec.prediction.column))
    if predictions is not None and spec.prediction.column in facts.minimum:
        counts = predictions.counts.sum(axis=0)
        object.__setattr__(facts, "commonest_prediction", float(counts.max() / counts.sum()))
    return facts


def weekday_volumes(days: Sequence[date], volumes: Sequence[float]) -> dict[int, Volume]:
    """Median rows and robust spread for each weekday; of all days where fewer than 3 of that weekday are known.

    >>> sundays = [date(2026, 3, day) for day in (1, 8, 15, 22)]
    >>> mondays = [date(2026, 3, 2)]
    >>> found = weekday_volumes([*sundays, *mondays], [10, 12, 11, 10, 90])
    >>> found[6].median, found[0].median
    (10.5, 11.0)
    """
    if not len(days):
        return {}
    rows = np.asarray(volumes, float)
    weekday = np.array([day.weekday() for day in days])
    enough = {number for number in range(7) if (weekday == number).sum() >= FEWEST_DAYS}
    medians = {number: float(np.median(rows[weekday == number])) for number in enough}
    # A weekday has few days, so its spread is that of all days about their own weekday's median.
    own = np.array(
        [abs(value - medians[number]) for value, number in zip(rows, weekday.tolist(), strict=True) if number in enough]
    )
    spread = MAD_TO_DEVIATION * float(np.median(own)) if len(own) else 0.0
    overall = float(np.median(rows))
    everything = Volume(overall, MAD_TO_DEVIATION * float(np.median(abs(rows - overall))))
    return {number: Volume(medians[number], spread) if number in enough else everything for number in range(7)}


def last_event_of(gaps: Sequence[tuple[float, int]]) -> LastEvent | None:
    """From (hours before the day's end, rows) of each day; None where days are too few to tell."""
    if len(gaps) < FEWEST_DAYS:
        return None
    hours = np.array([value for value, _ in gaps], float)
    least = float(hours.min())
    # The least of n exponential excesses is itself 1/n of their mean above the true least.
    excess = float(hours.mean() - least) * len(hours) / (len(hours) - 1)
    return LastEvent(least, float(hours.max()), excess, len(hours), float(np.median([rows for _, rows in gaps])))


def correlation_of(daily: Sequence[tuple[float, int]]) -> Correlation:
    """From (r, rows) of each day."""
    r, rows = np.array([value for value, _ in daily], float), np.array([number for _, number in daily], float)
    z = fisher_z(r)
    spread = MAD_TO_DEVIATION * float(np.median(abs(z - np.median(z))))
    noise = 1.0 / max(float(np.median(rows)) - 3.0, 1.0)
    return Correlation(float(np.median(r)), float(np.sqrt(max(spread**2 - noise, 0.0))))


def _learn_missing(facts: ReferenceFacts, column: str, histogram: Histogram) -> None:
    rows = histogram.rows
    if rows.sum():
        shares = histogram.missing[rows > 0] / rows[rows > 0]
        overall = float(histogram.missing.sum() / rows.sum())
        facts.missing_fraction[column] = max(overall, float(np.quantile(shares, USUAL_DAYS)))
        facts.highest_missing[column] = float(shares.max())


def _learn_values(facts: ReferenceFacts, column: str, histogram: Histogram, quality: Quality) -> None:
    low, high = float(np.nanmin(histogram.minimum)), float(np.nanmax(histogram.maximum))
    if low >= high:
        return
    facts.minimum[column], facts.maximum[column] = low, high
    counts = histogram.counts.sum(axis=0)
    middle = (histogram.support + histogram.upper) / 2
    middle = np.clip(np.where(np.isfinite(middle), middle, histogram.support), low, high)
    median = _weighted_median(middle, counts)
    deviation = MAD_TO_DEVIATION * _weighted_median(abs(middle - median), counts)
    margin = quality.range_margin * (high - low)
    # Where most values are the same one, deviations from it say nothing; what is outside all the reference shows still does.
    reach = quality.outlier_deviations * deviation or math.inf
    usual = max(low - margin, median - reach), min(high + margin, median + reach)
    facts.usual_values[column] = usual
    facts.outlier_fraction[column] = float(counts[(middle < usual[0]) | (middle > usual[1])].sum() / counts.sum())


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _daily_rows(baseline: Mapping[Key, Histogram]) -> tuple[list[date], list[float]]:
    """Days and rows of the baseline, from the column that has most days: a candidate's predictions may cover fewer."""
    whole = [histogram for (segment, _), histogram in baseline.items() if segment is None]
    if not whole:
        return [], []
    fullest = max(whole, key=lambda histogram: (len(histogram.days), float(histogram.row_count.sum())))
    return fullest.days, fullest.row_count.tolist()
