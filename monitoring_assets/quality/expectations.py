"""What a day of the log must look like: the monitor's contract and the reference's facts, as a list of declarations.

Only declarations live here: nothing reads data and nothing knows Great Expectations (`validation.py`) or days
(`findings.py`). What the contract states wins over what the reference shows; what neither says is not expected.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from monitoring_assets.monitor_spec import CONFIDENCE, Feature, MonitorSpec, Severity
from monitoring_assets.wording import listed, shortened

Kind = Literal[
    "not_null", "in_range", "in_set", "of_type", "unique_id", "row_count",
    "no_outliers", "prediction_varies", "fresh", "correlated", "declared",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

# The expectation of Great Expectations that each kind is; a declared one brings its own. All are the library's core but the
# last, which is ours (`correlation_expectation.py`).
GX_NAMES: dict[Kind, str] = {
    "not_null": "expect_column_values_to_not_be_null",
    "in_range": "expect_column_values_to_be_between",
    "in_set": "expect_column_values_to_be_in_set",
    "of_type": "expect_column_values_to_be_of_type",
    "unique_id": "expect_column_values_to_be_unique",
    "row_count": "expect_table_row_count_to_be_between",
    "no_outliers": "expect_column_values_to_be_between",
    "prediction_varies": "expect_column_unique_value_count_to_be_between",
    "fresh": "expect_column_max_to_be_between",
    "correlated": "expect_column_pair_correlation_to_be_between",
}

# What a column of the warehouse is in a pandas frame.
PANDAS_TYPES = {"DOUBLE": "float64", "VARCHAR": "str", "TIMESTAMPTZ": "Timestamp"}

# What is expected of a day whose source could not be read, in place of a rule in words.
READABLE_SOURCE = "a source that can be read"

# A text column with more categories than this in the reference is free text or an id: a new value says nothing.
MAXIMUM_LEARNT_CATEGORIES = 1000
# The strongest pairs are watched: each costs 10 ms a million rows.
MAXIMUM_PAIRS = 50
# Outliers are minor, for the model has met some; so many more than the reference has are another distribution.
MANY_OUTLIERS = 0.25
# How far beyond the reference's own spread a day's rows may lie, in robust deviations.
VOLUME_DEVIATIONS = 4.0
# A feed that ends less than this many hours earlier than ever before is no news.
NEGLIGIBLE_HOURS = 1.0


@dataclass(frozen=True)
class Volume:
    """Rows of a day: the median, and how far days deviate from it (robust, in rows)."""

    median: float
    spread: float


@dataclass(frozen=True)
class LastEvent:
    """Hours from a day's last event to its end: the least and the most of the reference's days, the mean excess over the
    least, the days seen and their median rows."""

    least: float
    most: float
    mean_excess: float
    days: int
    median_rows: float


@dataclass(frozen=True)
class Correlation:
    """Pearson's r of a pair within a day: the median of the reference's days, and the deviation of its Fisher z beyond noise.
    `ranges` are the reference's smallest and largest value of both columns."""

    median: float
    spread: float
    ranges: tuple[tuple[float, float], tuple[float, float]] = ((-1.0, 1.0), (-1.0, 1.0))


@dataclass(frozen=True)
class ReferenceFacts:
    """What the reference baseline shows.

    A column that is absent from a dict taught nothing: it was constant or all NULL, or there is no baseline yet.
    `missing_fraction` is the usual daily share, `highest_missing` the highest; `usual_values` are the bounds beyond which a
    value is an outlier and `outlier_fraction` the reference's own share of such rows; `weekday_rows` has Monday as 0;
    `commonest_prediction` is the largest share that one prediction holds.
    """

    missing_fraction: dict[str, float] = field(default_factory=dict)
    highest_missing: dict[str, float] = field(default_factory=dict)
    minimum: dict[str, float] = field(default_factory=dict)
    maximum: dict[str, float] = field(default_factory=dict)
    categories: dict[str, list[str]] = field(default_factory=dict)
    usual_values: dict[str, tuple[float, float]] = field(default_factory=dict)
    outlier_fraction: dict[str, float] = field(default_factory=dict)
    weekday_rows: dict[int, Volume] = field(default_factory=dict)
    commonest_prediction: float | None = None
    last_event: LastEvent | None = None
    correlations: dict[tuple[str, str], Correlation] = field(default_factory=dict)


@dataclass(frozen=True)
class Tolerance:
    """Shares of a day's values, missing ones aside: an unexpected share above `minor` is minor, above `moderate` moderate, above
    `severe` severe. None: never."""

    minor: float | None = None
    moderate: float | None = None
    severe: float | None = None

    @property
    def levels(self) -> list[tuple[Severity, float]]:
        """The severities that can be reached, the mildest first, each with its share."""
        shares: list[tuple[Severity, float | None]] = [
            ("minor", self.minor), ("moderate", self.moderate), ("severe", self.severe)
        ]  # fmt: skip
        return [(severity, share) for severity, share in shares if share is not None]


