"""The expectations a monitor's YAML adds in Great Expectations' own words, on each day's rows.

What DuckDB can count like our own rules it counts (`counted.py`). The library evaluates all others: each day is a validation of
its own, for a mean is the day's; 2 ms and a few for each expectation. Only the columns that are named are read.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import duckdb

from monitoring_assets.engines.day_rows import logged_rows
from monitoring_assets.monitor_spec import DeclaredExpectation, MonitorSpec
from monitoring_assets.quality.counted import counted_outcomes, rule_of
from monitoring_assets.quality.findings import GX_SEVERITIES, Finding
from monitoring_assets.quality.validation import Named, Outcome, outcomes, suite_as_json
from monitoring_assets.warehouse import quoted
from monitoring_assets.wording import shortened


def evaluate_declared(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[Finding]:
    """A finding per declared expectation and day that has rows.

    Raises
    ------
    ExpectationUnusable
        When Great Expectations does not know an expectation, refuses its arguments, or could not evaluate it.
    """
    declared = spec.quality.expectations
    rules = {place: rule for place, each in enumerate(declared) if (rule := rule_of(each, spec))}
    found = counted_outcomes(connection, spec, rules, days) if rules else {}
    others = [place for place in range(len(declared)) if place not in rules]
    if others:
        found |= _evaluated(connection, spec, others, days)
    for day in days:
        for place, expectation in enumerate(declared):
            if (day, place) in found:
                yield _finding(day, expectation, found[day, place])


def _evaluated(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, places: Sequence[int], days: Sequence[date]
) -> dict[tuple[date, int], Outcome]:
    """The library's result for each day that has rows and each expectation at these places."""
    every = named(spec)
    suite = suite_as_json("declared", [every[place] for place in places], {})
    named_columns = _columns_read(spec, [spec.quality.expectations[place] for place in places])
    columns = ", ".join(map(quoted, named_columns))
    found: dict[tuple[date, int], Outcome] = {}
    for day in days:
        rows = logged_rows(connection, spec, [day]).relation(connection, [name for name in named_columns if name != "day"])
        frame = connection.execute(f"SELECT {columns} FROM {rows}").df()
        if len(frame):
            judged = zip(places, outcomes(suite, frame, spec.quality.samples), strict=True)
            found |= {(day, place): outcome for place, outcome in judged}
    return found


def _finding(day: date, expectation: DeclaredExpectation, outcome: Outcome) -> Finding:
    return Finding(
        day=day,
        check="declared",
        column=" ~ ".join(expectation.columns) or None,
        severity="ok" if outcome.success else expectation.severity,
        observed=outcome.observed,
        unexpected_count=outcome.unexpected_count,
        unexpected_percent=outcome.unexpected_percent,
        partial_unexpected_list=[shortened(value) for value in outcome.partial_unexpected_list],
        expected=in_words(expectation),
        expectation=expectation.type,
        kwargs=expectation.arguments,
        success=outcome.success,
    )


def check_declared(spec: MonitorSpec) -> None:
    """Let Great Expectations read the YAML's expectations, where there are some.

    Raises
    ------
    ExpectationUnusable
        When it does not know one, or refuses its arguments.
    """
    if spec.quality.expectations:
        suite_as_json("declared", named(spec), {})


def named(spec: MonitorSpec) -> list[Named]:
    """The YAML's expectations in Great Expectations' terms, in their order."""
    return [
        Named(each.type, each.arguments, GX_SEVERITIES[each.severity], {"check": "declared", "severity": each.severity})
        for each in spec.quality.expectations
    ]


def in_words(expectation: DeclaredExpectation) -> str:
    """
    >>> in_words(DeclaredExpectation(type="expect_column_mean_to_be_between", column="amount", min_value=1, max_value=9))
    'expect column mean to be between (min_value 1, max_value 9)'
    """
    given = {key: value for key, value in expectation.arguments.items() if not key.startswith("column")}
    arguments = ", ".join(f"{key} {value}" for key, value in given.items())
    return shortened(expectation.type.replace("_", " ") + (f" ({arguments})" if arguments else ""), 200)


def _columns_read(spec: MonitorSpec, declared: Sequence[DeclaredExpectation]) -> list[str]:
    """What the expectations name; everything, where one names none or has a condition on rows."""
    if any(not e.columns or "row_condition" in e.arguments for e in declared):
        return ["day", *spec.log_columns]
    return list(dict.fromkeys(name for e in declared for name in e.columns))
