"""What a comparison of two tables found, for whoever prints or draws it. Making it is `compare.py`'s."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from monitoring_assets.comparison.common_columns import Column
from monitoring_assets.measuring.histograms import Histogram

# The method of a row that says a column is gone or new.
SCHEMA = "schema"


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
    def schema(self) -> dict[str, str]:
        """Columns that only one table has: 'gone' from the current one, or 'new' in it."""
        rows = self.scores[self.scores["method"] == SCHEMA]
        return dict(zip(rows["feature"], rows["change"], strict=True))

    @property
    def is_judged(self) -> bool:
        """Whether any value was compared; a comparison without one is no sign of quiet."""
        return bool(self._compared["score"].notna().any())

    @property
    def verdict(self) -> str:
        """What was found, in a sentence."""
        judged = self._compared.dropna(subset=["score"])["feature"].nunique()
        unjudged = self._compared["feature"].nunique() - judged
        rest = f"; {unjudged} could not be judged" if unjudged else ""
        for change, words in (("gone", "gone from the current table"), ("new", "new in it")):
            names = [name for name, found in self.schema.items() if found == change]
            rest += f"; {words}: {', '.join(names)}" if names else ""
        if not self.is_judged:
            return f"not judged: {'; '.join(sorted(set(self._compared['reason'])))}{rest if self.schema else ''}"
        drifted = [name for name in self.drifted if name not in self.schema]
        found = f"{len(drifted)} of {judged} features drifted" if drifted else f"none of {judged} features drifted"
        return f"{found}{rest}" if self.drifted else f"quiet: {found}{rest}"

    @property
    def _compared(self) -> pd.DataFrame:
        return self.scores[self.scores["method"] != SCHEMA]

    @property
    def thresholds(self) -> str:
        """How the thresholds were set, in words."""
        return (
            f"set by shuffling the rows of both sides, so that two samples of one population have any alarm in at most "
            f"{self.false_alarm_rate:.2%} of comparisons, over all features and methods; never below a practical effect "
            "(a shift of 0.1 standard deviations, 1 % of rows missing). Sampling noise only: two tables do not tell how much "
            "quiet days differ"
        )
