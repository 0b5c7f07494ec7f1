"""Scoring days of the warehouse: which baseline judges which day, read, score, hand over. No raw row is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.baselines.in_force import Baseline, baselines_in_force
from monitoring_assets.drift.calibration import calibrate
from monitoring_assets.drift.multivariate import ALL_FEATURES
from monitoring_assets.drift.multivariate_scores import score_samples
from monitoring_assets.drift.thresholds import CalibratedThreshold, CutKey, read_thresholds
from monitoring_assets.drift.windows import score_days
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.profiling.histograms import Histogram, Key, read_histograms
from monitoring_assets.warehouse import table


@dataclass(frozen=True)
class ScoredDays:
    """Days that one baseline judges: the rows of `drift_scores`, and the histograms they were computed from."""

    baseline: Baseline
    days: list[date]
    scores: pd.DataFrame
    reference: Mapping[Key, Histogram]
    current: Mapping[Key, Histogram]


def score_history(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[ScoredDays]:
    """Score these days, each against the baseline that was in force on it.

    Raises
    ------
    BaselineMissing
        When the monitor has no baseline yet.
    """
    scored = []
    for baseline, judged in baselines_in_force(connection, spec, days):
        reference = read_histograms(connection, table(spec, "baseline_profiles"), "baseline_id = ?", [baseline.baseline_id])
        earliest = min(judged) - timedelta(days=days_back(spec))
        current = read_histograms(connection, table(spec, "daily_profile"), "day BETWEEN ? AND ?", [earliest, max(judged)])
        current = _with_all_columns(spec, current)
        thresholds = _thresholds(connection, spec, baseline.baseline_id, reference) if spec.drift.calibrated else None
        scores = score_days(spec, baseline.baseline_id, reference, current, judged, thresholds)
        # A segment that a window does not hold says nothing, whatever other days were asked for.
        scores = scores[scores["segment"].isna() | (scores["current_rows"] > 0)].reset_index(drop=True)
        together = score_samples(connection, spec, baseline.baseline_id, judged)
        scores = pd.concat([part for part in (scores, together) if len(part)], ignore_index=True) if len(together) else scores
        scored.append(ScoredDays(baseline, judged, scores, reference, current))
    return scored


def days_back(spec: MonitorSpec) -> int:
    """How many days before a day its windows, and the windows before them, reach."""
    return max(2 * length - 1 if choice == "previous_window" else length - 1 for length, choice in spec.drift.comparisons)


def _thresholds(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str, reference: Mapping[Key, Histogram]
) -> dict[CutKey, dict[str, CalibratedThreshold]]:
    """The baseline's calibrated thresholds: estimated when it first judges a day, and kept with it."""
    target = table(spec, "thresholds")
    where, parameters = "baseline_id = ? AND feature <> ?", [baseline_id, ALL_FEATURES]
    known = connection.execute(f"SELECT count(*) FROM {target} WHERE {where}", parameters).fetchall()[0][0]
    if not known:
        connection.register("calibrated", calibrate(reference, spec, baseline_id))
        connection.execute(f"INSERT INTO {target} BY NAME SELECT * FROM calibrated")
        connection.unregister("calibrated")
    return read_thresholds(connection.execute(f"SELECT * FROM {target} WHERE {where}", parameters).df())


def _with_all_columns(spec: MonitorSpec, current: Mapping[Key, Histogram]) -> dict[Key, Histogram]:
    """Every watched column of the whole, so that a day without any profile is told of too."""
    empty = {(None, column): _no_days(kind) for column, kind in spec.watched_columns.items()}
    return {key: current.get(key, histogram) for key, histogram in empty.items()} | dict(current)


def _no_days(kind: str) -> Histogram:
    nothing = np.zeros(0)
    support = np.zeros(0, float if kind == "numeric" else object)
    return Histogram(
        kind, [], support, counts=np.zeros((0, 0)), missing=nothing, minimum=nothing, maximum=nothing, is_exact=True
    )  # fmt: skip
