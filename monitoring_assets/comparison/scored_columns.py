"""Scores, predicted classes, labels and features of a table, as arrays. What is no score or no label is a named error."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.comparison.common_columns import Column, alias_sql, common_columns
from monitoring_assets.drift.multivariate import Encoding
from monitoring_assets.errors import ColumnUnusable, EstimateImpossible
from monitoring_assets.ingestion.tables import Table
from monitoring_assets.measuring.labelled import NEGATIVE_CLASSES, POSITIVE_CLASSES
from monitoring_assets.measuring.values import NUMBERS, value_expressions
from monitoring_assets.performance.metrics import Task
from monitoring_assets.sql_text import literal

Array = np.ndarray

# A row is predicted as class 1 from this score on, where no column says what was predicted.
CLASS_CUT = 0.5


@dataclass(frozen=True)
class ScoredColumns:
    """Of each row the score, the label (both nan where missing), and the predicted class (0 or 1; of a regression all 0)."""

    scores: Array
    labels: Array
    chosen: Array

    @property
    def has_score(self) -> Array:
        return np.isfinite(self.scores)

    @property
    def has_both(self) -> Array:
        return self.has_score & np.isfinite(self.labels)


def scored_columns(
    connection: duckdb.DuckDBPyConnection, table: Table, task: Task, score: str, prediction: str | None, label: str | None
) -> ScoredColumns:
    """These columns of a table; without `label`, no row has one.

    Raises
    ------
    ColumnUnusable
        When a column is missing or no numbers; of a classification, when labels or predicted classes are neither 0 nor 1.
    EstimateImpossible
        When a score of a classification lies outside [0, 1].
    """
    asked = {"score": score, **({"prediction": prediction} if prediction else {}), **({"label": label} if label else {})}
    for role, name in asked.items():
        if name in table.unreadable or name not in table.columns:
            held = ", ".join(map(repr, table.columns[:50])) or "no columns"
            why = f"is {table.unreadable[name]}" if name in table.unreadable else f"is missing; it has {held}"
            raise ColumnUnusable(
                f"the {role} column {name!r} of the {table.role} ({table.name}) {why}. Name the column that holds it "
                f"(`{role}=`, --{role})"
            )
    wanted = {
        name: _class_sql(table, name) if _is_class(role, task) else _number_sql(table, name) for role, name in asked.items()
    }
    _refuse_unreadable(connection, table, wanted, {name for role, name in asked.items() if _is_class(role, task)})
    selected = ", ".join(f"{sql} AS {role}" for role, sql in zip(asked, wanted.values(), strict=True))
    found = connection.sql(f"SELECT {selected} FROM {table.relation}").fetchnumpy()
    arrays: dict[str, Array] = {role: np.ma.filled(np.ma.asarray(values, float), np.nan) for role, values in found.items()}
    scores = arrays["score"]
    if task == "classification":
        outside = scores[~np.isnan(scores) & ~((scores >= 0) & (scores <= 1))]
        if len(outside):
            raise EstimateImpossible(
                f"column {score!r} of the {table.role} holds {len(outside)} scores outside [0, 1], such as {outside[0]:g}; "
                "probabilities of class 1 were expected: store them, or for predicted numbers use method 'dle'"
            )
    by_score = (scores >= CLASS_CUT).astype(float)
    chosen = np.where(np.isnan(arrays["prediction"]), by_score, arrays["prediction"]) if "prediction" in arrays else by_score
    nothing = np.full(len(scores), np.nan)
    return ScoredColumns(scores, arrays.get("label", nothing), chosen if task == "classification" else np.zeros(len(scores)))


def feature_matrices(
    connection: duckdb.DuckDBPyConnection,
    tables: tuple[Table, Table],
    features: Sequence[str] | None,
    besides: set[str],
    rows: tuple[Array, Array],
) -> list[Array]:
    """Numbers of the features of some rows of both tables, (rows, features). Unless `features` names them, all common
    columns that are no ids or timestamps and not in `besides`. Categories are numbers by how common they are in the reference."""
    one, other = (
        replace(table, types={name: found for name, found in table.types.items() if name not in besides})
        if features is None
        else table
        for table in tables
    )
    if features is None and not set(one.types) & set(other.types):
        return [np.zeros((len(places), 0)) for places in rows]
    columns = common_columns(connection, one, other, features, (), None).columns
    kinds = {column.name: column.kind for column in columns}
    frames = [_frame(connection, table, columns, side).iloc[rows[side]] for side, table in enumerate(tables)]
    encoding = Encoding.fit(frames[0], kinds)
    return [encoding.matrix(frame) for frame in frames]


def _frame(connection: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[Column], side: int) -> pd.DataFrame:
    relation = f"(SELECT {alias_sql(columns, side)} FROM {table.relation})"
    kinds = {f"c{place}": column.kind for place, column in enumerate(columns)}
    values = value_expressions(connection, relation, kinds).values()
    selected = ", ".join(f"{sql} AS v{place}" for place, sql in enumerate(values))
    frame = connection.sql(f"SELECT {selected} FROM {relation}").to_arrow_table().to_pandas(strings_to_categorical=True)
    return frame.set_axis([column.name for column in columns], axis=1)


def _is_class(role: str, task: Task) -> bool:
    return task == "classification" and role != "score"


def _number_sql(table: Table, name: str) -> str:
    return f"TRY_CAST({table.sql[name]} AS DOUBLE)"


def _class_sql(table: Table, name: str) -> str:
    """0 or 1; NULL where missing, 2 where neither."""
    x, is_number = table.sql[name], NUMBERS.fullmatch(table.types[name])
    positive, negative = (", ".join(map(literal, known)) for known in (POSITIVE_CLASSES, NEGATIVE_CLASSES))
    if not is_number:
        text = f"lower(trim(CAST({x} AS VARCHAR)))"
        return f"CASE WHEN {text} IN ({positive}) THEN 1.0 WHEN {text} IN ({negative}) THEN 0.0 WHEN {text} <> '' THEN 2.0 END"
    number = f"TRY_CAST({x} AS DOUBLE)"
    return f"CASE WHEN {x} IS NULL OR isnan({number}) THEN NULL WHEN {number} IN (0, 1) THEN {number} ELSE 2.0 END"


def _refuse_unreadable(connection: duckdb.DuckDBPyConnection, table: Table, wanted: dict[str, str], classes: set[str]) -> None:
    for name, sql in wanted.items():
        bad = f"{sql} = 2" if name in classes else f"{table.sql[name]} IS NOT NULL AND {sql} IS NULL"
        count, example = connection.execute(
            f"SELECT count(*), any_value({table.sql[name]}::VARCHAR) FROM {table.relation} WHERE {bad}"
        ).fetchall()[0]
        if count:
            expected = "0 or 1, true or false" if name in classes else "numbers"
            hint = "; for a regression use method 'dle' (task 'regression')" if name in classes else ""
            raise ColumnUnusable(
                f"column {name!r} of the {table.role} ({table.name}) holds {count} values such as {example[:60]!r} where "
                f"{expected} were expected; correct the values or name another column{hint}"
            )
