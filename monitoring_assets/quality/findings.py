"""What was found, day by day: what was measured is set against what is expected of the day.

All days and rules are measured and judged in one pass, so a year costs hardly more than a day. What is expected is declared in
`expectations.py` and becomes a day's in `day_expectations.py`; counting is `measurement.py`'s. Storing findings or reporting
them is the caller's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb

from monitoring_assets.engines.day_rows import Rows
from monitoring_assets.measuring.ruled import ROW_KINDS
from monitoring_assets.monitor_spec import MonitorSpec, Severity
from monitoring_assets.quality.day_expectations import DayExpectation, expectations_of_days
from monitoring_assets.quality.expectations import GX_NAMES, Kind, ReferenceFacts, expectations_of, volume_in_words
from monitoring_assets.quality.measurement import Measured, measure

# How each severity is called by Great Expectations.
GX_SEVERITIES: dict[Severity, str] = {"minor": "info", "moderate": "warning", "severe": "critical"}


@dataclass(frozen=True)
class Finding:
    """The result of one rule on one day; see `quality` in `warehouse_tables.TABLES` for the meaning of each field. `expectation`
    with its `kwargs` is the gravest expectation that failed, or the mildest where all hold. A rule that the day shows nothing of
    has no `severity` and no `success`, and the `reason` says why."""

    day: date
    check: Kind
    column: str | None
    severity: Severity | None
    observed: float
    unexpected_count: int
    unexpected_percent: float | None
    partial_unexpected_list: list[str]
    expected: str
    expectation: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    success: bool | None = True
    reason: str | None = None


def evaluate_days(
    connection: duckdb.DuckDBPyConnection, rows: Rows, days: Sequence[date], spec: MonitorSpec, facts: ReferenceFacts
) -> list[Finding]:
    """Findings of every day, the good ones too, ordered by day as `days` has them.

    Rows of other days are left alone. A day's findings are the same whether it is evaluated alone or with others. A day without
    rows has `row_count` and `of_type` findings only: shares of no rows are undefined. A rule about values that a day has none of
    is not judged, unless so many missing ones are usual of the column.
    """
    found = measured_days(connection, rows, days, spec, facts)
    lacking = {
        (measured.day, measured.expectation.column)
        for measured, expected in found
        if measured.expectation.kind == "not_null" and not all(each.success for each in expected)
    }
    return [
        _unjudged(measured)
        if measured.reason and (not expected or (measured.day, measured.expectation.column) in lacking)
        else _finding(measured, expected)
        for measured, expected in found
    ]


def measured_days(
    connection: duckdb.DuckDBPyConnection, rows: Rows, days: Sequence[date], spec: MonitorSpec, facts: ReferenceFacts
) -> list[tuple[Measured, list[DayExpectation]]]:
    """What each day shows of each rule, and the expectations that the rule is on that day, the mildest first."""
    expectations = expectations_of(spec, facts)
    # Over all rules a sound day is found fault with at this rate; the rules of types are never broken by chance.
    rate = spec.quality.false_alarm_rate / max(sum(e.kind != "of_type" for e in expectations), 1)
    measured = list(measure(connection, rows.on(days), spec, expectations, days))
    return list(zip(measured, expectations_of_days(measured, spec, rate), strict=True))


def _unjudged(found: Measured) -> Finding:
    e = found.expectation
    return Finding(found.day, e.kind, e.column, None, math.nan, 0, None, [], e.expected, GX_NAMES[e.kind], {}, None, found.reason)


def _finding(found: Measured, expected: Sequence[DayExpectation]) -> Finding:
    failed = [expectation for expectation in expected if not expectation.success]
    shown = failed[-1] if failed else expected[0]
    e = found.expectation
    percent: float | None = None
    if e.kind in ROW_KINDS:
        count, observed = int(found.value), found.value / found.rows if found.rows else 0.0
        percent = 100 * observed if found.rows else None
    else:
        count, observed = int(bool(failed)), found.value
        if e.kind == "of_type" and failed:
            count = found.rows
    words = e.expected
    if e.kind == "row_count":
        words = volume_in_words(*e.arguments["ranges"].get(found.day.weekday(), (1.0, None)))
    return Finding(
        day=found.day,
        check=e.kind,
        column=e.column,
        severity=shown.severity if failed else "ok",
        observed=observed,
        unexpected_count=count,
        unexpected_percent=percent,
        partial_unexpected_list=list(found.samples) if count else [],
        expected=words,
        expectation=shown.type,
        kwargs=shown.kwargs,
        success=not failed,
    )
