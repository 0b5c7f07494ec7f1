"""The gate: whether a candidate takes the champion's place, and why, from two metrics measured on the same rows.

Pure. Which rows those are (labelled, recent, in neither model's training data), measuring the metrics and swapping the
aliases belong elsewhere.
"""

import math
from dataclasses import dataclass
from datetime import date

from monitoring_assets.performance.metrics import PRIMARY_METRIC, Task, improvement


@dataclass(frozen=True)
class Verdict:
    """The decision and its evidence. `improvement` is above 0 where the candidate is better, nan without champion."""

    promoted: bool
    reason: str
    metric: str
    candidate_metric: float
    champion_metric: float | None
    improvement: float
    rows: int


def gate_verdict(
    task: Task,
    candidate_metric: float,
    champion_metric: float | None,
    *,
    rows: int,
    minimum_rows: int,
    minimum_improvement: float,
    first_day: date | None = None,
    last_day: date | None = None,
) -> Verdict:
    """Candidate against champion, on `rows` labelled rows that neither was trained on.

    Parameters
    ----------
    candidate_metric, champion_metric : AUC of a classification, RMSE of a regression; no champion yet: None.
    minimum_improvement : what the improvement must exceed: AUC in its own units, RMSE as a share of the champion's.
        Equal is not better.
    first_day, last_day : days of the rows, for the reason.

    Examples
    --------
    >>> verdict = gate_verdict("classification", 0.701, 0.683, rows=6412, minimum_rows=1000, minimum_improvement=0.0)
    >>> verdict.promoted, round(verdict.improvement, 3)
    (True, 0.018)
    >>> verdict.reason
    "AUC 0.701 against the champion's 0.683 on 6,412 rows that neither was trained on"
    >>> gate_verdict("classification", 0.7, 0.6, rows=20, minimum_rows=1000, minimum_improvement=0.0).reason
    'only 20 labelled rows that neither model was trained on, at least 1,000 are needed'
    """
    metric = PRIMARY_METRIC[task]
    gain = math.nan if champion_metric is None else improvement(task, candidate_metric, champion_metric)

    def verdict(promoted: bool, reason: str) -> Verdict:
        return Verdict(promoted, reason, metric, candidate_metric, champion_metric, gain, rows)

    if champion_metric is None:
        return verdict(True, "first champion: there is none to beat")
    if rows < minimum_rows:
        return verdict(
            False,
            f"only {rows:,} labelled rows that neither model was trained on, at least {minimum_rows:,} are needed",
        )
    evidence = (
        f"{metric.upper()} {_number(task, candidate_metric)} against the champion's {_number(task, champion_metric)} "
        f"on {rows:,} rows{_days(first_day, last_day)} that neither was trained on"
    )
    if math.isnan(gain):
        return verdict(False, f"{evidence}: undefined, so nothing shows that the candidate is better")
    if gain > minimum_improvement:
        return verdict(True, evidence)
    needed = f"{minimum_improvement:.3f}" if task == "classification" else f"{minimum_improvement:.1%}"
    return verdict(False, f"{evidence}: it must be better by more than {needed}")


def _number(task: Task, metric: float) -> str:
    return f"{metric:.3f}" if task == "classification" else f"{metric:.4g}"


def _days(first_day: date | None, last_day: date | None) -> str:
    if first_day is None or last_day is None:
        return ""
    count = (last_day - first_day).days + 1
    return f" of {count} day{'' if count == 1 else 's'} ({first_day} to {last_day})"
