"""Metrics of scores while labels are missing: many possible sets of labels are drawn, and each has its metrics.

Labels are independent, each 1 with its own probability. This is for metrics that need more than the confusion matrix (AUC, PR
AUC, log loss, Brier score, expected calibration error); those of the confusion matrix are exact, in `confusion_distribution.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from monitoring_assets.performance.confusion_distribution import central_interval

Array = np.ndarray

# Sets of labels that are drawn; the ends of an interval are then off by about 1 / 25 of the standard deviation.
DRAWS = 2_000
# Numbers held at once: 32 MB.
AT_ONCE = 4_000_000
CALIBRATION_BINS = 10
TINY = float(np.finfo("float64").eps)


@dataclass(frozen=True)
class ScoredRows:
    """Cells of rows in rising order of their scores: the mean score of each, and how many rows it has. Equal scores share a
    cell."""

    scores: Array
    rows: Array

    @cached_property
    def losses(self) -> dict[str, tuple[Array, Array]]:
        """What a row of each cell costs if its label is 1, and if it is 0."""
        bounded = np.clip(self.scores, TINY, 1 - TINY)
        return {
            "log_loss": (-np.log(bounded), -np.log1p(-bounded)),
            "brier": ((1 - self.scores) ** 2, self.scores**2),
        }

    @cached_property
    def bins(self) -> Array:
        """The first cell of each bin of scores that has rows."""
        place = np.minimum((self.scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        return np.flatnonzero(np.diff(place, prepend=-1))


def auc(cells: ScoredRows, ones: Array) -> Array:
    """The share of pairs of a 1 and a 0 in which the 1 scores higher, ties half. `ones` (sets, cells) is the number of rows of
    label 1, drawn or expected."""
    zeros = cells.rows - ones
    below = np.cumsum(zeros, axis=1) - zeros / 2
    return _ratio((ones * below).sum(axis=1), ones.sum(axis=1) * zeros.sum(axis=1))


def pr_auc(cells: ScoredRows, ones: Array) -> Array:
    """The mean precision over the recalls that are reached as the cut goes down (average precision)."""
    found = np.cumsum(ones[:, ::-1], axis=1)
    precision = found / np.cumsum(cells.rows[::-1])
    return _ratio((precision * ones[:, ::-1]).sum(axis=1), found[:, -1])


def mean_loss(metric: str) -> Callable[[ScoredRows, Array], Array]:
    """Log loss or Brier score."""

    def loss(cells: ScoredRows, ones: Array) -> Array:
        if_one, if_zero = cells.losses[metric]
        return (ones @ if_one + (cells.rows - ones) @ if_zero) / cells.rows.sum()

    return loss


def expected_calibration_error(cells: ScoredRows, ones: Array) -> Array:
    """The mean distance, over rows in bins of a tenth, between the share of label 1 and the mean score."""
    apart = np.add.reduceat(ones - cells.rows * cells.scores, cells.bins, axis=1)
    return np.abs(apart).sum(axis=1) / cells.rows.sum()


METRICS: dict[str, Callable[[ScoredRows, Array], Array]] = {
    "auc": auc,
    "pr_auc": pr_auc,
    "log_loss": mean_loss("log_loss"),
    "brier": mean_loss("brier"),
    "expected_calibration_error": expected_calibration_error,
}
# Noise in the labels moves these to one side, so the metric of the expected labels would not be what to expect of the metric.
SHIFTED_BY_NOISE = {"pr_auc", "expected_calibration_error"}


def simulated(
    cells: ScoredRows, probabilities: Array, resampled: Array, metrics: list[str], generator: np.random.Generator
) -> dict[str, tuple[float, float, float]]:
    """Of each metric the value to expect, and the ends of its central 95 % interval.

    `probabilities` (cells,) of label 1; `resampled` (times, cells) are those of other samples of the reference, which take
    turns, so that what the reference leaves open is in the interval.
    """
    drawn: dict[str, list[Array]] = {metric: [] for metric in metrics}
    for ones in _drawn(cells, resampled, generator):
        for metric in metrics:
            drawn[metric].append(METRICS[metric](cells, ones))
    found = {}
    for metric in metrics:
        values = np.concatenate(drawn[metric])
        expected = METRICS[metric](cells, (cells.rows * probabilities)[None, :])[0]
        # As much as noise moves the mean of the drawn ones from the metric of their expectation, the value is moved.
        if metric in SHIFTED_BY_NOISE and np.isfinite(values).any():
            expected = float(np.nanmean(values))
        found[metric] = (float(expected), *central_interval(values))
    return found


def _drawn(cells: ScoredRows, resampled: Array, generator: np.random.Generator) -> Iterator[Array]:
    """Numbers of label 1 per cell, (sets, cells), `DRAWS` sets in all."""
    at_once = max(1, min(DRAWS, AT_ONCE // max(len(cells.rows), 1)))
    counts = cells.rows.astype(np.int64)
    for first in range(0, DRAWS, at_once):
        turn = resampled[np.arange(first, min(first + at_once, DRAWS)) % len(resampled)]
        if counts.max(initial=0) <= 1:
            yield (generator.random(turn.shape, np.float32) < turn).astype(float)
        else:
            yield generator.binomial(counts, turn).astype(float)


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
