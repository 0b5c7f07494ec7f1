"""What a monitor watches: the typed, validated content of one YAML file. No Dagster here, no reading of data.

Every rule that can be checked without data is checked here, so a mistake in the YAML is found when it is loaded.
"""

import re
from collections import Counter
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

Severity = Literal["ok", "minor", "moderate", "severe"]
SEVERITIES: tuple[Severity, ...] = ("ok", "minor", "moderate", "severe")

Method = Literal[
    "psi", "ks", "js", "wasserstein", "hellinger", "kl", "chi2", "tv", "linf", "cramer_von_mises", "missingness", "new_category"
]  # fmt: skip
# What a monitor computes unless told otherwise; the second pair is all that can be asked for.
NUMERIC_METHODS: tuple[Method, ...] = ("psi", "ks", "js", "wasserstein", "missingness")
CATEGORICAL_METHODS: tuple[Method, ...] = ("psi", "js", "chi2", "missingness")
ON_SHARES: tuple[Method, ...] = ("hellinger", "kl", "tv", "linf")
ALL_NUMERIC_METHODS: tuple[Method, ...] = (*NUMERIC_METHODS, *ON_SHARES, "cramer_von_mises", "chi2")
ALL_CATEGORICAL_METHODS: tuple[Method, ...] = (*CATEGORICAL_METHODS, *ON_SHARES, "new_category")

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]

# Columns the warehouse adds to the user's own, so no column of a log may be called so, nor start with two underscores.
RESERVED_COLUMNS = frozenset({"day"})
# Schemas DuckDB has already, and the catalog that `data/warehouse.duckdb` is.
RESERVED_NAMES = frozenset({"main", "information_schema", "pg_catalog", "temp", "system", "memory", "warehouse"})


class SpecModel(BaseModel):
    """Base of every part of a spec: unknown keys are mistakes, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Feature(SpecModel):
    """One input of the model.

    `kind` numeric is compared by value, categorical by category. `minimum`, `maximum`, `allowed` and `nullable` are the
    contract the model was built on; what is not stated is learnt from the reference.
    """

    kind: Literal["numeric", "categorical"]
    minimum: float | None = None
    maximum: float | None = None
    allowed: list[str] | None = Field(default=None, min_length=1)
    nullable: bool = True

    @model_validator(mode="after")
    def _constraints_fit_the_kind(self) -> Self:
        if self.kind == "categorical" and (self.minimum is not None or self.maximum is not None):
            raise ValueError("minimum and maximum are for numeric features; a categorical one takes `allowed`")
        if self.kind == "numeric" and self.allowed is not None:
            raise ValueError("allowed is for categorical features; a numeric one takes `minimum` and `maximum`")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")
        return self


class Prediction(SpecModel):
    """The columns in which the log holds what the model said: a `score` (probability of the positive class, with the
    predicted `class`), or a `value` for a regression."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())

    score: str | None = None
    predicted_class: str | None = Field(default=None, alias="class")
    value: str | None = None
    model_version: str | None = None

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        if (self.score is None) == (self.value is None):
            raise ValueError("give either `score` (classification) or `value` (regression)")
        if self.value is not None and self.predicted_class is not None:
            raise ValueError("`class` goes with `score`, not with `value`")
        return self

    @property
    def column(self) -> str:
        """The column whose distribution is watched for prediction drift."""
        return self.score or self.value or ""


class Label(SpecModel):
    """The ground truth: its column in the label source, and how many days after the prediction it is due."""

    column: str
    delay_days: int = Field(default=0, ge=0, le=3650)


def _readable(path: str) -> str:
    if not re.search(r"\.(parquet|csv|csv\.gz)$", path):
        raise ValueError(f"must end in .parquet, .csv or .csv.gz, found {path!r}")
    return path


class Source(SpecModel):
    """Parquet or CSV files. A relative path starts at the data folder (`MONITORING_ASSETS_HOME`).

    `{day}` in the path stands for the partition's date, which lets a day be read without touching the others; without
    it the path is a glob and every file is scanned for the day's rows.
    """

    path: str
    event_time: str | None = None

    @field_validator("path")
    @classmethod
    def _known_format(cls, path: str) -> str:
        unknown = set(re.findall(r"{(.*?)}", path)) - {"day"}
        if unknown:
            raise ValueError(f"only {{day}} may stand in braces, found {sorted(unknown)}")
        return _readable(path)

    @property
    def is_per_day(self) -> bool:
        return "{day}" in self.path


