"""Two tables compared, column by column and without Dagster: has the second drifted from the first?

Reading tables is in `ingestion/tables.py`, which columns they share in `common_columns.py`, counting in `counting.py`, thresholds
in `shuffling.py`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.comparison.common_columns import KINDS, Column, common_columns
from monitoring_assets.comparison.counting import Pair, Side, drawn, histograms
from monitoring_assets.comparison.drift_report import SCHEMA, DriftReport
from monitoring_assets.comparison.shuffling import shuffled_thresholds
from monitoring_assets.drift.kinds import kinds_of_change
from monitoring_assets.drift.multivariate import ALL_FEATURES
from monitoring_assets.drift.multivariate_scores import compare_samples
from monitoring_assets.drift.scores import Comparison
from monitoring_assets.drift.thresholds import ALMOST_ONE, SCALES, CalibratedThreshold, judgement
from monitoring_assets.drift.windows import DIGITS
from monitoring_assets.errors import ComparisonImpossible, SourceUnreadable
from monitoring_assets.ingestion.files import error_text
from monitoring_assets.ingestion.tables import open_table
from monitoring_assets.measuring.histograms import Histogram
from monitoring_assets.monitor_spec import ALL_CATEGORICAL_METHODS, ALL_NUMERIC_METHODS, SEVERITIES, Drift, MultivariateMethod

ALLOWED: dict[str, tuple[str, ...]] = {"numeric": ALL_NUMERIC_METHODS, "categorical": ALL_CATEGORICAL_METHODS}
# Fewer rows on either side tell nothing: even a median is not known to half a standard deviation.
MINIMUM_ROWS = Drift().minimum_rows
# Whole numbers from here on are not all of them doubles.
EXACT_WHOLE = 2.0**53

# The histograms of a column and its rows of the result.
Scored = tuple[Pair, list[dict[str, object]]]


@dataclass(frozen=True)
class Options:
    """How two tables are compared; `compare` says what each means."""

    features: Sequence[str] | Mapping[str, str] | None = None
    categorical: Collection[str] = ()
    methods: Sequence[str] | None = None
    false_alarm_rate: float = 0.01
    weight: str | None = None


def compare(
    reference: Any,
    current: Any,
    *,
    features: Sequence[str] | Mapping[str, str] | None = None,
    categorical: Collection[str] = (),
    methods: Sequence[str] | None = None,
    false_alarm_rate: float = 0.01,
    weight: str | None = None,
) -> pd.DataFrame:
    """Compare two tables, column by column.

    Parameters
    ----------
    reference, current
        pandas frames, Arrow tables (or what has `__arrow_c_stream__`, such as a polars frame), paths or glob patterns of Parquet,
        CSV or JSON lines files, or lists of those.
    features
        Columns to compare. Unless given, all they have in common but for ids, counters and timestamps of rows. As a mapping,
        column -> 'numeric' or 'categorical' (None: as found, which is numeric for numbers, booleans and times, also for text that
        is numbers with marks for missing values such as 'n/a' (`ingestion.tables.MISSING_MARKS`), categorical for other text).
    categorical
        Columns to take as categories whatever their type, such as codes.
    methods
        Such as 'psi', 'ks', 'js', 'wasserstein', 'chi2', 'missingness'; each is used for the kinds of column it suits.
        'pca_reconstruction', 'correlation' and 'domain_classifier' compare all features together, on a sample of the rows.
    false_alarm_rate
        Share of comparisons of two samples of one population that may have any alarm at all, 0 to 0.2.
    weight
        A numeric column that says how many rows each row stands for.

    Returns
    -------
    DataFrame
        One row per feature and method, and one of the method 'schema' for each column that only one table has; worst first:
        `feature`, `method`, `score` (nan where undefined), `p_value` (ks and chi2 only, 0 to 1, not corrected for many scores),
        `threshold`, `drifted`, `reason` (why there is no score, else None), `kind`, `change` (of drifted features: missing, new
        category, shift or shape; gone or new), `severity` (ok, minor, moderate, severe),
        `excess` (on the scale of effects), `reference_rows`, `current_rows`, `score_error_bound`.
        Units and ranges of scores: `drift/distances.py`.

    Raises
    ------
    SourceUnreadable
        When a file is absent, empty or damaged.
    ColumnUnusable
        When a column asked for is missing or of a type that cannot be compared, a name comes twice, or a weight is no weight.
    ComparisonImpossible
        When there is no common column, columns hold numbers on one side and text on the other, or an argument is wrong.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> before = pd.DataFrame({"amount": np.arange(1000.0), "country": ["NL", "DE"] * 500})
    >>> now = before.assign(amount=before["amount"] + 300)
    >>> compare(before, now)[["feature", "method", "score", "drifted"]].round(3).iloc[[0, -1]]
       feature       method  score  drifted
    0   amount  wasserstein  1.039     True
    8  country  missingness  0.000    False
    """
    return drift_report(reference, current, Options(features, categorical, methods, false_alarm_rate, weight)).scores


def drift_report(
    reference: Any,
    current: Any,
    options: Options = Options(),
    progress: Callable[[Iterable[Scored], int], Iterable[Scored]] = lambda columns, _: columns,
) -> DriftReport:
    """`compare`, with the profiles and what was left out; the same errors.

    `progress` gets the columns as they are scored and how many they will be, and passes them on.
    """
    chosen, together = _methods(options.methods)
    false_alarm_rate, weight = options.false_alarm_rate, options.weight
    if not 0 < false_alarm_rate <= 0.2:
        raise ComparisonImpossible(f"false_alarm_rate is {false_alarm_rate!r}; more than 0 and at most 0.2 was expected")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false; SET autoinstall_known_extensions = false")
        tables = open_table(connection, "reference", reference), open_table(connection, "current", current)
        try:
            found = common_columns(connection, *tables, options.features, options.categorical, weight)
            columns = found.columns
            sides = [Side.of(connection, table, place, weight) for place, table in enumerate(tables)]
            rows = sides[0].rows, sides[1].rows
            rate = false_alarm_rate / max(sum(len(_suited(column, chosen)) for column in columns) + len(together), 1)
            counted = histograms(connection, sides, columns, weight)
            scored = list(progress(_scores(columns, counted, rows, chosen, rate), len(columns)))
            samples = [drawn(connection, side, columns, weight) for side in sides] if together else []
        except duckdb.Error as error:
            raise SourceUnreadable(
                f"{tables[0].name} and {tables[1].name}: a value cannot be read: {error_text(error)}"
            ) from None
    pairs = {column.name: pair for column, (pair, _) in zip(columns, scored, strict=True)}
    scores = [_schema_row(name, change, rows) for name, change in found.schema.items()]
    scores += [row for _, of_column in scored for row in of_column]
    if together:
        common = {"feature": ALL_FEATURES, "kind": "all", "reference_rows": rows[0], "current_rows": rows[1]}
        scores += [common | row for row in _score_together(scored[0][0], samples, columns, together, rate)]
    return DriftReport(
        (tables[0].name, tables[1].name), rows, _worst_first(pd.DataFrame(scores)), columns, pairs,
        found.left_out, [*found.notes, *_rounded(columns, pairs)], false_alarm_rate,
    )  # fmt: skip


def _methods(methods: Sequence[str] | None) -> tuple[dict[str, list[str]], list[MultivariateMethod]]:
    """The methods of each kind of column, and those of all features together."""
    if methods is None:
        return {"numeric": list(Drift().numeric_methods), "categorical": list(Drift().categorical_methods)}, []
    asked = list(dict.fromkeys([methods] if isinstance(methods, str) else methods))
    unknown = [method for method in asked if method not in SCALES]
    if unknown or not asked:
        found = f"unknown method {', '.join(map(repr, unknown))}" if unknown else "no method given"
        raise ComparisonImpossible(f"{found}; known: {', '.join(SCALES)}")
    together = [method for method in get_args(MultivariateMethod) if method in asked]
    single = [method for method in asked if method not in together]
    return dict.fromkeys(KINDS, single), together


def _scores(
    columns: list[Column],
    pairs: Iterable[Pair],
    rows: tuple[int, int],
    methods: Mapping[str, list[str]],
    rate: float,
) -> Iterator[Scored]:
    """Each column's histograms and its rows of the result."""
    for column, pair in zip(columns, pairs, strict=True):
        suited = _suited(column, methods)
        unfit = [method for method in methods[column.kind] if method not in suited]
        found = _score_column(*pair, suited, rate)
        found += [_unscored(method, f"{method} does not compare {column.kind} columns") for method in unfit]
        common = {"feature": column.name, "kind": column.kind, "reference_rows": rows[0], "current_rows": rows[1]}
        yield pair, [common | row for row in found]


