"""Scores by label, small enough to keep for ever: what a metric needs of them for any pool of days, with a bound on its error.

Few distinct scores are kept as they are. Of more, neighbours share a cell, which knows its smallest and its largest score; so
the AUC of any pool of histograms lies between two numbers that are at most 2e-4 apart, unless more than `CELL_SHARE` of a class
lies in one of the cells that `measuring/cells.py` counts. Counting rows is `counting.py`'s.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray

# The most of a class's weight that a cell of several scores may hold. Of two histograms at most twice this share of the pairs of
# a 1 and a 0 lie in overlapping cells (walk along both: every step is a new cell of one of them), so the middle is off by no
# more than this share itself, whatever the scores and however many histograms are pooled.
CELL_SHARE = 1 / 10_100
# Up to so many distinct scores each is a cell of its own, and the AUC exact.
EXACT_SCORES = 20_000


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Cells of scores: the smallest and the largest score in each, and the weight of its rows with label 1 and label 0."""

    lowers: Array
    uppers: Array
    ones: Array
    zeros: Array

    @classmethod
    def of(cls, scores: ArrayLike, ones: ArrayLike, zeros: ArrayLike) -> Self:
        """One cell per distinct score. `ones` and `zeros` are the weights of rows with either label, per entry of `scores`."""
        values, place = np.unique(np.asarray(scores, dtype="float64"), return_inverse=True)
        one, zero = (np.bincount(place, np.asarray(each, dtype="float64"), len(values)) for each in (ones, zeros))
        return cls(values, values, one, zero)

    @classmethod
    def pooled(cls, parts: Sequence["ScoreHistogram"]) -> Self:
        """All cells of all parts."""
        return cls(
            *(
                np.concatenate([np.zeros(0), *(getattr(part, name) for part in parts)])
                for name in ("lowers", "uppers", "ones", "zeros")
            )
        )

    def compressed(self) -> "ScoreHistogram":
        """The same scores in few cells: of many distinct ones neighbours share a cell, as long as it holds at most `CELL_SHARE`
        of either class: at most 4 / `CELL_SHARE` cells. Call it before pooling: the cells must be in order and apart."""
        if len(self.lowers) <= EXACT_SCORES:
            return self
        sums = [np.concatenate([[0.0], np.cumsum(each)]).tolist() for each in (self.ones, self.zeros)]
        limits = [CELL_SHARE * each[-1] for each in sums]
        starts, end = [0], len(self.lowers)
        while starts[-1] < end:
            first = starts[-1]
            reached = (bisect_right(each, each[first] + limit, first) - 1 for each, limit in zip(sums, limits, strict=True))
            starts.append(max(first + 1, min(reached)))
        first_of, last_of = np.array(starts[:-1]), np.array(starts[1:]) - 1
        one, zero = (np.add.reduceat(each, first_of) for each in (self.ones, self.zeros))
        return ScoreHistogram(self.lowers[first_of], self.uppers[last_of], one, zero)

    @property
    def weights(self) -> Array:
        """Of each cell, the weight of its rows of either label."""
        return self.ones + self.zeros

    @property
    def middles(self) -> Array:
        """Of each cell, the middle of its scores."""
        return (self.lowers + self.uppers) / 2

    def auc(self) -> tuple[float, float]:
        """The share of pairs of a 1 and a 0 in which the 1 scores higher, ties half, and how far it may be off.

        Both classes must have weight.

        Examples
        --------
        >>> ScoreHistogram.of([0.1, 0.35, 0.4, 0.8], ones=[0, 1, 0, 1], zeros=[1, 0, 1, 0]).auc()
        (0.75, 0.0)
        """
        highest = _won(self.uppers, self.ones, self.lowers, self.zeros)
        if np.array_equal(self.lowers, self.uppers):
            return highest, 0.0
        lowest = _won(self.lowers, self.ones, self.uppers, self.zeros)
        return (highest + lowest) / 2, (highest - lowest) / 2

    def average_precision(self) -> tuple[float, float]:
        """The area under the curve of precision over recall, as steps (scikit-learn's `average_precision_score`), and how far it
        may be off. Label 1 must have weight.

        Examples
        --------
        >>> ScoreHistogram.of([0.1, 0.35, 0.4, 0.8], ones=[0, 1, 0, 1], zeros=[1, 0, 1, 0]).average_precision()
        (0.8333333333333333, 0.0)
        """
        highest = _average_precision(self.uppers, self.ones, self.lowers, self.zeros)
        if np.array_equal(self.lowers, self.uppers):
            return highest, 0.0
        lowest = _average_precision(self.lowers, self.ones, self.uppers, self.zeros)
        return (highest + lowest) / 2, (highest - lowest) / 2

    def calibration_error(self, bins: int = 10) -> tuple[float, float]:
        """Over so many equal bins of scores from 0 to 1, the mean distance between a bin's share of ones and its mean score,
        weighted by rows; and how far it may be off. A score of 1 lies in the last bin, one on an edge in the upper bin.

        Naeini, Cooper, Hauskrecht 2015.

        Examples
        --------
        >>> ScoreHistogram.of([0.25, 0.75], ones=[1, 3], zeros=[3, 1]).calibration_error()
        (0.0, 0.0)
        """
        place = np.minimum((self.middles * bins).astype(int), bins - 1)
        total = self.weights.sum()
        apart = np.bincount(place, self.ones - self.weights * self.middles, bins)
        # What lies in a cell may be off by half its width; where an edge divides the cell, all of it may belong to the next bin.
        half = (self.uppers - self.lowers) / 2
        is_divided = np.minimum((self.lowers * bins).astype(int), bins - 1) != np.minimum(
            (self.uppers * bins).astype(int), bins - 1
        )
        off = np.where(
            is_divided, 2 * np.abs(self.ones - self.weights * self.middles) + 2 * self.weights * half, self.weights * half
        )
        return float(np.abs(apart).sum() / total), float(off.sum() / total)

    def mean_squared_losses(self) -> tuple[float, float]:
        """The mean squares of the log loss and of the squared distance between score and label, each score taken as the middle of
        its cell. Scores must be probabilities."""
        tiny = np.finfo("float64").eps
        score, total = np.clip(self.middles, tiny, 1 - tiny), self.weights.sum()
        log = self.ones * np.log(score) ** 2 + self.zeros * np.log1p(-score) ** 2
        distance = self.ones * (1 - score) ** 4 + self.zeros * score**4
        return float(log.sum() / total), float(distance.sum() / total)


def _won(scores_of_ones: Array, ones: Array, scores_of_zeros: Array, zeros: Array) -> float:
    order = np.argsort(scores_of_zeros, kind="stable")
    ranked, below = scores_of_zeros[order], np.concatenate([[0.0], np.cumsum(zeros[order])])
    lost, tied = (below[np.searchsorted(ranked, scores_of_ones, side)] for side in ("left", "right"))
    return float((ones * (lost + tied)).sum() / (2 * ones.sum() * zeros.sum()))


def _average_precision(scores_of_ones: Array, ones: Array, scores_of_zeros: Array, zeros: Array) -> float:
    scores, place = np.unique(np.concatenate([scores_of_ones, scores_of_zeros]), return_inverse=True)
    found = np.bincount(place[: len(ones)], ones, len(scores))[::-1]
    missed = np.bincount(place[len(ones) :], zeros, len(scores))[::-1]
    reached = np.cumsum(found)
    precision = np.divide(reached, reached + np.cumsum(missed), out=np.zeros(len(scores)), where=reached > 0)
    return float((precision * found).sum() / ones.sum())
