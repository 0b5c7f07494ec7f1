"""What each day shows of each expectation, from the tables that `measuring/ruled.py` counts of all days and columns together.

Great Expectations copies whole columns in memory for its rules: 60 rules that name the rows on 1 M rows x 20 columns take it
5.3 s and 0.93 GB. Twice as many take 2 s here, and DuckDB's own memory limit. Whether what was counted is acceptable is judged
in `findings.py`.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import duckdb

from monitoring_assets.engines.day_rows import Rows
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.measuring.ruled import PAIR_SUMS, VALUE_KINDS, correlation
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.quality.expectations import Expectation
from monitoring_assets.warehouse import TYPE_NAMES
from monitoring_assets.wording import shortened


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
    connection: duckdb.DuckDBPyConnection,
    rows: Rows,
    spec: MonitorSpec,
    expectations: Sequence[Expectation],
    days: Sequence[date],
) -> Iterator[Measured]:
    """Measure rows of these days, ordered by day and expectation.

    A day without rows is measured for `row_count` and `of_type` only. Of an absent column only its type can be measured, of one
    of another type than declared only that and what is missing; of no values, or of a pair with a constant one, nothing.
    """
    types = rows.types(connection)
    wrong = {
        column: types.get(column, "absent") for column, kind in spec.log_columns.items() if not _fits(types.get(column), kind)
    }
    comparable = {place: e for place, e in enumerate(expectations) if _is_comparable(e, types, wrong)}
    tables = rows.tables(connection, Wanted(rules=comparable))
    counted, samples = _values(spec, comparable, tables), _samples(spec, comparable, tables)
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


def day_end(day: date, spec: MonitorSpec) -> datetime:
    """The end of a day in the monitor's time zone, as a UTC time: an hour is an hour, also when clocks change."""
    return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(spec.time_zone)).astimezone(ZoneInfo("UTC"))


def _values(spec: MonitorSpec, rules: dict[int, Expectation], tables: Tables) -> dict[date, dict[str, float]]:
    """By day: `rows`, and for the rule at a place its value `m<place>` and, where it does not rest on all rows, `n<place>`."""
    found: dict[date, dict[str, float]] = {row.pop("day"): row for row in tables["ruled"].to_pylist()}
    distinct = (
        Counter((row["day"], row["place"]) for row in tables["distinct"].to_pylist()) if "distinct" in tables else Counter()
    )
    for day, values in found.items():
        for place, rule in rules.items():
            if rule.kind == "prediction_varies":
                values[f"m{place}"] = distinct[day, place] or math.nan
            elif rule.kind == "fresh":
                last = values[f"last{place}"]
                values[f"m{place}"] = math.nan if last is None else (day_end(day, spec).timestamp() - last / 1e6) / 3600
            elif rule.kind == "correlated":
                values[f"m{place}"] = correlation(*(int(values[f"{name}{place}"]) for name in ("n", *PAIR_SUMS)))
    return found


def _samples(spec: MonitorSpec, rules: dict[int, Expectation], tables: Tables) -> dict[tuple[date, int], tuple[str, ...]]:
    """The commonest unexpected values per day and expectation, among so many rows that break it (`measuring/ruled.py`); the
    first ids of missing values, and of repeated ids."""
    values: dict[tuple[date, int], list[str | float]] = {}
    for row in tables["examples"].to_pylist() if "examples" in tables else ():
        values.setdefault((row["day"], row["place"]), []).append(row["value"] if row["number"] is None else row["number"])
    found = {}
    for (day, place), shown in values.items():
        if rules[place].kind in VALUE_KINDS:
            first = sorted(Counter(shown).items(), key=lambda counted: (-counted[1], counted[0]))
            values[day, place] = [value for value, _ in first]
        found[day, place] = tuple(shortened(str(value)) for value in values[day, place][: spec.quality.samples])
    return found
