"""The contract: what a delivered row must be to count, as SQL that gives each row its typed values or its reason.

A row is judged on its own here, and against its neighbours only for repeated ids. Storing and counting is in `delivery.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import duckdb

from monitoring_assets.ingestion.files import FAULT, LINE, SOURCE_FILE
from monitoring_assets.ingestion.sources import Reading
from monitoring_assets.sql_text import on_days
from monitoring_assets.warehouse import quoted

# Temporary table: the partition of each file.
FILE_DAYS = "file_days"

# The first and the last day of a monitor.
Bounds = tuple[date, date]

# Column -> (condition on the typed value `{value}` that breaks the contract, what the reason says).
Rules = Mapping[str, tuple[str, str]]


def create_judged(
    connection: duckdb.DuckDBPyConnection,
    target: str,
    readings: Sequence[Reading],
    types: Mapping[str, str],
    identifier: str,
    event_time: str | None,
    days: Sequence[date] | None,
    bounds: Bounds | None,
    rules: Rules,
) -> None:
    """Make the temporary view `target`: the rows of the readings that belong to these days (None for all), each judged.

    It has `day` (the partition), the typed columns, `__reason` (NULL for a sound row), `__source` and `__original` (the row as
    delivered, as JSON). Nothing is read until the view is queried, and then only the columns queried.

    A file with a day of its own puts all its rows on that day; else the row's event time decides. A row without a readable one,
    or with one outside `bounds`, is broken and follows the first day of its file, or the first day of all where it has none.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {FILE_DAYS} (source_file VARCHAR, file_day DATE)")
    for reading in readings:
        if None not in reading.files.values():
            files, file_days = list(reading.files), list(reading.files.values())
            connection.execute(f"INSERT INTO {FILE_DAYS} SELECT unnest(?::VARCHAR[]), unnest(?::DATE[])", [files, file_days])
        elif event_time:
            event_day = _event_day(reading, event_time)
            first_day = f"min({event_day}) FILTER ({_is_inside(event_day, bounds)})"
            connection.execute(
                f"INSERT INTO {FILE_DAYS} SELECT __raw.{SOURCE_FILE}, coalesce({first_day}, ?::DATE) "
                f"FROM {reading.relation} __raw GROUP BY ALL",
                [bounds[0] if bounds else None],
            )
    parts = [_judged_sql(reading, types, identifier, event_time, days, bounds, rules) for reading in readings]
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {target} AS {' UNION ALL '.join(parts or [_no_rows(types)])}")


def typed_sql(raw: str, found: str, wanted: str) -> str:
    """SQL that turns a raw column into the wanted type, NULL where it cannot.

    A whole number stored as floating point has the text of the whole number: one NULL makes pandas store ids and codes as
    floats, and '7.0' would be another id than '7'.

    >>> typed_sql("x", "BOOLEAN", "DOUBLE")
    'TRY_CAST(x AS DOUBLE)'
    >>> typed_sql("x", "VARCHAR", "DOUBLE")
    "coalesce(TRY_CAST(x AS DOUBLE), CASE lower(x) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 END)"
    >>> typed_sql("x", "DOUBLE", "VARCHAR")
    'CASE WHEN abs(x) < 9e15 AND x = trunc(x) THEN CAST(CAST(x AS BIGINT) AS VARCHAR) ELSE CAST(x AS VARCHAR) END'
    """
    if wanted == "TIMESTAMPTZ":
        cast = f"TRY_CAST({raw} AS TIMESTAMPTZ)"
        return f"CASE WHEN isfinite({cast}) THEN {cast} END"
    if found == wanted:
        return raw
    if wanted == "DOUBLE" and found == "VARCHAR":
        return f"coalesce(TRY_CAST({raw} AS DOUBLE), CASE lower({raw}) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 END)"
    if wanted == "VARCHAR" and found in {"DOUBLE", "FLOAT"}:
        whole = f"abs({raw}) < 9e15 AND {raw} = trunc({raw})"
        return f"CASE WHEN {whole} THEN CAST(CAST({raw} AS BIGINT) AS VARCHAR) ELSE CAST({raw} AS VARCHAR) END"
    return f"TRY_CAST({raw} AS {wanted})"


