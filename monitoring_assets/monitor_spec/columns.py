"""The columns of a prediction log and what each is for: features, the prediction, how it was served, the label."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from monitoring_assets.monitor_spec.parts import SpecModel

# How sure a classifier is, max(score, 1 - score): computed when a day is profiled, not a column of the log.
CONFIDENCE = "prediction_confidence"


class Feature(SpecModel):
    """One input of the model.

    `kind` numeric is compared by value, categorical by category. `minimum`, `maximum`, `allowed` and `nullable` are the
    contract the model was built on; what is not stated is learnt from the reference. `renamed_from` is what the feature
    was called before: its history goes on under the new name.
    """

    kind: Literal["numeric", "categorical"]
    renamed_from: str | None = None
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

    @property
    def watched(self) -> list[str]:
        """What of the prediction is watched: its column, and of a score the confidence in it."""
        return [self.column] if self.score is None else [self.column, CONFIDENCE]


class Serving(SpecModel):
    """The columns in which the log holds how a prediction was served: how long it took, in milliseconds, and why there is none
    (NULL where there is one). A row with an error may lack its score."""

    latency_ms: str | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _names_a_column(self) -> Self:
        if self.latency_ms is None and self.error is None:
            raise ValueError("serving: name at least one of the columns `latency_ms` and `error`")
        if self.latency_ms == self.error:
            raise ValueError(f"serving: latency_ms and error are two columns, both are {self.error!r}")
        return self


class Label(SpecModel):
    """The ground truth: its column in the label source, and how late it comes.

    A day's labels are mature, and count for performance, training and the gate, when `delay_days` have passed since the day. With
    `mature_coverage` they count as soon as that share of the day's predictions has a label. It has no default, for only you know
    whether a label is final when it comes: state it (0.95, say) where each is, as a delivery's arrival; leave it out where a
    label says 0 until the truth is known, as of an undisputed payment, or where the bad ones come first. What is not seen to
    arrive (a query, a function, a remote file) is read every night until the day is mature, and once more `lateness_days` later.
    """

    column: str
    delay_days: int = Field(default=0, ge=0, le=3650)
    mature_coverage: Annotated[float, Field(gt=0, le=1)] | None = None
    lateness_days: int = Field(default=0, ge=0, le=3650)
