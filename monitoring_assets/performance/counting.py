"""Counting labelled predictions in DuckDB: the rows of `performance_counts`, per day, segment and model version.

Rows are read once, a few days at a time. Pooling the counts over windows is in `windows.py`.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import chain
from math import isfinite

import duckdb
import numpy as np
import pyarrow as pa

from monitoring_assets.ingestion.labels import labelled_log
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.performance.counts import NEGATIVE_CLASSES, NUMBERS, POSITIVE_CLASSES, PerformanceCounts
from monitoring_assets.performance.score_histogram import ScoreHistogram
from monitoring_assets.sql_text import on_days
from monitoring_assets.warehouse import literal, quoted, replace_days, table
from monitoring_assets.warehouse_tables import TABLES

# Rows that are joined with their labels at once.
ROWS_AT_ONCE = 2_000_000
CELLS = {"score_lowers": "lowers", "score_uppers": "uppers", "score_ones": "ones", "score_zeros": "zeros"}
# Day, segment, model version.
Key = tuple[date, str | None, str | None]


def write_counts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> None:
    """Replace these days of `performance_counts` by what log and labels hold now. Call it inside a transaction."""
    by = list(dict.fromkeys([*spec.segments, *spec.protected_attributes]))
    extra = [f"p.{quoted(name)}" for name in by]
    predicted, version = spec.prediction.predicted_class, spec.prediction.model_version
    for some in _chunks(connection, spec, days):
        rows = labelled_log(
            spec,
            [
                f"p.{quoted(spec.prediction.column)} AS __score",
                f"p.{quoted(predicted)} AS __predicted" if predicted else "NULL AS __predicted",
                f"p.{quoted(version)} AS __version" if version else "NULL::VARCHAR AS __version",
                *extra,
            ],
        )
        counted = count_relation(connection, spec, f"({rows} WHERE {on_days(some, 'p.day')})", by)
        connection.register("counted", _as_table(counted))
        replace_days(
            connection, table(spec, "performance_counts"), some, "SELECT * FROM counted ORDER BY day, segment, model_version"
        )
        connection.unregister("counted")


def count_relation(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: str, by: Sequence[str] = ()
) -> Iterator[tuple[Key, PerformanceCounts]]:
    """The counts of a relation: of all its rows and of each value of the columns `by`, per day and model version.

    `rows` is SQL with the columns `day`, `__label` (NULL or NaN where unknown), `__score`, `__predicted` (text or NULL),
    `__weight`, `__version` and those of `by`.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE measured_rows AS {_prepared(spec, rows, by)}")
    for column in (None, *by):
        value = f"{quoted(column)}::VARCHAR" if column else "NULL::VARCHAR"
        where = f"WHERE {quoted(column)} IS NOT NULL" if column else ""
        sql = _regression_sql(value, where) if spec.task == "regression" else _classification_sql(value, where)
        for batch in connection.sql(sql).to_arrow_table().to_batches(max_chunksize=100):
            for place in range(batch.num_rows):
                row = {name: batch.column(name)[place] for name in batch.schema.names}
                segment = f"{column}={row['value'].as_py()}" if column else None
                yield (row["day"].as_py(), segment, row["version"].as_py()), _counts_of(row)
    connection.execute("DROP TABLE measured_rows")


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
    return {(row["day"].as_py(), row["segment"].as_py(), row["version"].as_py()): _counts_of(row, is_sorted=True) for row in rows}


def uncounted_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, first: date, last: date) -> list[date]:
    """Days with stored predictions and labels that were never counted: a version that had no counts measured them."""
    found = connection.execute(
        f"SELECT DISTINCT day FROM {table(spec, 'labels')} WHERE day BETWEEN $first AND $last "
        f"AND day IN (SELECT day FROM {table(spec, 'inference_log')} WHERE day BETWEEN $first AND $last) "
        f"AND day NOT IN (SELECT day FROM {table(spec, 'performance_counts')} WHERE day BETWEEN $first AND $last) ORDER BY day",
        {"first": first, "last": last},
    ).fetchall()
    return [day for (day,) in found]


