"""What counts as bad data and as a worse model, when a new one is trained, and who is told."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from monitoring_assets.monitor_spec.parts import Fraction, NonNegative, PositiveInt, SpecModel


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
