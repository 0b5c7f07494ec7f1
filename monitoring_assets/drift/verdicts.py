"""The verdict of a day, from its stored scores: how bad, what moved, in the order of how far beyond the threshold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import pandas as pd

from monitoring_assets.monitor_spec import MonitorSpec, Severity, worst
from monitoring_assets.warehouse import table


@dataclass(frozen=True)
class DriftVerdict:
    """`moved` has a row per drifted column and window, worst first: feature, window_days, method, score, threshold, severity."""

    day: date
    severity: Severity
    reason: str
    moved: list[dict[str, object]]


def drift_verdicts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[DriftVerdict]:
    """One verdict per day, over all rows, columns and windows. A day that could not be scored says why."""
    scores = connection.execute(
        f"SELECT day, feature, window_days, method, score, threshold, severity, reason FROM {table(spec, 'drift_scores')} "
        "WHERE segment IS NULL AND day IN (SELECT unnest(?::DATE[])) ORDER BY score / nullif(threshold, 0) DESC NULLS LAST",
        [list(days)],
    ).df()
    of_day = dict(list(scores.groupby("day")))
    for day in days:
        yield _verdict(day, of_day.get(pd.Timestamp(day), scores.iloc[:0]))


def _verdict(day: date, rows: pd.DataFrame) -> DriftVerdict:
    scored = rows[rows["severity"].notna()]
    if scored.empty:
        reasons = sorted({str(reason) for reason in rows["reason"].dropna()}) or ["no profile of this day"]
        return DriftVerdict(day, "ok", f"not scored: {'; '.join(reasons)}", [])
    drifted = scored[scored["severity"] != "ok"].drop_duplicates(["feature", "window_days"])
    moved = drifted[["feature", "window_days", "method", "score", "threshold", "severity"]].to_dict("records")
    severity = worst(list(drifted["severity"]))
    features = list(dict.fromkeys(drifted["feature"]))
    told = f"{len(features)} of {scored['feature'].nunique()} columns moved: {', '.join(features[:8])}" if features else "quiet"
    return DriftVerdict(day, severity, told, moved)