def _chunks(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[list[date]]:
    """The days in order, as many at once as hold `ROWS_AT_ONCE` rows."""
    counted = connection.execute(
        f"SELECT day, count(*) FROM {table(spec, 'inference_log')} WHERE day IN (SELECT unnest(?::DATE[])) GROUP BY day",
        [list(days)],
    ).fetchall()
    rows, held = dict(counted), 0
    some: list[date] = []
    for day in sorted(days):
        if some and held + rows.get(day, 0) > ROWS_AT_ONCE:
            yield some
            some, held = [], 0
        some, held = [*some, day], held + rows.get(day, 0)
    if some:
        yield some


def _prepared(spec: MonitorSpec, rows: str, by: Sequence[str]) -> str:
    """The rows with what is added up of each; `w` is 0 where the row cannot be measured."""
    names = "".join(f", {quoted(name)}" for name in by)
    score = "CASE WHEN isfinite(__score) THEN __score END"
    label = "CASE WHEN isfinite(__label) THEN __label END"
    text = "lower(trim(__predicted))"
    positive, negative = (", ".join(literal(name) for name in known) for known in (POSITIVE_CLASSES, NEGATIVE_CLASSES))
    by_score = f"(__score >= {spec.performance.class_cut!r})::INTEGER"
    return (
        f"SELECT day, __version AS version{names}, {score} AS score, {label} AS label, "
        f"CASE WHEN {score} IS NULL OR {label} IS NULL OR __weight <= 0 THEN 0 ELSE __weight END::DOUBLE AS w, "
        f"CASE WHEN {text} IN ({positive}) THEN 1 WHEN {text} IN ({negative}) THEN 0 ELSE {by_score} END::DOUBLE AS chosen, "
        f"CASE WHEN {text} <> '' AND {text} NOT IN ({positive}, {negative}) THEN __predicted END AS unreadable FROM {rows}"
    )


_COMMON = (
    "count(*) AS row_count, count(label) AS labelled_rows, count(*) FILTER (w > 0) AS measured_rows, sum(w) AS weight, "
    "sum(w * w) AS squared_weight, min(label) FILTER (w > 0) AS smallest_label, max(label) FILTER (w > 0) AS largest_label, "
    "min(score) FILTER (w > 0) AS smallest_score, max(score) FILTER (w > 0) AS largest_score"
)


def _classification_sql(value: str, where: str) -> str:
    """Rows are added up per distinct score first, then per group, so that each group's scores come as arrays."""
    # A certain and wrong score would cost infinity; scikit-learn bounds it by the float's resolution, and so do we.
    tiny = repr(float(np.finfo("float64").eps))
    likelihood = f"greatest({tiny}, least(1 - {tiny}, CASE WHEN label = 1 THEN score ELSE 1 - score END))"
    sums = {
        "log_loss": f"w * -ln({likelihood})",
        "true_positives": "w * label * chosen",
        "false_positives": "w * (1 - label) * chosen",
        "false_negatives": "w * label * (1 - chosen)",
        "true_negatives": "w * (1 - label) * (1 - chosen)",
        "ones": "w * label",
        "zeros": "w * (1 - label)",
    }
    parts = ", ".join(f"sum({sql}) FILTER (w > 0) AS {name}" for name, sql in sums.items())
    added = ", ".join(
        f"sum({name}) AS {name}" for name in ("row_count", "labelled_rows", "measured_rows", "weight", "squared_weight")
    )
    added += ", " + ", ".join(f"coalesce(sum({name}), 0.0) AS {name}" for name in list(sums)[:5])
    ends = ", ".join(
        f"{'min' if name.startswith('smallest') else 'max'}({name}) AS {name}"
        for name in ("smallest_label", "largest_label", "smallest_score", "largest_score")
    )
    cells = ", ".join(
        f"list({source}) FILTER (weight > 0) AS {name}"
        for name, source in (("score_lowers", "score"), ("score_ones", "ones"), ("score_zeros", "zeros"))
    )
    return (
        f"SELECT day, version, value, {added}, {ends}, min(unreadable_class) AS unreadable_class, {cells} FROM ("
        f"SELECT day, version, {value} AS value, score, {_COMMON}, {parts}, min(unreadable) FILTER (w > 0) AS unreadable_class "
        f"FROM measured_rows {where} GROUP BY ALL) GROUP BY day, version, value"
    )


def _regression_sql(value: str, where: str) -> str:
    """Deviations are added up around a number near the labels: around 0 large labels would leave none of their digits."""
    near = "(SELECT coalesce(avg(label) FILTER (w > 0), 0.0) FROM measured_rows)"
    return (
        f"WITH moments AS (SELECT day, version, {value} AS value, {_COMMON}, {near} AS near, "
        "coalesce(sum(w * abs(score - label)) FILTER (w > 0), 0.0) AS absolute_error, "
        "coalesce(sum(w * (score - label) ** 2) FILTER (w > 0), 0.0) AS squared_error, "
        f"coalesce(sum(w * (label - {near})) FILTER (w > 0), 0.0) AS first, "
        f"coalesce(sum(w * (label - {near}) ** 2) FILTER (w > 0), 0.0) AS second FROM measured_rows {where} GROUP BY ALL) "
        "SELECT * EXCLUDE (near, first, second), CASE WHEN weight > 0 THEN near + first / weight ELSE 0.0 END AS label_mean, "
        "CASE WHEN weight > 0 THEN greatest(second - first * first / weight, 0.0) ELSE 0.0 END AS label_deviations FROM moments"
    )


def _counts_of(row: dict[str, pa.Scalar], *, is_sorted: bool = False) -> PerformanceCounts:
    """The counts in a row of `performance_counts`, or of a query that has its columns."""
    found = {name: row[name].as_py() for name in NUMBERS if name in row}
    given = {name: value for name, value in found.items() if value is not None}
    lowers, ones, zeros = (_array(row.get(name)) for name in ("score_lowers", "score_ones", "score_zeros"))
    if is_sorted:
        return PerformanceCounts(**given, scores=ScoreHistogram(lowers, _array(row["score_uppers"]), ones, zeros))
    return PerformanceCounts(**given, scores=ScoreHistogram.of(lowers, ones, zeros).compressed())


def _array(scalar: "pa.ListScalar | None") -> np.ndarray:
    values = None if scalar is None else scalar.values
    return np.zeros(0) if values is None else values.to_numpy(zero_copy_only=False)


def _stored(name: str, value: object) -> object:
    """To thirteen digits: the last bits of a sum are the threads', not the data's. A mean keeps all, because the deviations of a
    pool rest on differences of means. What is infinite stands for nothing known."""
    if not isinstance(value, float) or name == "label_mean":
        return value
    return float(f"{value:.13g}") if isfinite(value) else None


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
        for name, value in chain(
            {"day": day, "segment": segment, "model_version": version}.items(), numbers.items(), cells.items()
        ):
            columns[name].append(value)
    return pa.table(columns, schema=schema)