NONE_TOLERATED = Tolerance(severe=0.0)


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


def kinds_of(spec: MonitorSpec) -> list[Kind]:
    """The kinds a monitor can have at all, whatever its reference shows."""
    numeric = sum(feature.kind == "numeric" for feature in spec.features.values())
    without = {"correlated"} if numeric < 2 else set()
    without |= set() if spec.quality.expectations else {"declared"}
    return [kind for kind in KINDS if kind not in without]


def expectations_of(spec: MonitorSpec, facts: ReferenceFacts) -> list[Expectation]:
    """Everything a day of this monitor is expected to be, but for what its YAML adds in Great Expectations' own words.

    Examples
    --------
    >>> spec = MonitorSpec.model_validate({
    ...     "name": "fraud", "id": "transaction_id", "event_time": "at", "start_day": "2026-01-01",
    ...     "features": {"amount": {"kind": "numeric", "minimum": 0}, "country": {"kind": "categorical"}},
    ...     "prediction": {"score": "score"}, "log": {"path": "/logs/{day}.parquet"},
    ...     "reference": {"path": "/reference.parquet"},
    ... })
    >>> facts = ReferenceFacts(maximum={"amount": 100.0}, minimum={"amount": 50.0}, weekday_rows={6: Volume(920, 20)})
    >>> for expectation in expectations_of(spec, facts):
    ...     if expectation.kind in ("in_range", "row_count"):
    ...         print(expectation.kind, expectation.column, expectation.expected)
    in_range amount at least 0
    in_range amount at most 105
    in_range score between 0 and 1
    row_count None about as many rows as the reference's same weekdays
    """
    return [
        *(_of_type(column, kind) for column, kind in spec.log_columns.items()),
        # Where nothing went wrong the error is missing, as it should be.
        *(_not_null(column, spec, facts) for column in spec.log_columns if not spec.serving or column != spec.serving.error),
        *_in_range(spec, facts),
        *_in_set(spec, facts),
        _unique_id(spec),
        _row_count(spec, facts),
        *_no_outliers(spec, facts),
        *_prediction_varies(spec, facts),
        *_fresh(spec, facts),
        *_correlated(spec, facts),
    ]


def _of_type(column: str, duckdb_type: str) -> Expectation:
    return Expectation("of_type", column, {"type": duckdb_type}, NONE_TOLERATED, duckdb_type)


def _not_null(column: str, spec: MonitorSpec, facts: ReferenceFacts) -> Expectation:
    feature = spec.features.get(column)
    if feature is not None and not feature.nullable:
        return Expectation("not_null", column, {}, NONE_TOLERATED, "no missing values")
    usual = facts.missing_fraction.get(column, 0.0) if feature is not None else 0.0
    highest = max(usual, facts.highest_missing.get(column, 0.0)) if feature is not None else 0.0
    tolerance = Tolerance(minor=usual + spec.quality.missing_minor, severe=highest + spec.quality.missing_severe)
    return Expectation("not_null", column, {}, tolerance, f"at most {100 * (usual + spec.quality.missing_minor):.3g} % missing")


def _in_range(spec: MonitorSpec, facts: ReferenceFacts) -> Iterator[Expectation]:
    """What the contract bounds and what the reference shows are two rules, for one may be broken severely and the other not."""
    for column, kind in spec.watched_columns.items():
        if kind == "numeric" and column != CONFIDENCE:
            contract, learnt = _bounds(column, spec, facts)
            for low, high, is_declared in ((*contract, True), (*learnt, False)):
                if low is not None or high is not None:
                    arguments = {"min_value": low, "max_value": high}
                    yield Expectation("in_range", column, arguments, _invalid(spec, is_declared), _range_in_words(low, high))


def _invalid(spec: MonitorSpec, declared: bool) -> Tolerance:
    """What the contract forbids is broken data; what the reference did not show may be drift, which its own check judges."""
    minor, high = spec.quality.invalid_minor, spec.quality.invalid_severe
    return Tolerance(minor, None, high) if declared else Tolerance(minor, high, None)


Bounds = tuple[float | None, float | None]


