"""Realised performance of rows in memory: the metrics of predictions whose labels are known.

Pure functions of arrays, on the same counts as every window of the log (`counts.py`). Which rows, days and segments are
measured, and what a fall leads to, belong elsewhere.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from monitoring_assets.performance.counts import count_rows
from monitoring_assets.performance.metrics import Measured, Task, metrics_of, undefined


def measure(
    labels: ArrayLike,
    scores: ArrayLike,
    predicted: Sequence[object] | np.ndarray | None,
    task: Task,
    class_cut: float = 0.5,
    weights: ArrayLike | None = None,
) -> dict[str, Measured]:
    """Every metric of the task (see `metrics.metrics_of`), each with its reason where it is undefined.

    Parameters
    ----------
    labels : 0 or 1 for a classification, any number for a regression; NaN where unknown. Shape (rows,).
    scores : probabilities of class 1, or predicted values. Shape (rows,).
    predicted : predicted classes such as "1", "0", "true", "False"; where None or missing, class 1 is
        `score >= class_cut`. Ignored for a regression.
    weights : how many rows each row stands for, 0 or above; None: each for itself. Shape (rows,).

    Examples
    --------
    >>> measure([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], None, "classification")["auc"].value
    0.75
    >>> measure([0, 0], [0.1, 0.4], None, "classification")["auc"].reason
    'auc needs both classes, found only 0'
    """
    truth = np.asarray(labels, dtype="float64")
    wrong = truth[np.isfinite(truth) & ~np.isin(truth, (0, 1))]
    if task == "classification" and len(wrong):
        return undefined(task, f"labels of a classification must be 0 or 1, found {wrong[0]:g}")
    return metrics_of(count_rows(truth, scores, predicted, task, class_cut, weights), task)


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