def _suited(column: Column, methods: Mapping[str, list[str]]) -> list[str]:
    return [method for method in methods[column.kind] if method in ALLOWED[column.kind]]


def _score_together(
    rows: tuple[Histogram, Histogram],
    drawn: list[pd.DataFrame],
    columns: list[Column],
    methods: list[MultivariateMethod],
    rate: float,
) -> list[dict[str, object]]:
    reason = _too_few(*rows)
    if reason:
        return [_unscored(method, reason) for method in methods]
    table = compare_samples(drawn[0], drawn[1], {column.name: column.kind for column in columns}, methods, rate=rate)
    return [
        _unscored(row["method"], row["reason"])
        if np.isnan(row["score"])
        else row
        | {"p_value": np.nan, "score_error_bound": 0.0, "drifted": row["severity"] != "ok"}
        | {"change": f"relation: {row['detail'].split('; ')[0]}" if row["severity"] != "ok" else None}
        for row in table.drop(columns="feature").to_dict("records")
    ]


def _score_column(reference: Histogram, current: Histogram, methods: Sequence[str], rate: float) -> list[dict[str, object]]:
    reason = _too_few(reference, current)
    if reason is not None:
        return [_unscored(method, reason) for method in methods]
    pair = Comparison.of(reference, current)
    found = {method: tuple(float(values[0]) for values in pair.apply(method)) for method in methods}
    thresholds = shuffled_thresholds(pair, {method: score for method, (score, _, _) in found.items()}, rate)
    judged = [_judged(pair, method, found[method], thresholds[method]) for method in methods]
    change = kinds_of_change(pair)[0] if any(row["drifted"] for row in judged) else None
    return [row | {"change": change} for row in judged]


