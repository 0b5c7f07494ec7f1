"""Laws of the gate."""

import math
from datetime import date

import pytest

from monitoring_assets.retraining.gate import Verdict, gate_verdict


def verdict(candidate: float, champion: float | None, rows: int = 6412, improvement: float = 0.0) -> Verdict:
    return gate_verdict(
        "classification",
        candidate,
        champion,
        rows=rows,
        minimum_rows=1000,
        minimum_improvement=improvement,
        first_day=date(2013, 5, 1),
        last_day=date(2013, 5, 7),
    )


def test_the_first_candidate_is_promoted() -> None:
    assert verdict(0.6, None, rows=0).promoted
    assert verdict(0.6, None, rows=0).reason.startswith("first champion")


def test_too_few_rows_refuse_even_a_better_candidate() -> None:
    refused = verdict(0.9, 0.6, rows=999)
    assert not refused.promoted
    assert refused.reason == "only 999 labelled rows that neither model was trained on, at least 1,000 are needed"


def test_a_better_candidate_is_promoted_with_the_evidence_as_reason() -> None:
    promoted = verdict(0.701, 0.683)
    assert promoted.promoted
    assert promoted.reason == (
        "AUC 0.701 against the champion's 0.683 on 6,412 rows of 7 days (2013-05-01 to 2013-05-07) that neither was trained on"
    )


@pytest.mark.parametrize(("candidate", "improvement"), [(0.683, 0.0), (0.6, 0.0), (0.69, 0.01), (math.nan, 0.0)])
def test_a_candidate_that_is_not_better_enough_is_refused(candidate: float, improvement: float) -> None:
    assert not verdict(candidate, 0.683, improvement=improvement).promoted


def test_a_lower_error_is_an_improvement() -> None:
    kept = {"rows": 10, "minimum_rows": 1, "minimum_improvement": 0.05}
    assert gate_verdict("regression", 9.0, 10.0, **kept).promoted
    refused = gate_verdict("regression", 9.6, 10.0, **kept)
    assert not refused.promoted
    assert refused.reason.endswith("it must be better by more than 5.0%")
