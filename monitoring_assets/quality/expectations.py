"""What a day of the log must look like: the monitor's contract and the reference's facts, as a list of declarations.

Only declarations live here: nothing reads data and nothing knows Great Expectations (`validation.py`) or days
(`findings.py`). What the contract states wins over what the reference shows; what neither says is not expected.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from monitoring_assets.monitor_spec import CONFIDENCE, Feature, MonitorSpec

Kind = Literal["not_null", "in_range", "in_set", "of_type", "unique_id", "row_count"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What is expected of a day whose source could not be read, in place of a rule in words.
READABLE_SOURCE = "a source that can be read"

# A text column with more categories than this in the reference is free text or an id: a new value says nothing.
MAXIMUM_LEARNT_CATEGORIES = 1000

# What pandas makes of the DuckDB types of `MonitorSpec.log_columns`. A timestamp's zone is the session's, so any fits.
ZONED = "datetime64 with time zone"
PANDAS_TYPES = {"VARCHAR": "object", "DOUBLE": "float64", "TIMESTAMPTZ": ZONED}


@dataclass(frozen=True)
class ReferenceFacts:
    """What the reference baseline shows.

    A column that is absent from a dict taught nothing: it was constant or all NULL, or there is no baseline yet.
    """

    missing_fraction: dict[str, float] = field(default_factory=dict)
    minimum: dict[str, float] = field(default_factory=dict)
    maximum: dict[str, float] = field(default_factory=dict)
    categories: dict[str, list[str]] = field(default_factory=dict)
    median_daily_rows: float | None = None


@dataclass(frozen=True)
class Tolerance:
    """Shares of a day's rows: an unexpected share above `minor` is minor, above `severe` is severe."""

    minor: float = 0.0
    severe: float = 0.0


NONE_TOLERATED = Tolerance()


@dataclass(frozen=True)
class Expectation:
    """One declaration: a rule (`kind` with its `arguments`) for a column (None: the whole day), and what it tolerates.

    `expected` is the rule in words, for people.
    """

    kind: Kind
    column: str | None
    arguments: dict[str, Any]
    tolerance: Tolerance
    expected: str


def expectations_of(spec: MonitorSpec, facts: ReferenceFacts) -> list[Expectation]:
    """Everything a day of this monitor is expected to be.

    Examples
    --------
    >>> spec = MonitorSpec.model_validate({
    ...     "name": "fraud", "id": "transaction_id", "event_time": "at", "start_day": "2026-01-01",
    ...     "features": {"amount": {"kind": "numeric", "minimum": 0}, "country": {"kind": "categorical"}},
    ...     "prediction": {"score": "score"}, "log": {"path": "/logs/{day}.parquet"},
    ...     "reference": {"path": "/reference.parquet"},
    ... })
    >>> facts = ReferenceFacts(maximum={"amount": 100.0}, minimum={"amount": 50.0}, median_daily_rows=920)
    >>> for expectation in expectations_of(spec, facts):
    ...     if expectation.kind in ("in_range", "row_count"):
    ...         print(expectation.kind, expectation.column, expectation.expected)
    in_range amount between 0 and 105
    in_range score between 0 and 1
    row_count None between 460 and 1840 rows
    """
    return [
        *(_of_type(column, kind) for column, kind in spec.log_columns.items()),
        # Where nothing went wrong the error is missing, as it should be.
        *(_not_null(column, spec, facts) for column in spec.log_columns if not spec.serving or column != spec.serving.error),
        *_in_range(spec, facts),
        *_in_set(spec, facts),
        _unique_id(spec),
        _row_count(spec, facts),
    ]


def _of_type(column: str, duckdb_type: str) -> Expectation:
    wanted = PANDAS_TYPES[duckdb_type]
    return Expectation("of_type", column, {"type": wanted}, NONE_TOLERATED, wanted)


