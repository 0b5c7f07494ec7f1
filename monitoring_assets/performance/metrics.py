"""The metrics of a model, from the counts of its labelled predictions: which there are, their values, which way is better.

What is counted is in `counts.py`, of which rows in `counting.py`.
"""

import math
from typing import Literal, NamedTuple

from monitoring_assets.performance.counts import PerformanceCounts

Task = Literal["classification", "regression"]

METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("auc", "accuracy", "f1", "log_loss"),
    "regression": ("rmse", "mae", "r2"),
}
PRIMARY_METRIC: dict[Task, str] = {"classification": "auc", "regression": "rmse"}


class Measured(NamedTuple):
    """A metric's value, how far it may be off (0: exact), and where it is nan the reason."""

    value: float
    reason: str | None = None
    error_bound: float = 0.0


def metrics_of(counts: PerformanceCounts, task: Task) -> dict[str, Measured]:
    """Every metric of the task, each with its reason where it is undefined.

    Classification: `auc` (0 to 1, higher is better, ties count half), `accuracy` and `f1` (0 to 1, higher is better),
    `log_loss` (nats, 0 upwards, lower is better). Regression: `rmse` and `mae` (units of the label, 0 upwards, lower is
    better), `r2` (at most 1, higher is better). Rows whose label or score is missing or infinite are left out.
    """
    if counts.measured_rows == 0:
        return undefined(task, "no labels" if counts.labelled_rows == 0 else "no scores on labelled rows")
    return _regression(counts) if task == "regression" else _classification(counts)


def undefined(task: Task, reason: str) -> dict[str, Measured]:
    """Every metric of the task, undefined for one reason."""
    return dict.fromkeys(METRICS[task], Measured(math.nan, reason, math.nan))


def improvement(task: Task, new: float, old: float) -> float:
    """How much better the primary metric `new` is than `old`: positive is better, nan when either is nan.

    AUC in its own units (new - old, -1 to 1); RMSE as the share of the old error that is gone ((old - new) / old, at
    most 1).

    Examples
    --------
    >>> improvement("regression", new=8.0, old=10.0)
    0.2
    """
    if task == "classification":
        return new - old
    if old == 0:
        return 0.0 if new == 0 else float("-inf") if new > 0 else float("nan")
    return (old - new) / old


def _nothing(reason: str) -> Measured:
    return Measured(math.nan, reason, math.nan)


def _classification(counts: PerformanceCounts) -> dict[str, Measured]:
    unreadable = counts.unreadable_class
    why = f"predicted class must be 0 or 1, true or false, found {unreadable!r}" if unreadable is not None else None
    right = counts.true_positives + counts.true_negatives
    return {
        "auc": _auc(counts),
        "accuracy": _nothing(why) if why else Measured(right / counts.weight),
        "f1": _nothing(why) if why else _f1(counts),
        "log_loss": _log_loss(counts),
    }


def _auc(counts: PerformanceCounts) -> Measured:
    ones, zeros = counts.scores.ones.sum(), counts.scores.zeros.sum()
    if not ones or not zeros:
        return _nothing(f"auc needs both classes, found only {1 if ones else 0}")
    value, bound = counts.scores.auc()
    return Measured(value, None, bound)


def _f1(counts: PerformanceCounts) -> Measured:
    either = 2 * counts.true_positives + counts.false_positives + counts.false_negatives
    if either == 0:
        return _nothing("f1 needs a label or a prediction of class 1, found none")
    return Measured(2 * counts.true_positives / either)


def _log_loss(counts: PerformanceCounts) -> Measured:
    outside = [score for score in (counts.smallest_score, counts.largest_score) if not 0 <= score <= 1]
    if outside:
        return _nothing(f"log_loss needs scores between 0 and 1, found {outside[0]:g}")
    return Measured(counts.log_loss / counts.weight)


def _regression(counts: PerformanceCounts) -> dict[str, Measured]:
    varies = counts.smallest_label < counts.largest_label and counts.label_deviations > 0
    constant = _nothing(f"r2 needs labels that vary, found only {counts.smallest_label:g}")
    return {
        "rmse": Measured(math.sqrt(counts.squared_error / counts.weight)),
        "mae": Measured(counts.absolute_error / counts.weight),
        "r2": Measured(1 - counts.squared_error / counts.label_deviations) if varies else constant,
    }
