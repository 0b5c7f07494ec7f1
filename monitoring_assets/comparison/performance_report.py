"""What an estimate of performance found, for whoever prints it. Making it is `performance.py`'s."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

LOWER_IS_BETTER = {"log_loss", "brier", "expected_calibration_error", "rmse", "mae", "mape"}
# Best at 0, so that a change says neither better nor worse.
UNDIRECTED = {"bias"}


@dataclass(frozen=True)
class PerformanceReport:
    """`estimated` is what `estimate` returns; `reference` and `realised` what `realised` returns of the reference and, where it
    has labels, of the current table."""

    names: tuple[str, str]
    method: str
    estimated: pd.DataFrame
    reference: pd.DataFrame
    realised: pd.DataFrame | None
    notes: list[str]

    @property
    def is_judged(self) -> bool:
        """Whether any metric could be estimated."""
        return bool(self.estimated["value"].notna().any())

    @property
    def worse(self) -> list[str]:
        """Metrics whose interval lies beyond the reference's, on the worse side."""
        before = self.reference.set_index("metric").to_dict("index")
        return [row["metric"] for row in self.estimated.to_dict("records") if _is_worse(row, before[row["metric"]])]

    @property
    def verdict(self) -> str:
        """What was found, in a sentence."""
        if not self.is_judged:
            return f"not judged: {'; '.join(sorted(set(self.estimated['reason'].dropna())))}"
        if self.worse:
            return f"worse than the reference: {', '.join(self.worse)}"
        return "not worse than the reference, within the intervals"


def _is_worse(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Where a side has no interval, nothing is said: comparisons with nan are false."""
    if now["metric"] in UNDIRECTED:
        return False
    if now["metric"] in LOWER_IS_BETTER:
        return bool(now["lower"] > before["upper"])
    return bool(now["upper"] < before["lower"])
