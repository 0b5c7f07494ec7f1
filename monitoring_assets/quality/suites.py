"""A monitor's expectations of one day as a suite of Great Expectations: written as its JSON, and run by it on the day's rows.

The suite holds what the checks of `inference_log` judge, with the arguments they use for that day, and what the YAML declares.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import duckdb
import pandas as pd

from monitoring_assets.engines.day_rows import logged_rows
from monitoring_assets.errors import NothingToExpect
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.declared import named
from monitoring_assets.quality.expectations import Expectation
from monitoring_assets.quality.facts import facts_in_force
from monitoring_assets.quality.findings import GX_SEVERITIES, measured_days
from monitoring_assets.quality.validation import Named, Outcome, outcomes, suite_as_json
from monitoring_assets.row_storage.kept_rows import read_rows_of
from monitoring_assets.sql_text import days_accepted
from monitoring_assets.wording import printable, shortened


def day_suite(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, day: date | None = None) -> dict[str, Any]:
    """The suite of a day, of the newest stored one unless given, in the form in which Great Expectations reads it.

    Raises
    ------
    NothingToExpect
        When no row of the day is stored: without its rows the arguments are not known.
    """
    held = days_accepted(spec)
    rows, chosen = connection.execute(
        f"SELECT sum(row_count), any_value(day) FROM {held} WHERE day = coalesce(?, (SELECT max(day) FROM {held}))", [day]
    ).fetchall()[0]
    if not rows:
        raise NothingToExpect(
            f"{spec.name}: no row of {day or 'any day'} is stored, and the arguments of expectations depend on the day's rows. "
            "Materialise the asset inference_log for the day, or give another --day."
        )
    read_rows_of(connection, [chosen])
    ((baseline_id, facts, _),) = facts_in_force(connection, spec, [chosen])
    expected = [
        Named(each.type, each.kwargs, GX_SEVERITIES[each.severity], _notes(measured.expectation, each.severity))
        for measured, expectations in measured_days(connection, logged_rows(connection, spec, [chosen]), [chosen], spec, facts)
        for each in expectations
    ]
    meta = {"monitor": spec.name, "day": str(chosen), "rows": rows, "baseline_id": baseline_id}
    return suite_as_json(spec.name, [*expected, *named(spec)], meta)


def _notes(expectation: Expectation, severity: str) -> dict[str, str]:
    return {"check": expectation.kind, "severity": severity, "expected": expectation.expected}


def day_frame(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, day: date) -> pd.DataFrame:
    """The day's rows of `inference_log` as a frame, times in the monitor's time zone."""
    read_rows_of(connection, [day])
    connection.execute(f"SET TimeZone = '{spec.time_zone}'")
    return connection.execute(f"FROM {logged_rows(connection, spec, [day]).relation(connection, list(spec.log_columns))}").df()


def run_suite(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, suite: dict[str, Any]) -> list[Outcome]:
    """What Great Expectations itself finds when it evaluates a `day_suite` on the day's rows."""
    day = date.fromisoformat(suite["meta"]["day"])
    return outcomes(suite, day_frame(connection, spec, day), spec.quality.samples)


def as_lines(found: Sequence[Outcome]) -> list[str]:
    """A line per outcome and how many hold; none for no outcomes.

    >>> kwargs = {"column": "amount", "min_value": 0}
    >>> expectation = Named("expect_column_values_to_be_between", kwargs, meta={"check": "in_range", "severity": "severe"})
    >>> print("\\n".join(as_lines([Outcome(expectation, False, 0.25, 100, 25.0, ["-1.0"])])))
    FAILED  severe    expect_column_values_to_be_between  column 'amount', min_value 0: 100 unexpected (25 %): -1.0
    0 of 1 expectations hold
    """
    lines = []
    for outcome in found:
        named = outcome.expectation
        arguments = shortened(", ".join(f"{key} {value!r}" for key, value in named.kwargs.items()))
        percent = "" if outcome.unexpected_percent is None else f" ({outcome.unexpected_percent:.3g} %)"
        values = ", ".join(shortened(value) for value in outcome.partial_unexpected_list)
        failure = "" if outcome.success else f": {outcome.unexpected_count} unexpected{percent}: {values}"
        verdict = "holds" if outcome.success else "FAILED"
        lines.append(printable(f"{verdict:7} {named.meta['severity']:9} {named.type}  {arguments}{failure}"))
    return [*lines, f"{sum(outcome.success for outcome in found)} of {len(found)} expectations hold"] if found else []
