"""Scores as probabilities: a rising curve from scores to the share of label 1, fitted on rows whose labels are known.

Two families, both rising and both usable with weights: means of bins that hold equal shares of the rows, joined by lines, and
isotonic regression (Zadrozny, Elkan 2002). Which one, and how many bins, is what does best on held-out rows. What the
probabilities are used for is not known here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray

# Scores that are kept apart. Of more, neighbours share a cell of this share of the rows.
CELLS = 2_000
# Bins that are tried, fewest first; one bin moves all scores alike. A bin has at least `ROWS_OF_A_BIN` rows,
# and so many distinct scores: lines between the means of few heavy scores would miss their own shares.
BINS = (1, 2, 5, 10, 20, 50, 100)
ROWS_OF_A_BIN = 20
SCORES_OF_A_BIN = 10
FOLDS = 5
ISOTONIC = 0


@dataclass(frozen=True)
class LabelledScores:
    """Cells of labelled rows in the order of their scores: the mean score, the weight of rows of label 1 and of label 0, and how
    much weight one row of either stands for."""

    scores: Array
    ones: Array
    zeros: Array
    weight_of_one: Array
    weight_of_zero: Array

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> "LabelledScores":
        """Labels are 0 or 1, weights not negative; shapes (rows,)."""
        score, label = np.asarray(scores, float), np.asarray(labels, float)
        weight = np.ones(len(score)) if weights is None else np.asarray(weights, float)
        place = cell_of(score)
        count = place.max(initial=-1) + 1
        sums = {power: [np.bincount(place, weight**power * (label == value), count) for value in (1, 0)] for power in (1, 2)}
        # The number of rows of equal weight that vary as much: (sum of weights)² / sum of squared weights, Kish 1965.
        units = [
            np.divide(square, total, out=np.ones(count), where=total > 0) for total, square in zip(sums[1], sums[2], strict=True)
        ]
        means = np.bincount(place, score, count) / np.maximum(np.bincount(place, minlength=count), 1)
        return cls(means, *sums[1], *units)

    @property
    def effective_rows(self) -> float:
        squares = self.ones @ self.weight_of_one + self.zeros @ self.weight_of_zero
        return float((self.ones.sum() + self.zeros.sum()) ** 2 / squares) if squares > 0 else 0.0

    @property
    def base_rate(self) -> float:
        """The share of label 1."""
        return float(self.ones.sum() / (self.ones.sum() + self.zeros.sum()))

    @cached_property
    def counts(self) -> tuple[Array, Array]:
        """How many rows of label 1 and of label 0 each cell has, of the weight that one stands for."""
        return self.ones / self.weight_of_one, self.zeros / self.weight_of_zero

    def resampled(self, generator: np.random.Generator, times: int) -> Iterator[tuple[Array, Array]]:
        """The weights of label 1 and label 0 in so many samples of as many rows, drawn with replacement (Poisson bootstrap)."""
        for _ in range(times):
            ones, zeros = (generator.poisson(count) for count in self.counts)
            yield ones * self.weight_of_one, zeros * self.weight_of_zero

    def divided(self, generator: np.random.Generator) -> list[tuple[Array, Array]]:
        """The weights of label 1 and label 0 in each of `FOLDS` parts, to which rows belong at random."""
        shares = [1 / FOLDS] * FOLDS
        parts = [generator.multinomial(np.round(count).astype(np.int64), shares).T for count in self.counts]
        return [(ones * self.weight_of_one, zeros * self.weight_of_zero) for ones, zeros in zip(*parts, strict=True)]


def cell_of(scores: Array, cells: int = CELLS) -> Array:
    """The number of the cell of each score: each distinct score has its own, but of more than `cells` neighbours share one.

    Examples
    --------
    >>> cell_of(np.array([0.3, 0.1, 0.3])).tolist()
    [1, 0, 1]
    """
    values, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    if len(values) <= cells:
        return place
    before = np.cumsum(counts) - counts
    return np.unique((before * cells) // counts.sum(), return_inverse=True)[1][place]


@dataclass(frozen=True)
class Calibration:
    """A rising curve: probabilities at the knots, straight lines between them. `bins` is 0 for isotonic regression."""

    bins: int
    knots: Array
    probabilities: Array

    def __call__(self, scores: ArrayLike) -> Array:
        return np.interp(np.asarray(scores, float), self.knots, self.probabilities)

    @property
    def name(self) -> str:
        return "isotonic" if self.bins == ISOTONIC else f"{self.bins} bin{'s' if self.bins > 1 else ''}"


def fitted(scores: Array, ones: Array, zeros: Array, bins: int) -> Calibration:
    """The curve through these cells. Beyond the outermost bin it goes on as the scores do, within 0 and 1.

    Bins are joined at their means, so different scores keep different probabilities; isotonic regression is flat within its
    blocks, because values that many rows share keep their own share of label 1 exactly.
    """
    from scipy.optimize import isotonic_regression

    weights = ones + zeros
    kept = weights > 0
    x, n, one = scores[kept], weights[kept], ones[kept]
    if bins != ISOTONIC:
        place = np.minimum(((np.cumsum(n) - n / 2) * bins / n.sum()).astype(int), bins - 1)
        place = np.unique(place, return_inverse=True)[1]
        x, n, one = np.bincount(place, n * x) / np.bincount(place, n), np.bincount(place, n), np.bincount(place, one)
    rising = isotonic_regression(one / n, weights=n)
    starts, ends = rising.blocks[:-1], rising.blocks[1:] - 1
    if bins == ISOTONIC:
        # Flat from the first to the last score of a block; a block of one score is one knot.
        knots, values = np.concatenate([x[starts], x[ends]]), np.concatenate([rising.x[starts]] * 2)
        knots, place = np.unique(knots, return_index=True)
        values = values[place]
    else:
        knots, values = np.add.reduceat(n * x, starts) / np.add.reduceat(n, starts), rising.x[starts]
    below, above = max(0.0, values[0] - knots[0]), min(1.0, values[-1] + 1 - knots[-1])
    return Calibration(bins, np.array([0.0, *knots, 1.0]), np.array([min(below, values[0]), *values, max(above, values[-1])]))


def best_bins(labelled: LabelledScores, generator: np.random.Generator) -> int:
    """How many bins, or `ISOTONIC`: what is nearest to labels that were held out, by mean squared distance (Brier score).

    Curves that rise keep the order of scores, so that their Brier scores differ by their calibration error alone.
    """
    parts = labelled.divided(generator)
    all_ones, all_zeros = (sum(part[place] for part in parts) for place in (0, 1))
    most = min(labelled.effective_rows / ROWS_OF_A_BIN, len(labelled.scores) / SCORES_OF_A_BIN)
    tried = [bins for bins in BINS if bins <= max(most, 1)]
    tried += [ISOTONIC] if labelled.effective_rows >= 5 * ROWS_OF_A_BIN else []
    errors = dict.fromkeys(tried, 0.0)
    for ones, zeros in parts:
        kept = all_ones - ones, all_zeros - zeros
        if not (kept[0].sum() > 0 and kept[1].sum() > 0):
            continue
        for bins in tried:
            p = fitted(labelled.scores, *kept, bins)(labelled.scores)
            errors[bins] += float(ones @ (1 - p) ** 2 + zeros @ p**2)
    return min(tried, key=lambda bins: errors[bins])


@dataclass(frozen=True)
class Calibrated:
    """The probability of label 1 at each score asked for, (scores,), and at each what other samples of the reference would have
    said, (times, scores)."""

    probabilities: Array
    resampled: Array
    name: str


def calibrated(labelled: LabelledScores, scores: Array, generator: np.random.Generator, times: int = 100) -> Calibrated:
    """The probabilities that the best curve gives to these scores, and those of curves of `times` bootstrap samples."""
    bins = best_bins(labelled, generator)
    best = fitted(labelled.scores, labelled.ones, labelled.zeros, bins)
    again = np.empty((times, len(scores)))
    for place, (ones, zeros) in enumerate(labelled.resampled(generator, times)):
        has_both = ones.sum() > 0 and zeros.sum() > 0
        again[place] = (fitted(labelled.scores, ones, zeros, bins) if has_both else best)(scores)
    return Calibrated(best(scores), again, best.name)
