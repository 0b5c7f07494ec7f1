"""How days are compared with a reference: methods, windows, thresholds."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from monitoring_assets.monitor_spec.parts import NonNegative, PositiveInt, SpecModel

Method = Literal[
    "psi", "ks", "js", "wasserstein", "hellinger", "kl", "chi2", "tv", "linf", "cramer_von_mises", "missingness", "new_category"
]  # fmt: skip
# What a window is compared with; `drift/windows.py` says which days each is.
ReferenceChoice = Literal["baseline", "same_weekday", "previous_window"]
# Of all features together, from each day's sample of rows.
MultivariateMethod = Literal["pca_reconstruction", "correlation", "domain_classifier"]
# What a monitor computes by default; the second pair is all that can be asked for.
NUMERIC_METHODS: tuple[Method, ...] = ("psi", "ks", "js", "wasserstein", "missingness")
CATEGORICAL_METHODS: tuple[Method, ...] = ("psi", "js", "chi2", "missingness")
ON_SHARES: tuple[Method, ...] = ("hellinger", "kl", "tv", "linf")
ALL_NUMERIC_METHODS: tuple[Method, ...] = (*NUMERIC_METHODS, *ON_SHARES, "cramer_von_mises", "chi2")
ALL_CATEGORICAL_METHODS: tuple[Method, ...] = (*CATEGORICAL_METHODS, *ON_SHARES, "new_category")


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
    """How days are compared, and with what.

    Windows of so many days are compared with each of `references`: the frozen baseline, the baseline's days of the same weekdays
    (for windows shorter than a week), the window right before. `multivariate_methods` compare all features together, how they
    go with each other, with the baseline.

    Thresholds are calibrated: each score's is estimated from the baseline, so that at most a share `false_alarm_rate` of quiet
    days has any alarm, over all columns, methods, windows and references together. A method that `thresholds` names is judged
    by those constant cuts instead; with `calibrated: false` all methods of one column are, by practice's usual cuts where none
    are named.

    Of each column in the monitor's `segments` the `segment_values` largest values of the reference are judged too. They share a
    false alarm rate of their own, the same one, so that they cost the whole no power.
    """

    numeric_methods: list[Method] = Field(default=list(NUMERIC_METHODS), min_length=1)
    categorical_methods: list[Method] = Field(default=list(CATEGORICAL_METHODS), min_length=1)
    multivariate_methods: list[MultivariateMethod] = ["pca_reconstruction", "correlation"]
    windows_days: list[Annotated[int, Field(ge=1, le=366)]] = Field(default=[1, 7], min_length=1)
    references: list[ReferenceChoice] = Field(default=["baseline"], min_length=1)
    minimum_rows: PositiveInt = 30
    calibrated: bool = True
    false_alarm_rate: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    thresholds: dict[Method | MultivariateMethod, SeverityLevels] = {}
    # Each value more raises the thresholds of all others, and small ones hold too few rows to alarm.
    segment_values: PositiveInt = 20

    @model_validator(mode="after")
    def _methods_fit_and_levels_rise(self) -> Self:
        for kind, methods, allowed in (
            ("numeric", self.numeric_methods, ALL_NUMERIC_METHODS),
            ("categorical", self.categorical_methods, ALL_CATEGORICAL_METHODS),
        ):
            wrong = [method for method in methods if method not in allowed]
            if wrong:
                raise ValueError(f"{kind}_methods: {', '.join(wrong)} cannot compare {kind} features; allowed: {allowed}")
        if not self.comparisons:
            raise ValueError("references: same_weekday is for windows shorter than 7 days, and windows_days has none")
        for method, levels in self.thresholds.items():
            order = (levels.minor, levels.moderate, levels.severe)
            rising = order if method != "chi2" else order[::-1]
            if not rising[0] < rising[1] < rising[2]:
                direction = "rise" if method != "chi2" else "fall (they are p-values)"
                raise ValueError(f"thresholds.{method}: minor, moderate, severe must {direction}, found {order}")
        return self

    @property
    def comparisons(self) -> list[tuple[int, ReferenceChoice]]:
        """Each window's days, with each reference it has. A window of a week or more has every weekday in it."""
        return [
            (length, choice)
            for length in self.windows_days
            for choice in self.references
            if choice != "same_weekday" or length < 7
        ]

    @property
    def days_back(self) -> int:
        """How many days before a day its windows, and the windows before them, reach."""
        return max(2 * length - 1 if choice == "previous_window" else length - 1 for length, choice in self.comparisons)

    def levels(self, method: str) -> SeverityLevels | None:
        """The cuts in force for a method, or None where it has none and only informs."""
        default = None if self.calibrated else DEFAULT_THRESHOLDS.get(method)
        return self.thresholds.get(method, default)  # type: ignore[call-overload]

    def methods(self, kind: str) -> list[Method]:
        return self.numeric_methods if kind == "numeric" else self.categorical_methods
