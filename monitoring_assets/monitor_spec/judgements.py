"""What counts as bad data and as a worse model, when a new one is trained, and who receives alerts."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from monitoring_assets.monitor_spec.parts import Fraction, NonNegative, PositiveInt, SpecModel


class DeclaredExpectation(SpecModel):
    """An expectation of Great Expectations, by its name in snake case, with its own arguments beside it:

        {type: expect_column_mean_to_be_between, column: amount, min_value: 1, max_value: 9, severity: minor}

    Each day is judged on its own. What breaks it has the `severity` given here. Whether the name and the arguments are Great
    Expectations' own is looked up when the check runs, since its import takes seconds.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    type: Annotated[str, Field(pattern=r"^expect_[a-z_]+$")]
    severity: Literal["minor", "moderate", "severe"] = "moderate"

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def columns(self) -> list[str]:
        """The columns it names as its own; other arguments, such as a `row_condition`, may read more."""
        found = self.arguments
        single = [found[key] for key in ("column", "column_A", "column_B") if key in found]
        listed = found.get("column_list", [])
        return [str(name) for name in (*single, *(listed if isinstance(listed, list) else [listed]))]

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        low, high = (self.arguments.get(key) for key in ("min_value", "max_value"))
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
            raise ValueError(f"{self.type}: min_value {low:g} is above max_value {high:g}")
        return self


class Quality(SpecModel):
    """How much a day's data may deviate from the reference before a check warns or fails.

    Shares are of the day's rows, and count only where sampling noise cannot explain them: over all rules together a sound day
    is found fault with at a rate of about `false_alarm_rate`, however few rows it has. A missing share is judged above what the
    reference's own days show. Ranges learnt from the reference are widened by `range_margin` of their span on either side.
    What lies outside a learnt range or set is at most moderate, for it may be drift; outside a declared one it may be severe.
    Of the rows a source delivers for a day at most `refused_minor` may break the contract; above it, above `refused_moderate` and
    above `refused_severe` the check `accepted` says so.
    A day's row count may lie between `minimum_volume` and `maximum_volume` times the median of the reference's same weekdays.
    An outlier is `outlier_deviations` robust deviations from the reference's median, or outside its widened range. Features
    correlated above `minimum_correlation` on the reference's days must stay so. `maximum_age_hours`, for a live monitor, is how
    long ago the newest stored day may have ended when it is checked. `expectations` adds any of Great Expectations.
    """

    missing_minor: Fraction = 0.01
    missing_severe: Fraction = 0.05
    invalid_minor: Fraction = 0.01
    invalid_severe: Fraction = 0.05
    refused_minor: Fraction = 0.01
    refused_moderate: Fraction = 0.05
    refused_severe: Fraction = 0.2
    range_margin: NonNegative = 0.1
    minimum_volume: NonNegative = 0.5
    maximum_volume: NonNegative = 2.0
    outlier_deviations: Annotated[float, Field(gt=0)] = 6.0
    minimum_correlation: Annotated[float, Field(ge=0.3, lt=1)] = 0.5
    maximum_age_hours: Annotated[float, Field(gt=0)] | None = None
    false_alarm_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    expectations: list[DeclaredExpectation] = []
    samples: int = Field(default=5, ge=0, le=100)

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        for low, high in (
            ("missing_minor", "missing_severe"),
            ("invalid_minor", "invalid_severe"),
            ("refused_minor", "refused_moderate"),
            ("refused_moderate", "refused_severe"),
            ("minimum_volume", "maximum_volume"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} {getattr(self, low):g} must be below {high} {getattr(self, high):g}")
        return self


class Performance(SpecModel):
    """When the model counts as worse than it was: its realised metric over the last days, against the baseline's.

    Every metric is measured over windows of `windows_days`, from all their labelled rows together. The longest is the one that is
    judged, where it holds `minimum_labelled_rows` of the model that serves (effective rows, where they are weighted). Margins are
    in the metric's own units (for regression, relative to the baseline's error).
    """

    windows_days: list[Annotated[int, Field(ge=1, le=366)]] = Field(default=[1, 7], min_length=1)
    minimum_labelled_rows: PositiveInt = 500
    margin_minor: NonNegative = 0.03
    margin_moderate: NonNegative = 0.05
    margin_severe: NonNegative = 0.08
    class_cut: Fraction = 0.5

    @model_validator(mode="after")
    def _margins_rise(self) -> Self:
        if not self.margin_minor < self.margin_moderate < self.margin_severe:
            raise ValueError("margin_minor, margin_moderate, margin_severe must rise")
        return self

    @property
    def judged_window_days(self) -> int:
        """The window that is judged: the longest."""
        return max(self.windows_days)


RENAMED_RETRAIN_KEYS = {
    "window_days": "`drift_window_days`",
    "minimum_rows": "`minimum_training_rows` (to train a candidate) and `minimum_gate_rows` (to judge it)",
    "check_every_seconds": "MONITORING_ASSETS_CHECK_EVERY_SECONDS, an environment variable, and is for all monitors",
}


class Retrain(SpecModel):
    """When a new model is trained, on what, and what it must beat.

    The policy reads the drift of the window of `drift_window_days`, which is one of `drift.windows_days`, the longest unless
    stated. A candidate is trained on at least `minimum_training_rows` labelled rows, and judged on at least `minimum_gate_rows`
    that neither it nor the champion was trained on; while there are fewer of those, no retrain is asked for.
    """

    enabled: bool = True
    drift_window_days: PositiveInt | None = None
    severity: Literal["minor", "moderate", "severe"] = "moderate"
    drifted_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    performance_margin: NonNegative = 0.05
    cooldown_days: int = Field(default=21, ge=0)
    training_days: PositiveInt = 60
    gate_days: PositiveInt = 7
    minimum_training_rows: PositiveInt = 1000
    minimum_gate_rows: PositiveInt = 1000
    minimum_improvement: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _renamed_keys_say_their_new_name(cls, given: Any) -> Any:
        for old, new in RENAMED_RETRAIN_KEYS.items():
            if isinstance(given, dict) and old in given:
                raise ValueError(f"`{old}` is now called {new}")
        return given


class AlertRoute(SpecModel):
    """Who receives alerts. `url_env` names the environment variable that holds the address, in apprise's form (mailto://,
    slack://, json://host/path and a hundred more), so that no secret stands in a file."""

    url_env: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")]
    minimum_severity: Literal["minor", "moderate", "severe"] = "severe"
