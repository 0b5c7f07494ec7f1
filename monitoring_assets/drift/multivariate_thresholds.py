"""Calibrated thresholds of the scores of all features together, estimated from a baseline's sample of rows.

They are set as those of single columns are (docs/statistics.md): what sampling noise alone exceeds at today's rows, the
baseline's day-to-day variation, each window scored against the baseline without it, and a practical floor. The scores are
made in `multivariate.py`, cuts are applied in `thresholds.py`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from monitoring_assets.drift.calibration import (
    MINIMUM_DAYS,
    NOISE_ROWS,
    Noise,
    Restlessness,
    beyond_noise,
    confidence,
    family_of,
    tail,
)
from monitoring_assets.drift.distances import Array
from monitoring_assets.drift.multivariate import (
    ALL_FEATURES,
    CLASSIFIER_ROWS,
    Structure,
    correlation_change,
    pair_z,
    score,
)
from monitoring_assets.drift.thresholds import to_effect
from monitoring_assets.monitor_spec import MonitorSpec, MultivariateMethod

# Rows of either side that are compared: with as many of both, noise of a correlation is about its practical floor of 0.1.
COMPARED_ROWS = 4_000
# Simulated days per size, each drawn from the reference's rows. Sizes beyond the last are not simulated: noise falls with √rows.
DRAWS, LARGEST_DRAWN = 500, 1_000
# How much wider cross-validated AUC of quiet days spreads than a fixed classifier's. On shuffled flights 1.05 times
# at 920 rows (50 days), 1.15 times at 200 (60 days).
FOLDED = 1.2
# Windows of the baseline the classifier is tried on, evenly spaced, because each costs a third of a second.
CLASSIFIED_WINDOWS = 20


def calibrate_together(
    spec: MonitorSpec, methods: Sequence[MultivariateMethod], reference: Structure, days: np.ndarray, baseline_id: str
) -> pd.DataFrame:
    """Thresholds of these methods in every window of the spec, as rows of the table `thresholds`.

    Parameters
    ----------
    reference
        The baseline's sample.
    days
        (N,) the day of each of its rows, as an ordinal number.
    baseline_id
        Seeds the simulation, so a baseline always gets the same thresholds.
    """
    windows = spec.drift.windows_days
    family = family_of(spec.drift, list(spec.watched_columns.values()))
    seed = hashlib.sha256(f"{baseline_id}/{ALL_FEATURES}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(seed[:8], "little"))
    held = len(np.unique(days))
    rows: list[dict[str, object]] = []
    for method in methods if len(reference.names) > 1 else ():
        noise = quiet_noise(method, reference, family.rate / family.scores, generator)
        limit, daily = np.inf, None
        for length in sorted({1, *windows}) if held >= MINIMUM_DAYS else windows:
            found = _varied(method, reference, days, length, noise, daily) if held >= MINIMUM_DAYS else None
            if length == 1 and found is not None:
                daily = found
            # As for single columns: a window is the mean of its days and needs no more room than a day.
            limit = min(limit, found.limit(family.rate / family.columns)) if found else 0.0
            if length in windows:
                rows.append(_row(method, length, baseline_id, reference, noise, limit, found, held))
    return pd.DataFrame(rows).astype({"segment": "object"}) if rows else pd.DataFrame()


def _row(
    method: str,
    length: int,
    baseline_id: str,
    reference: Structure,
    noise: Noise,
    limit: float,
    found: Restlessness | None,
    held: int,
) -> dict[str, object]:
    return {
        "baseline_id": baseline_id,
        "segment": None,
        "feature": ALL_FEATURES,
        "method": method,
        "window_days": length,
        "reference": "baseline",
        "reference_rows": compared_rows(method, len(reference.rows)),
        "noise_rows": [float(rows) for rows in NOISE_ROWS],
        "noise": np.sqrt(noise.limit).tolist(),
        "day_to_day": float(np.sqrt(limit)),
        "over_dispersion": found.over_dispersion if found else np.nan,
        "degrees": found.degrees if found else np.nan,
        "effective_windows": found.effective_windows if found else 0.0,
        "confidence": confidence(found, held),
    }


def compared_rows(method: str, rows: int) -> int:
    """How many of a side's rows a method sees."""
    return min(rows, CLASSIFIER_ROWS if method == "domain_classifier" else COMPARED_ROWS)


