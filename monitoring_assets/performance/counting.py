"""Counting labelled predictions in DuckDB: the rows of `performance_counts`, per day, segment and model version.

Rows are read once, a few days at a time. Pooling the counts over windows is in `windows.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from fractions import Fraction
from itertools import chain
from math import inf, isfinite, nan
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from monitoring_assets.ingestion.labels import labelled_log, measured_columns
from monitoring_assets.measuring.exact_sums import UNITS, fraction, value
from monitoring_assets.measuring.labelled import KEYS, LABEL_SQUARES, OF_CLASSES, OF_ERRORS, OF_NUMBERS, OF_ROWS
from monitoring_assets.measuring.measure import Tables, Wanted, measure
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.performance.counts import LARGEST, NUMBERS, SMALLEST, PerformanceCounts
from monitoring_assets.performance.score_histogram import ScoreHistogram
from monitoring_assets.sql_text import days_accepted, days_labelled, on_days
from monitoring_assets.warehouse import replace_days, table
from monitoring_assets.warehouse_tables import TABLES

# Rows that are joined with their labels at once.
ROWS_AT_ONCE = 2_000_000
CELLS = {"score_lowers": "lowers", "score_uppers": "uppers", "score_ones": "ones", "score_zeros": "zeros"}
# Day, segment, model version.
Key = tuple[date, str | None, str | None]


def write_counts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> None:
    """Replace these days of `performance_counts` by what log and labels hold now. Call it inside a transaction."""
    for some in [list(days)] if spec.is_in_lake and days else _chunks(connection, spec, days):
        tables = labelled_tables(connection, spec, some)
        connection.register("counted", _as_table(counts_of(tables, spec.task)))
        replace_days(
            connection, table(spec, "performance_counts"), some, "SELECT * FROM counted ORDER BY day, segment, model_version"
        )
        connection.unregister("counted")


def labelled_tables(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Tables:
    """The days' predictions with their labels, measured where both lie."""
    if spec.is_in_lake:
        from monitoring_assets.engines.lake_days import accounted_log
        from monitoring_assets.engines.lake_labels import joined_tables, labels_of

        return joined_tables(accounted_log(connection, spec, days), labels_of(spec, days), Wanted(labelled=True))
    rows = f"({labelled_log(spec, measured_columns(spec))} WHERE {on_days(days, 'p.day')})"
    return measure(connection, rows, spec, Wanted(labelled=True))


def read_counts(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, first: date, last: date, *, with_segments: bool = True
) -> dict[Key, PerformanceCounts]:
    """The stored counts of these days, in the order of the days."""
    columns = ", ".join((*NUMBERS, *CELLS))
    found = connection.sql(
        f"SELECT day, segment, model_version AS version, {columns} FROM {table(spec, 'performance_counts')} "
        f"WHERE day BETWEEN ? AND ? {'' if with_segments else 'AND segment IS NULL'} ORDER BY day, segment, model_version",
        params=[first, last],
    ).to_arrow_table()
    rows = ({name: found.column(name)[place] for name in found.column_names} for place in range(found.num_rows))
    return {(row["day"].as_py(), row["segment"].as_py(), row["version"].as_py()): _stored_counts(row) for row in rows}


def uncounted_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, first: date, last: date) -> list[date]:
    """Days with stored predictions and labels that were not counted, or not all that is counted now: an earlier version measured
    them."""
    found = connection.execute(
        f"SELECT day FROM {days_labelled(spec)} WHERE day BETWEEN $first AND $last "
        f"AND day IN (SELECT day FROM {days_accepted(spec, 'inference_log', 'day BETWEEN $first AND $last')}) "
        f"AND day NOT IN (SELECT day FROM {table(spec, 'performance_counts')} WHERE day BETWEEN $first AND $last "
        "AND signed_error IS NOT NULL) ORDER BY day",
        {"first": first, "last": last},
    ).fetchall()
    return [day for (day,) in found]


