"""How the rows of a batch stand to rules, as tables that add up: unexpected values, examples of them, what correlations need.

What a rule means, and whether a day meets it, is `quality/`'s; a rule is known here by its kind, column and arguments only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import literal, quoted

# Rows kept as examples of what breaks a rule on a day, those with the smallest hashes of their ids; and distinct values counted.
EXAMPLES, DISTINCT_COUNTED = 1_000, 1_000
# Kinds that count rows of a day, and those of them that are about values, not ids.
ROW_KINDS = ("not_null", "in_range", "in_set", "no_outliers", "unique_id")
VALUE_KINDS = ("in_range", "in_set", "no_outliers")
# For correlations a column is counted in steps: 2 ** 36 of them are the reference's range. Values further than 512 ranges away
# count as that far, so that every sum is a whole number of at most 128 bits.
STEPS, FURTHEST_STEP = 36, 2**45
PAIR_SUMS = ("x", "y", "xx", "yy", "xy")


class Rule(Protocol):
    """What is asked of rows, see `quality.expectations.Expectation`."""

    @property
    def kind(self) -> str: ...
    @property
    def column(self) -> str | None: ...
    @property
    def arguments(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class PlainRule:
    """A rule without more to it, for who wants its counts and judges nothing."""

    kind: str
    column: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


def ruled(connection: duckdb.DuckDBPyConnection, rows: str, spec: MonitorSpec, rules: Mapping[int, Rule]) -> dict[str, pa.Table]:
    """The tables `ruled` (by day `rows`, and for the rule at a place what `_aggregates` names), `examples` and `distinct`.

    Every column that a rule names is in the relation, and of the declared type unless the rule asks for missing values.
    """
    types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
    numbers = {name for name, kind in spec.log_columns.items() if kind == types.get(name) == "DOUBLE"}
    wanted = ["count(*) AS rows"]
    for place, rule in rules.items():
        wanted += _aggregates(place, rule, spec, numbers)
    counted = f"SELECT day, {', '.join(wanted)} FROM {rows} GROUP BY day"
    for place, rule in rules.items():
        if rule.kind == "unique_id":
            again = f"SELECT day, sum(n)::BIGINT AS m{place} FROM ({_repeated_sql(rows, str(rule.column))}) GROUP BY day"
            counted = f"SELECT c.*, coalesce(m{place}, 0) AS m{place} FROM ({counted}) c LEFT JOIN ({again}) USING (day)"
    found = {"ruled": connection.sql(f"SELECT * FROM ({counted}) ORDER BY day").to_arrow_table()}
    broken = [place for place, rule in rules.items() if rule.kind in ROW_KINDS and any(found["ruled"][f"m{place}"].to_pylist())]
    if broken and spec.quality.samples:
        examples = [_examples_sql(rows, place, rules[place], spec, numbers) for place in broken]
        found["examples"] = connection.sql(f"SELECT * FROM ({' UNION ALL '.join(examples)}) ORDER BY ALL").to_arrow_table()
    varying = [_distinct_sql(rows, place, rule, numbers) for place, rule in rules.items() if rule.kind == "prediction_varies"]
    if varying:
        found["distinct"] = connection.sql(f"SELECT * FROM ({' UNION ALL '.join(varying)}) ORDER BY ALL").to_arrow_table()
    return found


def added_ruled(connection: duckdb.DuckDBPyConnection, parts: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of all rows, from those of batches put below each other."""
    batches, found = parts["ruled"], {}
    connection.register("ruled_batches", batches)
    added = [
        f"max({name}) AS {name}" if name.startswith("last") else f"sum({name})::{_whole(batches.schema.field(name))} AS {name}"
        for name in batches.column_names
        if name != "day"
    ]
    found["ruled"] = connection.sql(
        f"SELECT day, {', '.join(added)} FROM ruled_batches GROUP BY day ORDER BY day"
    ).to_arrow_table()
    connection.unregister("ruled_batches")
    if "examples" in parts:
        connection.register("example_batches", parts["examples"])
        first = f"row_number() OVER (PARTITION BY day, place ORDER BY rank, value, number) <= {EXAMPLES}"
        found["examples"] = connection.sql(f"FROM example_batches QUALIFY {first} ORDER BY ALL").to_arrow_table()
        connection.unregister("example_batches")
    if "distinct" in parts:
        connection.register("distinct_batches", parts["distinct"])
        first = f"row_number() OVER (PARTITION BY day, place ORDER BY value) <= {DISTINCT_COUNTED}"
        found["distinct"] = connection.sql(
            f"FROM (SELECT DISTINCT * FROM distinct_batches) QUALIFY {first} ORDER BY ALL"
        ).to_arrow_table()
        connection.unregister("distinct_batches")
    return found


def correlation(n: int, x: int, y: int, xx: int, yy: int, xy: int) -> float:
    """Pearson's r of n pairs of whole numbers from their sums, nan where one of the two is constant.

    >>> correlation(3, 6, 12, 14, 56, 28)
    1.0
    """
    spread = (n * xx - x * x) * (n * yy - y * y)
    return max(-1.0, min(1.0, (n * xy - x * y) / math.sqrt(spread))) if spread > 0 else math.nan


