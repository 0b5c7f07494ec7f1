"""Predictions with their labels as tables that add up, per day, segment and model version: sums, and scores by label.

What they are for, and pooling them over windows, is `performance/counts.py`'s.
"""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from monitoring_assets.measuring.cells import bounded_cells, number_sql
from monitoring_assets.measuring.exact_sums import ROWS, parts_sql
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import literal, quoted

POSITIVE_CLASSES = ("1", "1.0", "true")
NEGATIVE_CLASSES = ("0", "0.0", "false")
KEYS = ("day", "segment", "version")
COUNTS = ("row_count", "labelled_rows", "measured_rows")
# Sums of a classification are in proportion to weights; those of a regression have the label's unit, or its square.
OF_ROWS = ("weight", "squared_weight")
OF_CLASSES = ("log_loss", "squared_error", "true_positives", "false_positives", "false_negatives", "true_negatives")
# Of those, the ones whose terms are no multiples of weights.
FRACTIONAL = ("log_loss", "squared_error")
# The squared label in three parts: around 0 the squares of large labels, rounded, would leave no digits of their deviations.
LABEL_SQUARES = ("label_square_high", "label_square_middle", "label_square_low")
OF_ERRORS = ("signed_error", "absolute_error", "squared_error", "fourth_power_error", "relative_error", "squared_relative_error")
OF_NUMBERS = (*OF_ERRORS, "label_sum", *LABEL_SQUARES)
ENDS = {
    "smallest_label": "min",
    "largest_label": "max",
    "smallest_score": "min",
    "largest_score": "max",
    "unreadable_class": "min",
}


def labelled(
    connection: duckdb.DuckDBPyConnection, rows: str, spec: MonitorSpec, by: Sequence[str] | None = None
) -> dict[str, pa.Table]:
    """The tables `labelled` and `scores` of a relation with `day`, `__label` (NULL or NaN where unknown), `__score`,
    `__predicted` (text or NULL), `__weight`, `__version` and the columns `by`, those of `segments_of` unless given."""
    by = segments_of(spec) if by is None else by
    connection.execute(f"CREATE OR REPLACE TEMP TABLE measured_rows AS {_prepared(spec, rows, by)}")
    found = []
    for column in (None, *by):
        segment = f"{literal(f'{column}=')} || {quoted(column)}::VARCHAR" if column else "NULL::VARCHAR"
        where = f"WHERE {quoted(column)} IS NOT NULL" if column else ""
        relation = f"(SELECT *, {segment} AS segment FROM measured_rows {where})"
        sums = connection.sql(f"SELECT day, segment, version, {_sums(spec)} FROM {relation} GROUP BY day, segment, version")
        part = {"labelled": sums.to_arrow_table()}
        if spec.task == "classification":
            amount = amount_of(spec)
            numbers = (
                f"(SELECT day, segment, version, {number_sql('score')} AS lower, lower AS upper, (w * label)::{amount} AS ones, "
                f"(w * (1 - label))::{amount} AS zeros FROM {relation} WHERE w > 0)"
            )
            part["scores"] = _cells(connection, numbers, amount)
        found.append(part)
    connection.execute("DROP TABLE measured_rows")
    return {name: _sorted(pa.concat_tables([part[name] for part in found], promote_options="permissive")) for name in found[0]}


def added_labelled(
    connection: duckdb.DuckDBPyConnection, parts: Mapping[str, pa.Table], spec: MonitorSpec
) -> dict[str, pa.Table]:
    """The tables of all rows, from those of batches put below each other."""
    connection.register("labelled_batches", parts["labelled"])
    kinds = dict.fromkeys(COUNTS, "BIGINT") | dict.fromkeys(OF_ROWS, amount_of(spec))
    kinds |= _class_kinds(spec) if spec.task == "classification" else {}
    added = [
        f"{ENDS[name]}({name}) AS {name}" if name in ENDS else f"sum({name})::{kinds.get(name, 'HUGEINT')} AS {name}"
        for name in parts["labelled"].column_names
        if name not in KEYS
    ]
    listed = ", ".join(added)
    found = {
        "labelled": connection.sql(f"SELECT day, segment, version, {listed} FROM labelled_batches GROUP BY ALL").to_arrow_table()
    }
    connection.unregister("labelled_batches")
    if "scores" in parts:
        connection.register("score_batches", parts["scores"])
        found["scores"] = _cells(connection, "score_batches", amount_of(spec))
        connection.unregister("score_batches")
    return {name: _sorted(table) for name, table in found.items()}