def _bounds(column: str, spec: MonitorSpec, facts: ReferenceFacts) -> tuple[Bounds, Bounds]:
    """The declared bounds, and the learnt ones for the sides that are not declared."""
    if column == spec.prediction.score:
        return (0.0, 1.0), (None, None)
    feature = spec.features.get(column, Feature(kind="numeric"))
    low, high = _learnt_bounds(column, spec.quality.range_margin, facts)
    if feature.minimum is not None:
        low = None
        high = high if high is None or high >= feature.minimum else None  # the contract contradicts the reference: it wins
    if feature.maximum is not None:
        high = None
        low = low if low is None or low <= feature.maximum else None
    return (feature.minimum, feature.maximum), (low, high)


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
    for column, feature in spec.features.items():
        learnt = facts.categories.get(column, []) if feature.kind == "categorical" else []
        values = feature.allowed or (learnt if len(learnt) <= MAXIMUM_LEARNT_CATEGORIES else [])
        if values:
            tolerance = _invalid(spec, feature.allowed is not None)
            yield Expectation("in_set", column, {"value_set": list(values)}, tolerance, _set_in_words(values))


def _set_in_words(values: Sequence[str]) -> str:
    return f"one of {listed([repr(shortened(value)) for value in values], 5)}"


def _unique_id(spec: MonitorSpec) -> Expectation:
    # A missing id is not_null's finding; two missing ids are not the same id.
    return Expectation("unique_id", spec.id, {}, NONE_TOLERATED, "each id once a day")


def _row_count(spec: MonitorSpec, facts: ReferenceFacts) -> Expectation:
    ranges = {weekday: _volume_range(spec, volume) for weekday, volume in facts.weekday_rows.items() if volume.median}
    words = "about as many rows as the reference's same weekdays" if ranges else volume_in_words(1, None)
    return Expectation("row_count", None, {"ranges": ranges}, NONE_TOLERATED, words)


def _volume_range(spec: MonitorSpec, volume: Volume) -> tuple[float, float]:
    """The configured factors of the median, or the reference's own spread with the noise of counting, whichever is wider."""
    reach = VOLUME_DEVIATIONS * math.sqrt(volume.spread**2 + volume.median)
    low = min(spec.quality.minimum_volume * volume.median, volume.median - reach)
    return max(1.0, low), max(1.0, spec.quality.maximum_volume * volume.median, volume.median + reach)


def volume_in_words(low: float, high: float | None) -> str:
    """
    >>> volume_in_words(460, 1840)
    'between 460 and 1840 rows'
    """
    return "at least 1 row" if high is None else f"between {low:.5g} and {high:.5g} rows"


def _no_outliers(spec: MonitorSpec, facts: ReferenceFacts) -> Iterator[Expectation]:
    for column, (low, high) in facts.usual_values.items():
        if spec.watched_columns.get(column) == "numeric" and column != CONFIDENCE:
            own = facts.outlier_fraction[column]
            tolerance = Tolerance(own + spec.quality.invalid_minor, own + MANY_OUTLIERS)
            words = f"between {low:g} and {high:g}, but for {100 * (own + spec.quality.invalid_minor):.3g} % of rows"
            yield Expectation("no_outliers", column, {"min_value": low, "max_value": high}, tolerance, words)


def _prediction_varies(spec: MonitorSpec, facts: ReferenceFacts) -> Iterator[Expectation]:
    if facts.commonest_prediction is not None:
        arguments = {"commonest": facts.commonest_prediction}
        yield Expectation("prediction_varies", spec.prediction.column, arguments, NONE_TOLERATED, "more than one prediction")


def _fresh(spec: MonitorSpec, facts: ReferenceFacts) -> Iterator[Expectation]:
    """The excess over the least gap is taken to be exponential, as the wait after the last of many events is: of n days with
    that mean a further one exceeds (n − 1)(rate^(−1/(n − 1)) − 1) means at that rate (the prediction interval of the
    two-parameter exponential distribution; Lawless, Statistical Models and Methods for Lifetime Data, 2nd ed., 4.1)."""
    seen = facts.last_event
    if seen is not None:
        rate, freedom = spec.quality.false_alarm_rate / 10, seen.days - 1
        chance = seen.mean_excess * freedom * (rate ** (-1 / freedom) - 1)
        excess = max(chance, seen.most - seen.least + NEGLIGIBLE_HOURS)
        words = f"the last event at most {seen.least + excess:.3g} hours before the day's end"
        arguments = {"least": seen.least, "excess": excess, "rows": seen.median_rows}
        yield Expectation("fresh", spec.event_time, arguments, NONE_TOLERATED, words)


def _correlated(spec: MonitorSpec, facts: ReferenceFacts) -> Iterator[Expectation]:
    strong = {pair: found for pair, found in facts.correlations.items() if abs(found.median) > spec.quality.minimum_correlation}
    for pair in sorted(strong, key=lambda pair: -abs(strong[pair].median))[:MAXIMUM_PAIRS]:
        found = strong[pair]
        words = f"correlated, at least half as strongly as the reference's {found.median:.2f}"
        arguments = {"pair": pair, "median": found.median, "spread": found.spread, "ranges": found.ranges}
        yield Expectation("correlated", " ~ ".join(pair), arguments, NONE_TOLERATED, words)
