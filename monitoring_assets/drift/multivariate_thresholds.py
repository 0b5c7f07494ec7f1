"""Calibrated thresholds of the scores of all features together, estimated from a baseline's sample of rows.

They are set as those of single columns are (docs/statistics.md): what sampling noise alone exceeds at today's rows, the
baseline's day-to-day variation, each day scored against the baseline without it, and a practical floor. The scores are
made in `multivariate.py`, cuts are applied in `thresholds.py`.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from monitoring_assets.drift.calibration import (
    MINIMUM_DAYS,
    NOISE_ROWS,
    Noise,
    day_to_day_columns,
    family_of,
    tail,
)
from monitoring_assets.drift.day_to_day import Persistence, Variation, persistence, variation
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
# Days of the baseline the classifier is tried on, evenly spaced, because each costs a third of a second.
CLASSIFIED_DAYS = 20


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
        found = _varied(method, reference, days, noise) if held >= MINIMUM_DAYS else None
        for length in windows:
            rate = family.rate / family.columns
            room = np.sqrt(found[0].limits(rate, "baseline", found[1], length)) if found else np.zeros(length)
            rows.append(
                {
                    "baseline_id": baseline_id,
                    "segment": None,
                    "feature": ALL_FEATURES,
                    "method": method,
                    "window_days": length,
                    "reference": "baseline",
                    "reference_rows": compared_rows(method, len(reference.rows)),
                    "noise_rows": [float(rows) for rows in NOISE_ROWS],
                    "noise": np.sqrt(noise.limit).tolist(),
                }
                | day_to_day_columns(room, found, held)
            )
    return pd.DataFrame(rows).astype({"segment": "object"}) if rows else pd.DataFrame()


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
    method: MultivariateMethod, reference: Structure, days: np.ndarray, noise: Noise
) -> tuple[Variation, Persistence] | None:
    """How single days vary beyond noise, each scored against the reference without it, and how they persist."""
    each = np.unique(days)
    tried = each
    if method == "domain_classifier" and len(each) > CLASSIFIED_DAYS:
        tried = each[:: len(each) // CLASSIFIED_DAYS][:CLASSIFIED_DAYS]
    squares, effective = [], []
    for day in tried:
        inside = days == day
        rest = reference.restricted(~inside)
        found = score(method, rest, _left_out(method, reference, rest, inside)).score
        squares.append(float(np.nan_to_num(to_effect(method, np.array(found)))) ** 2)
        n, of = (compared_rows(method, int(count)) for count in (inside.sum(), (~inside).sum()))
        effective.append(n * of / (n + of))
    together = _persistence(method, reference, days)
    return variation(np.array(squares), *noise.moments(np.array(effective)), together), together


def _persistence(method: MultivariateMethod, reference: Structure, days: np.ndarray) -> Persistence:
    """How the days' levels persist: of each pair's correlation, of the reconstruction error, or of each feature's mean rank."""
    each, counts = np.unique(days, return_counts=True)
    if method == "correlation":
        levels = np.array([np.nan_to_num(pair_z(reference.ranks[days == day]) - reference.z) for day in each])
        noise = levels.shape[1] / np.maximum(counts - 3, 1)
    else:
        of_rows = (
            np.sqrt(reference.residuals.sum(axis=1))[:, None]
            if method == "pca_reconstruction"
            else np.nan_to_num(reference.ranks, nan=0.5)
        )
        levels = np.array([of_rows[days == day].mean(axis=0) for day in each])
        noise = of_rows.var(axis=0).sum() / counts
    return persistence(levels, noise, each)


def _left_out(method: MultivariateMethod, reference: Structure, rest: Structure, inside: np.ndarray) -> Array:
    """Rows of the reference as `projected` gives them for a comparison with the rest of it."""
    if method == "correlation":
        return reference.ranks[inside]
    rows = reference.rows[inside]
    return rest.unexplained(rows) if method == "pca_reconstruction" else rows