def segments_of(spec: MonitorSpec) -> list[str]:
    """The columns by whose values labelled predictions are measured apart."""
    return list(dict.fromkeys([*spec.segments, *spec.protected_attributes]))


def amount_of(spec: MonitorSpec) -> str:
    """What amounts of rows are added up in: without weights they are whole numbers, whose sums are exact."""
    return ROWS if spec.sampling_weight else "DOUBLE"


def _cells(connection: duckdb.DuckDBPyConnection, numbers: str, amount: str) -> pa.Table:
    return bounded_cells(connection, numbers, KEYS, {"ones": amount, "zeros": amount}, is_probability=True)


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in (*KEYS, "lower") if name in table.column_names])


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


def _sums(spec: MonitorSpec) -> str:
    amount, kinds = amount_of(spec), _class_kinds(spec)
    found = {
        "row_count": "count(*)",
        "labelled_rows": "count(label)",
        "measured_rows": "count(*) FILTER (w > 0)",
        "weight": f"sum(w::{amount})",
        "squared_weight": f"sum((w * w)::{amount})",
        "smallest_label": f"min({number_sql('label')}) FILTER (w > 0)",
        "largest_label": f"max({number_sql('label')}) FILTER (w > 0)",
        "smallest_score": f"min({number_sql('score')}) FILTER (w > 0)",
        "largest_score": f"max({number_sql('score')}) FILTER (w > 0)",
        "unreadable_class": "min(unreadable) FILTER (w > 0)",
    }
    if spec.task == "classification":
        found |= {name: f"coalesce(sum(({sql})::{kinds[name]}) FILTER (w > 0), 0)" for name, sql in _class_sums().items()}
    else:
        for name, sql in _number_sums().items():
            found |= parts_sql(sql, name)
    return ", ".join(f"{sql} AS {name}" for name, sql in found.items())


def _class_kinds(spec: MonitorSpec) -> dict[str, str]:
    return dict.fromkeys(OF_CLASSES, amount_of(spec)) | dict.fromkeys(FRACTIONAL, ROWS)


def _class_sums() -> dict[str, str]:
    # A certain and wrong score would cost infinity; scikit-learn bounds it by the float's resolution, and so do we.
    tiny = repr(float(np.finfo("float64").eps))
    likelihood = f"greatest({tiny}, least(1 - {tiny}, CASE WHEN label = 1 THEN score ELSE 1 - score END))"
    return {
        "log_loss": f"w * -ln({likelihood})",
        # Of scores that are no probabilities it says nothing, and may not fit a decimal.
        "squared_error": "CASE WHEN score BETWEEN 0 AND 1 THEN w * (score - label) ** 2 END",
        "true_positives": "w * label * chosen",
        "false_positives": "w * (1 - label) * chosen",
        "false_negatives": "w * label * (1 - chosen)",
        "true_negatives": "w * (1 - label) * (1 - chosen)",
    }


def _number_sums() -> dict[str, str]:
    high = "coalesce(TRY_CAST(label AS FLOAT)::DOUBLE, label)"
    low = f"(label - {high})"
    squares = (f"w * {high} * {high}", f"w * 2.0::DOUBLE * {high} * {low}", f"w * {low} * {low}")
    error = "(score - label)"
    # A label of 0 makes it infinite, which `exact_sums` counts among numbers too large.
    relative = f"(abs{error} / abs(label))"
    errors = (error, f"abs{error}", f"{error} ** 2", f"{error} ** 4", relative, f"{relative} ** 2")
    return {
        **{name: _measured(f"w * {sql}") for name, sql in zip(OF_ERRORS, errors, strict=True)},
        "label_sum": _measured("w * label"),
        **dict(zip(LABEL_SQUARES, map(_measured, squares), strict=True)),
    }


def _measured(sql: str) -> str:
    return f"(CASE WHEN w > 0 THEN {sql} ELSE 0.0 END)"
