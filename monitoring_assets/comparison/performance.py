"""How good a model is on a table whose labels are missing, and how good it was where they are known, without Dagster.

Tables come in and tables go out; the methods are in `performance/`. Reading the columns is in `scored_columns.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.comparison.performance_report import PerformanceReport
from monitoring_assets.comparison.scored_columns import CLASS_CUT, Array, ScoredColumns, feature_matrices, scored_columns
from monitoring_assets.errors import EstimateImpossible, SourceUnreadable
from monitoring_assets.ingestion.files import error_text
from monitoring_assets.ingestion.tables import Table, open_table
from monitoring_assets.performance.calibration import LabelledScores
from monitoring_assets.performance.density_ratio import density_ratios
from monitoring_assets.performance.direct_loss import dle
from monitoring_assets.performance.estimated import (
    FEW_ROWS,
    Estimate,
    PredictedRows,
    cbpe,
    prior_shift,
    undefined,
)
from monitoring_assets.performance.labelled_rows import measure
from monitoring_assets.performance.metrics import METRICS, Task

Method = Literal["cbpe", "pape", "prior_shift", "dle"]
METHODS: tuple[Method, ...] = ("cbpe", "pape", "prior_shift", "dle")
COLUMNS = ("metric", "value", "lower", "upper", "method", "effective_rows", "reason")


@dataclass(frozen=True)
class Options:
    """How performance is estimated; `estimate` says what each means."""

    score: str = "score"
    prediction: str | None = None
    label: str = "label"
    features: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    method: Method = "cbpe"

    @property
    def task(self) -> Task:
        return "regression" if self.method == "dle" else "classification"


def estimate(
    reference: Any,
    current: Any,
    *,
    score: str = "score",
    prediction: str | None = None,
    label: str = "label",
    features: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    method: Method = "cbpe",
) -> pd.DataFrame:
    """Estimate the metrics of predictions whose labels are not known yet, from a reference whose labels are.

    Parameters
    ----------
    reference, current
        pandas frames, Arrow tables (or what has `__arrow_c_stream__`, such as a polars frame), paths or glob patterns of Parquet,
        CSV or JSON lines files, or lists of those. Labels of the current table are not used.
    score
        The column of the probability of class 1; with `dle` of the predicted number.
    prediction
        The column of the predicted class, 0 or 1, true or false. Unless given, class 1 is predicted from a score of 0.5 on.
    label
        The reference's column of labels.
    features
        Columns that tell the tables apart (`pape`) or say where errors are large (`dle`). Unless given, all they have in common
        but ids, counters and timestamps of rows. The score is always one of them.
    metrics
        Those wanted; unless given, all of the task.
    method
        'cbpe': scores mean what they meant in the reference. 'pape': the same, but rows like today's count more. 'prior_shift':
        labels became more or less common, nothing else changed. 'dle': of a regression, errors depend on the features as they
        did.

    Returns
    -------
    DataFrame
        One row per metric: `metric`, `value` (nan where undefined), `lower` and `upper` (95 % interval of the metric that the
        labels will show), `method`, `effective_rows` (labelled rows of equal weight that the estimate rests on), `reason` (why
        there is no value, or why it is doubtful; else None).

    Raises
    ------
    SourceUnreadable
        When a file is absent, empty or damaged.
    ColumnUnusable
        When a column is missing or holds no scores, labels or classes.
    EstimateImpossible
        When the reference has no labels, or of one class only; when a score lies outside [0, 1]; when an argument is wrong.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> score = generator.random(5000)
    >>> before = pd.DataFrame({"score": score, "label": generator.random(5000) < score})
    >>> now = pd.DataFrame({"score": generator.random(1000) ** 2})
    >>> estimate(before, now, metrics=["accuracy"])[["metric", "value", "method"]].round(2)
         metric  value method
    0  accuracy   0.81   cbpe
    """
    options = Options(score, prediction, label, features, metrics, method)
    with _tables(reference, current) as (connection, tables):
        return _estimated(connection, tables, options)[0]


def realised(
    table: Any,
    *,
    score: str = "score",
    prediction: str | None = None,
    label: str = "label",
    metrics: Sequence[str] | None = None,
    task: Task = "classification",
) -> pd.DataFrame:
    """The metrics of predictions whose labels are known; rows without a label or a score are left out.

    Parameters and result are those of `estimate`; of a regression (`task`), `score` is the predicted number. `effective_rows` are
    the measured ones.

    Examples
    --------
    >>> rows = pd.DataFrame({"score": [0.9, 0.8, 0.3, 0.1], "label": [1, 0, 0, 0]})
    >>> realised(rows, metrics=["accuracy", "auc"])[["metric", "value", "method", "effective_rows"]]
         metric  value    method  effective_rows
    0  accuracy   0.75  realised             4.0
    1       auc   1.00  realised             4.0
    """
    with _tables(table) as (connection, tables):
        found = scored_columns(connection, tables[0], task, score, prediction, label)
        return _realised(found, task, _metrics(metrics, task))


def performance_report(reference: Any, current: Any, options: Options = Options()) -> PerformanceReport:
    """`estimate`, beside the realised metrics of the reference and, where it has labels, of the current table; the same
    errors."""
    with _tables(reference, current) as (connection, tables):
        estimated, notes = _estimated(connection, tables, options)
        metrics = list(estimated["metric"])
        columns = [
            scored_columns(connection, table, options.task, options.score, options.prediction, options.label)
            if options.label in table.columns
            else None
            for table in tables
        ]
    measured = [
        _realised(found, options.task, metrics) if found is not None and found.has_both.any() else None for found in columns
    ]
    before = measured[0]
    assert before is not None, "an estimate needs labels in the reference"  # noqa: S101
    return PerformanceReport((tables[0].name, tables[1].name), options.method, estimated, before, measured[1], notes)


def _estimated(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], options: Options
) -> tuple[pd.DataFrame, list[str]]:
    """What `estimate` returns, and what else a reader should know."""
    if options.method not in METHODS:
        raise EstimateImpossible(f"method is {options.method!r}; one of {', '.join(METHODS)} was expected")
    metrics = _metrics(options.metrics, options.task)
    before, now = (
        scored_columns(connection, table, options.task, options.score, options.prediction, label)
        for table, label in zip(tables, (options.label, None), strict=True)
    )
    rows = np.flatnonzero(before.has_both), np.flatnonzero(now.has_score)
    _refuse_useless_labels(tables[0], options, before.labels[rows[0]], len(before.scores))
    notes = [
        f"{len(side.scores) - len(kept):,} of {len(side.scores):,} rows of the {table.role} have no {what} and are left out"
        for side, kept, table, what in zip((before, now), rows, tables, ("label or score", "score"), strict=True)
        if len(kept) < len(side.scores)
    ]
    if not len(rows[1]):
        return _frame(dict.fromkeys(metrics, undefined("no scores")), options.method, 0.0), notes
    found, effective, doubts = _by_method(connection, tables, options, metrics, (before, now), rows)
    return _frame(_with_doubts(found, doubts), options.method, effective), [*notes, *doubts]


def _by_method(
    connection: duckdb.DuckDBPyConnection,
    tables: Sequence[Table],
    options: Options,
    metrics: Sequence[str],
    sides: tuple[ScoredColumns, ScoredColumns],
    rows: tuple[Array, Array],
) -> tuple[Mapping[str, Estimate], float, list[str]]:
    """The estimates, the effective labelled rows they rest on, and why they are doubtful."""
    scores = [side.scores[kept] for side, kept in zip(sides, rows, strict=True)]
    labels, chosen = sides[0].labels[rows[0]], sides[1].chosen[rows[1]]
    matrices = _features(connection, tables, options, rows, scores) if options.method in {"pape", "dle"} else []
    if options.method == "dle":
        return dle(matrices[0], scores[0], labels, matrices[1], scores[1], metrics), float(len(labels)), _few(len(labels))
    weights = density_ratios(matrices[0], matrices[1]) if options.method == "pape" else None
    labelled, current = LabelledScores.of(scores[0], labels, weights), PredictedRows.of(scores[1], chosen)
    doubts = _few(labelled.effective_rows, len(labels)) + _constant(scores)
    if options.method == "prior_shift":
        found, rate = prior_shift(labelled, current, metrics)
        doubts += (
            [] if 1e-6 < rate < 1 - 1e-6 else [f"doubtful: scores say that all labels are {rate:.0f}, which no reference shows"]
        )
        return found, labelled.effective_rows, doubts
    return cbpe(labelled, current, metrics), labelled.effective_rows, doubts


def _features(
    connection: duckdb.DuckDBPyConnection,
    tables: Sequence[Table],
    options: Options,
    rows: tuple[Array, Array],
    scores: Sequence[Array],
) -> list[Array]:
    """The features of the rows, the score among them."""
    besides = {options.score, options.label, *([options.prediction] if options.prediction else [])}
    found = feature_matrices(connection, (tables[0], tables[1]), options.features, besides, rows)
    return [np.column_stack([score, matrix]) for score, matrix in zip(scores, found, strict=True)]


def _refuse_useless_labels(table: Table, options: Options, labels: Array, rows: int) -> None:
    if not len(labels):
        raise EstimateImpossible(
            f"no row of the reference ({table.name}, {rows:,} rows) has both a label ({options.label!r}) and a score "
            f"({options.score!r}); an estimate needs a reference whose labels are known"
        )
    if options.task == "classification" and labels.min() == labels.max():
        raise EstimateImpossible(
            f"all {len(labels):,} labels of the reference ({table.name}) are {labels[0]:.0f}; what scores mean can be learnt "
            "only from rows of both classes: use a longer reference"
        )


def _few(effective: float, rows: int | None = None) -> list[str]:
    if effective >= FEW_ROWS:
        return []
    if rows is None or effective >= rows * (1 - 1e-9):
        return [f"doubtful: the reference has only {effective:.0f} labelled rows"]
    return [f"doubtful: so few of the {rows:,} labelled rows resemble today's that they count as {effective:.0f}"]


def _constant(scores: Sequence[Array]) -> list[str]:
    for role, values in zip(("reference", "current table"), scores, strict=True):
        if values.min() == values.max():
            return [f"doubtful: all scores of the {role} are {values[0]:g}, which tells rows of the two classes not apart"]
    return []


def _with_doubts(found: Mapping[str, Estimate], doubts: Sequence[str]) -> dict[str, Estimate]:
    if not doubts:
        return dict(found)
    return {name: each if each.reason else each._replace(reason="; ".join(doubts)) for name, each in found.items()}


def _metrics(asked: Sequence[str] | None, task: Task) -> list[str]:
    names = list(METRICS[task]) if asked is None else list(dict.fromkeys([asked] if isinstance(asked, str) else asked))
    unknown = [name for name in names if name not in METRICS[task]]
    if unknown or not names:
        found = f"unknown metric {', '.join(map(repr, unknown))}" if unknown else "no metric given"
        raise EstimateImpossible(f"{found}; of a {task} there are {', '.join(METRICS[task])}")
    return names


def _realised(columns: ScoredColumns, task: Task, metrics: Sequence[str]) -> pd.DataFrame:
    by_score = task == "regression" or np.array_equal(columns.chosen, columns.scores >= CLASS_CUT)
    found = measure(columns.labels, columns.scores, None if by_score else columns.chosen, task, CLASS_CUT)
    rows = {name: Estimate(found[name].value, *found[name].interval, found[name].reason) for name in metrics}
    return _frame(rows, "realised", float(columns.has_both.sum()))


def _frame(found: Mapping[str, Estimate], method: str, effective_rows: float) -> pd.DataFrame:
    rows = [(name, each.value, each.lower, each.upper, method, effective_rows, each.reason) for name, each in found.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"reason": object})


@contextmanager
def _tables(*sources: Any) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[Table]]]:
    """The tables, scannable; the first is the reference."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false; SET autoinstall_known_extensions = false")
        roles = ("reference", "current") if len(sources) > 1 else ("table",)
        tables = [open_table(connection, role, source) for role, source in zip(roles, sources, strict=True)]
        try:
            yield connection, tables
        except duckdb.Error as error:
            names = " and ".join(table.name for table in tables)
            raise SourceUnreadable(f"{names}: a value cannot be read: {error_text(error)}") from None