class Reference(SpecModel):
    """What counts as normal: a file of its own, or a range of days of the prediction log (both ends included)."""

    path: str | None = None
    first_day: date | None = None
    last_day: date | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.first_day is None and self.last_day is None):
            raise ValueError("reference: give either `path`, or both `first_day` and `last_day`")
        if self.path is None:
            if self.first_day is None or self.last_day is None:
                raise ValueError("reference: a range needs both `first_day` and `last_day`")
            if self.first_day > self.last_day:
                raise ValueError(f"first_day {self.first_day} is after last_day {self.last_day}")
        elif "{" in self.path:
            raise ValueError("the reference is one file or glob, without {day}")
        else:
            _readable(self.path)
        return self


class SeverityLevels(SpecModel):
    """Constant cuts of one drift method. The score must exceed a cut to reach its severity; for `chi2` the p-value must
    fall below it."""

    minor: NonNegative
    moderate: NonNegative
    severe: NonNegative


def _levels(minor: float, moderate: float, severe: float) -> SeverityLevels:
    return SeverityLevels(minor=minor, moderate=moderate, severe=severe)


# Practice, not proof: 0.1 and 0.2 for PSI are Siddiqi's scorecard rule, W1 is in reference standard deviations, the others
# keep its proportions. chi2 has none by default: a p-value alarms on everything at large row counts.
DEFAULT_THRESHOLDS: dict[str, SeverityLevels] = {
    "psi": _levels(0.1, 0.2, 0.3),
    "ks": _levels(0.1, 0.2, 0.3),
    "js": _levels(0.15, 0.25, 0.35),
    "wasserstein": _levels(0.25, 0.5, 0.75),
    "missingness": _levels(0.02, 0.05, 0.1),
}


class Drift(SpecModel):
    """How days are compared with the baseline.

    Cuts are constant (`thresholds`, or practice's usual ones) unless `calibrated` is set: then each score's threshold is
    estimated from the baseline, so that at most a share `false_alarm_rate` of quiet days has any alarm, over all columns,
    methods and windows together, and only methods that `thresholds` names keep constant cuts.
    """

    numeric_methods: list[Method] = Field(default=list(NUMERIC_METHODS), min_length=1)
    categorical_methods: list[Method] = Field(default=list(CATEGORICAL_METHODS), min_length=1)
    windows_days: list[Annotated[int, Field(ge=1, le=366)]] = Field(default=[1, 7], min_length=1)
    minimum_rows: PositiveInt = 30
    calibrated: bool = False
    false_alarm_rate: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    thresholds: dict[Method, SeverityLevels] = {}

    @model_validator(mode="after")
    def _methods_fit_and_levels_rise(self) -> Self:
        for kind, methods, allowed in (
            ("numeric", self.numeric_methods, ALL_NUMERIC_METHODS),
            ("categorical", self.categorical_methods, ALL_CATEGORICAL_METHODS),
        ):
            wrong = [method for method in methods if method not in allowed]
            if wrong:
                raise ValueError(f"{kind}_methods: {', '.join(wrong)} cannot compare {kind} features; allowed: {allowed}")
        for method, levels in self.thresholds.items():
            order = (levels.minor, levels.moderate, levels.severe)
            rising = order if method != "chi2" else order[::-1]
            if not rising[0] < rising[1] < rising[2]:
                direction = "rise" if method != "chi2" else "fall (they are p-values)"
                raise ValueError(f"thresholds.{method}: minor, moderate, severe must {direction}, found {order}")
        return self

    def levels(self, method: str) -> SeverityLevels | None:
        """The cuts in force for a method, or None where it has none and only informs."""
        return self.thresholds.get(method, DEFAULT_THRESHOLDS.get(method))  # type: ignore[call-overload]

    def methods(self, kind: str) -> list[Method]:
        return self.numeric_methods if kind == "numeric" else self.categorical_methods