def quiet_noise(method: MultivariateMethod, reference: Structure, rate: float, generator: np.random.Generator) -> Noise:
    """What sampling alone does to a method's squared effect, on days of `NOISE_ROWS` rows."""
    if method == "domain_classifier":
        return _auc_noise(rate)
    found = []
    for rows in NOISE_ROWS:
        drawn = min(rows, LARGEST_DRAWN)
        squares = _quiet_scores(method, reference, drawn, generator) ** 2 * drawn / rows
        variance = squares.var()
        found.append((float(squares.mean()), float(variance), tail(squares, rate)))
    return Noise(*np.array(found).T)


def _quiet_scores(method: MultivariateMethod, reference: Structure, rows: int, generator: np.random.Generator) -> Array:
    """Scores (`DRAWS`,) of days drawn row by row from the reference; undefined ones count as 0."""
    if method == "pca_reconstruction":
        errors = np.sqrt(reference.residuals.sum(axis=1))
        means = errors[generator.integers(0, len(errors), (DRAWS, rows))].mean(axis=1)
        return np.abs(means / reference.error - 1) if reference.error > 1e-9 else np.zeros(DRAWS)
    # In blocks, so that few megabytes are drawn at a time.
    block = max(1, 50_000 // rows)
    changes = []
    for start in range(0, DRAWS, block):
        places = generator.integers(0, len(reference.ranks), (min(block, DRAWS - start), rows))
        changes.append(correlation_change(pair_z(reference.ranks[places]), reference.z))
    return np.nan_to_num(np.concatenate(changes))


def _auc_noise(rate: float) -> Noise:
    """From the variance of a quiet AUC, (n + N + 1) / (12 n N) ≈ 1 / (12 m) with m = nN / (n + N) (Mann and Whitney 1947).

    The effect √2 Φ⁻¹(AUC) is about √(4π) (AUC − 1/2) there, and 0 on the half of days below.
    """
    from scipy import stats

    deviation = FOLDED / np.sqrt(12 * np.array(NOISE_ROWS, float))
    variance = 4 * np.pi * deviation**2
    beyond = 0.5 + stats.norm.isf(rate) * deviation
    return Noise(variance / 2, 1.25 * variance**2, to_effect("domain_classifier", beyond) ** 2)


def _varied(
    method: MultivariateMethod, reference: Structure, days: np.ndarray, length: int, noise: Noise, daily: Restlessness | None
) -> Restlessness | None:
    """How windows of `length` days vary beyond noise, each scored against the reference without it."""
    ends = [end for end in np.unique(days) if end >= days.min() + length - 1]
    spacing = 1
    if method == "domain_classifier" and len(ends) > CLASSIFIED_WINDOWS:
        spacing = len(ends) // CLASSIFIED_WINDOWS
        ends = ends[::spacing][:CLASSIFIED_WINDOWS]
    squares, effective = [], []
    for end in ends:
        inside = (days > end - length) & (days <= end)
        if inside.all():
            continue
        rest = reference.restricted(~inside)
        found = score(method, rest, _left_out(method, reference, rest, inside)).score
        squares.append(float(np.nan_to_num(to_effect(method, np.array(found)))) ** 2)
        n, of = (compared_rows(method, int(count)) for count in (inside.sum(), (~inside).sum()))
        effective.append(n * of / (n + of))
    if not squares:
        return replace(daily, effective_windows=1.0) if daily else None
    overlap = max(1, -(-length // spacing))
    return beyond_noise(np.array(squares), *noise.moments(np.array(effective)), overlap, daily)


def _left_out(method: MultivariateMethod, reference: Structure, rest: Structure, inside: np.ndarray) -> Array:
    """Rows of the reference as `projected` gives them for a comparison with the rest of it."""
    if method == "correlation":
        return reference.ranks[inside]
    rows = reference.rows[inside]
    return rest.unexplained(rows) if method == "pca_reconstruction" else rows
