"""How far windows of a quiet column stray because its days differ: from single days and their persistence.

A reference holds many days but few independent windows, so a window's room is derived: from how much single days vary, scored one
by one against the others, and from how days persist, which their signed changes show. docs/statistics.md has the reasoning.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitoring_assets.drift.distances import Array
from monitoring_assets.monitor_spec import ReferenceChoice

# Degrees of freedom of the day-to-day tail, estimated within this range: 0.3 is a feature at rest on most days and far out on
# some (rain), 10 one that moves alike on all days.
DEGREES = (0.3, 10.0)
# Correlation of a day with the next that days are taken to have at most. Beyond, they have no mean to return to.
MOST_PERSISTENT = 0.95
# Degrees of freedom that an estimate of variance counts as at least. With fewer, nothing would ever alarm; and what makes quiet
# days alarm is not this tail but a reference that happens to persist less than its process does, against which `at_most` is.
FEWEST = 10.0


@dataclass(frozen=True)
class Persistence:
    """How a column's days go together. `phi` is the correlation of a day with the next, weekdays' own levels apart; `error` its
    standard error; `weekly` the share of the days' variance that weekdays have of their own; `of_weekdays` (7,) how far the sum
    of 0 to 6 weekdays in a row lies off at most, squared, of one being 1; `days` how many there are."""

    days: int
    phi: float = 0.0
    error: float = 0.0
    weekly: float = 0.0
    of_weekdays: tuple[float, ...] = (0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)

    def ratios(self, choice: ReferenceChoice, longest: int) -> Array:
        """The mean square of windows of 1 to `longest` days (longest,), as a multiple of what single days of the reference show
        when each is compared with the others."""
        lengths = np.arange(1, longest + 1)
        lags = self.at_most ** np.arange(max(2 * longest, self.days))
        windows = np.array([_of_mean(lags, int(length)) for length in lengths])
        weekly = 0.0 if choice == "same_weekday" else self.weekly
        of_weekdays = weekly * np.array(self.of_weekdays)[lengths % 7] / lengths**2
        if choice == "previous_window":
            apart = windows - np.array([_of_neighbours(lags, int(length)) for length in lengths])
            return np.asarray((of_weekdays + (1 - weekly) * apart) / max(weekly + (1 - weekly) * apart[0], 1e-3))
        # The reference's mean strays too: each of its days, left out, is nearer to the others' than days to come are.
        mean = _of_mean(lags, self.days)
        known, days = (
            (np.maximum(mean, windows * 7 / self.days), self.days / 7) if choice == "same_weekday" else (mean, self.days)
        )
        seen = weekly + (1 - weekly) * (1 - mean) * (days / max(days - 1, 1)) ** 2
        return np.asarray((of_weekdays + (1 - weekly) * (windows + known)) / max(seen, 1e-3))

    @property
    def at_most(self) -> float:
        """`phi` and two standard errors: too little persistence alarms falsely, too much only costs power."""
        return min(self.phi + 2 * self.error, MOST_PERSISTENT)


def _of_mean(lags: Array, days: int) -> float:
    """Variance of the mean of so many days in a row, from the correlations at lags 0, 1, … ; a day's is 1."""
    weights = days - np.arange(days)
    weights[1:] *= 2
    return float(max(weights @ lags[:days], 0.0)) / days**2


def _of_neighbours(lags: Array, days: int) -> float:
    """Covariance of two such means, one right after the other."""
    at = np.arange(1, 2 * days)
    return float((days - np.abs(at - days)) @ lags[at]) / days**2


def persistence(vectors: Array, noise: Array, ordinals: Array) -> Persistence:
    """Of days that are vectors (D, p), each the day's level in some way, with sampling noise of squared length `noise` (D,).

    Products of two different days have no noise in their mean, so their mean at a lag is the autocovariance. The estimate of
    `phi` is corrected for its bias, −(1 + 3 φ) / D (Marriott and Pope 1954; Kendall 1954), and is 0 where days do not vary beyond
    noise.
    """
    days = len(vectors)
    vectors = vectors - vectors.mean(axis=0)
    gram = vectors @ vectors.T
    apart = np.abs(ordinals[:, None] - ordinals)
    # The typical product of two days says how far a mean of products is off.
    product = float(np.sqrt((gram[apart > 0] ** 2).mean()))
    variance = float(np.trace(gram)) / (days - 1) - float(noise.mean())
    if variance <= 2 * np.sqrt(2 / days) * product:
        return Persistence(days, error=float(np.sqrt(1 / days)))
    weekly, of_weekdays = _weekly(vectors, gram, apart, ordinals, variance, product)
    if weekly > 0:
        vectors = vectors - _levels(vectors, ordinals)[ordinals % 7]
        gram, variance = vectors @ vectors.T, (1 - weekly) * variance
        product = float(np.sqrt((gram[apart > 0] ** 2).mean()))
    next_day = apart == 1
    if not next_day.any() or variance <= 2 * np.sqrt(2 / days) * product:
        return Persistence(days, error=float(np.sqrt(1 / days)), weekly=weekly, of_weekdays=of_weekdays)
    seen = gram[next_day].sum() / 2 / days / variance
    phi = float(np.clip((seen + 1 / days) / (1 - 3 / days), 0.0, MOST_PERSISTENT))
    error = np.sqrt(max(1 - phi**2, 0.05) / days) * product / variance
    return Persistence(days, phi, float(min(error, 1.0)), weekly, of_weekdays)


