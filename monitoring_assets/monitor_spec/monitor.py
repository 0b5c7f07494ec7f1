"""The whole of one monitor, and the rules that hold between its parts."""

import re
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from monitoring_assets.monitor_spec.columns import CONFIDENCE, Feature, Label, Prediction, Serving
from monitoring_assets.monitor_spec.drift import Drift
from monitoring_assets.monitor_spec.engine import Engine
from monitoring_assets.monitor_spec.judgements import AlertRoute, Performance, Quality, Retrain
from monitoring_assets.monitor_spec.parts import DottedPath, PositiveInt, SpecModel
from monitoring_assets.monitor_spec.sources import Reference, Rows, Source

# Columns the warehouse adds to the user's own, so no column of a log may be called so, nor start with two underscores.
RESERVED_COLUMNS = frozenset({"day", "sample_key", "baseline_id", CONFIDENCE})
# Schemas DuckDB has already, and the catalog that `data/warehouse.duckdb` is.
RESERVED_NAMES = frozenset({"main", "information_schema", "pg_catalog", "temp", "system", "memory", "warehouse"})


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

    `sampling_weight` names the log's column that says how many rows each logged row stands for, where only a sample is logged:
    10 for a row of a 10 % sample, 1 for a row that is always logged. `retain_days` is for how many days the warehouse keeps raw
    rows, the newest stored day included; without it for ever. Profiles, scores and labels are always kept. While a monitor is
    `paused` no sensor asks for anything of it; its assets can still be materialised by hand.

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
    ('classification', {'amount': 'numeric', 'country': 'categorical', 'score': 'numeric', 'prediction_confidence': 'numeric'})
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
    sampling_weight: str | None = None
    serving: Serving | None = None
    label: Label | None = None
    segments: list[str] = []
    protected_attributes: list[str] = []
    log: Source
    labels: Source | None = None
    engine: Engine | None = None
    rows: Rows | None = None
    reference: Reference
    drift: Drift = Drift()
    quality: Quality = Quality()
    performance: Performance = Performance()
    retrain: Retrain = Retrain()
    alerts: list[AlertRoute] = []
    retain_days: PositiveInt | None = None
    paused: bool = False
    trainer: DottedPath = "monitoring_assets.retraining.training.gradient_boosting"

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
                f"a column may not be called {taken[0]!r}: {', '.join(sorted(RESERVED_COLUMNS))} and names that start with two "
                "underscores are the warehouse's own, and a name may not be blank; rename it in the source"
            )
        return self

    @model_validator(mode="after")
    def _renamed_features_are_gone(self) -> Self:
        columns = {name.casefold() for name in (*self.features, *self.role_columns)}
        olds = [feature.renamed_from for feature in self.features.values() if feature.renamed_from is not None]
        still = [old for old in olds if old.casefold() in columns or olds.count(old) > 1]
        if still:
            raise ValueError(f"renamed_from: {still[0]!r} is still a column of this monitor, or named twice; a name goes to one")
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
    def _tables_have_an_engine(self) -> Self:
        sources = {"log": self.log, "labels": self.labels}
        tables = [name for name, source in sources.items() if source is not None and source.kind == "table"]
        others = [name for name, source in sources.items() if source is not None and source.kind != "table"]
        if tables and self.engine is None:
            raise ValueError(f"{tables[0]}.table needs the engine that knows the table: `engine: {{ spark: {{ remote: ... }} }}`")
        if self.engine is not None and self.rows is not None:
            raise ValueError("`rows` is for rows that are copied; with `engine` they stay in the lake, so remove it")
        if self.engine is not None and others:
            raise ValueError(
                f"`engine` measures rows where they lie, so `{others[0]}` must name a `table`, found "
                f"`{getattr(self, others[0]).kind}`; without `engine` DuckDB reads it"
            )
        return self

    @model_validator(mode="after")
    def _reference_is_within_the_days(self) -> Self:
        first, last = self.reference.first_day, self.reference.last_day
        if first is not None and first < self.start_day:
            raise ValueError(
                f"reference.first_day {first} is before start_day {self.start_day}, and no day before that is ever read; "
                f"set start_day to {first} or the reference to a later range"
            )
        if last is not None and self.end_day is not None and last > self.end_day:
            raise ValueError(f"reference.last_day {last} is after end_day {self.end_day}, and no day after that is ever read")
        return self

    @model_validator(mode="after")
    def _windows_agree(self) -> Self:
        if self.retrain_window_days not in self.drift.windows_days:
            raise ValueError(
                f"retrain.drift_window_days {self.retrain.drift_window_days} must be one of drift.windows_days, "
                f"found {self.drift.windows_days}"
            )
        return self

    @model_validator(mode="after")
    def _expectations_name_columns_of_the_log(self) -> Self:
        known = ["day", *self.log_columns]
        for expectation in self.quality.expectations:
            strangers = [column for column in expectation.columns if column not in known]
            if strangers:
                raise ValueError(
                    f"quality.expectations: {expectation.type} names {strangers[0]!r}, which is no column of the log; "
                    f"those are {', '.join(known)}"
                )
        if self.quality.maximum_age_hours is not None and self.end_day is not None:
            raise ValueError("quality.maximum_age_hours is for a live monitor; this one ends with its `end_day`")
        return self

    @model_validator(mode="after")
    def _raw_rows_stay_as_long_as_they_are_read(self) -> Self:
        needs = self._days_of_raw_rows_needed()
        if self.retain_days is not None and needs and self.retain_days < max(needs.values()):
            why, days = max(needs.items(), key=lambda need: need[1])
            raise ValueError(
                f"retain_days {self.retain_days} is too short: {why} = {days} days of raw rows; raise it, or lower those"
            )
        return self

    def _days_of_raw_rows_needed(self) -> dict[str, int]:
        needs = {}
        if self.drift.multivariate_methods:
            needs["drift.multivariate_methods read the longest of drift.windows_days"] = max(self.drift.windows_days)
        if self.label is not None:
            delay, late = self.label.delay_days, self.label.lateness_days
            needs[f"realised performance reads label.delay_days + {'label.lateness_days + ' if late else ''}1"] = delay + late + 1
            if self.retrain.enabled:
                reason = "a retrain reads label.delay_days + retrain.gate_days + retrain.training_days"
                needs[reason] = delay + self.retrain.gate_days + self.retrain.training_days
        return needs

    @property
    def minimum_retain_days(self) -> int:
        """The fewest days of raw rows with which everything the monitor declares still works."""
        return max([1, *self._days_of_raw_rows_needed().values()])

    @property
    def retrain_window_days(self) -> int:
        """The window whose drift may ask for a retrain: the longest, unless the policy names one."""
        return self.retrain.drift_window_days or max(self.drift.windows_days)

    @property
    def task(self) -> Literal["classification", "regression"]:
        return "classification" if self.prediction.score is not None else "regression"

    @property
    def role_columns(self) -> list[str]:
        """The log's columns that are not features, in warehouse order."""
        p = self.prediction
        predictions = (p.score, p.predicted_class, p.value, p.model_version)
        return [c for c in (self.id, self.event_time, *predictions, self.sampling_weight, *self.serving_columns) if c]

    @property
    def serving_columns(self) -> dict[str, str]:
        """The columns that tell how predictions were served, with their DuckDB types."""
        if self.serving is None:
            return {}
        types = {self.serving.latency_ms: "DOUBLE", self.serving.error: "VARCHAR"}
        return {name: kind for name, kind in types.items() if name}

    @property
    def watched_columns(self) -> dict[str, str]:
        """Features, the prediction and its confidence: what is profiled and scored, each with its kind."""
        kinds: dict[str, str] = {name: feature.kind for name, feature in self.features.items()}
        return kinds | dict.fromkeys(self.prediction.watched, "numeric")

    @property
    def log_columns(self) -> dict[str, str]:
        """Every column of `inference_log` but `day`, with its DuckDB type."""
        types = {"numeric": "DOUBLE", "categorical": "VARCHAR"}
        p = self.prediction
        roles = {self.id: "VARCHAR", self.event_time: "TIMESTAMPTZ"}
        predictions = {p.score: "DOUBLE", p.predicted_class: "VARCHAR", p.value: "DOUBLE", p.model_version: "VARCHAR"}
        weight = {self.sampling_weight: "DOUBLE"}
        features = {name: types[feature.kind] for name, feature in self.features.items()}
        return roles | features | {name: kind for name, kind in (predictions | weight).items() if name} | self.serving_columns

    @property
    def label_type(self) -> str:
        """Labels are 0 or 1 for a classification, a number for a regression; both are stored as DOUBLE."""
        return "DOUBLE"

    @property
    def is_in_lake(self) -> bool:
        """Whether the rows stay where they are, and the warehouse holds only what was measured of them."""
        return self.log.kind == "table"

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