def _chunks(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[list[date]]:
    """The days in order, as many at once as hold `ROWS_AT_ONCE` rows."""
    counted = connection.execute(f"FROM {days_accepted(spec, 'inference_log', on_days(days))}").fetchall()
    rows, held = dict(counted), 0
    some: list[date] = []
    for day in sorted(days):
        if some and held + rows.get(day, 0) > ROWS_AT_ONCE:
            yield some
            some, held = [], 0
        some, held = [*some, day], held + rows.get(day, 0)
    if some:
        yield some


def counts_of(tables: Mapping[str, pa.Table], task: str) -> Iterator[tuple[Key, PerformanceCounts]]:
    """The counts that measured rows give, by day, segment and model version."""
    scores = _histograms(tables["scores"]) if "scores" in tables else {}
    for row in tables["labelled"].to_pylist():
        key = (row["day"], row["segment"], row["version"])
        numbers = {name: float(row[name] or 0) if name in OF_ROWS else row[name] for name in NUMBERS if name in row}
        given = {name: value for name, value in numbers.items() if value is not None}
        given |= {name: float(row[name]) for name in OF_CLASSES} if task == "classification" else _moments(row)
        yield key, PerformanceCounts(**given, scores=scores.get(key, PerformanceCounts().scores))  # type: ignore[arg-type]


def _histograms(cells: pa.Table) -> dict[Key, ScoreHistogram]:
    """By day, segment and model version; the cells of each lie next to each other, in rising order."""
    keys = list(zip(*(cells[name].to_pylist() for name in KEYS), strict=True))
    arrays = [cells[name].cast(pa.float64()).to_numpy() for name in ("lower", "upper", "ones", "zeros")]
    starts = [place for place, key in enumerate(keys) if not place or key != keys[place - 1]]
    ends = [*starts[1:], len(keys)]
    return {
        keys[first]: ScoreHistogram(*(array[first:end] for array in arrays)).compressed()
        for first, end in zip(starts, ends, strict=False)
    }


def _moments(row: dict[str, Any]) -> dict[str, float]:
    """What a regression's sums say."""
    sums = {name: [row[f"{name}_{place}"] for place in range(len(UNITS) + 1)] for name in OF_NUMBERS}
    found = {name: value(sums[name]) for name in OF_ERRORS}
    weight, total = Fraction(row["weight"] or 0), fraction(sums["label_sum"])
    squares = Fraction(sum(fraction(sums[name]) for name in LABEL_SQUARES))
    if not weight:
        return found
    is_known = not any(sums[name][-1] for name in ("label_sum", *LABEL_SQUARES))
    deviations = max(float(squares - total * total / weight), 0.0) if is_known else inf
    return found | {"label_mean": float(total / weight) if is_known else inf, "label_deviations": deviations}


def _stored_counts(row: dict[str, pa.Scalar]) -> PerformanceCounts:
    """The counts in a row of `performance_counts`."""
    found = {name: row[name].as_py() for name in NUMBERS}
    given = {name: value for name, value in found.items() if value is not None or name not in (*SMALLEST, *LARGEST)}
    given |= dict.fromkeys((name for name, value in given.items() if value is None), nan)
    return PerformanceCounts(**given, scores=ScoreHistogram(*(_array(row[name]) for name in CELLS)))


def _array(scalar: "pa.ListScalar | None") -> np.ndarray:
    values = None if scalar is None else scalar.values
    return np.zeros(0) if values is None else values.to_numpy(zero_copy_only=False)


def _stored(name: str, value: object) -> object:
    """To thirteen digits: the last bits of a sum are the threads', not the data's. A mean keeps all, because the deviations of a
    pool rest on differences of means. The ends of no rows are not known; an infinite sum was too large to be added up."""
    if name in (*SMALLEST, *LARGEST) and isinstance(value, float) and not isfinite(value):
        return None
    return float(f"{value:.13g}") if isinstance(value, float) and name != "label_mean" else value


def _as_table(counted: Iterator[tuple[Key, PerformanceCounts]]) -> pa.Table:
    """The rows of `performance_counts`."""
    types = {
        "DATE": pa.date32(),
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "DOUBLE[]": pa.list_(pa.float64()),
    }
    schema = pa.schema([(name, types[kind]) for name, (kind, _) in TABLES["performance_counts"].items()])
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    for (day, segment, version), counts in counted:
        cells = {name: getattr(counts.scores, part) for name, part in CELLS.items()}
        numbers = {name: _stored(name, getattr(counts, name)) for name in NUMBERS}
        for name, found in chain(
            {"day": day, "segment": segment, "model_version": version}.items(), numbers.items(), cells.items()
        ):
            columns[name].append(found)
    return pa.table(columns, schema=schema)
