"""The metrics of a classification whose labels are missing, estimated from calibrated scores: CBPE, PAPE and prior shift.

`cbpe` takes the relation of scores and labels to be the reference's. `pape` lets the reference's rows count as much as rows like
them are common today (Białek, Kivimäki, Kuberski, Perrakis 2024, arXiv 2401.08348); the weights come from `density_ratio.py`.
`prior_shift` lets the base rate move, and nothing else. Here arrays come in and metrics go out; tables are read in
`comparison/performance.py`, regressions are estimated in `direct_loss.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from monitoring_assets.performance import confusion_distribution, simulated_labels
from monitoring_assets.performance.calibration import Array, LabelledScores, calibrated, cell_of
from monitoring_assets.performance.confusion_distribution import ConfusionDistribution
from monitoring_assets.performance.metrics import METRICS
from monitoring_assets.performance.prior_shift import at_base_rate, base_rates
from monitoring_assets.performance.simulated_labels import ScoredRows, simulated

# With fewer labelled rows, or a weighted reference that tells no more than so many, an estimate is doubtful.
FEW_ROWS = 100
# Bootstrap samples of the reference, for what it leaves open.
TIMES = 100


class Estimate(NamedTuple):
    """A metric's value and the ends of its 95 % interval; where it is nan or doubtful, the reason."""

    value: float
    lower: float
    upper: float
    reason: str | None = None


def undefined(reason: str) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, reason)


@dataclass(frozen=True)
class PredictedRows:
    """Cells of rows without labels: the mean score, the predicted class (0 or 1) and the number of rows of each."""

    scores: Array
    chosen: Array
    rows: Array

    @classmethod
    def of(cls, scores: ArrayLike, chosen: ArrayLike) -> "PredictedRows":
        """From the score and the predicted class (0 or 1) of each row, shapes (rows,)."""
        score, one = np.asarray(scores, float), np.asarray(chosen).astype(np.int64)
        place = 2 * cell_of(score) + one
        kept, cell, counts = np.unique(place, return_inverse=True, return_counts=True)
        return cls(np.bincount(cell, score, len(kept)) / np.maximum(counts, 1), kept % 2, counts.astype(float))

    @cached_property
    def by_score(self) -> tuple[ScoredRows, Array]:
        """The cells whatever the predicted class, and the first of the own cells in each."""
        order = np.argsort(self.scores, kind="stable")
        starts = np.flatnonzero(np.diff(self.scores[order], prepend=-math.inf) > 0)
        return ScoredRows(self.scores[order][starts], np.add.reduceat(self.rows[order], starts)), order[starts]


def cbpe(
    labelled: LabelledScores, rows: PredictedRows, metrics: Sequence[str] = METRICS["classification"], seed: int = 0
) -> dict[str, Estimate]:
    """Metrics of rows whose labels follow from their scores as the reference's do. For `pape` the reference is weighted."""
    generator = np.random.default_rng(seed)
    found = calibrated(labelled, rows.scores, generator, TIMES)
    return metrics_from(found.probabilities, found.resampled, rows, metrics, generator)


def prior_shift(
    labelled: LabelledScores, rows: PredictedRows, metrics: Sequence[str] = METRICS["classification"], seed: int = 0
) -> tuple[dict[str, Estimate], float]:
    """Metrics of rows whose base rate moved, and this base rate. What the current rows leave open of it is in the intervals."""
    generator = np.random.default_rng(seed)
    found = calibrated(labelled, rows.scores, generator, TIMES)
    before = np.full(TIMES, labelled.base_rate)
    drawn = generator.multinomial(round(rows.rows.sum()), rows.rows / rows.rows.sum(), TIMES)
    again = at_base_rate(found.resampled, before, base_rates(found.resampled, drawn, before))
    rate = base_rates(found.probabilities[None, :], rows.rows, before[:1])
    probabilities = at_base_rate(found.probabilities[None, :], before[:1], rate)[0]
    return metrics_from(probabilities, again, rows, metrics, generator), float(rate[0])


def metrics_from(
    probabilities: Array, resampled: Array, rows: PredictedRows, metrics: Sequence[str], generator: np.random.Generator
) -> dict[str, Estimate]:
    """The metrics of rows whose labels are 1 with these probabilities (cells,); `resampled` (times, cells) says how uncertain
    they are themselves."""
    found: dict[str, Estimate] = {}
    of_matrix = [metric for metric in metrics if metric in confusion_distribution.METRICS]
    if of_matrix:
        spread = np.cov([(resampled * (rows.rows * (rows.chosen == one))).sum(axis=1) for one in (1, 0)])
        matrix = ConfusionDistribution.of(probabilities, rows.chosen, rows.rows, spread)
        for metric in of_matrix:
            value = matrix.value(metric)
            found[metric] = Estimate(value, *matrix.interval(metric), _why_undefined(metric, value))
    of_scores = [metric for metric in metrics if metric in simulated_labels.METRICS]
    if of_scores:
        cells, places = rows.by_score
        drawn = simulated(cells, probabilities[places], resampled[:, places], of_scores, generator)
        found |= {metric: Estimate(*each, _why_undefined(metric, each[0])) for metric, each in drawn.items()}
    return {metric: found[metric] for metric in metrics}


def _why_undefined(metric: str, value: float) -> str | None:
    if math.isfinite(value):
        return None
    needed = {
        "precision": "a row of predicted class 1",
        "recall": "rows that may have label 1",
        "pr_auc": "rows that may have label 1",
        "specificity": "rows that may have label 0",
        "f1": "a row of predicted class 1, or one that may have label 1",
    }
    return f"{metric} needs {needed.get(metric, 'rows that may have either label')}, found none"
