"""Which window of days is compared with which reference, and the result: the rows of the table `drift_scores`.

A window is any number of days that end with the day it is stored for. How two histograms are scored is in `scores.py`, how a
score is judged in `thresholds.py`; reading and writing is `daily_scores.py`'s.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from monitoring_assets.drift.kinds import kinds_of_change
from monitoring_assets.drift.scores import Comparison
from monitoring_assets.drift.thresholds import CalibratedThreshold, CutKey, judgement, reasons_without_threshold
from monitoring_assets.measuring.histograms import Histogram, Key
from monitoring_assets.monitor_spec import Drift, MonitorSpec, ReferenceChoice

# Decimals of a stored score: far below what any sample can tell, far above what rounding in sums can change.
DIGITS = 12
THREADS = 2
NO_VALUES = "not judged: the reference has no values of it"


def score_days(
    spec: MonitorSpec,
    baseline_id: str,
    baseline: Mapping[Key, Histogram],
    current: Mapping[Key, Histogram],
    days: Sequence[date],
    thresholds: Mapping[CutKey, Mapping[str, CalibratedThreshold]] | None = None,
) -> pd.DataFrame:
    """Compare every window that ends on one of the days with every reference the spec asks for.

    `baseline` holds the baseline's days, `current` the days' own profiles, and those of as many days before as windows need.
    `thresholds` are the baseline's calibrated ones, from `read_thresholds`; without them the constant defaults judge.

    Returns
    -------
    DataFrame
        The columns of the table `drift_scores`, one row per day, window, segment, column, reference and method.
    """
    kinds = spec.watched_columns

    def blocks_of(key: Key) -> list[dict[str, object]]:
        histogram, days_of_baseline = current[key], baseline.get(key)
        found: list[dict[str, object]] = []
        for length, choice in spec.drift.comparisons:
            calibrated = (thresholds or {}).get((*key, length, choice), {})
            reference = reference_of(choice, days_of_baseline, histogram, days, length)
            of = {"window_days": length, "segment": key[0], "feature": key[1], "reference": choice}
            held = days_of_windows(histogram, choice, days, length)
            window = histogram.windows(days, length)
            found += [of | block for block in _score_column(spec.drift, reference, window, held, calibrated)]
        return found

    # A year of days is numpy's work on large arrays, for which it lets go of Python's lock: two threads take 0.6 of the time.
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(blocks_of, [key for key in current if key[1] in kinds])
        blocks = [block for part in parts for block in part]
    if not blocks:
        return pd.DataFrame()
    columns = {name: np.concatenate([_filled(block[name], len(days)) for block in blocks]) for name in blocks[0]}
    day = np.tile(np.array(days, dtype=object), len(blocks))
    return pd.DataFrame({"day": day} | columns | {"baseline_id": np.full(len(day), baseline_id, object)}, copy=False)


def reference_of(
    choice: ReferenceChoice, baseline: Histogram | None, current: Histogram, days: Sequence[date], length: int
) -> Histogram | None:
    """What windows that end on these days are compared with: one row for all, or a row per day. None: there is nothing.

    baseline: all its days. same_weekday: those of its days that fall on a weekday of the window, so a Sunday is compared with
    Sundays. previous_window: as many days as the window has, right before it.
    """
    if choice == "previous_window":
        return current.windows([date.fromordinal(day.toordinal() - length) for day in days], length)
    if baseline is None or choice == "baseline":
        return baseline.total() if baseline else None
    return baseline.mixed(weekdays_of_windows(baseline.days, days, length), days)


@dataclass(frozen=True)
class DaysOfWindows:
    """How many days of each window have rows (D,), and how many days of equal rows tell as much, (Σ n)² / Σ n² (Kish 1965); of a
    window and the one before, those of the smaller."""

    number: np.ndarray
    effective: np.ndarray


def days_of_windows(current: Histogram, choice: ReferenceChoice, days: Sequence[date], length: int) -> DaysOfWindows:
    """
    Examples
    --------
    >>> three = Histogram("numeric", [date(2026, 1, day) for day in (1, 2, 5)], np.zeros(1), np.array([[9.0], [9], [0]]),
    ...                   np.zeros(3), np.zeros(3), np.zeros(3), True)
    >>> found = days_of_windows(three, "baseline", [date(2026, 1, 1), date(2026, 1, 5)], 7)
    >>> found.number.tolist(), found.effective.tolist()
    ([1, 2], [1.0, 2.0])
    """
    found = _days_of_windows(current, days, length)
    if choice != "previous_window":
        return found
    before = _days_of_windows(current, [date.fromordinal(day.toordinal() - length) for day in days], length)
    return DaysOfWindows(found.number, np.minimum(found.effective, before.effective))


def _days_of_windows(current: Histogram, days: Sequence[date], length: int) -> DaysOfWindows:
    each, ends = (np.array([day.toordinal() for day in some], int) for some in (current.days, days))
    start, stop = np.searchsorted(each, ends - length, side="right"), np.searchsorted(each, ends, side="right")
    rows = current.rows
    number, total, squares = (
        (sums := np.append(0.0, np.cumsum(values)))[stop] - sums[start] for values in ((rows > 0).astype(float), rows, rows**2)
    )
    return DaysOfWindows(number.astype(int), np.where(number > 0, total**2 / np.maximum(squares, 1e-300), 0.0))


def weekdays_of_windows(baseline: Sequence[date], days: Sequence[date], length: int) -> np.ndarray:
    """Whether the weekday of each day of the baseline is one of each window's: (D, B)."""
    last, each = (np.array([day.toordinal() for day in some], int) for some in (days, baseline))
    return (last[:, None] - each) % 7 < length


