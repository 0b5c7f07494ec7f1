"""Estimates thresholds from a baseline's daily profiles, so that quiet days stay quiet at any number of rows.

A quiet day's score has two sources. *Sampling noise* is simulated: days drawn from the reference's own shares, scored by the
engine itself. *Day-to-day variation* is what the reference's days show beyond that noise, each scored against the reference
without it; what longer windows may show follows, in `day_to_day.py`. docs/statistics.md has the reasoning and the experiment.
Applying thresholds is in `thresholds.py`.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from monitoring_assets.drift import scores as engine
from monitoring_assets.drift.day_to_day import DEGREES, Persistence, Variation, persistence, variation
from monitoring_assets.drift.distances import Array
from monitoring_assets.drift.thresholds import to_effect
from monitoring_assets.drift.windows import THREADS, weekdays_of_windows
from monitoring_assets.measuring.histograms import Histogram, Key
from monitoring_assets.monitor_spec import Drift, MonitorSpec, ReferenceChoice

# Effective rows of the simulated days. Beyond the last, noise falls with the square root of the rows.
NOISE_ROWS = (10, 30, 100, 300, 1_000, 10_000)
# Shuffled flights: between ten seeds a noise threshold varies by 4 % (median of the scores), 10 % for one in ten.
DRAWS = 1_000
# Bins a numeric column is joined into while it is calibrated. KS is then 1 to 5 % lower than on all bins (shuffled flights).
COARSE_BINS = 120
# Fewer reference days say too little about how days differ: the variance of 9 values is known to ± 50 %.
MINIMUM_DAYS = 10
# Methods that compare how many rows have a value, not which values they have; they are restless on days of their own.
OF_ROWS = ("missingness", "new_category")
# Stands for all values the reference has not seen; sorts behind any category.
UNSEEN = "\U0010ffff"


def calibrate(reference: Mapping[Key, Histogram], spec: MonitorSpec, baseline_id: str) -> pd.DataFrame:
    """Thresholds of every score the spec asks for, such that quiet days alarm at most at `drift.false_alarm_rate` altogether.

    Parameters
    ----------
    reference
        The baseline's daily histograms.
    spec
        Its `drift` says the methods, the windows, what they are compared with, and the rate.
    baseline_id
        Seeds the simulation, so a baseline always gets the same thresholds.

    Returns
    -------
    DataFrame
        The columns of the table `thresholds`, one row per segment, feature, method, window and reference. Columns without values
        in the reference have none.
    """
    watched = {key: days for key, days in reference.items() if key[1] in spec.watched_columns and days.counts.sum() > 0}
    comparisons = spec.drift.comparisons
    of_whole, of_segments = (
        family_of(spec.drift, [days.kind for (segment, _), days in watched.items() if (segment is not None) == within], within)
        for within in (False, True)
    )

    def rows_of(key: Key) -> list[dict[str, object]]:
        (segment, feature), days = key, watched[key]
        digest = hashlib.sha256(f"{baseline_id}/{segment}/{feature}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        family = of_whole if segment is None else of_segments
        found = _calibrate_column(coarsened(days), spec.drift.methods(days.kind), comparisons, family, generator)
        return [{"baseline_id": baseline_id, "segment": segment, "feature": feature} | row for row in found]

    # Drawing and scoring days is numpy's work, for which it lets go of Python's lock.
    with ThreadPoolExecutor(THREADS) as pool:
        rows = [row for found in pool.map(rows_of, watched) for row in found]
    return pd.DataFrame(rows).astype({"segment": "object"}) if rows else pd.DataFrame()


@dataclass(frozen=True)
class Family:
    """The false alarm rate, and over how many judgements it is shared out.

    Noise shares it over all scores (Bonferroni). Day-to-day variation shares it over columns, windows and references only: a
    restless day is restless to every method at once.
    """

    rate: float
    columns: int
    scores: int


def family_of(drift: Drift, kinds: Sequence[str], within_segments: bool = False) -> Family:
    """The judgements over columns of these kinds, and over all features together, which count as one column more.

    Segments are a family of their own, at the same rate, so that they cost the whole no power. They are not compared in all
    features together.
    """
    together = [] if within_segments else drift.multivariate_methods
    windows, comparisons = len(drift.windows_days), len(drift.comparisons)
    return Family(
        drift.false_alarm_rate,
        columns=len(kinds) * comparisons + bool(together) * windows,
        scores=sum(len(drift.methods(kind)) for kind in kinds) * comparisons + len(together) * windows,
    )


@dataclass(frozen=True)
class Noise:
    """Squared effects of simulated quiet days, by number of rows (G,): mean, variance, and what few exceed."""

    mean: Array
    variance: Array
    limit: Array

    def moments(self, effective_rows: Array) -> tuple[Array, Array]:
        """Mean and variance at other numbers of rows, straight in logarithms."""
        at, grid = np.log(effective_rows), np.log(NOISE_ROWS)
        mean, variance = (np.exp(np.interp(at, grid, np.log(np.maximum(x, 1e-300)))) for x in (self.mean, self.variance))
        return mean, variance


def _calibrate_column(
    days: Histogram,
    methods: Sequence[str],
    comparisons: Sequence[tuple[int, ReferenceChoice]],
    family: Family,
    generator: np.random.Generator,
) -> list[dict[str, object]]:
    reference = days.total()
    noise = simulated_noise(reference, methods, family.rate / family.scores, generator)
    held = int((days.rows > 0).sum())
    rate = family.rate / family.columns
    varied = _variations(days, methods, {choice for _, choice in comparisons}, noise) if held >= MINIMUM_DAYS else {}
    rows: list[dict[str, object]] = []
    for length, choice in comparisons:
        for method in methods:
            found = varied.get((choice, method))
            room = np.sqrt(found[0].limits(rate, choice, found[1], length)) if found else np.zeros(length)
            rows.append(
                {
                    "method": method,
                    "window_days": length,
                    "reference": choice,
                    "reference_rows": int(reference.effective_rows[0]),
                    "noise_rows": [float(rows) for rows in NOISE_ROWS],
                    "noise": np.sqrt(noise[method].limit).tolist(),
                }
                | day_to_day_columns(room, found, held)
            )
    return rows


def day_to_day_columns(room: Array, found: tuple[Variation, Persistence] | None, held: int) -> dict[str, object]:
    """The columns of the table `thresholds` that say what days may differ by: `room` for windows of 1, 2, … days."""
    variation, days = found or (None, None)
    windows = variation.independent_days / len(room) if variation else 0.0
    return {
        "day_to_day": float(room[-1]),
        "day_to_day_by_days": room.tolist(),
        "over_dispersion": variation.over_dispersion if variation else np.nan,
        "degrees": variation.degrees if variation else np.nan,
        "persistence": days.phi if days else np.nan,
        "effective_windows": windows,
        "confidence": confidence(windows if variation else None, held),
    }


def _variations(
    days: Histogram, methods: Sequence[str], choices: Collection[ReferenceChoice], noise: Mapping[str, Noise]
) -> dict[tuple[ReferenceChoice, str], tuple[Variation, Persistence]]:
    """How single days vary beyond noise and how they persist, by reference and method.

    The methods that compare values see the same restless days, so they share the heaviest of their tails.
    """
    of_values = None
    found: dict[tuple[ReferenceChoice, str], tuple[Variation, Persistence]] = {}
    for choice in choices:
        effective, squares = left_out(days, methods, choice)
        if len(effective) == 0:
            continue
        parts = {}
        for method in methods:
            if method in OF_ROWS:
                together = _of_missing(days)
            else:
                together = of_values = of_values or _of_values(days)
            parts[method] = (variation(squares[method], *noise[method].moments(effective), together), together)
        heaviest = min((part.degrees for method, (part, _) in parts.items() if method not in OF_ROWS), default=DEGREES[1])
        for method, (part, together) in parts.items():
            shared = part if method in OF_ROWS else replace(part, degrees=heaviest)
            found[choice, method] = (shared, together)
    return found


def _of_values(days: Histogram) -> Persistence:
    """How values persist. A day's level is its distribution function at the reference's deciles, or its categories' shares."""
    total = days.total()
    grouped = engine.Comparison.of(total, days).grouped(10)
    known, each = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300) for counts in grouped)
    if days.kind == "numeric":  # the last group is of missing rows
        known, each = (np.column_stack([np.cumsum(shares[:, :-1], axis=1)[:, :-1], shares[:, -1]]) for shares in (known, each))
    return _persistence_of(days, each, float((known * (1 - known)).sum()))


