"""Two tables compared, column by column and without Dagster: has the second drifted from the first?

Reading tables is in `ingestion/tables.py`, which columns they share in `common_columns.py`, thresholds in `shuffling.py`.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, get_args

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.comparison.common_columns import KINDS, Column, alias_sql, common_columns
from monitoring_assets.comparison.drift_report import DriftReport
from monitoring_assets.comparison.shuffling import shuffled_thresholds
from monitoring_assets.drift.kinds import kinds_of_change
from monitoring_assets.drift.multivariate import ALL_FEATURES
from monitoring_assets.drift.multivariate_scores import compare_samples
from monitoring_assets.drift.multivariate_thresholds import COMPARED_ROWS
from monitoring_assets.drift.scores import Comparison
from monitoring_assets.drift.thresholds import ALMOST_ONE, SCALES, CalibratedThreshold, judge
from monitoring_assets.drift.windows import DIGITS
from monitoring_assets.errors import ColumnUnusable, ComparisonImpossible, SourceUnreadable
from monitoring_assets.ingestion.files import told
from monitoring_assets.ingestion.tables import Table, open_table
from monitoring_assets.monitor_spec import ALL_CATEGORICAL_METHODS, ALL_NUMERIC_METHODS, Drift, MultivariateMethod
from monitoring_assets.profiling.histograms import Histogram, read_histograms
from monitoring_assets.profiling.kernel import fit_grids, value_expressions, write_profiles
from monitoring_assets.warehouse import quoted
from monitoring_assets.warehouse_tables import PROFILE_COLUMNS

ALLOWED: dict[str, tuple[str, ...]] = {"numeric": ALL_NUMERIC_METHODS, "categorical": ALL_CATEGORICAL_METHODS}
# Fewer rows on either side tell nothing: even a median is not known to half a standard deviation.
MINIMUM_ROWS = Drift().minimum_rows
# Bins are fitted on about this many rows of each side; fitting on all of two million would cost more than counting them.
FIT_ROWS = 50_000
# The two sides as days of the kernel's.
DAYS = (date(2000, 1, 1), date(2000, 1, 2))
# Whole numbers from here on are not all of them doubles.
EXACT_WHOLE = 2.0**53


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
        pandas frames, Arrow tables (or what has `__arrow_c_stream__`, such as a polars frame), paths or glob patterns of Parquet
        or CSV files, or lists of those.
    features
        Columns to compare; all they have in common unless given. As a mapping, column -> 'numeric' or 'categorical' (None: as
        found, which is numeric for numbers, booleans and times, categorical for text).
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
        One row per feature and method, worst first: `feature`, `method`, `score` (nan where undefined), `p_value` (ks and chi2
        only, 0 to 1, not corrected for many scores), `threshold`, `drifted`, `reason` (why there is no score, else None), `kind`,
        `change` (of drifted features: missing, new category, shift or shape), `severity` (ok, minor, moderate, severe),
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
    return drift_report(
        reference,
        current,
        features=features,
        categorical=categorical,
        methods=methods,
        false_alarm_rate=false_alarm_rate,
        weight=weight,
    ).scores


def drift_report(
    reference: Any,
    current: Any,
    *,
    features: Sequence[str] | Mapping[str, str] | None = None,
    categorical: Collection[str] = (),
    methods: Sequence[str] | None = None,
    false_alarm_rate: float = 0.01,
    weight: str | None = None,
) -> DriftReport:
    """`compare`, with the profiles and what was left out; same arguments, same errors."""
    chosen, together = _methods(methods)
    if not 0 < false_alarm_rate <= 0.2:
        raise ComparisonImpossible(f"false_alarm_rate is {false_alarm_rate!r}; more than 0 and at most 0.2 was expected")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false; SET autoinstall_known_extensions = false")
        tables = open_table(connection, "reference", reference), open_table(connection, "current", current)
        try:
            columns, left_out = common_columns(connection, *tables, features, categorical, weight)
            samples = [_Sample.of(connection, table, columns, side, weight) for side, table in enumerate(tables)]
            histograms = _profiled(connection, samples, columns, weight)
            drawn = [_drawn(connection, sample, columns, weight) for sample in samples] if together else []
        except duckdb.Error as error:
            raise SourceUnreadable(f"{tables[0].name} and {tables[1].name}: a value cannot be read: {told(error)}") from None
    scores = _scores(columns, histograms, samples, chosen, false_alarm_rate, drawn, together)
    return DriftReport(
        (tables[0].name, tables[1].name), (samples[0].rows, samples[1].rows), scores, columns,
        {column.name: pair for column, pair in zip(columns, histograms, strict=True)}, left_out,
        _notes(columns, histograms), false_alarm_rate,
    )  # fmt: skip


@dataclass(frozen=True)
class _Sample:
    """A side's rows under numbered columns."""

    relation: str
    rows: int

    @classmethod
    def of(
        cls, connection: duckdb.DuckDBPyConnection, table: Table, columns: list[Column], side: int, weight: str | None
    ) -> "_Sample":
        day = f"DATE '{DAYS[side]}' AS day"
        weighed = ""
        (rows,) = connection.execute(f"SELECT count(*) FROM {table.relation}").fetchall()[0]
        if weight is not None:
            _refuse_bad_weights(connection, table, weight)
            weighed = f", {table.sql[weight]} AS weight"
        relation = f"(SELECT {day}, {alias_sql(columns, side)}{weighed} FROM {table.relation})"
        return cls(relation, int(rows))


