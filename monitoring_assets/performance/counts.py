"""What is kept of labelled predictions: sums and scores by label, which add up over days, segments and model versions.

The metrics that follow are in `metrics.py`; counting the rows of the log is `counting.py`'s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import ArrayLike

from monitoring_assets.measuring.labelled import NEGATIVE_CLASSES, OF_ERRORS, POSITIVE_CLASSES
from monitoring_assets.performance.score_histogram import ScoreHistogram

_EMPTY = np.zeros(0)
# How a field of several counts becomes that of their pool; all others are added up.
SMALLEST = ("smallest_label", "smallest_score", "unreadable_class")
LARGEST = ("largest_label", "largest_score")


@dataclass(frozen=True, eq=False)
class PerformanceCounts:
    """The columns of the table `performance_counts`, where each is explained (`warehouse_tables.TABLES`)."""

    row_count: int = 0
    labelled_rows: int = 0
    measured_rows: int = 0
    weight: float = 0.0
    squared_weight: float = 0.0
    log_loss: float = 0.0
    true_positives: float = 0.0
    false_positives: float = 0.0
    false_negatives: float = 0.0
    true_negatives: float = 0.0
    signed_error: float = 0.0
    absolute_error: float = 0.0
    squared_error: float = 0.0
    fourth_power_error: float = 0.0
    relative_error: float = 0.0
    squared_relative_error: float = 0.0
    label_mean: float = 0.0
    label_deviations: float = 0.0
    smallest_label: float = math.inf
    largest_label: float = -math.inf
    smallest_score: float = math.inf
    largest_score: float = -math.inf
    unreadable_class: str | None = None
    scores: ScoreHistogram = field(default_factory=lambda: ScoreHistogram(_EMPTY, _EMPTY, _EMPTY, _EMPTY))

    @property
    def effective_rows(self) -> float:
        """How many rows of equal weight would tell as much: (sum of weights)² / sum of squared weights."""
        return self.weight**2 / self.squared_weight if self.squared_weight else 0.0


NUMBERS = tuple(each.name for each in fields(PerformanceCounts) if each.name != "scores")


def pooled(parts: Sequence[PerformanceCounts]) -> PerformanceCounts:
    """The counts of all rows together: the same, up to rounding, however the rows were divided.

    Examples
    --------
    >>> pooled([PerformanceCounts(row_count=3, weight=3.0), PerformanceCounts(row_count=1, weight=10.0)]).weight
    13.0
    """
    if len(parts) == 1:
        return parts[0]
    found: dict[str, object] = {}
    for each in fields(PerformanceCounts):
        values = [getattr(part, each.name) for part in parts]
        if each.name in SMALLEST:
            known = [value for value in values if value is not None]
            found[each.name] = min(known, default=each.default)
        elif each.name in LARGEST:
            found[each.name] = max(values, default=each.default)
        elif each.name != "scores":
            found[each.name] = sum(values)
    weights = np.array([part.weight for part in parts], float)
    means = np.array([part.label_mean for part in parts], float)
    # The deviations from the common mean: within the parts, and of the parts' means (Chan, Golub, LeVeque 1979).
    mean = float(np.average(means, weights=weights)) if weights.sum() else 0.0
    within = math.fsum(part.label_deviations for part in parts)
    found["label_mean"], found["label_deviations"] = mean, within + float((weights * (means - mean) ** 2).sum())
    return PerformanceCounts(**found, scores=ScoreHistogram.pooled([part.scores for part in parts]))  # type: ignore[arg-type]


def count_rows(
    labels: ArrayLike,
    scores: ArrayLike,
    predicted: Sequence[object] | np.ndarray | None,
    task: str,
    class_cut: float = 0.5,
    weights: ArrayLike | None = None,
) -> PerformanceCounts:
    """The counts of rows in memory; the parameters are those of `labelled_rows.measure`. Every distinct score is kept."""
    truth, score = np.asarray(labels, dtype="float64"), np.asarray(scores, dtype="float64")
    weight = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype="float64")
    usable = np.isfinite(truth) & np.isfinite(score) & (weight > 0)
    rows = {"row_count": len(truth), "labelled_rows": int(np.isfinite(truth).sum()), "measured_rows": int(usable.sum())}
    if not usable.any():
        return PerformanceCounts(**rows)  # type: ignore[arg-type]
    classes = None if predicted is None else np.asarray(predicted, dtype=object)[usable]
    truth, score, weight = truth[usable], score[usable], weight[usable]
    common = {
        "weight": float(weight.sum()), "squared_weight": float((weight**2).sum()), "smallest_label": float(truth.min()),
        "largest_label": float(truth.max()), "smallest_score": float(score.min()), "largest_score": float(score.max()),
    }  # fmt: skip
    own = _regression(truth, score, weight) if task == "regression" else _classification(truth, score, weight, classes, class_cut)
    return PerformanceCounts(**rows, **common, **own)  # type: ignore[arg-type]


def _classification(
    truth: np.ndarray, score: np.ndarray, weight: np.ndarray, classes: np.ndarray | None, class_cut: float
) -> dict[str, object]:
    chosen, unreadable = _chosen(score, classes, class_cut)
    # A certain and wrong score would cost infinity; scikit-learn bounds it by the float's resolution, and so do we.
    tiny = np.finfo("float64").eps
    likelihood = np.clip(np.where(truth == 1, score, 1 - score), tiny, 1 - tiny)
    return {
        "log_loss": float((weight * -np.log(likelihood)).sum()),
        "squared_error": float((weight * (score - truth) ** 2)[(score >= 0) & (score <= 1)].sum()),
        "true_positives": float((weight * truth * chosen).sum()),
        "false_positives": float((weight * (1 - truth) * chosen).sum()),
        "false_negatives": float((weight * truth * (1 - chosen)).sum()),
        "true_negatives": float((weight * (1 - truth) * (1 - chosen)).sum()),
        "unreadable_class": unreadable,
        "scores": ScoreHistogram.of(score, weight * (truth == 1), weight * (truth == 0)),
    }


def _chosen(score: np.ndarray, classes: np.ndarray | None, class_cut: float) -> tuple[np.ndarray, str | None]:
    """The predicted class per row as 0.0 or 1.0, and a text that cannot be read as a class, where there is one."""
    from pandas import isna

    by_score = (score >= class_cut).astype("float64")
    if classes is None:
        return by_score, None
    texts = ["" if missing else str(value).strip().lower() for value, missing in zip(classes, isna(classes), strict=True)]
    meaning = dict.fromkeys(POSITIVE_CLASSES, 1.0) | dict.fromkeys(NEGATIVE_CLASSES, 0.0)
    unknown = [str(original) for original, text in zip(classes, texts, strict=True) if text and text not in meaning]
    if unknown:
        return by_score, min(unknown)
    return np.array([meaning.get(text, cut) for text, cut in zip(texts, by_score, strict=True)]), None


def _regression(truth: np.ndarray, value: np.ndarray, weight: np.ndarray) -> dict[str, object]:
    error, mean = value - truth, float(np.average(truth, weights=weight))
    with np.errstate(divide="ignore", over="ignore"):
        relative = np.divide(np.abs(error), np.abs(truth), out=np.full(len(truth), np.inf), where=truth != 0)
        errors = (error, np.abs(error), error**2, error**4, relative, relative**2)
    return {
        **{name: float((weight * each).sum()) for name, each in zip(OF_ERRORS, errors, strict=True)},
        "label_mean": mean,
        "label_deviations": float((weight * (truth - mean) ** 2).sum()),
    }