def _filled(value: object, length: int) -> np.ndarray:
    """One value of a block repeated for its days; arrays have a value per day already."""
    if isinstance(value, np.ndarray) and len(value) == length:
        return value
    return np.full(length, value, dtype=object if value is None or isinstance(value, str) else None)


def _score_column(
    drift: Drift,
    reference: Histogram | None,
    window: Histogram,
    held: DaysOfWindows,
    calibrated: Mapping[str, CalibratedThreshold],
) -> list[dict[str, object]]:
    """One block of `drift_scores` per method."""
    pair = Comparison.of(reference, window) if reference is not None and reference.row_count.any() else None
    rows = window.effective_rows
    other = reference.effective_rows if reference is not None else np.zeros(1)
    enough = (rows >= drift.minimum_rows) & (other >= drift.minimum_rows)
    if reference is not None:
        enough &= reference.counts.sum(axis=-1) > 0
    effective = rows * other / np.maximum(rows + other, 1.0)
    blocks: list[dict[str, object]] = []
    for method in drift.methods(window.kind):
        scores, p_values, bounds = pair.apply(method) if pair else np.full((3, len(window.days)), np.nan)
        # The last bits depend on which other days share the sums; what is stored must not.
        scores, bounds = np.round(np.where(enough, scores, np.nan), DIGITS), np.round(bounds, DIGITS)
        judged = judgement(method, scores, p_values, effective, drift.levels(method), calibrated.get(method), held.effective)
        unjudged = reasons_without_threshold(method, scores, judged, calibrated=drift.calibrated)
        blocks.append(
            {
                "method": method,
                "score": scores,
                "p_value": np.where(np.isnan(scores), np.nan, p_values),
                "threshold": judged.thresholds,
                "excess": np.round(judged.excess, DIGITS),
                "severity": judged.severities,
                "change": None,
                "reference_rows": reference.row_count.astype(int) if reference is not None else 0,
                "current_rows": window.row_count.astype(int),
                "current_days": held.number,
                "score_error_bound": np.where(np.isnan(scores), np.nan, bounds),
                "reason": _reasons(drift, reference, window, scores, unjudged),
            }
        )
    if pair is not None:
        _name_changes(pair, blocks)
    return blocks


def _name_changes(pair: Comparison, blocks: list[dict[str, object]]) -> None:
    """Say of each score that drifted what kind of change its column went through."""
    drifted = [np.isin(np.asarray(block["severity"]), ("minor", "moderate", "severe")) for block in blocks]
    if np.any(drifted):
        kinds = kinds_of_change(pair)
        for block, of_method in zip(blocks, drifted, strict=True):
            block["change"] = np.where(of_method, kinds, np.array(None))


def _reasons(
    drift: Drift, reference: Histogram | None, window: Histogram, scores: np.ndarray, unjudged: np.ndarray
) -> np.ndarray:
    """Why there is no score, or why it has no severity (D,); None where it has one. `unjudged` knows the latter."""
    reasons = unjudged.copy()
    if reference is None:
        reasons[:] = NO_VALUES
        return reasons
    sides = ((window.effective_rows, window.row_count, ""), (reference.effective_rows, reference.row_count, " in the reference"))
    has_values = reference.counts.sum(axis=-1) > 0
    for day in np.flatnonzero(np.isnan(scores)).tolist():
        few = [
            _rows_in_words(rows[day % len(rows)], counted[day % len(rows)]) + where
            for rows, counted, where in sides
            if rows[day % len(rows)] < drift.minimum_rows
        ]
        if few:
            reasons[day] = f"{few[0]}, {drift.minimum_rows} needed"
        elif not has_values[day % len(has_values)]:
            reasons[day] = NO_VALUES
        else:
            reasons[day] = "no values to compare: all missing in the window, or a constant reference"
    return reasons


def _rows_in_words(effective: float, rows: float) -> str:
    return f"{int(effective)} {'' if effective == rows else 'effective '}rows"
