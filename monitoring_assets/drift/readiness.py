"""Can this monitor work? What its baseline and settings allow: how large a change must be to alarm, and which minimums of the
settings its rows reach.

It is asked when a baseline is made, before any day is judged. Thresholds are estimated elsewhere; nothing is stored here.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from monitoring_assets.drift.calibration import MINIMUM_DAYS, OF_ROWS
from monitoring_assets.drift.thresholds import CalibratedThreshold, CutKey, to_effect
from monitoring_assets.drift.verdicts import window_name
from monitoring_assets.measuring.histograms import Histogram, Key
from monitoring_assets.monitor_spec import MonitorSpec

# Standard deviations. Sawilowsky (2009), "New effect size rules of thumb", calls 0.8 large, 1.2 very large and 2 huge: KS is then
# 0.68, so two thirds of the rows have left their values. A column that needs more has no alarm in practice.
LARGEST_PLAUSIBLE = 2.0


@dataclass(frozen=True)
class ColumnReadiness:
    """`needed` maps each window's name to the smallest shift, in standard deviations, that alarms in it at the usual rows; nan
    where none does. `problem` is why the column cannot be judged, or not as others are."""

    column: str
    kind: str
    needed: Mapping[str, float]
    problem: str | None


@dataclass(frozen=True)
class Readiness:
    """What a monitor can see. `reasons` say what it cannot; without any it can work."""

    rows_a_day: int
    reference_days: int
    columns: list[ColumnReadiness]
    reasons: list[str]

    @property
    def can_alarm(self) -> list[str]:
        """The columns in which a plausible change alarms."""
        return [each.column for each in self.columns if min(each.needed.values(), default=math.inf) <= LARGEST_PLAUSIBLE]


def readiness(
    spec: MonitorSpec, reference: Mapping[Key, Histogram], thresholds: Mapping[CutKey, Mapping[str, CalibratedThreshold]]
) -> Readiness:
    """Hold a baseline's histograms and thresholds against the monitor's settings."""
    whole = {column: reference.get((None, column)) for column in spec.watched_columns}
    usual = next((days for days in whole.values() if days is not None), None)
    held = usual.row_count > 0 if usual is not None else np.zeros(0, bool)
    if usual is None or not held.any():
        return Readiness(0, 0, [], ["the reference holds no rows"])
    rows, effective = (float(np.median(each[held])) for each in (usual.row_count, usual.effective_rows))
    columns = [_column(spec, name, days, effective, thresholds) for name, days in whole.items()]
    reasons = [*_columns_in_words(columns), *_short_reference(spec, int(held.sum())), *_minimums(spec, rows, effective)]
    return Readiness(int(rows), int(held.sum()), columns, reasons)


def _column(
    spec: MonitorSpec,
    column: str,
    days: Histogram | None,
    rows: float,
    thresholds: Mapping[CutKey, Mapping[str, CalibratedThreshold]],
) -> ColumnReadiness:
    kind = spec.watched_columns[column]
    if days is None or not days.counts.sum() > 0:
        problem = "not in the reference" if days is None else "no values in the reference"
        return ColumnReadiness(column, kind, {}, problem)
    needed = {
        window_name(length, choice): _needed(
            spec, kind, rows * length, _other_rows(days, choice, length, rows), thresholds.get((None, column, length, choice), {})
        )
        for length, choice in spec.drift.comparisons
    }
    of_values = days.counts.sum(axis=0) > 0
    if of_values.sum() == 1 and not days.missing.any() and (days.upper == days.support)[of_values].all():
        return ColumnReadiness(column, kind, needed, f"constant in the reference ({days.support[of_values][0]})")
    if np.isnan(list(needed.values())).all():
        return ColumnReadiness(column, kind, needed, "no threshold")
    if not np.nanmin(list(needed.values())) <= LARGEST_PLAUSIBLE:
        return ColumnReadiness(column, kind, needed, f"no shift below {LARGEST_PLAUSIBLE:g} standard deviations alarms")
    return ColumnReadiness(column, kind, needed, None)


def _other_rows(days: Histogram, choice: str, length: int, rows: float) -> float:
    """How many rows a window is compared with."""
    if choice == "previous_window":
        return rows * length
    whole = float(days.total().effective_rows[0])
    return whole * min(length, 7) / 7 if choice == "same_weekday" else whole


def _needed(spec: MonitorSpec, kind: str, rows: float, other: float, calibrated: Mapping[str, CalibratedThreshold]) -> float:
    """The smallest effect that exceeds the threshold of any method that compares values."""
    effective, effects = rows * other / (rows + other), []
    for method in spec.drift.methods(kind):
        levels = spec.drift.levels(method)
        if method in OF_ROWS or (levels and method == "chi2"):  # a p-value says nothing of the effect
            continue
        if levels:
            effects.append(float(to_effect(method, np.array(levels.minor), effective)))
        elif method in calibrated:
            cut = calibrated[method].cuts(np.array([effective]))[0]
            effects.append(float(to_effect(method, cut, effective)[0]))
    return min(effects, default=math.nan)


def _columns_in_words(columns: list[ColumnReadiness]) -> Iterator[str]:
    by_problem: dict[str, list[str]] = {}
    for each in columns:
        if each.problem:
            by_problem.setdefault(each.problem, []).append(each.column)
    for problem, names in by_problem.items():
        yield f"{', '.join(names)}: {problem}"


def _short_reference(spec: MonitorSpec, days: int) -> Iterator[str]:
    if days < MINIMUM_DAYS and (spec.drift.calibrated or spec.drift.multivariate_methods):
        yield (
            f"the reference has {days} days, {MINIMUM_DAYS} needed to see how days differ: thresholds allow for sampling noise "
            "only, so days that differ more than that alarm; name a longer reference"
        )
    longer = [length for length in spec.drift.windows_days if length > days]
    if longer:
        yield f"the reference has {days} days, fewer than the window of {max(longer)}; name a longer reference"


def _minimums(spec: MonitorSpec, rows: float, effective: float) -> Iterator[str]:
    """Minimums of the settings that the usual rows of a day do not reach in the window they are counted over."""
    for length in spec.drift.windows_days:
        if effective * length < spec.drift.minimum_rows:
            yield (
                f"drift.minimum_rows {spec.drift.minimum_rows}: a window of {window_name(length, 'baseline')} holds about "
                f"{effective * length:.0f} rows, so it is not judged; lower it, or watch a longer window"
            )
    asked: list[tuple[str, int, str, int]] = []
    if spec.label is not None:
        needed, longest = spec.performance.minimum_labelled_rows, spec.performance.judged_window_days
        asked.append(("performance.minimum_labelled_rows", needed, "performance.windows_days", longest))
    if spec.label is not None and spec.retrain.enabled:
        policy = spec.retrain
        asked.append(("retrain.minimum_gate_rows", policy.minimum_gate_rows, "retrain.gate_days", policy.gate_days))
        asked.append(
            ("retrain.minimum_training_rows", policy.minimum_training_rows, "retrain.training_days", policy.training_days)
        )
    for name, minimum, window, length in asked:
        if rows * length < minimum:
            yield (
                f"{name} {minimum:,}: about {rows:,.0f} rows a day make {rows * length:,.0f} in the {length} days of {window}, "
                f"which never reach it; raise {window} to {math.ceil(minimum / rows)}, or lower the minimum"
            )
