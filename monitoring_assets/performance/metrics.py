"""The metrics of a model, from the counts of its labelled predictions: which there are, their values, which way is better.

What is counted is in `counts.py`, of which rows in `counting.py`; how far a metric may be off is in `intervals.py`.
"""

import math
from typing import Literal, NamedTuple

from monitoring_assets.performance import intervals
from monitoring_assets.performance.counts import PerformanceCounts
from monitoring_assets.performance.intervals import UNKNOWN, Interval

Task = Literal["classification", "regression"]

METRICS: dict[Task, tuple[str, ...]] = {
    "classification": (
        "auc", "pr_auc", "accuracy", "precision", "recall", "specificity", "f1",
        "log_loss", "brier", "expected_calibration_error",
    ),
    "regression": ("rmse", "mae", "mape", "r2", "bias"),
}  # fmt: skip
PRIMARY_METRIC: dict[Task, str] = {"classification": "auc", "regression": "rmse"}


class Measured(NamedTuple):
    """A metric's value; where it is nan the reason; how far binning may have moved it (0: exact); and its 95 % interval, nan
    where there is none."""

    value: float
    reason: str | None = None
    error_bound: float = 0.0
    interval: Interval = UNKNOWN


def metrics_of(counts: PerformanceCounts, task: Task) -> dict[str, Measured]:
    """Every metric of the task, each with its reason where it is undefined.

    Classification: `auc` (ties count half), `pr_auc` (average precision), `accuracy`, `precision`, `recall`, `specificity` and
    `f1`, all 0 to 1, higher is better; `log_loss` (nats, 0 upwards), `brier` (mean squared distance of score and label, 0 to 1)
    and `expected_calibration_error` (over ten equal bins of scores, 0 to 1), lower is better. Regression: `rmse` and `mae` (units
    of the label, 0 upwards) and `mape` (mean |error| / |label|, 0 upwards), lower is better; `r2` (at most 1, higher is better),
    `bias` (mean of prediction - label, best at 0). `r2` and `expected_calibration_error` have no interval. Rows whose label or
    score is missing or infinite are left out.
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
    return _of_ranks(counts) | _of_classes(counts) | _of_probabilities(counts)


def _of_ranks(counts: PerformanceCounts) -> dict[str, Measured]:
    """What the order of the scores decides."""
    scores, effective = counts.scores, counts.effective_rows / counts.weight
    ones, zeros = scores.ones.sum(), scores.zeros.sum()
    if not ones or not zeros:
        why = f"needs both classes, found only {1 if ones else 0}"
        return {name: _nothing(f"{name} {why}") for name in ("auc", "pr_auc")}
    auc, auc_bound = scores.auc()
    precision, precision_bound = scores.average_precision()
    return {
        "auc": Measured(auc, None, auc_bound, intervals.of_auc(scores, auc, effective)),
        "pr_auc": Measured(
            precision, None, precision_bound, intervals.of_average_precision(scores, precision, effective)
        ),
    }  # fmt: skip


def _of_classes(counts: PerformanceCounts) -> dict[str, Measured]:
    """What the predicted classes decide."""
    if counts.unreadable_class is not None:
        why = f"predicted class must be 0 or 1, true or false, found {counts.unreadable_class!r}"
        return {name: _nothing(why) for name in ("accuracy", "precision", "recall", "specificity", "f1")}
    tp, fp, fn, tn = counts.true_positives, counts.false_positives, counts.false_negatives, counts.true_negatives
    return {
        "accuracy": _share(counts, tp + tn, tp + fp + fn + tn, ""),
        "precision": _share(counts, tp, tp + fp, "precision needs a prediction of class 1, found none"),
        "recall": _share(counts, tp, tp + fn, "recall needs a label 1, found none"),
        "specificity": _share(counts, tn, tn + fp, "specificity needs a label 0, found none"),
        "f1": _f1(counts),
    }


def _share(counts: PerformanceCounts, part: float, whole: float, why_not: str) -> Measured:
    if whole == 0:
        return _nothing(why_not)
    share = min(part / whole, 1.0)
    return Measured(share, interval=intervals.of_share(share, whole * counts.effective_rows / counts.weight))


def _f1(counts: PerformanceCounts) -> Measured:
    """2s / (1 + s) of the share s of true positives among all rows but true negatives, whose interval is that of a share."""
    share = _share(
        counts,
        counts.true_positives,
        counts.true_positives + counts.false_positives + counts.false_negatives,
        "f1 needs a label or a prediction of class 1, found none",
    )
    if share.reason:
        return share
    return Measured(_harmonic(share.value), interval=Interval(*map(_harmonic, share.interval)))


def _harmonic(share: float) -> float:
    return 2 * share / (1 + share)


def _of_probabilities(counts: PerformanceCounts) -> dict[str, Measured]:
    """What the scores say as probabilities."""
    outside = [score for score in (counts.smallest_score, counts.largest_score) if not 0 <= score <= 1]
    if outside:
        why = f"needs scores between 0 and 1, found {outside[0]:g}"
        return {name: _nothing(f"{name} {why}") for name in ("log_loss", "brier", "expected_calibration_error")}
    scores, rows = counts.scores, counts.effective_rows
    error, bound = scores.calibration_error()
    log_loss, brier = counts.log_loss / counts.weight, counts.squared_error / counts.weight
    log_square, brier_square = scores.mean_squared_losses()
    return {
        "log_loss": Measured(log_loss, interval=intervals.of_positive_mean(log_loss, log_square, rows)),
        "brier": _known(brier, "brier", intervals.of_positive_mean(brier, brier_square, rows)),
        "expected_calibration_error": Measured(error, None, bound),
    }


def _known(value: float, name: str, interval: Interval) -> Measured:
    """A metric of sums; nan where days were counted by a version that did not keep them."""
    if math.isnan(value):
        return _nothing(f"{name} needs sums that an earlier version did not keep of some days, whose rows are gone")
    return Measured(value, interval=interval)


def _regression(counts: PerformanceCounts) -> dict[str, Measured]:
    rows = counts.effective_rows
    bias, mae, mse, fourth, mape, relative_square = (
        total / counts.weight
        for total in (
            counts.signed_error, counts.absolute_error, counts.squared_error, counts.fourth_power_error, counts.relative_error,
            counts.squared_relative_error,
        )
    )  # fmt: skip
    of_mape = intervals.of_positive_mean(mape, relative_square, rows)
    return {
        "rmse": Measured(math.sqrt(mse), interval=intervals.of_root(intervals.of_positive_mean(mse, fourth, rows))),
        "mae": Measured(mae, interval=intervals.of_positive_mean(mae, mse, rows)),
        "mape": _nothing("mape needs labels other than 0") if mape == math.inf else _known(mape, "mape", of_mape),
        "r2": _r2(counts),
        "bias": _known(bias, "bias", intervals.of_mean(bias, mse, rows)),
    }


def _r2(counts: PerformanceCounts) -> Measured:
    if not (counts.smallest_label < counts.largest_label and counts.label_deviations > 0):
        return _nothing(f"r2 needs labels that vary, found only {counts.smallest_label:g}")
    value = 1 - counts.squared_error / counts.label_deviations
    return Measured(value) if not math.isnan(value) else _nothing("r2 needs labels whose squares are numbers, found larger ones")