class Quality(SpecModel):
    """How much a day's data may deviate from the reference before a check warns or fails.

    Shares are of the day's rows. A missing share is judged above what the reference itself shows. Ranges learnt from the
    reference are widened by `range_margin` of their span on either side. A day's row count may lie between
    `minimum_volume` and `maximum_volume` times the reference's median day.
    """

    missing_minor: Fraction = 0.01
    missing_severe: Fraction = 0.05
    invalid_minor: Fraction = 0.01
    invalid_severe: Fraction = 0.05
    range_margin: NonNegative = 0.1
    minimum_volume: NonNegative = 0.5
    maximum_volume: NonNegative = 2.0
    samples: int = Field(default=5, ge=0, le=100)

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        for low, high in (
            ("missing_minor", "missing_severe"),
            ("invalid_minor", "invalid_severe"),
            ("minimum_volume", "maximum_volume"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} {getattr(self, low):g} must be below {high} {getattr(self, high):g}")
        return self


class Performance(SpecModel):
    """When the model counts as worse than it was: its realised metric over the newest labelled days, against the
    baseline's. Margins are in the metric's own units (for regression, relative to the baseline's error)."""

    window_days: PositiveInt = 7
    minimum_rows: PositiveInt = 500
    margin_minor: NonNegative = 0.03
    margin_moderate: NonNegative = 0.05
    margin_severe: NonNegative = 0.08
    class_cut: Fraction = 0.5

    @model_validator(mode="after")
    def _margins_rise(self) -> Self:
        if not self.margin_minor < self.margin_moderate < self.margin_severe:
            raise ValueError("margin_minor, margin_moderate, margin_severe must rise")
        return self


class Retrain(SpecModel):
    """When a new model is trained, on what, and what it must beat."""

    enabled: bool = True
    window_days: PositiveInt | None = None
    severity: Literal["minor", "moderate", "severe"] = "severe"
    drifted_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    performance_margin: NonNegative = 0.05
    cooldown_days: int = Field(default=21, ge=0)
    training_days: PositiveInt = 60
    gate_days: PositiveInt = 7
    minimum_rows: PositiveInt = 1000
    minimum_improvement: float = 0.0
    check_every_seconds: int = Field(default=30, ge=5)


class AlertRoute(SpecModel):
    """Who is told of findings. `url_env` names the environment variable that holds the address, in apprise's form (mailto://,
    slack://, json://host/path and a hundred more), so that no secret stands in a file."""

    url_env: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")]
    minimum_severity: Literal["minor", "moderate", "severe"] = "severe"


def _importable_module(path: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", path):
        raise ValueError(f"must be a dotted path package.module.function, found {path!r}")
    try:
        found = find_spec(path.split(".", maxsplit=1)[0])
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ValueError(f"no module {path.split('.', maxsplit=1)[0]!r} is installed, named by {path!r}")
    return path


def _known_zone(name: str) -> str:
    try:
        if name in {"localtime", "posixrules"} or name.startswith(("posix/", "right/")):
            raise ValueError(name)  # files of the operating system's own, which DuckDB does not know
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name!r}; use an IANA name such as UTC or America/New_York") from None
    return name


class MonitorSpec(SpecModel):
    """All of one monitor. See README.md, 'Your own model', for a commented example.

    Examples
    --------
    >>> spec = MonitorSpec.model_validate({
    ...     "name": "fraud", "id": "transaction_id", "event_time": "at", "start_day": "2026-01-01",
    ...     "features": {"amount": {"kind": "numeric"}, "country": {"kind": "categorical"}},
    ...     "prediction": {"score": "score"},
    ...     "log": {"path": "/logs/fraud/{day}.parquet"},
    ...     "reference": {"first_day": "2026-01-01", "last_day": "2026-02-28"},
    ... })
    >>> spec.task, spec.watched_columns
    ('classification', {'amount': 'numeric', 'country': 'categorical', 'score': 'numeric'})
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    description: str = ""
    owners: list[Annotated[str, Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")]] = []
    id: str
    event_time: str
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    start_day: date
    end_day: date | None = None
    features: dict[str, Feature] = Field(min_length=1)
    prediction: Prediction
    label: Label | None = None
    segments: list[str] = []
    protected_attributes: list[str] = []
    log: Source
    labels: Source | None = None
    reference: Reference
    drift: Drift = Drift()
    quality: Quality = Quality()
    performance: Performance = Performance()
    retrain: Retrain = Retrain()
    alerts: list[AlertRoute] = []
    trainer: Annotated[str, AfterValidator(_importable_module)] = "monitoring_assets.retraining.training.gradient_boosting"

    _data_home: Path = PrivateAttr(default=Path("data"))

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> Self:
        columns = [*self.features, *self.role_columns, *([self.label.column] if self.label else [])]
        repeated = sorted(name for name, count in Counter(columns).items() if count > 1)
        if repeated:
            raise ValueError(f"each column has one role, found twice: {', '.join(repeated)}")
        folded = Counter(name.casefold() for name in columns)
        clashes = sorted(name for name in columns if folded[name.casefold()] > 1)
        if clashes:
            raise ValueError(f"columns differ only in upper and lower case, which SQL cannot tell apart: {clashes}")
        times = [self.labels.event_time] if self.labels and self.labels.event_time else []
        taken = sorted(n for n in (*columns, *times) if n.casefold() in RESERVED_COLUMNS or n.startswith("__") or not n.strip())
        if taken:
            raise ValueError(
                f"a column may not be called {taken[0]!r}: 'day' and names that start with two underscores are the warehouse's "
                "own, and a name may not be blank; rename it in the source"
            )
        return self

    @model_validator(mode="after")
    def _name_is_free(self) -> Self:
        if self.name in RESERVED_NAMES:
            raise ValueError(f"name: {self.name!r} is taken by DuckDB; choose any but {', '.join(sorted(RESERVED_NAMES))}")
        return self

    @model_validator(mode="after")
    def _segments_are_categorical(self) -> Self:
        categorical = [name for name, feature in self.features.items() if feature.kind == "categorical"]
        for field in ("segments", "protected_attributes"):
            wrong = [name for name in getattr(self, field) if name not in categorical]
            if wrong:
                raise ValueError(f"{field}: {', '.join(wrong)} must be categorical features; those are {categorical}")
        return self

    @model_validator(mode="after")
    def _labels_are_complete(self) -> Self:
        if (self.label is None) != (self.labels is None):
            raise ValueError("`label` (the column) and `labels` (where they lie) go together")
        if self.log.event_time is not None:
            raise ValueError("log.event_time: the log's own time column is the monitor's `event_time`; remove it here")
        if self.labels is not None and self.label is not None and self.labels.event_time in {self.id, self.label.column}:
            raise ValueError(f"labels.event_time: {self.labels.event_time!r} already is the id or the label")
        if self.labels is not None and not self.labels.is_per_day and self.labels.event_time is None:
            raise ValueError(
                "labels: a label must find its day: put {day} (the day of the prediction) into `path`, or name the "
                "column that holds the time of the prediction in `event_time`"
            )
        if self.end_day is not None and self.end_day < self.start_day:
            raise ValueError(f"end_day {self.end_day} is before start_day {self.start_day}")
        return self

    @model_validator(mode="after")
    def _windows_agree(self) -> Self:
        if self.retrain_window_days not in self.drift.windows_days:
            raise ValueError(
                f"retrain.window_days {self.retrain.window_days} must be one of drift.windows_days {self.drift.windows_days}"
            )
        return self

    @property
    def retrain_window_days(self) -> int:
        """The window whose drift may ask for a retrain: the longest, unless the policy names one."""
        return self.retrain.window_days or max(self.drift.windows_days)

    @property
    def task(self) -> Literal["classification", "regression"]:
        return "classification" if self.prediction.score is not None else "regression"

    @property
    def role_columns(self) -> list[str]:
        """The log's columns that are not features, in warehouse order."""
        p = self.prediction
        return [c for c in (self.id, self.event_time, p.score, p.predicted_class, p.value, p.model_version) if c]

    @property
    def watched_columns(self) -> dict[str, str]:
        """Features and the prediction: what is profiled and scored, each with its kind."""
        kinds: dict[str, str] = {name: feature.kind for name, feature in self.features.items()}
        return kinds | {self.prediction.column: "numeric"}

    @property
    def log_columns(self) -> dict[str, str]:
        """Every column of `inference_log` but `day`, with its DuckDB type."""
        types = {"numeric": "DOUBLE", "categorical": "VARCHAR"}
        p = self.prediction
        roles = {self.id: "VARCHAR", self.event_time: "TIMESTAMPTZ"}
        predictions = {p.score: "DOUBLE", p.predicted_class: "VARCHAR", p.value: "DOUBLE", p.model_version: "VARCHAR"}
        features = {name: types[feature.kind] for name, feature in self.features.items()}
        return roles | features | {name: kind for name, kind in predictions.items() if name}

    @property
    def label_type(self) -> str:
        """Labels are 0 or 1 for a classification, a number for a regression; both are stored as DOUBLE."""
        return "DOUBLE"

    def at_home(self, data_home: Path) -> "MonitorSpec":
        """A copy whose relative paths start at `data_home`."""
        copy = self.model_copy()
        copy._data_home = data_home
        return copy

    def resolve(self, path: str, day: date | None = None) -> str:
        """An absolute path, with `{day}` filled in."""
        if day is not None:
            path = path.replace("{day}", day.isoformat())
        return path if re.match(r"^(/|[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z]:)", path) else str(self._data_home / path)


def days_between(first: date, last: date) -> list[date]:
    """Every day from first to last, both included.

    >>> [day.isoformat() for day in days_between(date(2026, 2, 27), date(2026, 3, 1))]
    ['2026-02-27', '2026-02-28', '2026-03-01']
    """
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def worst(severities: list[Severity]) -> Severity:
    """The gravest of the severities given, `ok` where there are none.

    >>> worst(["ok", "severe", "minor"])
    'severe'
    """
    return max(severities, key=SEVERITIES.index, default="ok")
