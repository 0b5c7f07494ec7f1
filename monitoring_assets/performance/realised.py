"""Realised performance: the metrics of predictions whose labels are known.

Pure functions of arrays. Which rows, days and segments are measured, estimates without labels, and what a fall leads to
belong elsewhere. Written on numpy, because importing scikit-learn costs a second in every process; the tests hold it to
scikit-learn.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pandas import isna

Task = Literal["classification", "regression"]
Float = np.ndarray

METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("auc", "accuracy", "f1", "log_loss"),
    "regression": ("rmse", "mae", "r2"),
}
PRIMARY_METRIC: dict[Task, str] = {"classification": "auc", "regression": "rmse"}

POSITIVE_CLASSES = frozenset({"1", "1.0", "true"})
NEGATIVE_CLASSES = frozenset({"0", "0.0", "false"})


class Measured(NamedTuple):
    """A metric's value, and where it is nan the reason."""

    value: float
    reason: str | None = None


def _undefined(reason: str) -> Measured:
    return Measured(float("nan"), reason)


def measure(
    labels: ArrayLike,
    scores: ArrayLike,
    predicted: Sequence[object] | np.ndarray | None,
    task: Task,
    class_cut: float = 0.5,
    weights: ArrayLike | None = None,
) -> dict[str, Measured]:
    """Every metric of the task, each with its reason where it is undefined.

    Classification: `auc` (0 to 1, higher is better, ties count half), `accuracy` and `f1` (0 to 1, higher is better),
    `log_loss` (nats, 0 upwards, lower is better). Regression: `rmse` and `mae` (units of the label, 0 upwards, lower is
    better), `r2` (at most 1, higher is better). Rows whose label or score is missing or infinite are left out.

    Parameters
    ----------
    labels : 0 or 1 for a classification, any number for a regression; NaN where unknown. Shape (rows,).
    scores : probabilities of class 1, or predicted values. Shape (rows,).
    predicted : predicted classes such as "1", "0", "true", "False"; where None or missing, class 1 is
        `score >= class_cut`. Ignored for a regression.
    weights : how many rows each row stands for, 0 or above; None: each for itself. Shape (rows,).

    Examples
    --------
    >>> measure([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], None, "classification")["auc"]
    Measured(value=0.75, reason=None)
    >>> measure([0, 0], [0.1, 0.4], None, "classification")["auc"]
    Measured(value=nan, reason='auc needs both classes, found only 0')
    """
    truth, score = np.asarray(labels, dtype="float64"), np.asarray(scores, dtype="float64")
    weight = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype="float64")
    usable = np.isfinite(truth) & np.isfinite(score) & (weight > 0)
    reason = _why_nothing(truth, usable)
    if reason is None and task == "classification" and not np.isin(truth[usable], (0, 1)).all():
        wrong = truth[usable][~np.isin(truth[usable], (0, 1))][0]
        reason = f"labels of a classification must be 0 or 1, found {wrong:g}"
    if reason is not None:
        return {name: _undefined(reason) for name in METRICS[task]}
    if task == "regression":
        return _regression(truth[usable], score[usable], weight[usable])
    classes = None if predicted is None else np.asarray(predicted, dtype=object)[usable]
    return _classification(truth[usable], score[usable], weight[usable], classes, class_cut)


def realised_metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    predicted: Sequence[object] | np.ndarray | None,
    task: Task,
    class_cut: float = 0.5,
    weights: ArrayLike | None = None,
) -> dict[str, float]:
    """The values of `measure` alone, nan where undefined.

    Examples
    --------
    >>> realised_metrics([1, 2, 3], [1, 2, 5], None, "regression")["mae"]
    0.6666666666666666
    """
    measured_by_name = measure(labels, scores, predicted, task, class_cut, weights)
    return {name: measured.value for name, measured in measured_by_name.items()}


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


def _why_nothing(truth: Float, usable: np.ndarray) -> str | None:
    if not np.isfinite(truth).any():
        return "no labels"
    return None if usable.any() else "no scores on labelled rows"


def _classification(
    truth: Float, score: Float, weight: Float, classes: np.ndarray | None, class_cut: float
) -> dict[str, Measured]:
    chosen, reason = _chosen(score, classes, class_cut)
    return {
        "auc": _auc(truth, score, weight),
        "accuracy": _undefined(reason) if reason else Measured(float(np.average(chosen == truth, weights=weight))),
        "f1": _undefined(reason) if reason else _f1(truth, chosen, weight),
        "log_loss": _log_loss(truth, score, weight),
    }


def _chosen(score: Float, classes: np.ndarray | None, class_cut: float) -> tuple[Float, str | None]:
    """The predicted class per row as 0.0 or 1.0, and a reason where a class cannot be read."""
    by_score = (score >= class_cut).astype("float64")
    if classes is None:
        return by_score, None
    texts = ["" if missing else str(value).strip().lower() for value, missing in zip(classes, isna(classes), strict=True)]
    meaning = dict.fromkeys(POSITIVE_CLASSES, 1.0) | dict.fromkeys(NEGATIVE_CLASSES, 0.0)
    unknown = [original for original, text in zip(classes, texts, strict=True) if text and text not in meaning]
    if unknown:
        return by_score, f"predicted class must be 0 or 1, true or false, found {str(unknown[0])!r}"
    return np.array([meaning.get(text, cut) for text, cut in zip(texts, by_score, strict=True)]), None


def _auc(truth: Float, score: Float, weight: Float) -> Measured:
    """The Mann-Whitney statistic: the share of pairs of a 1 and a 0 in which the 1 scores higher."""
    if truth.min() == truth.max():
        return _undefined(f"auc needs both classes, found only {truth[0]:g}")
    values, place = np.unique(score, return_inverse=True)
    ones, zeros = (np.bincount(place, weights=weight * (truth == label), minlength=len(values)) for label in (1, 0))
    below = np.cumsum(zeros) - zeros / 2
    return Measured(float((ones * below).sum() / (ones.sum() * zeros.sum())))


def _f1(truth: Float, chosen: Float, weight: Float) -> Measured:
    both, either = float((weight * truth * chosen).sum()), float((weight * (truth + chosen)).sum())
    if either == 0:
        return _undefined("f1 needs a label or a prediction of class 1, found none")
    return Measured(2 * both / either)


def _log_loss(truth: Float, score: Float, weight: Float) -> Measured:
    outside = score[(score < 0) | (score > 1)]
    if len(outside):
        return _undefined(f"log_loss needs scores between 0 and 1, found {outside[0]:g}")
    # A certain and wrong score would cost infinity; scikit-learn bounds it by the float's resolution, and so do we.
    tiny = np.finfo("float64").eps
    likelihood = np.where(truth == 1, score, 1 - score)
    return Measured(float(np.average(-np.log(np.clip(likelihood, tiny, 1 - tiny)), weights=weight)))


def _regression(truth: Float, value: Float, weight: Float) -> dict[str, Measured]:
    error = value - truth
    spread = float(np.average((truth - np.average(truth, weights=weight)) ** 2, weights=weight))
    squared = float(np.average(error**2, weights=weight))
    constant = _undefined(f"r2 needs labels that vary, found only {truth[0]:g}")
    return {
        "rmse": Measured(float(np.sqrt(squared))),
        "mae": Measured(float(np.average(np.abs(error), weights=weight))),
        "r2": Measured(1 - squared / spread) if np.ptp(truth) > 0 and spread > 0 else constant,
    }
