"""Estimates thresholds from a baseline's daily profiles, so that quiet days stay quiet at any number of rows.

A quiet day's score has two sources. *Sampling noise* is simulated: days drawn from the reference's own shares, scored by the
engine itself. *Day-to-day variation* is what the reference's days show beyond that noise, each window scored against the
reference without it. docs/statistics.md has the reasoning and the experiment. Applying thresholds is in `thresholds.py`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from monitoring_assets.drift import scores as engine
from monitoring_assets.drift.distances import Array
from monitoring_assets.drift.thresholds import to_effect
from monitoring_assets.drift.windows import weekdays_of_windows
from monitoring_assets.monitor_spec import Drift, MonitorSpec, ReferenceChoice
from monitoring_assets.profiling.histograms import Histogram, Key

# Effective rows of the simulated days. Beyond the last, noise falls with the square root of the rows.
NOISE_ROWS = (10, 30, 100, 300, 1_000, 10_000)
# Shuffled flights: between ten seeds a noise threshold varies by 4 % (median of the scores), 10 % for one in ten.
DRAWS = 1_000
# Bins a numeric column is joined into while it is calibrated. KS is then 1 to 5 % lower than on all bins (shuffled flights).
COARSE_BINS = 120
# Fewer reference days say too little about how days differ: the variance of 9 values is known to ± 50 %.
MINIMUM_DAYS = 10
# Degrees of freedom of the day-to-day tail, estimated within this range: 0.3 is a feature at rest on most days and far out on
# some (rain), 10 one that moves alike on all days.
DEGREES = (0.3, 10.0)
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
    rows: list[dict[str, object]] = []
    for (segment, feature), days in watched.items():
        digest = hashlib.sha256(f"{baseline_id}/{segment}/{feature}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        family = of_whole if segment is None else of_segments
        found = _calibrate_column(coarsened(days), spec.drift.methods(days.kind), comparisons, family, generator)
        rows += [{"baseline_id": baseline_id, "segment": segment, "feature": feature} | row for row in found]
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


@dataclass(frozen=True)
class Restlessness:
    """Day-to-day variation of one score: the mean squared effect beyond noise, the shape of its tail, what that rests on."""

    variation: float
    over_dispersion: float
    degrees: float
    effective_windows: float

    def limit(self, rate: float) -> float:
        """The squared effect that few windows exceed: the mean times an F quantile, which says how far a new window strays
        from the mean of few."""
        from scipy import stats

        return self.variation * float(stats.f.isf(rate, self.degrees, self.degrees * self.effective_windows))


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
    daily = {choice: restlessness(days, methods, 1, choice, noise) for _, choice in comparisons if held >= MINIMUM_DAYS}
    rows: list[dict[str, object]] = []
    for length, choice in comparisons:
        single = daily.get(choice, {})
        varied = single if length == 1 or not single else restlessness(days, methods, length, choice, noise, single)
        for method in methods:
            found = varied.get(method)
            rows.append(
                {
                    "method": method,
                    "window_days": length,
                    "reference": choice,
                    "reference_rows": int(reference.effective_rows[0]),
                    "noise_rows": [float(rows) for rows in NOISE_ROWS],
                    "noise": np.sqrt(noise[method].limit).tolist(),
                    # A window is the mean of its days and scores are convex: it needs no more room than a day.
                    "day_to_day": float(np.sqrt(min(found.limit(rate), single[method].limit(rate)))) if found else 0.0,
                    "over_dispersion": found.over_dispersion if found else np.nan,
                    "degrees": found.degrees if found else np.nan,
                    "effective_windows": found.effective_windows if found else 0.0,
                    "confidence": confidence(found, held),
                }
            )
    return rows


def simulated_noise(
    reference: Histogram, methods: Sequence[str], rate: float, generator: np.random.Generator
) -> dict[str, Noise]:
    """What sampling alone does to each method's squared effect, on days of `NOISE_ROWS` rows."""
    found: dict[str, list[tuple[float, float, float]]] = {method: [] for method in methods}
    for rows in NOISE_ROWS:
        pairs = [engine.Comparison.of(reference, part) for part in quiet_days(reference, rows, generator)]
        effective = rows * reference.effective_rows[0] / (rows + reference.effective_rows[0])
        for method in methods:
            scores = np.concatenate([pair.apply(method)[0] for pair in pairs])
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


def restlessness(
    days: Histogram,
    methods: Sequence[str],
    length: int,
    choice: ReferenceChoice,
    noise: Mapping[str, Noise],
    daily: Mapping[str, Restlessness] | None = None,
) -> dict[str, Restlessness]:
    """How windows of `length` days vary beyond noise, by method. Give the single days' for longer windows.

    The methods that compare values see the same restless days, so they share the heaviest of their tails.
    """
    effective, squares = left_out(days, methods, length, choice)
    if daily is not None and len(effective) == 0:
        return {method: replace(single, effective_windows=1.0) for method, single in daily.items()}
    # A window and the one before share a side with their neighbours: two such pairs tell as much as one.
    overlap = 2 * length if choice == "previous_window" else length
    found = {
        method: beyond_noise(squares[method], *noise[method].moments(effective), overlap, daily[method] if daily else None)
        for method in methods
    }
    heaviest = min((found[method].degrees for method in methods if method not in OF_ROWS), default=DEGREES[1])
    return {m: single if m in OF_ROWS else replace(single, degrees=heaviest) for m, single in found.items()}