def _of_missing(days: Histogram) -> Persistence:
    share = days.missing / np.maximum(days.rows, 1e-300)
    whole = days.missing.sum() / max(days.rows.sum(), 1e-300)
    return _persistence_of(days, share[:, None], float(whole * (1 - whole)))


def _persistence_of(days: Histogram, vectors: Array, noise_per_row: float) -> Persistence:
    """Days with hardly any rows say little, and are left out."""
    rows = days.effective_rows
    kept = rows >= np.median(rows[rows > 0]) / 10
    ordinals = np.array([day.toordinal() for day in days.days])
    return persistence(vectors[kept], noise_per_row / rows[kept], ordinals[kept])


def simulated_noise(
    reference: Histogram, methods: Sequence[str], rate: float, generator: np.random.Generator
) -> dict[str, Noise]:
    """What sampling alone does to each method's squared effect, on days of `NOISE_ROWS` rows."""
    found: dict[str, list[tuple[float, float, float]]] = {method: [] for method in methods}
    for rows in NOISE_ROWS:
        pairs = [engine.Comparison.of(reference, part) for part in quiet_days(reference, rows, generator)]
        effective = rows * reference.effective_rows[0] / (rows + reference.effective_rows[0])
        for method in methods:
            scores = np.concatenate([pair.scores(method) for pair in pairs])
            squares = np.nan_to_num(to_effect(method, scores, effective)) ** 2
            found[method].append((float(squares.mean()), float(squares.var()), tail(squares, rate)))
    return {method: _falling(*np.array(rows).T) for method, rows in found.items()}