def _judged(pair: Comparison, method: str, found: tuple[float, ...], threshold: CalibratedThreshold) -> dict[str, object]:
    score, p_value, bound = found
    score = round(score, DIGITS)
    if np.isnan(score):
        return _unscored(method, _undefined(pair))
    rows, other = pair.effective_rows
    effective = rows * other / (rows + other)
    # A score that every shuffle has (ids, all different on both sides) is at its threshold but for rounding, not beyond it.
    within = min(score, ALMOST_ONE) if SCALES[method].growth in {"share", "affinity"} else score
    judged = judgement(method, np.array([within * (1 - 1e-9)]), np.array([p_value]), effective, None, threshold)
    severity = judged.severities[0]
    return {
        "method": method, "score": score, "p_value": p_value, "threshold": float(judged.thresholds[0]),
        "excess": float(judged.excess[0]),
        "drifted": severity != "ok", "severity": severity, "score_error_bound": round(bound, DIGITS), "reason": None,
    }  # fmt: skip


def _schema_row(name: str, change: str, rows: tuple[int, int]) -> dict[str, object]:
    """A column that only one table has: drift of the schema, beyond any threshold."""
    return {
        "feature": name, "method": SCHEMA, "score": 1.0, "p_value": np.nan, "threshold": 0.0, "excess": np.inf, "drifted": True,
        "severity": "severe", "score_error_bound": 0.0, "reason": None, "change": change, "kind": "column",
        "reference_rows": rows[0], "current_rows": rows[1],
    }  # fmt: skip


def _unscored(method: str, reason: str) -> dict[str, object]:
    nothing = dict.fromkeys(("score", "p_value", "threshold", "excess", "score_error_bound"), np.nan)
    return {"method": method, **nothing, "drifted": False, "severity": None, "change": None, "reason": reason}


def _too_few(reference: Histogram, current: Histogram) -> str | None:
    for role, side in (("reference", reference), ("current table", current)):
        if side.row_count[0] < MINIMUM_ROWS:
            return f"the {role} has {int(side.row_count[0])} rows, {MINIMUM_ROWS} needed"
        if not side.rows[0] > 0:
            return f"the weights of the {role} add up to 0"
    return None


def _undefined(pair: Comparison) -> str:
    for role, counts in (("reference", pair.reference[0]), ("current table", pair.current[0])):
        if not counts.sum() > 0:
            return f"all values are missing in the {role}"
    return "the reference's standard deviation is 0 or too large to be a number"


def _worst_first(table: pd.DataFrame) -> pd.DataFrame:
    columns = [
        "feature", "method", "score", "p_value", "threshold", "drifted", "reason", "kind", "change", "severity",
        "excess", "reference_rows", "current_rows", "score_error_bound",
    ]  # fmt: skip
    rank = table["severity"].map({severity: place for place, severity in enumerate(SEVERITIES)}).fillna(-1)
    ordered = table.assign(rank=rank).sort_values(["rank", "excess"], ascending=False, kind="stable", na_position="last")
    return ordered[columns].reset_index(drop=True)


def _rounded(columns: list[Column], pairs: Mapping[str, Pair]) -> list[str]:
    rounded = [
        column.name
        for column, sides in zip(columns, pairs.values(), strict=True)
        if any(re.match(r".*INT|DECIMAL|BIGNUM", found) for found in column.types)
        and any(np.nanmax(np.abs([side.minimum[0], side.maximum[0], 0.0])) > EXACT_WHOLE for side in sides)
    ]
    return [f"numbers beyond 2^53 are compared as rounded to 64-bit floats: {', '.join(rounded)}"] if rounded else []