def _refuse_bad_weights(connection: duckdb.DuckDBPyConnection, table: Table, weight: str) -> None:
    x = table.sql.get(weight, "NULL")
    wrong, example = connection.execute(
        f"SELECT count(*) FILTER (bad), any_value(told) FILTER (bad) FROM (SELECT TRY_CAST({x} AS DOUBLE) AS w, "
        f"coalesce(w IS NULL OR NOT isfinite(w) OR w < 0, true) AS bad, coalesce({x}::VARCHAR, 'NULL') AS told "
        f"FROM {table.relation})"
    ).fetchall()[0]
    if wrong:
        raise ColumnUnusable(
            f"column {weight!r} of the {table.role} holds {wrong} weights that are missing, negative or no finite number, such "
            f"as {example}; a weight says how many rows a row stands for: mend or leave out those rows"
        )


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


def _drawn(connection: duckdb.DuckDBPyConnection, sample: _Sample, columns: list[Column], weight: str | None) -> pd.DataFrame:
    """At most `COMPARED_ROWS` rows of a side, drawn by the hash of their place, and by weight as `profiling/sample.py` does."""
    kinds = {f"c{place}": column.kind for place, column in enumerate(columns)}
    values = value_expressions(connection, sample.relation, kinds)
    names = ", ".join(f"{x} AS {quoted(column.name)}" for x, column in zip(values.values(), columns, strict=True))
    key = "-ln((hash(place)::DOUBLE + 0.5) / 18446744073709551616.0)" + (" / weight" if weight else "")
    found = connection.sql(
        f"SELECT {names} FROM (SELECT *, row_number() OVER () AS place FROM {sample.relation}) "
        f"{'WHERE weight > 0 ' if weight else ''}ORDER BY {key} LIMIT {COMPARED_ROWS}"
    )
    frame: pd.DataFrame = found.to_arrow_table().to_pandas(strings_to_categorical=True)
    return frame


def _profiled(
    connection: duckdb.DuckDBPyConnection, samples: list[_Sample], columns: list[Column], weight: str | None
) -> list[tuple[Histogram, Histogram]]:
    """Both sides of each column, counted on bins fitted to both: bins that only the reference has shaped would know its luck."""
    kinds = {f"c{place}": column.kind for place, column in enumerate(columns)}
    declared = ", ".join(f"{quoted(name)} {kind}" for name, (kind, _) in PROFILE_COLUMNS.items())
    connection.execute(f"CREATE TEMP TABLE profiles ({declared})")
    drawn = [
        f"FROM {sample.relation}"
        + (f" USING SAMPLE {100 * FIT_ROWS / sample.rows}% (system, 1)" if sample.rows > 2 * FIT_ROWS else "")
        for sample in samples
    ]
    selected = ", ".join(kinds)
    grids = fit_grids(connection, f"(SELECT {selected} {drawn[0]} UNION ALL SELECT {selected} {drawn[1]})", kinds)
    sides = []
    for day, sample in zip(DAYS, samples, strict=True):
        write_profiles(connection, "profiles", sample.relation, kinds, grids, weight="weight" if weight else None)
        found = read_histograms(connection, "profiles", "day = ?", [day])
        sides.append([found.get((None, name), _no_rows(kind)) for name, kind in kinds.items()])
    return list(zip(*sides, strict=True))


def _no_rows(kind: str) -> Histogram:
    nothing = np.zeros(0, float if kind == "numeric" else object)
    return Histogram(kind, [DAYS[0]], nothing, np.zeros((1, 0)), np.zeros(1), np.full(1, np.nan), np.full(1, np.nan), True)


