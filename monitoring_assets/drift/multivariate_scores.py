"""Scores of all features together for the days of a warehouse, and for two samples at hand, each with its threshold.

Here samples are read, cut to size, compared and judged; the methods are in `multivariate.py`, what is calibrated in
`multivariate_thresholds.py`.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.drift.calibration import NOISE_ROWS
from monitoring_assets.drift.day_to_day import effective_days
from monitoring_assets.drift.distances import Array
from monitoring_assets.drift.multivariate import ALL_FEATURES, Encoding, Score, Structure, projected, score
from monitoring_assets.drift.multivariate_thresholds import COMPARED_ROWS, calibrate_together, compared_rows, quiet_noise
from monitoring_assets.drift.thresholds import CalibratedThreshold, CutKey, judgement, reasons_without_threshold
from monitoring_assets.drift.windows import DIGITS
from monitoring_assets.measuring.sample import merged
from monitoring_assets.monitor_spec import MonitorSpec, MultivariateMethod, days_between
from monitoring_assets.retention.forgetting import forgotten_days
from monitoring_assets.warehouse import quoted, table
from monitoring_assets.warehouse_reads import smallest_rows

# How many predictions a sampled row stands for; no column of a log may be called so.
WEIGHT = "__weight"
FORGOTTEN = "the sampled rows of a day in the window were deleted, as `retain_days` says"


def compare_samples(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: Mapping[str, str],
    methods: Sequence[MultivariateMethod] = ("pca_reconstruction", "correlation"),
    *,
    rate: float = 0.005,
) -> pd.DataFrame:
    """Compare two samples of rows in all features together.

    Parameters
    ----------
    reference, current
        Rows with the columns that `kinds` names; of more than `COMPARED_ROWS` on a side so many are drawn, always the same.
    kinds
        Column -> numeric or categorical.
    rate
        Share of comparisons of one population in which each method may exceed its threshold, which is never below a practical
        effect.

    Returns
    -------
    DataFrame
        One row per method: feature ('(all features)'), method, score (nan where undefined), threshold, excess, severity,
        detail (what moved most), reason (why there is no score).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=1000)
    >>> before, after = pd.DataFrame({"a": x, "b": x}), pd.DataFrame({"a": x, "b": -x})
    >>> compare_samples(before, after, {"a": "numeric", "b": "numeric"}, ["correlation"])["detail"][0]
    'a and b +1.00 to -1.00'
    """
    encoding = Encoding.fit(reference, kinds)
    drawn = [_drawn(encoding.matrix(side)) for side in (reference, current)]
    structure = Structure.of(drawn[0], encoding.names)
    generator = np.random.default_rng(0)
    rows = []
    for method in methods:
        found = score(method, structure, projected(method, structure, drawn[1]))
        threshold = None
        if not np.isnan(found.score):
            noise = quiet_noise(method, structure, rate, generator)
            threshold = CalibratedThreshold(method, np.array(NOISE_ROWS, float), np.sqrt(noise.limit), 0.0)
        of, seen = (compared_rows(method, len(side)) for side in drawn)
        judged = judgement(
            method, np.array([found.score]), np.array([np.nan]), np.array([of * seen / (of + seen)]), None, threshold
        )
        cut = (judged.thresholds[0], judged.excess[0], judged.severities[0])
        rows.append((ALL_FEATURES, method, found.score, *cut, found.detail, found.reason))
    columns = ["feature", "method", "score", "threshold", "excess", "severity", "detail", "reason"]
    return pd.DataFrame(rows, columns=columns)


def _drawn(matrix: Array) -> Array:
    """At most `COMPARED_ROWS` rows, the same ones whatever their order."""
    if len(matrix) <= COMPARED_ROWS:
        return matrix
    ordered = matrix[np.lexsort(np.nan_to_num(matrix, nan=np.inf).T)]
    return ordered[np.random.default_rng(0).permutation(len(matrix))[:COMPARED_ROWS]]


@dataclass(frozen=True)
class Samples:
    """Sampled rows of a baseline and of days, with `day` and `sample_key`; `kinds` are the features'. `gone` are days whose rows
    were deleted."""

    kinds: Mapping[str, str]
    reference: pd.DataFrame
    current: pd.DataFrame
    gone: Set[date]

    @cached_property
    def encoding(self) -> Encoding:
        return Encoding.fit(self.reference, self.kinds)

    @cached_property
    def structure(self) -> Structure:
        return Structure.of(self.encoding.matrix(self.reference), self.encoding.names)


def read_samples(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str, days: Sequence[date]
) -> Samples | None:
    """The sampled rows of a baseline, and of the windows that end on these days; None where no method needs them."""
    if not spec.drift.multivariate_methods:
        return None
    reference = _of_baseline(connection, spec, baseline_id)
    if not days:
        return Samples(_kinds(spec), reference, reference.iloc[:0], frozenset())
    earliest = min(days) - timedelta(days=max(spec.drift.windows_days) - 1)
    current = _read(connection, spec, table(spec, "daily_sample"), "day BETWEEN ? AND ?", [earliest, max(days)])
    return Samples(_kinds(spec), reference, current, forgotten_days(connection, spec, days_between(earliest, max(days))))


def _kinds(spec: MonitorSpec) -> dict[str, str]:
    return {name: feature.kind for name, feature in spec.features.items()}


def calibrate_samples(spec: MonitorSpec, baseline_id: str, samples: Samples) -> pd.DataFrame:
    """Thresholds, as rows of the table `thresholds`, of the methods for which the spec names no constant ones."""
    methods = [method for method in spec.drift.multivariate_methods if method not in spec.drift.thresholds]
    return calibrate_together(spec, methods, samples.structure, _ordinals(samples.reference), baseline_id)


def score_samples(
    spec: MonitorSpec,
    baseline_id: str,
    samples: Samples | None,
    days: Sequence[date],
    thresholds: Mapping[CutKey, Mapping[str, CalibratedThreshold]],
) -> pd.DataFrame:
    """Compare every window that ends on one of the days with a baseline, in all features together.

    Returns
    -------
    DataFrame
        The columns of the table `drift_scores`, one row per day, window and method of `spec.drift.multivariate_methods`.
    """
    if samples is None:
        return pd.DataFrame()
    structure, matrix = samples.structure, samples.encoding.matrix(samples.current)
    frames = []
    for method in spec.drift.multivariate_methods:
        rows = projected(method, structure, matrix)
        for length in spec.drift.windows_days:
            windows = _windows(samples.current, days, length)
            touched = np.array([any(day - timedelta(days=back) in samples.gone for back in range(length)) for day in days])
            windows = [window[:0] if without else window for window, without in zip(windows, touched, strict=True)]
            held = [_rows_by_day(samples.current, window) for window in windows]
            threshold = thresholds.get((None, ALL_FEATURES, length, "baseline"), {}).get(method)
            judged = _judged(spec, method, length, structure, rows, windows, held, threshold)
            judged.loc[touched, "reason"] = FORGOTTEN
            frames.append(judged)
    scores = pd.concat([frame.assign(day=list(days)) for frame in frames], ignore_index=True)
    return scores.assign(segment=None, feature=ALL_FEATURES, reference="baseline", baseline_id=baseline_id)


def _judged(
    spec: MonitorSpec,
    method: MultivariateMethod,
    length: int,
    structure: Structure,
    rows: Array,
    windows: Sequence[np.ndarray],
    held: Sequence[np.ndarray],
    threshold: CalibratedThreshold | None,
) -> pd.DataFrame:
    found = [_score(spec.drift.minimum_rows, method, structure, rows[window]) for window in windows]
    counts = np.array([len(window) for window in windows])
    scores = np.round([each.score for each in found], DIGITS)
    seen, of = np.array([compared_rows(method, count) for count in counts]), compared_rows(method, len(structure.rows))
    effective = seen * of / np.maximum(seen + of, 1)
    days = np.array([effective_days(rows_by_day) for rows_by_day in held])
    judged = judgement(
        method, scores, np.full(len(scores), np.nan), effective, spec.drift.thresholds.get(method), threshold, days
    )
    unjudged = reasons_without_threshold(method, scores, judged, calibrated=True)
    return pd.DataFrame(
        {
            "window_days": length,
            "method": method,
            "score": scores,
            "p_value": np.nan,
            "threshold": judged.thresholds,
            "excess": np.round(judged.excess, DIGITS),
            "severity": judged.severities,
            "change": np.where(np.isin(judged.severities, ("minor", "moderate", "severe")), "relation", np.array(None)),
            "reference_rows": len(structure.rows),
            "current_rows": counts,
            "current_days": [len(rows_by_day) for rows_by_day in held],
            # Samples have noise, which the threshold knows; nothing is binned.
            "score_error_bound": np.where(np.isnan(scores), np.nan, 0.0),
            "reason": pd.Series([each.reason for each in found], dtype=object).fillna(pd.Series(unjudged)),
            "detail": pd.Series([each.detail for each in found], dtype=object),
        }
    )


def _score(minimum_rows: int, method: MultivariateMethod, structure: Structure, rows: Array) -> Score:
    if len(structure.rows) == 0:
        return Score(np.nan, reason="the baseline has no sample of rows: materialise reference_baseline again")
    if len(rows) < minimum_rows:
        return Score(np.nan, reason=f"{len(rows)} rows, {minimum_rows} needed")
    return score(method, structure, rows)


def _of_baseline(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str) -> pd.DataFrame:
    """Those of a baseline's sampled rows, of all days together, that are a sample of all their rows.

    Without weights they are among the rows with the smallest keys: a day whose sample ends before the largest of these keys is
    there with all its rows, and no other day's end matters.
    """
    if spec.sampling_weight:
        rows = _read(connection, spec, table(spec, "baseline_sample"), "baseline_id = ?", [baseline_id])
    else:
        of = smallest_rows(connection, spec, "baseline_sample", baseline_id, "sample_key", COMPARED_ROWS)
        rows = _read(connection, spec, of, "true", [])
    return rows[_merged(rows, COMPARED_ROWS)].reset_index(drop=True)


def _read(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, relation: str, where: str, parameters: Sequence[object]
) -> pd.DataFrame:
    """Sampled rows in the order of day and key."""
    # Rows that were stored before the monitor named a weight stand for themselves.
    weight = f"coalesce({quoted(spec.sampling_weight)}, 1.0)" if spec.sampling_weight else "1.0::DOUBLE"
    columns = ", ".join(["day", "sample_key", f"{weight} AS {WEIGHT}", *map(quoted, spec.features)])
    found = connection.sql(
        f"SELECT {columns} FROM {relation} WHERE {where} ORDER BY day, sample_key",
        params=list(parameters),
    )
    frame: pd.DataFrame = found.to_arrow_table().to_pandas(strings_to_categorical=True, date_as_object=False)
    return frame


def _merged(sample: pd.DataFrame, limit: int) -> np.ndarray:
    """Which of the rows are a sample of all that the days' rows stand for; scores of them need no weights."""
    keys, weights = (sample[name].to_numpy(float) for name in ("sample_key", WEIGHT))
    return merged(_ordinals(sample), keys, limit, weights=weights)


def _ordinals(sample: pd.DataFrame) -> np.ndarray:
    """The day of each row (N,), as days since 1970."""
    return sample["day"].to_numpy("datetime64[D]").astype(int)


def _rows_by_day(sample: pd.DataFrame, places: np.ndarray) -> np.ndarray:
    """How many of these rows each of their days has."""
    return np.unique(_ordinals(sample)[places], return_counts=True)[1]


def _windows(sample: pd.DataFrame, days: Sequence[date], length: int) -> list[np.ndarray]:
    """For each day the places of the rows that are a sample of the `length` days which end with it."""
    of = _ordinals(sample)
    ends = np.array(days, "datetime64[D]").astype(int)
    spans = zip(np.searchsorted(of, ends - length, side="right"), np.searchsorted(of, ends, side="right"), strict=True)
    return [start + np.flatnonzero(_merged(sample[start:stop], COMPARED_ROWS)) for start, stop in spans]