def _judged_sql(
    reading: Reading,
    types: Mapping[str, str],
    identifier: str,
    event_time: str | None,
    days: Sequence[date] | None,
    bounds: Bounds | None,
    rules: Rules,
) -> str:
    typed = {name: typed_sql(f"__raw.{quoted(name)}", reading.columns[name], kind) for name, kind in types.items()}
    has_own_day = None not in reading.files.values()
    event_day = _event_day(reading, event_time) if event_time else "NULL::DATE"
    broken = [(f"__raw.{FAULT} IS NOT NULL", f"__raw.{FAULT}")] if reading.layout.has_lines else []
    broken += [(f"__raw.{quoted(identifier)} IS NULL", f"'missing id: {_text(identifier)} is NULL'")]
    broken.append((f"{typed[identifier]} = ''", f"'missing id: {_text(identifier)} is blank'"))
    if event_time:
        broken.append((f"__raw.{quoted(event_time)} IS NULL", f"'missing event time: {_text(event_time)} is NULL'"))
    broken += [
        _typing_rule(name, kind, typed[name])
        for name, kind in types.items()
        if kind != "VARCHAR" and typed[name] != f"__raw.{quoted(name)}"
    ]
    broken += [
        (condition.format(value=typed[name]), f"'{says}: {_text(name)} is ' || {_example(f'__raw.{quoted(name)}')}")
        for name, (condition, says) in rules.items()
    ]
    if has_own_day and event_time:
        broken.append((f"{event_day} <> f.file_day", f"'wrong day: {_text(event_time)} is on ' || {event_day}"))
    elif event_time and bounds:
        outside = f"NOT ({_is_inside(event_day, bounds)})"
        broken.append((outside, f"'outside the monitor''s days: {_text(event_time)} is on ' || {event_day}"))
    cases = " ".join(f"WHEN {condition} THEN {reason}" for condition, reason in broken)
    values = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in typed.items())
    partition = f"CASE WHEN {_is_inside(event_day, bounds)} THEN {event_day} ELSE f.file_day END"
    if has_own_day:
        partition = "f.file_day"
    asked = "true" if days is None else on_days(days)
    return (
        f"SELECT * FROM (SELECT {partition} AS day, {values}, CASE {cases} END AS __reason, __raw.{SOURCE_FILE} AS __source, "
        f"{_original_sql(reading)} AS __original "
        f"FROM {reading.relation} __raw JOIN {FILE_DAYS} f ON f.source_file = __raw.{SOURCE_FILE}) WHERE {asked}"
    )


def _original_sql(reading: Reading) -> str:
    """The row as delivered: a line of JSON as it is, a broken line as a JSON text, any other row as a JSON object."""
    if reading.layout.format == "jsonl":
        return f"CASE WHEN __raw.{FAULT} IS NULL THEN __raw.{LINE} ELSE CAST(to_json(__raw.{LINE}) AS VARCHAR) END"
    values = ", ".join(f"{quoted(name)} := __raw.{quoted(name)}" for name in reading.columns)
    row = f"CAST(to_json(struct_pack({values})) AS VARCHAR)"
    if not reading.layout.has_lines:
        return row
    return f"CASE WHEN __raw.{FAULT} IS NULL THEN {row} ELSE CAST(to_json(__raw.{LINE}) AS VARCHAR) END"


def _is_inside(day: str, bounds: Bounds | None) -> str:
    if bounds is None:
        return f"{day} IS NOT NULL"
    return f"{day} BETWEEN DATE '{bounds[0].isoformat()}' AND DATE '{bounds[1].isoformat()}'"


def _no_rows(types: Mapping[str, str]) -> str:
    columns = {"day": "DATE", **types, "__reason": "VARCHAR", "__source": "VARCHAR", "__original": "VARCHAR"}
    return f"SELECT {', '.join(f'NULL::{kind} AS {quoted(name)}' for name, kind in columns.items())} WHERE false"


def _event_day(reading: Reading, event_time: str) -> str:
    typed = typed_sql(f"__raw.{quoted(event_time)}", reading.columns[event_time], "TIMESTAMPTZ")
    return f"CAST({typed} AS DATE)"


def _typing_rule(name: str, wanted: str, typed: str) -> tuple[str, str]:
    plain = {"DOUBLE": "a number", "TIMESTAMPTZ": "a time"}[wanted]
    raw = f"__raw.{quoted(name)}"
    return (f"{raw} IS NOT NULL AND {typed} IS NULL", f"'not {plain}: {_text(name)} is ' || {_example(raw)}")


def _example(raw: str) -> str:
    return f"coalesce(left(CAST({raw} AS VARCHAR), 100), 'NULL')"


def _text(name: str) -> str:
    return name.replace("'", "''")