def _scores(
    columns: list[Column],
    histograms: list[tuple[Histogram, Histogram]],
    samples: list[_Sample],
    methods: Mapping[str, list[str]],
    false_alarm_rate: float,
    drawn: list[pd.DataFrame],
    together: list[MultivariateMethod],
) -> pd.DataFrame:
    suited = [[method for method in methods[column.kind] if method in ALLOWED[column.kind]] for column in columns]
    rate = false_alarm_rate / max(sum(map(len, suited)) + len(together), 1)
    found: list[dict[str, object]] = []
    for column, pair, fitting in zip(columns, histograms, suited, strict=True):
        common = {"feature": column.name, "kind": column.kind, "reference_rows": samples[0].rows, "current_rows": samples[1].rows}
        found += [common | row for row in _score_column(column, *pair, fitting, rate)]
        unfit = [method for method in methods[column.kind] if method not in fitting]
        found += [common | _unscored(method, f"{method} does not compare {column.kind} columns") for method in unfit]
    if together:
        common = {"feature": ALL_FEATURES, "kind": "all", "reference_rows": samples[0].rows, "current_rows": samples[1].rows}
        found += [common | row for row in _score_together(histograms[0], drawn, columns, together, rate)]
    return _worst_first(pd.DataFrame(found))


def _score_together(
    rows: tuple[Histogram, Histogram],
    drawn: list[pd.DataFrame],
    columns: list[Column],
    methods: list[MultivariateMethod],
    rate: float,
) -> list[dict[str, object]]:
    short = _too_few(*rows)
    if short:
        return [_unscored(method, short) for method in methods]
    table = compare_samples(drawn[0], drawn[1], {column.name: column.kind for column in columns}, methods, rate=rate)
    return [
        _unscored(row["method"], row["reason"])
        if np.isnan(row["score"])
        else row
        | {"p_value": np.nan, "score_error_bound": 0.0, "drifted": row["severity"] != "ok"}
        | {"change": f"relation: {row['detail'].split('; ')[0]}" if row["severity"] != "ok" else None}
        for row in table.drop(columns="feature").to_dict("records")
    ]


def _score_column(
    column: Column, reference: Histogram, current: Histogram, methods: Sequence[str], rate: float
) -> list[dict[str, object]]:
    short = _too_few(reference, current)
    if short:
        return [_unscored(method, short) for method in methods]
    pair = Comparison.of(reference, current)
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(column.name.encode()).digest()[:8], "little"))
    thresholds = shuffled_thresholds(pair, methods, rate, generator)
    judged = [_judged(pair, method, thresholds[method]) for method in methods]
    change = kinds_of_change(pair)[0] if any(row["drifted"] for row in judged) else None
    return [row | {"change": change} for row in judged]


def _judged(pair: Comparison, method: str, threshold: CalibratedThreshold) -> dict[str, object]:
    score, p_value, bound = (float(values[0]) for values in pair.apply(method))
    score = round(score, DIGITS)
    if np.isnan(score):
        return _unscored(method, _undefined(pair))
    rows, other = pair.effective_rows
    effective = rows * other / (rows + other)
    # A score that every shuffle has (ids, all different on both sides) is at its threshold but for rounding, not beyond it.
    within = min(score, ALMOST_ONE) if SCALES[method].growth in {"share", "affinity"} else score
    judgement = judge(method, np.array([within * (1 - 1e-9)]), np.array([p_value]), effective, None, threshold)
    severity = judgement.severities[0]
    return {
        "method": method, "score": score, "p_value": p_value, "threshold": float(judgement.thresholds[0]),
        "excess": float(judgement.excess[0]),
        "drifted": severity != "ok", "severity": severity, "score_error_bound": round(bound, DIGITS), "reason": None,
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
    ordered = table.sort_values(["drifted", "excess"], ascending=False, kind="stable", na_position="last")
    return ordered[columns].reset_index(drop=True)


def _notes(columns: list[Column], histograms: list[tuple[Histogram, Histogram]]) -> list[str]:
    rounded = [
        column.name
        for column, sides in zip(columns, histograms, strict=True)
        if any(re.match(r".*INT|DECIMAL|BIGNUM", found) for found in column.types)
        and any(np.nanmax(np.abs([side.minimum[0], side.maximum[0], 0.0])) > EXACT_WHOLE for side in sides)
    ]
    return [f"numbers beyond 2^53 are compared as rounded to 64-bit floats: {', '.join(rounded)}"] if rounded else []