def _weekly(
    vectors: Array, gram: Array, apart: Array, ordinals: Array, variance: float, product: float
) -> tuple[float, tuple[float, ...]]:
    """The share of the variance that weekdays have of their own, 0 where it is not beyond doubt, and how far sums of
    weekdays in a row lie off.

    Days whole weeks apart are compared with those up to three days nearer or further, so that mere persistence is none.
    """
    none = (0.0, Persistence.of_weekdays)
    contrasts, pairs = [], 0
    for lag in range(7, int(apart.max()) - 2, 7):
        near = (np.abs(apart - lag) <= 3) & (apart != lag)
        if (apart == lag).any() and near.any():
            count = int((apart == lag).sum()) // 2
            contrasts.append(count * float(gram[apart == lag].mean() - gram[near].mean()))
            pairs += count
    if not pairs:
        return none
    own = 6 / 7 * sum(contrasts) / pairs
    if own <= 2 * product * np.sqrt(7 / 6 / pairs):
        return none
    levels = _levels(vectors, ordinals)
    levels = levels - levels.mean(axis=0)
    sums = [
        max(float(((levels[np.arange(first, first + number) % 7].sum(axis=0)) ** 2).sum()) for first in range(7))
        for number in range(7)
    ]
    return min(own / variance, 1.0), tuple(each / sums[1] for each in sums)


def _levels(vectors: Array, ordinals: Array) -> Array:
    """The mean of each weekday (7, p); of one that no day has, the mean of all."""
    of_weekday = np.array([ordinals % 7 == weekday for weekday in range(7)], float)
    held = of_weekday.sum(axis=1, keepdims=True)
    return np.asarray(np.where(held > 0, of_weekday @ vectors / np.maximum(held, 1), vectors.mean(axis=0)))


@dataclass(frozen=True)
class Variation:
    """Day-to-day variation of one score: the mean squared effect of single days beyond noise, the shape of its tail, what that
    rests on."""

    variation: float
    over_dispersion: float
    degrees: float
    independent_days: float

    def limits(self, rate: float, choice: ReferenceChoice, persistence: Persistence, longest: int) -> Array:
        """The squared effects that few windows of 1 to `longest` days exceed (longest,).

        The mean times an F quantile, which says how far a new window strays from the mean of few. A mean of many independent days
        has a lighter tail than a day has. A window is the mean of its days, so it is never given more room than a day; unless it
        is compared with the one before, because days that persist move little from one to the next.
        """
        from scipy import stats

        ratios = persistence.ratios(choice, longest)
        degrees = 1 / (1 + (1 / self.degrees - 1) * np.clip(ratios / ratios[0], 1e-3, 1.0))
        rests_on = max(self.degrees * self.independent_days, FEWEST)
        found = self.variation * ratios * stats.f.isf(rate, degrees, rests_on)
        if choice == "previous_window":
            return found
        found[persistence.days :] = found[0]  # no window that long has been seen
        return np.minimum(found, found[0])


def variation(
    squares: Array, noise: Array, noise_variance: Array, persistence: Persistence, heaviest: float = DEGREES[1]
) -> Variation:
    """What the squared effects of single days (D,) have beyond noise. Persistent days count as fewer independent ones."""
    again = max(persistence.at_most**2, _persistence(squares))
    independent = max(2.0, len(squares) * (1 - again) / (1 + again))
    expected, seen = float(noise.mean()), float(squares.mean())
    beyond = max(seen - expected, 0.0)
    degrees = _degrees(beyond, float(squares.var()), expected, float(noise_variance.mean()), independent)
    return Variation(beyond, seen / expected if expected > 1e-12 else np.nan, min(degrees, heaviest), independent)


def _degrees(variation: float, variance: float, noise: float, noise_variance: float, independent: float) -> float:
    """Degrees of freedom of the day-to-day part, from the variance that noise leaves unexplained, cautiously.

    A χ² of ν degrees has variance 2 mean² / ν. Noise explains its own variance and, with k = 2 noise² / noise_variance degrees, a
    cross term 4 noise variation / k. The estimate is lowered by twice its relative standard error √(8 / independent), because
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
    cautious = estimate / (1 + 2 * np.sqrt(8 / independent))
    return float(np.clip(max(cautious, 1.0) if estimate >= 1 else cautious, *DEGREES))


def _persistence(squares: Array) -> float:
    """Correlation of a day's squared effect with the next day's, 0 to 0.9."""
    if len(squares) < 3 or squares[:-1].std() == 0 or squares[1:].std() == 0:
        return 0.0
    return float(np.clip(np.corrcoef(squares[:-1], squares[1:])[0, 1], 0.0, 0.9))


def effective_days(rows: Sequence[float] | Array) -> float:
    """How many days of equal rows a window's days tell as much as: (Σ n)² / Σ n², after Kish (1965).

    Examples
    --------
    >>> effective_days([300, 300, 0, 0, 0, 0, 0]), round(effective_days([900, 10, 10]), 2)
    (2.0, 1.04)
    """
    rows = np.asarray(rows, float)
    return float(rows.sum() ** 2 / np.maximum((rows**2).sum(), 1e-300))
