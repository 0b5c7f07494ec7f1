"""What a comparison of two tables found, for whoever prints or draws it. Making it is `compare.py`'s."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from monitoring_assets.comparison.common_columns import Column
from monitoring_assets.profiling.histograms import Histogram


@dataclass(frozen=True)
class DriftReport:
    """What a comparison found.

    `scores` is what `compare` returns; `histograms` holds for each feature the reference's and the current profile; `left_out`
    says why columns were not compared, `notes` what else a reader should know. `rows` of the reference and the current table.
    """

    names: tuple[str, str]
    rows: tuple[int, int]
    scores: pd.DataFrame
    columns: list[Column]
    histograms: dict[str, tuple[Histogram, Histogram]]
    left_out: dict[str, str]
    notes: list[str]
    false_alarm_rate: float

    @cached_property
    def features(self) -> pd.DataFrame:
        """One row per feature, its worst method's, worst first. `excess` is on the scale of effects."""
        return self.scores.drop_duplicates("feature").reset_index(drop=True)

    @property
    def drifted(self) -> list[str]:
        return list(self.features.loc[self.features["drifted"], "feature"])

    @property
    def is_judged(self) -> bool:
        """Whether any score is defined; a comparison without one is no sign of quiet."""
        return bool(self.scores["score"].notna().any())

    @property
    def verdict(self) -> str:
        judged = self.scores.dropna(subset=["score"])["feature"].nunique()
        unjudged = len(self.features) - judged
        untold = f"; {unjudged} could not be judged" if unjudged else ""
        if not self.is_judged:
            return f"not judged: {'; '.join(sorted(set(self.scores['reason'])))}"
        if not self.drifted:
            return f"quiet: none of {judged} features drifted{untold}"
        return f"{len(self.drifted)} of {judged} features drifted{untold}"

    @property
    def thresholds(self) -> str:
        """How the thresholds were set, in words."""
        return (
            f"set by shuffling the rows of both sides, so that two samples of one population have any alarm in at most "
            f"{self.false_alarm_rate:.2%} of comparisons, over all features and methods; never below a practical effect "
            "(a shift of 0.1 standard deviations, 1 % of rows missing). Sampling noise only: two tables do not tell how much "
            "quiet days differ"
        )
