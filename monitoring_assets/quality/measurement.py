"""What each day shows of each expectation: counted by DuckDB, all days and columns in one query.

Great Expectations copies whole columns in memory for its rules: 60 rules that name the rows on 1 M rows x 20 columns take it
5.3 s and 0.93 GB. Twice as many take 2 s here, and DuckDB's own memory limit. Whether what was counted is acceptable is judged
in `findings.py`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.baselines.day_facts import finite, hours_before_end
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.expectations import Expectation
from monitoring_assets.warehouse import TYPE_NAMES, literal, quoted
from monitoring_assets.wording import shortened

# Kinds that count rows of a day.
ROW_KINDS = ("not_null", "in_range", "in_set", "no_outliers", "unique_id")


@dataclass(frozen=True)
class Measured:
    """What a day shows of an expectation.

    `value` is the unexpected rows for kinds of `ROW_KINDS`, the distinct values for `prediction_varies`, hours for `fresh`, r
    for `correlated`, the rows for `row_count`, 1 for a wrong type and else 0. `rows` is what it rests on: the rows with a value
    in the column, all rows for `not_null`, `row_count` and `of_type`. Where the day shows nothing of it, `reason` says why and
    `value` is nan, or 0 where there are no values to count.
    """

    day: date
    expectation: Expectation
    value: float
    rows: int
    samples: tuple[str, ...] = ()
    reason: str | None = None


def measure(
    connection: duckdb.DuckDBPyConnection, rows: str, spec: MonitorSpec, expectations: Sequence[Expectation], days: Sequence[date]
) -> Iterator[Measured]:
    """Measure days of a relation, which holds `day` and the log's columns, ordered by day and expectation.

    A day without rows is measured for `row_count` and `of_type` only. Of an absent column only its type can be measured, of one
    of another type than declared only that and what is missing; of no values, or of a pair with a constant one, nothing.
    """
    types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
    wrong = {
        column: types.get(column, "absent") for column, kind in spec.log_columns.items() if not _fits(types.get(column), kind)
    }
    comparable = {place: e for place, e in enumerate(expectations) if _is_comparable(e, types, wrong)}
    counted = _counted(connection, rows, spec, comparable, wrong)
    samples = _samples(connection, rows, spec, comparable, counted, wrong)
    for day in dict.fromkeys(days):
        found = counted.get(day, {})
        total = int(found.get("rows", 0))
        for place, e in enumerate(expectations):
            if e.kind == "of_type":
                other = wrong.get(str(e.column))
                yield Measured(day, e, float(other is not None), total, (other,) if other else ())
            elif e.kind == "row_count":
                yield Measured(day, e, float(total), total, (str(total),))
            elif total:
                rest = int(found.get(f"n{place}") or 0) if f"n{place}" in found else total
                value, reason = found.get(f"m{place}"), _why_not(e, found, place, rest, wrong)
                shown = samples.get((day, place), ())
                yield Measured(day, e, math.nan if value is None else float(value), rest, shown, reason)


def _why_not(e: Expectation, found: dict[str, float], place: int, rows: int, wrong: dict[str, str]) -> str | None:
    """Why a day with rows shows nothing of an expectation; None where it does."""
    columns = e.arguments["pair"] if e.kind == "correlated" else (str(e.column),)
    if f"m{place}" not in found:
        return "; ".join(f"{column} is {wrong[column]}" for column in columns if column in wrong)
    value = found[f"m{place}"]
    if value is not None and not math.isnan(value) and rows:
        return None
    if not rows:
        return f"no row has a value of {' and '.join(columns)}"
    return f"of the {rows} rows with {' and '.join(columns)} one column has the same value in all"


def _fits(found: str | None, declared: str) -> bool:
    return found == TYPE_NAMES.get(declared, declared)


def _is_comparable(e: Expectation, types: dict[str, str], wrong: dict[str, str]) -> bool:
    if e.kind in ("of_type", "row_count"):
        return False
    columns = e.arguments["pair"] if e.kind == "correlated" else (str(e.column),)
    return all(column in types and (column not in wrong or e.kind == "not_null") for column in columns)


def _counted(
    connection: duckdb.DuckDBPyConnection, rows: str, spec: MonitorSpec, comparable: dict[int, Expectation], wrong: dict[str, str]
) -> dict[date, dict[str, float]]:
    """By day: `rows`, and for the expectation at a place its value `m<place>` and, where it is not all rows, `n<place>`."""
    wanted = ["count(*) AS rows"]
    for place, e in comparable.items():
        wanted += _aggregates(place, e, spec, wrong)
    counted = _by_day(connection, f"SELECT day, {', '.join(wanted)} FROM {rows} GROUP BY day")
    for place, e in comparable.items():
        if e.kind == "unique_id":
            repeated = _repeated_sql(rows, str(e.column))
            again = _by_day(connection, f"SELECT day, sum(n) AS m{place} FROM ({repeated}) GROUP BY day")
            for day in counted:
                counted[day] |= again.get(day, {f"m{place}": 0.0})
    return counted


def _aggregates(place: int, e: Expectation, spec: MonitorSpec, wrong: dict[str, str]) -> list[str]:
    if e.kind == "fresh":
        return [f"{hours_before_end(spec)} AS m{place}"]
    if e.kind == "correlated":
        x, y = (finite(column) for column in e.arguments["pair"])
        return [f"corr({x}, {y}) AS m{place}", f"regr_count({x}, {y}) AS n{place}"]
    missing = _missing(str(e.column), spec, wrong)
    if e.kind == "not_null":
        return [f"count(*) FILTER ({missing}) AS m{place}"]
    present = f"count(*) FILTER (NOT {missing}) AS n{place}"  # the same for each rule of a column: DuckDB counts it once
    if e.kind == "unique_id":
        return [present]
    if e.kind == "prediction_varies":
        x = quoted(str(e.column))
        return [present, f"nullif(count(DISTINCT {x}) FILTER (NOT {missing}), 0) AS m{place}"]
    return [present, f"count(*) FILTER ({_unexpected(e, spec, wrong)}) AS m{place}"]


def _missing(column: str, spec: MonitorSpec, wrong: dict[str, str]) -> str:
    x = quoted(column)
    is_number = spec.log_columns.get(column) == "DOUBLE" and column not in wrong
    return f"({x} IS NULL OR isnan({x}))" if is_number else f"({x} IS NULL)"


def _unexpected(e: Expectation, spec: MonitorSpec, wrong: dict[str, str]) -> str:
    """SQL that is true of a row that breaks the expectation."""
    x = quoted(str(e.column))
    if e.kind == "not_null":
        return _missing(str(e.column), spec, wrong)
    if e.kind == "in_set":
        return f"({x} NOT IN ({', '.join(literal(value) for value in e.arguments['value_set'])}))"
    low, high = e.arguments["min_value"], e.arguments["max_value"]
    sides = [f"{x} < {low!r}::DOUBLE"] if low is not None else []
    sides += [f"{x} > {high!r}::DOUBLE"] if high is not None else []
    return f"(NOT isnan({x}) AND ({' OR '.join(sides)}))"  # DuckDB holds NaN to be above every number


def _repeated_sql(rows: str, column: str) -> str:
    x = quoted(column)
    return f"SELECT day, {x}, count(*) AS n FROM {rows} WHERE {x} IS NOT NULL GROUP BY day, {x} HAVING n > 1"


def _samples(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    spec: MonitorSpec,
    comparable: dict[int, Expectation],
    counted: dict[date, dict[str, float]],
    wrong: dict[str, str],
) -> dict[tuple[date, int], tuple[str, ...]]:
    """The commonest unexpected values per day and expectation; for `not_null` the first ids of such rows."""
    samples: dict[tuple[date, int], tuple[str, ...]] = {}
    limit = spec.quality.samples
    for place, e in comparable.items():
        if e.kind not in ROW_KINDS or not limit or not any(found[f"m{place}"] for found in counted.values()):
            continue
        x = quoted(str(e.column))
        if e.kind == "unique_id":
            query = f"SELECT day, min({x}, {limit}) FROM ({_repeated_sql(rows, str(e.column))}) GROUP BY day"
        elif e.kind == "not_null":
            unexpected = _unexpected(e, spec, wrong)
            query = f"SELECT day, min({quoted(spec.id)}::VARCHAR, {limit}) FROM {rows} WHERE {unexpected} GROUP BY day"
        else:
            query = (
                f"SELECT day, list(value ORDER BY n DESC, value) FROM (SELECT day, {x} AS value, count(*) AS n FROM {rows} "
                f"WHERE {_unexpected(e, spec, wrong)} GROUP BY day, value "
                f"QUALIFY row_number() OVER (PARTITION BY day ORDER BY n DESC, value) <= {limit}) GROUP BY day"
            )
        for day, values in connection.execute(query).fetchall():
            samples[day, place] = tuple(shortened(str(value)) for value in values or [])
    return samples


def _by_day(connection: duckdb.DuckDBPyConnection, query: str) -> dict[date, dict[str, float]]:
    found = connection.execute(query)
    names = [column[0] for column in found.description or []][1:]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in found.fetchall()}