def left_out(
    days: Histogram, methods: Sequence[str], length: int, choice: ReferenceChoice = "baseline"
) -> tuple[Array, dict[str, Array]]:
    """Each full window of the baseline scored against a reference that does not hold it: effective rows n N / (n + N), squared
    effects by method."""
    ordinals = np.array([day.toordinal() for day in days.days])
    back = ordinals[:, None] - ordinals  # how many days before the window's last each day lies
    inside = (back >= 0) & (back < length)
    if choice == "previous_window":
        others, first = (back >= length) & (back < 2 * length), 2 * length
    else:
        others, first = ~inside, length
        if choice == "same_weekday":
            others &= weekdays_of_windows(days.days, days.days, length)
    rows, other_rows = inside @ days.rows, others @ days.rows
    usable = (ordinals >= ordinals[0] + first - 1) & (rows > 0) & (other_rows > 0)
    if not usable.any():
        return np.zeros(0), {method: np.zeros(0) for method in methods}
    ends = [day for day, is_usable in zip(days.days, usable, strict=True) if is_usable]
    window, rest = days.mixed(inside[usable], ends), days.mixed(others[usable], ends)
    effective = window.effective_rows * rest.effective_rows / (window.effective_rows + rest.effective_rows)
    pair = engine.Comparison.of(rest, window)
    return effective, {m: np.nan_to_num(to_effect(m, pair.apply(m)[0], effective)) ** 2 for m in methods}


def beyond_noise(squares: Array, noise: Array, noise_variance: Array, length: int, daily: Restlessness | None) -> Restlessness:
    """What exceeds noise. Overlapping windows leave its mean unbiased but are not independent: only `effective` of them count as
    evidence. Too few to show the shape of their tail, they take it from the days'."""
    independent = (len(squares) + length - 1) / length
    if daily is None:
        independent *= (1 - _persistence(squares)) / (1 + _persistence(squares))
    else:
        independent = min(independent, daily.effective_windows)
    effective = max(2.0, independent)
    expected, seen = float(noise.mean()), float(squares.mean())
    variation = max(seen - expected, 0.0)
    over_dispersion = seen / expected if expected > 1e-12 else np.nan
    if daily is None:
        degrees = _degrees(variation, float(squares.var()), expected, float(noise_variance.mean()), effective)
    else:
        degrees = _degrees_of_mean(daily.degrees, length * daily.effective_windows / (len(squares) + length - 1))
    return Restlessness(variation, over_dispersion, degrees, effective)


def _degrees(variation: float, variance: float, noise: float, noise_variance: float, effective: float) -> float:
    """Degrees of freedom of the day-to-day part, from the variance that noise leaves unexplained, cautiously.

    A χ² of ν degrees has variance 2 mean² / ν. Noise explains its own variance and, with k = 2 noise² / noise_variance degrees, a
    cross term 4 noise variation / k. The estimate is lowered by twice its relative standard error √(8 / effective), because
    too light a tail alarms falsely and too heavy a one only costs power; but not below 1, a mean that wanders normally, unless
    the days themselves point there.
    """
    cross = 2 * noise_variance * variation / noise if noise > 0 else 0.0
    unexplained = max(variance - noise_variance - cross, 0.0)
    if variation <= 0:
        return 1.0
    estimate = 2 * variation**2 / unexplained if unexplained > 0 else DEGREES[1]
    if variation < noise:
        estimate = min(estimate, 1.0)
    cautious = estimate / (1 + 2 * np.sqrt(8 / effective))
    return float(np.clip(max(cautious, 1.0) if estimate >= 1 else cautious, *DEGREES))


def _degrees_of_mean(degrees: float, days: float) -> float:
    """Degrees of the mean of so many independent days: an effect whose square has ν of them has excess kurtosis 2 / ν - 2, and a
    mean has the days' divided by their number."""
    return 1 / (1 + (1 / degrees - 1) / max(days, 1.0))


def _persistence(squares: Array) -> float:
    """Correlation of a day with the next, 0 to 0.9: persistent days are fewer independent ones."""
    if len(squares) < 3 or squares[:-1].std() == 0 or squares[1:].std() == 0:
        return 0.0
    return float(np.clip(np.corrcoef(squares[:-1], squares[1:])[0, 1], 0.0, 0.9))


def confidence(found: Restlessness | None, days: int) -> str:
    if found is None:
        return f"sampling noise only: {days} reference days, {MINIMUM_DAYS} needed to see how days differ"
    grade = "low" if found.effective_windows < 10 else "fair" if found.effective_windows < 30 else "good"
    return f"{grade}: about {found.effective_windows:.0f} independent windows in {days} reference days"


def coarsened(days: Histogram) -> Histogram:
    """A numeric column on at most `COARSE_BINS` bins of equal reference share; single values with more keep a bin alone."""
    if days.kind != "numeric" or len(days.support) <= COARSE_BINS:
        return days
    mass = days.counts.sum(axis=0)
    bins = np.floor((np.cumsum(mass) - mass) / mass.sum() * COARSE_BINS + 1e-9)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    upper = np.maximum.reduceat(days.upper, starts)
    return replace(days, support=days.support[starts], upper=upper, counts=np.add.reduceat(days.counts, starts, axis=1))