def _falling(mean: Array, variance: Array, limit: Array) -> Noise:
    """More rows never allow more noise; of few draws that a rare category decides, the largest may say so."""
    return Noise(mean, variance, np.maximum.accumulate(limit[::-1])[::-1])


def quiet_days(reference: Histogram, rows: int, generator: np.random.Generator) -> list[Histogram]:
    """`DRAWS` days drawn from the reference's shares: those without and those with a value the reference has not seen.

    The share of unseen values is Good's estimate, the reference's share of values seen once.
    """
    counts = np.append(reference.counts[0], reference.missing[0])
    effective = reference.effective_rows[0]
    once = np.ceil(reference.counts[0] * (effective / counts.sum()) - 1e-9) == 1
    unseen = (once.sum() + 0.5) / effective if reference.kind == "categorical" else 0.0
    shares = np.append(counts / counts.sum() * (1 - min(unseen, 1.0)), min(unseen, 1.0))
    drawn = generator.multinomial(rows, shares, DRAWS).astype(float)
    known, new = drawn[drawn[:, -1] == 0], drawn[drawn[:, -1] > 0]
    parts = []
    if len(known):
        parts.append(_days_like(reference, reference.support, known[:, :-2], known[:, -2]))
    if len(new):
        support = np.append(reference.support.astype(object), UNSEEN)
        parts.append(_days_like(reference, support, np.delete(new, -2, axis=1), new[:, -2]))
    return parts


def _days_like(reference: Histogram, support: Array, counts: Array, missing: Array) -> Histogram:
    number = len(counts)
    return replace(
        reference,
        days=reference.days * number,
        support=support,
        counts=counts,
        missing=missing,
        minimum=np.repeat(reference.minimum, number),
        maximum=np.repeat(reference.maximum, number),
        row_count=np.zeros(0),
        squared_weight=np.zeros(0),
    )


def tail(squares: Array, rate: float) -> float:
    """The value exceeded at `rate`, far beyond the draws: a Pearson III (shifted gamma) tail through their three moments.

    Squared effects are sums of squares, whose limit is a mixture of χ², close to a gamma. Where draws are few and coarse (one
    row in a rare category) the second largest draw may lie beyond, and counts.
    """
    from scipy import special

    mean, spread = squares.mean(), squares.std()
    if spread <= 1e-15 * max(mean, 1e-300):
        return float(mean)
    # A skew of less is as good as none, and the gamma's shape 4 / skew² too large for its quantile.
    skew = max(((squares - mean) ** 3).mean() / spread**3, 0.01)
    shape = 4 / skew**2
    beyond = mean + spread * skew / 2 * (special.gammainccinv(shape, rate) - shape)
    return float(max(beyond, np.partition(squares, -2)[-2]))


def left_out(days: Histogram, methods: Sequence[str], choice: ReferenceChoice = "baseline") -> tuple[Array, dict[str, Array]]:
    """Each day of the baseline scored against a reference that does not hold it: effective rows n N / (n + N), squared effects
    by method."""
    ordinals = np.array([day.toordinal() for day in days.days])
    if choice == "previous_window":
        others = ordinals[:, None] - ordinals == 1
    else:
        others = ordinals[:, None] != ordinals
        if choice == "same_weekday":
            others &= weekdays_of_windows(days.days, days.days, 1)
    other_rows = others @ days.rows
    usable = (days.rows > 0) & (other_rows > 0)
    if not usable.any():
        return np.zeros(0), {method: np.zeros(0) for method in methods}
    ends = [day for day, is_usable in zip(days.days, usable, strict=True) if is_usable]
    window, rest = days.mixed(np.eye(len(ordinals), dtype=bool)[usable], ends), days.mixed(others[usable], ends)
    effective = window.effective_rows * rest.effective_rows / (window.effective_rows + rest.effective_rows)
    pair = engine.Comparison.of(rest, window)
    return effective, {m: np.nan_to_num(to_effect(m, pair.scores(m), effective)) ** 2 for m in methods}


def confidence(independent_windows: float | None, days: int) -> str:
    if independent_windows is None:
        return f"sampling noise only: {days} reference days, {MINIMUM_DAYS} needed to see how days differ"
    grade = "low" if independent_windows < 10 else "fair" if independent_windows < 30 else "good"
    return f"{grade}: about {independent_windows:.0f} independent windows in {days} reference days"


def coarsened(days: Histogram) -> Histogram:
    """A numeric column on at most `COARSE_BINS` bins of equal reference share; single values with more keep a bin alone."""
    if days.kind != "numeric" or len(days.support) <= COARSE_BINS:
        return days
    mass = days.counts.sum(axis=0)
    bins = np.floor((np.cumsum(mass) - mass) / mass.sum() * COARSE_BINS + 1e-9)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    upper = np.maximum.reduceat(days.upper, starts)
    return replace(days, support=days.support[starts], upper=upper, counts=np.add.reduceat(days.counts, starts, axis=1))
