"""The verdict of a day, from its scores: how bad, what moved and how, in the order of how far beyond its threshold.

A day has drifted when any of its scores of all rows is beyond its threshold. With calibrated thresholds that happens on at most a
share `drift.false_alarm_rate` of quiet days, because each is set for the whole family of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import pandas as pd

from monitoring_assets.monitor_spec import SEVERITIES, MonitorSpec, Severity, worst
from monitoring_assets.warehouse import replace_days, table

SHOWN = ["feature", "window_days", "reference", "method", "score", "threshold", "excess", "severity", "change", "detail"]
# How a change of each kind is told.
WORDS = {
    "missing": "missing values",
    "new category": "new categories",
    "shift": "shifted",
    "shape": "changed its shape",
    "relation": "go together another way",
}


@dataclass(frozen=True)
class DriftVerdict:
    """`moved` has a row per drifted column, window and reference, worst first; its keys are `SHOWN`."""

    day: date
    severity: Severity | None
    reason: str
    moved: list[dict[str, object]]
    scored_columns: int

    @property
    def drifted_columns(self) -> list[str]:
        """The columns that moved, worst first."""
        return list(dict.fromkeys(str(row["feature"]) for row in self.moved))


def drift_verdicts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[DriftVerdict]:
    """One verdict per day, over all rows, columns, windows and references. A day that could not be scored says why."""
    scores = connection.execute(
        f"SELECT day, {', '.join(SHOWN)}, reason FROM {table(spec, 'drift_scores')} "
        "WHERE segment IS NULL AND day IN (SELECT unnest(?::DATE[]))",
        [list(days)],
    ).df()
    of_day = dict(list(scores.groupby("day")))
    for day in days:
        yield _verdict(day, of_day.get(pd.Timestamp(day), scores.iloc[:0]))


def write_verdicts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> None:
    """Replace these days of `drift_verdicts` by what `drift_scores` says now. Call it in the transaction of those scores."""
    rows = [
        (
            verdict.day,
            verdict.severity,
            len(verdict.drifted_columns),
            verdict.scored_columns,
            verdict.drifted_columns,
            verdict.reason,
        )
        for verdict in drift_verdicts(connection, spec, days)
    ]
    columns = ["day", "severity", "drifted_columns", "scored_columns", "columns", "reason"]
    connection.register("verdicts", pd.DataFrame(rows, columns=columns).astype({"severity": "object"}))
    replace_days(connection, table(spec, "drift_verdicts"), days, "SELECT * FROM verdicts")
    connection.unregister("verdicts")


def ranked(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores in the order of how bad they are: by severity, then by how many times beyond the threshold."""
    rank = scores["severity"].map({name: level for level, name in enumerate(SEVERITIES)}).fillna(-1)
    return scores.assign(rank=rank).sort_values(["rank", "excess"], ascending=False, kind="stable").drop(columns="rank")


def _verdict(day: date, rows: pd.DataFrame) -> DriftVerdict:
    scored = rows[rows["severity"].notna()]
    if scored.empty:
        reasons = sorted({str(reason) for reason in rows["reason"].dropna()}) or ["no profile of this day"]
        return DriftVerdict(day, None, f"not scored: {'; '.join(reasons)}", [], 0)
    drifted = ranked(scored[scored["severity"] != "ok"]).drop_duplicates(["feature", "window_days", "reference"])
    severity, total = worst(list(drifted["severity"])), scored["feature"].nunique()
    verdict = DriftVerdict(day, severity, "quiet", drifted[SHOWN].to_dict("records"), total)
    features = verdict.drifted_columns
    if not features:
        return verdict
    change = dict(zip(drifted["feature"][::-1], drifted["change"][::-1], strict=True))
    told = ", ".join(f"{name} ({WORDS.get(change[name], change[name])})" for name in features[:8])
    more = f" and {len(features) - 8} more" if len(features) > 8 else ""
    return DriftVerdict(day, severity, f"{len(features)} of {total} columns moved: {told}{more}", verdict.moved, total)