def _whole(field: pa.Field) -> str:
    return "HUGEINT" if pa.types.is_decimal(field.type) else "BIGINT"


def _aggregates(place: int, rule: Rule, spec: MonitorSpec, numbers: set[str]) -> list[str]:
    """`m<place>` unexpected rows of `n<place>`, the last event `last<place>` in microseconds, or `<sum><place>` of a pair."""
    if rule.kind == "fresh":
        return [f"max(epoch_us({quoted(spec.event_time)})) AS last{place}"]
    if rule.kind == "correlated":
        return _pair_sums(place, rule)
    missing = _missing(str(rule.column), numbers)
    if rule.kind == "not_null":
        return [f"count(*) FILTER ({missing}) AS m{place}"]
    present = f"count(*) FILTER (NOT {missing}) AS n{place}"  # the same for each rule of a column: DuckDB counts it once
    if rule.kind in ("unique_id", "prediction_varies"):
        return [present]
    return [present, f"count(*) FILTER ({_unexpected(rule, numbers)}) AS m{place}"]


def _pair_sums(place: int, rule: Rule) -> list[str]:
    names, steps = rule.arguments["pair"], []
    for name, (low, high) in zip(names, rule.arguments["ranges"], strict=True):
        scale = 2.0 ** (STEPS - math.ceil(math.log2(high - low)))
        step = f"({quoted(name)} - {low!r}::DOUBLE) * {scale!r}::DOUBLE"
        steps.append(f"greatest(-{FURTHEST_STEP}, least({FURTHEST_STEP}, {step}))::BIGINT")
    both = " AND ".join(f"isfinite({quoted(name)})" for name in names)
    x, y = (f"(CASE WHEN {both} THEN {step} END)" for step in steps)
    terms = dict(zip(PAIR_SUMS, (x, y, f"{x}::HUGEINT * {x}", f"{y}::HUGEINT * {y}", f"{x}::HUGEINT * {y}"), strict=True))
    return [
        f"count({x}) AS n{place}",
        *(f"coalesce(sum({term}), 0)::HUGEINT AS {name}{place}" for name, term in terms.items()),
    ]


def _missing(column: str, numbers: set[str]) -> str:
    x = quoted(column)
    return f"({x} IS NULL OR isnan({x}))" if column in numbers else f"({x} IS NULL)"


def _unexpected(rule: Rule, numbers: set[str]) -> str:
    """SQL that is true of a row that breaks the rule."""
    x = quoted(str(rule.column))
    if rule.kind == "not_null":
        return _missing(str(rule.column), numbers)
    if rule.kind == "in_set":
        return f"({x} NOT IN ({', '.join(literal(value) for value in rule.arguments['value_set'])}))"
    low, high = rule.arguments["min_value"], rule.arguments["max_value"]
    sides = [f"{x} < {low!r}::DOUBLE"] if low is not None else []
    sides += [f"{x} > {high!r}::DOUBLE"] if high is not None else []
    return f"(NOT isnan({x}) AND ({' OR '.join(sides)}))"  # DuckDB holds NaN to be above every number


def _repeated_sql(rows: str, column: str) -> str:
    x = quoted(column)
    return f"SELECT day, {x}, count(*) AS n FROM {rows} WHERE {x} IS NOT NULL GROUP BY day, {x} HAVING n > 1"


def _examples_sql(rows: str, place: int, rule: Rule, spec: MonitorSpec, numbers: set[str]) -> str:
    """Rows that break a rule: the value, or the id where a value is missing or an id repeated."""
    identifier = f"{quoted(spec.id)}::VARCHAR"
    rank, value, number = "0::UBIGINT", identifier, "NULL::DOUBLE"
    broken = f"{rows} WHERE {identifier} IS NOT NULL"
    if rule.kind in VALUE_KINDS:
        x, rank, broken = quoted(str(rule.column)), f"hash({identifier})", f"{rows} WHERE true"
        value, number = ("NULL::VARCHAR", x) if rule.column in numbers else (x, number)
    if rule.kind == "unique_id":
        broken = f"({_repeated_sql(rows, str(rule.column))})"
    else:
        broken += f" AND {_unexpected(rule, numbers)}"
    first = f"min(struct_pack(rank := {rank}, value := {value}, number := {number}), {EXAMPLES})"
    return f"SELECT day, {place} AS place, unnest({first}, recursive := true) FROM {broken} GROUP BY day"


def _distinct_sql(rows: str, place: int, rule: Rule, numbers: set[str]) -> str:
    x = quoted(str(rule.column))
    return (
        f"SELECT day, {place} AS place, value FROM (SELECT DISTINCT day, {x} + 0.0::DOUBLE AS value FROM {rows} "
        f"WHERE NOT {_missing(str(rule.column), numbers)}) "
        f"QUALIFY row_number() OVER (PARTITION BY day ORDER BY value) <= {DISTINCT_COUNTED}"
    )
