"""What a confusion matrix may turn out to be while labels are missing: the distribution of its metrics, from probabilities of
labels.

Labels are independent, each 1 with its own probability. So true positives and false negatives are independent sums of unequal
coins (Poisson-binomial), everything else follows from them and from the known number of predictions of either class, and a
metric's distribution is exact for any number of rows (Kivimäki, Białek, Kuberski, Nurminen 2025, arXiv 2505.05295). Where
probabilities come from is `calibration.py`'s; metrics that are no function of the confusion matrix are in `simulated_labels.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray

# Mass beyond the counts that are kept, and of the frequencies that are left out, is below 2 exp(-40).
TAIL = 40.0
# Of more counts than this neighbours share a cell. It is then at most 1 / 16 of the standard deviation wide.
GRID = 256
# Standard deviations on either side of the mean that the grid of a pair of counts covers.
REACH = 7.0
LEVEL = 0.95

METRICS: dict[str, Callable[[Array, Array, float, float], Array]] = {
    # From true positives, false negatives, and the rows predicted as class 1 and as class 0.
    "accuracy": lambda tp, fn, ones, zeros: (tp + zeros - fn) / (ones + zeros),
    "precision": lambda tp, fn, ones, zeros: tp / (ones + 0 * fn),
    "recall": lambda tp, fn, ones, zeros: tp / (tp + fn),
    "specificity": lambda tp, fn, ones, zeros: (zeros - fn) / (zeros - fn + ones - tp),
    "f1": lambda tp, fn, ones, zeros: 2 * tp / (tp + ones + fn),
}


def number_of_ones(probabilities: ArrayLike, rows: ArrayLike | None = None) -> tuple[int, Array]:
    """The distribution of a sum of independent coins: the smallest count that is kept, and the probability of each from there on.

    From the characteristic function, as in Hong (2013), at as many frequencies as there are counts within Bernstein's bound of
    the mean, so that what is folded back from outside is below exp(-40); frequencies at which it is as small are left out. So a
    million rows cost about 35 passes over the distinct probabilities.

    Parameters
    ----------
    probabilities : of 1, each 0 to 1. Shape (cells,).
    rows : how many coins have each probability; one unless given. Shape (cells,).

    Examples
    --------
    >>> first, mass = number_of_ones([0.9, 0.8])
    >>> first, mass.round(4).tolist()
    (0, [0.02, 0.26, 0.72])
    """
    p = np.asarray(probabilities, float)
    n = np.ones(len(p)) if rows is None else np.asarray(rows, float)
    mean, variance = float(n @ p), float(n @ (p * (1 - p)))
    # Bernstein: P(|X - mean| >= t) <= 2 exp(-t² / (2 (variance + t / 3))).
    reach = TAIL / 3 + math.sqrt((TAIL / 3) ** 2 + 2 * TAIL * variance)
    first, last = max(0, math.floor(mean - reach)), min(round(float(n.sum())), math.ceil(mean + reach))
    size = last - first + 1
    angles = 2 * np.pi * np.arange(size // 2 + 1) / size
    # |φ(angle)| <= exp(-variance (1 - cos angle)).
    angles = angles[variance * (1 - np.cos(angles)) <= TAIL]
    spectrum = np.empty(len(angles), complex)
    with np.errstate(divide="ignore"):
        for place, angle in enumerate(angles):
            size_of = 0.5 * np.log(np.maximum(1 - 2 * p * (1 - p) * (1 - np.cos(angle)), 0.0))
            turn = np.arctan2(p * np.sin(angle), 1 - p + p * np.cos(angle))
            spectrum[place] = np.exp(n @ np.where(n > 0, size_of, 0.0)) * np.exp(1j * (first * angle - n @ turn))
    mass = np.clip(np.fft.irfft(spectrum, size), 0.0, None) if size > 1 else np.ones(1)
    return first, mass / mass.sum()


@dataclass(frozen=True)
class ConfusionDistribution:
    """True positives (down) and false negatives (across) that are possible, and the probability of each pair; the rows predicted
    as class 1 and as class 0; the expected true positives and false negatives."""

    true_positives: Array
    false_negatives: Array
    mass: Array
    predicted: tuple[float, float]
    expected: tuple[float, float]

    @classmethod
    def of(cls, probabilities: Array, chosen: Array, rows: Array, spread: Array | None = None) -> "ConfusionDistribution":
        """From the probability of label 1, the predicted class (0 or 1) and the number of rows of each cell, shapes (cells,).

        `spread` (2, 2) is the covariance of the expected true positives and false negatives, as the probabilities themselves are
        uncertain. It is added as a pair of differences of Poisson counts, whose common part carries the correlation; so counts
        stay whole.
        """
        one = np.asarray(chosen, bool)
        parts = [(probabilities[place], rows[place]) for place in (one, ~one)]
        added = np.zeros((2, 2)) if spread is None else np.asarray(spread, float)
        axes = [_axis(p, n, added[place, place]) for place, (p, n) in enumerate(parts)]
        mass = np.outer(axes[0].mass, axes[1].mass)
        if added.trace() > 0:
            mass = _spread(mass, added, axes[0].step, axes[1].step)
        limits = [float(n.sum()) for _, n in parts]
        values = [np.clip(axis.values, 0.0, limit) for axis, limit in zip(axes, limits, strict=True)]
        expected = [float(n @ p) for p, n in parts]
        return cls(values[0], values[1], mass, (limits[0], limits[1]), (expected[0], expected[1]))

    def value(self, metric: str) -> float:
        """The metric of the expected confusion matrix, nan where undefined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(METRICS[metric](np.array(self.expected[0]), np.array(self.expected[1]), *self.predicted))

    def interval(self, metric: str, level: float = LEVEL) -> tuple[float, float]:
        """The ends of the central interval of the metric, given that it is defined; nan where it never is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = METRICS[metric](self.true_positives[:, None], self.false_negatives[None, :], *self.predicted)
        return central_interval(values.ravel(), self.mass.ravel(), level)


def central_interval(values: Array, mass: Array | None = None, level: float = LEVEL) -> tuple[float, float]:
    """The values between which a quantity lies with this probability, half of the rest on either side; nan values are left out.

    Half the probability of an end counts as outside (Lancaster's mid-p): with few possible values, intervals that had to cover
    `level` at least would cover far more on average.

    Examples
    --------
    >>> central_interval(np.arange(5.0), np.array([0.02, 0.28, 0.4, 0.28, 0.02]))
    (1.0, 3.0)
    """
    weights = np.ones(len(values)) if mass is None else mass
    kept = np.isfinite(values) & (weights > 0)
    if not kept.any():
        return math.nan, math.nan
    order = np.argsort(values[kept], kind="stable")
    ordered, of_each = values[kept][order], weights[kept][order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-math.inf) > 0)
    shares = np.add.reduceat(of_each, starts) / of_each.sum()
    middle = np.cumsum(shares) - shares / 2
    tail = (1 - level) / 2
    inside = ordered[starts][(middle >= tail) & (middle <= 1 - tail)]
    return (float(inside[0]), float(inside[-1])) if len(inside) else (float(np.median(ordered)),) * 2


@dataclass(frozen=True)
class _Axis:
    """Counts at equal steps, and their probabilities."""

    values: Array
    mass: Array
    step: int


def _axis(probabilities: Array, rows: Array, added: float) -> _Axis:
    """The counts of one kind, with room for an added variance; neighbours share a cell where there are more than `GRID`."""
    first, mass = number_of_ones(probabilities, rows)
    counts = np.arange(first, first + len(mass))
    mean, deviation = float(mass @ counts), math.sqrt(float(mass @ counts**2.0) - float(mass @ counts) ** 2 + added + 1e-9)
    reach = REACH * deviation + 2
    lowest, highest = math.floor(mean - reach), math.ceil(mean + reach)
    if not added:
        lowest, highest = max(lowest, 0), min(highest, round(float(rows.sum())))
    step = math.ceil((highest - lowest + 1) / GRID)
    size = math.ceil((highest - lowest + 1) / step)
    place = np.clip((counts - lowest) // step, 0, size - 1)
    return _Axis(lowest + (step - 1) / 2 + step * np.arange(size), np.bincount(place, mass, size), step)


def _spread(mass: Array, added: Array, step: int, other: int) -> Array:
    """The probabilities of the pairs after differences of Poisson counts (Skellam) of this covariance are added to them."""
    one, two = added[0, 0] / step**2, added[1, 1] / other**2
    common = min(abs(added[0, 1]) / (step * other), one, two)
    down = 2 * np.pi * np.fft.fftfreq(mass.shape[0])[:, None]
    across = 2 * np.pi * np.fft.rfftfreq(mass.shape[1])[None, :]
    together = down + across if added[0, 1] >= 0 else down - across
    exponent = (one - common) * (1 - np.cos(down)) + (two - common) * (1 - np.cos(across)) + common * (1 - np.cos(together))
    found = np.fft.irfft2(np.fft.rfft2(mass) * np.exp(-exponent), mass.shape)
    return np.clip(found, 0.0, None) / np.clip(found, 0.0, None).sum()