def _not_null(column: str, spec: MonitorSpec, facts: ReferenceFacts) -> Expectation:
    feature = spec.features.get(column)
    if feature is not None and not feature.nullable:
        return Expectation("not_null", column, {}, NONE_TOLERATED, "no missing values")
    usual = facts.missing_fraction.get(column, 0.0) if feature is not None else 0.0
    tolerance = Tolerance(usual + spec.quality.missing_minor, usual + spec.quality.missing_severe)
    return Expectation("not_null", column, {}, tolerance, f"at most {100 * tolerance.minor:.3g} % missing")


def _in_range(spec: MonitorSpec, facts: ReferenceFacts) -> Iterator[Expectation]:
    tolerance = Tolerance(spec.quality.invalid_minor, spec.quality.invalid_severe)
    for column, kind in spec.watched_columns.items():
        if kind == "numeric" and column != CONFIDENCE:
            low, high = _bounds(column, spec, facts)
            if low is not None or high is not None:
                arguments = {"min_value": low, "max_value": high}
                yield Expectation("in_range", column, arguments, tolerance, _range_in_words(low, high))


def _bounds(column: str, spec: MonitorSpec, facts: ReferenceFacts) -> tuple[float | None, float | None]:
    if column == spec.prediction.score:
        return 0.0, 1.0
    feature = spec.features.get(column, Feature(kind="numeric"))
    low, high = _learnt_bounds(column, spec.quality.range_margin, facts)
    if feature.minimum is not None:
        low = feature.minimum
        high = high if high is None or high >= low else None  # the contract contradicts the reference: it wins
    if feature.maximum is not None:
        high = feature.maximum
        low = low if low is None or low <= high else None
    return low, high


def _learnt_bounds(column: str, margin: float, facts: ReferenceFacts) -> tuple[float | None, float | None]:
    low, high = facts.minimum.get(column, math.nan), facts.maximum.get(column, math.nan)
    if not math.isfinite(high - low) or low >= high:
        return None, None
    span = high - low
    return low - margin * span, high + margin * span


def _range_in_words(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"


def _in_set(spec: MonitorSpec, facts: ReferenceFacts) -> Iterator[Expectation]:
    tolerance = Tolerance(spec.quality.invalid_minor, spec.quality.invalid_severe)
    for column, feature in spec.features.items():
        learnt = facts.categories.get(column, []) if feature.kind == "categorical" else []
        values = feature.allowed or (learnt if len(learnt) <= MAXIMUM_LEARNT_CATEGORIES else [])
        if values:
            yield Expectation("in_set", column, {"value_set": list(values)}, tolerance, _set_in_words(values))


def _set_in_words(values: Sequence[str]) -> str:
    shown = ", ".join(repr(shortened(value)) for value in values[:5])
    return f"one of {shown}" if len(values) <= 5 else f"one of {shown} and {len(values) - 5} more"


def _unique_id(spec: MonitorSpec) -> Expectation:
    # A missing id is not_null's finding; two missing ids are not the same id.
    arguments = {"column_list": ["day", spec.id], "ignore_row_if": "any_value_is_missing"}
    return Expectation("unique_id", spec.id, arguments, NONE_TOLERATED, "each id once a day")


def _row_count(spec: MonitorSpec, facts: ReferenceFacts) -> Expectation:
    median = facts.median_daily_rows
    low, high = 1.0, None
    if median:
        low, high = max(1.0, spec.quality.minimum_volume * median), max(1.0, spec.quality.maximum_volume * median)
    words = "at least 1 row" if high is None else f"between {low:.10g} and {high:.10g} rows"
    return Expectation("row_count", None, {"min_value": low, "max_value": high}, NONE_TOLERATED, words)


def shortened(text: str, limit: int = 80) -> str:
    """A value from the data, cut so that one odd cell cannot flood a page.

    >>> shortened("abcdef", limit=4)
    'abc…'
    """
    return text if len(text) <= limit else text[: limit - 1] + "…"
