"""Scores by label, small enough to keep for ever: the AUC of any pool of days, with a bound on its error.

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


def _won(scores_of_ones: Array, ones: Array, scores_of_zeros: Array, zeros: Array) -> float:
    order = np.argsort(scores_of_zeros, kind="stable")
    ranked, below = scores_of_zeros[order], np.concatenate([[0.0], np.cumsum(zeros[order])])
    lost, tied = (below[np.searchsorted(ranked, scores_of_ones, side)] for side in ("left", "right"))
    return float((ones * (lost + tied)).sum() / (2 * ones.sum() * zeros.sum()))
