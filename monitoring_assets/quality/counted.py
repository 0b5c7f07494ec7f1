"""Of the expectations a YAML declares those that ask of rows what our own rules ask: counted like them, by DuckDB.

Whatever differs in its name, its arguments or its column's type is the library's to evaluate, or to refuse (`declared.py`).
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import duckdb

from monitoring_assets.engines.day_rows import logged_rows
from monitoring_assets.monitor_spec import DeclaredExpectation, MonitorSpec
from monitoring_assets.quality.expectations import NONE_TOLERATED, Expectation, Kind
from monitoring_assets.quality.measurement import Measured, measure
from monitoring_assets.quality.validation import Named, Outcome

# Expectation -> the kind of rule that counts it, its arguments, and the types of columns for which both are the same.
COUNTED: dict[str, tuple[Kind, set[str], set[str]]] = {
    "expect_column_values_to_not_be_null": ("not_null", {"column", "mostly"}, {"DOUBLE", "VARCHAR", "TIMESTAMPTZ"}),
    "expect_column_values_to_be_between": ("in_range", {"column", "min_value", "max_value", "mostly"}, {"DOUBLE"}),
    "expect_column_values_to_be_in_set": ("in_set", {"column", "value_set", "mostly"}, {"VARCHAR"}),
    "expect_column_values_to_be_unique": ("unique_id", {"column", "mostly"}, {"VARCHAR"}),
    "expect_table_row_count_to_be_between": ("row_count", {"min_value", "max_value"}, set()),
}


def rule_of(declared: DeclaredExpectation, spec: MonitorSpec) -> Expectation | None:
    """The rule that counts a declared expectation, None where none does."""
    arguments = declared.arguments
    kind, names, types = COUNTED.get(declared.type, (None, set(), set()))
    if kind is None or not set(arguments) <= names:
        return None
    column = arguments.get("column")
    bounds = [arguments.get("min_value"), arguments.get("max_value")]
    values = arguments.get("value_set")
    is_usable = (
        (kind == "row_count" or spec.log_columns.get(str(column)) in types)
        and _is_number(arguments.get("mostly", 1.0), 0, 1)
        and all(bound is None or _is_number(bound) for bound in bounds)
        and (kind not in ("in_range", "row_count") or bounds != [None, None])
        and (kind != "in_set" or (isinstance(values, list) and bool(values) and all(isinstance(v, str) for v in values)))
    )
    given: dict[str, Any] = {"min_value": bounds[0], "max_value": bounds[1]} if kind == "in_range" else {"value_set": values}
    return Expectation(kind, column, given, NONE_TOLERATED, "") if is_usable else None


def _is_number(value: object, low: float = -1e300, high: float = 1e300) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def counted_outcomes(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rules: dict[int, Expectation], days: Sequence[date]
) -> dict[tuple[date, int], Outcome]:
    """The outcome for each day that has rows and the place of each declared expectation that a rule counts."""
    rows = logged_rows(connection, spec, days)
    places = {id(rule): place for place, rule in rules.items()}
    found = {}
    for m in measure(connection, rows, spec, list(rules.values()), days):
        place = places[id(m.expectation)]
        declared = spec.quality.expectations[place]
        if m.expectation.kind != "row_count":
            found[m.day, place] = _of_rows(m, declared)
        elif m.rows:
            found[m.day, place] = _row_count(m, declared)
    return found


def _of_rows(m: Measured, declared: DeclaredExpectation) -> Outcome:
    holds = not m.rows or (m.rows - m.value) / m.rows >= declared.arguments.get("mostly", 1.0)
    share = m.value / m.rows if m.rows else 0.0
    percent = 100 * share if m.rows else None
    named = Named(declared.type, declared.arguments)
    return Outcome(named, holds, share, int(m.value), percent, list(m.samples) if m.value else [])


def _row_count(m: Measured, declared: DeclaredExpectation) -> Outcome:
    low, high = declared.arguments.get("min_value"), declared.arguments.get("max_value")
    holds = (low is None or m.value >= low) and (high is None or m.value <= high)
    shown = [] if holds else [str(m.rows)]
    return Outcome(Named(declared.type, declared.arguments), holds, m.value, int(not holds), None, shown)
