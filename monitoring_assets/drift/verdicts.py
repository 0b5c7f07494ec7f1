"""The verdict of a day, from its scores: how bad, what moved and how, worst first, and what could not be judged.

A day has drifted when any of its scores of all rows is beyond its threshold. With calibrated thresholds that happens on at most a
share `drift.false_alarm_rate` of quiet days, because each is set for the whole family of them. Segments are a family of their
own, at the same rate, with a severity of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.monitor_spec import SEVERITIES, MonitorSpec, Severity, worst
from monitoring_assets.warehouse import replace_days, table
from monitoring_assets.wording import listed

SHOWN = ["feature", "window_days", "reference", "method", "score", "threshold", "excess", "severity", "change", "detail"]
# Each kind of change in words.
WORDS = {
    "missing": "missing values",
    "new category": "new categories",
    "shift": "shifted",
    "shape": "changed its shape",
    "relation": "go together another way",
}
NAMES_SHOWN = 8
SEGMENTS_SHOWN = 5


@dataclass(frozen=True)
class DriftVerdict:
    """`moved` has a row per drifted column, window and reference, worst first; its keys are `SHOWN`. `segment_moves` has the
    same of the segments, with the key `segment` before. `unjudged` maps columns, and windows of which no column was judged, to
    the reason. `severity` is that of all rows; None where nothing was judged."""

    day: date
    severity: Severity | None
    reason: str
    moved: list[dict[str, object]] = field(default_factory=list)
    scored_columns: int = 0
    judged_columns: int = 0
    unjudged: dict[str, str] = field(default_factory=dict)
    segment_moves: list[dict[str, object]] = field(default_factory=list)

    @property
    def drifted_columns(self) -> list[str]:
        """The columns that moved, worst first."""
        return list(dict.fromkeys(str(row["feature"]) for row in self.moved))

    @property
    def segments(self) -> list[str]:
        """The segments in which a column moved, worst first."""
        return list(dict.fromkeys(str(row["segment"]) for row in self.segment_moves))

    @property
    def segment_severity(self) -> Severity | None:
        """The worst finding in a segment; None where no segment has one."""
        return worst([row["severity"] for row in self.segment_moves]) if self.segment_moves else None  # type: ignore[misc]

    @property
    def overall_severity(self) -> Severity | None:
        """The worse of all rows' severity and the segments': what a check and an alert go by."""
        found = [severity for severity in (self.severity, self.segment_severity) if severity is not None]
        return worst(found) if found else None


def drift_verdicts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[DriftVerdict]:
    """One verdict per day, over all columns, windows and references. A day that could not be judged says why."""
    scores = connection.execute(
        f"SELECT day, segment, {', '.join(SHOWN)}, score IS NOT NULL AND NOT isnan(score) AS is_scored, reason "
        f"FROM {table(spec, 'drift_scores')} "
        "WHERE (segment IS NULL OR severity <> 'ok') AND day IN (SELECT unnest(?::DATE[]))",
        [list(days)],
    ).df()
    of_day = dict(list(scores.groupby("day")))
    for day in days:
        yield _verdict(day, of_day.get(pd.Timestamp(day), scores.iloc[:0]))


def write_verdicts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[DriftVerdict]:
    """Replace these days of `drift_verdicts` by what `drift_scores` says now, and return them. Call it in the transaction of
    those scores."""
    verdicts = list(drift_verdicts(connection, spec, days))
    rows = [
        {
            "day": verdict.day,
            "severity": verdict.severity,
            "drifted_columns": len(verdict.drifted_columns),
            "scored_columns": verdict.scored_columns,
            "judged_columns": verdict.judged_columns,
            "columns": verdict.drifted_columns,
            "unjudged": list(verdict.unjudged),
            "segment_severity": verdict.segment_severity,
            "segments": verdict.segments,
            "reason": verdict.reason,
        }
        for verdict in verdicts
    ]
    if rows:
        connection.register("verdicts", pd.DataFrame(rows).astype({"severity": "object", "segment_severity": "object"}))
        replace_days(connection, table(spec, "drift_verdicts"), days, "SELECT * FROM verdicts")
        connection.unregister("verdicts")
    return verdicts


def ranked(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores in the order of how bad they are: by severity, then by how many times beyond the threshold."""
    rank = scores["severity"].map({name: level for level, name in enumerate(SEVERITIES)}).fillna(-1)
    return scores.assign(rank=rank).sort_values(["rank", "excess"], ascending=False, kind="stable").drop(columns="rank")


def window_name(window_days: int, reference: str) -> str:
    """How a window is named to people.

    >>> window_name(1, "baseline"), window_name(7, "previous_window")
    ('1 day', '7 days against previous_window')
    """
    length = "1 day" if window_days == 1 else f"{window_days} days"
    return length if reference == "baseline" else f"{length} against {reference}"


def _verdict(day: date, rows: pd.DataFrame) -> DriftVerdict:
    whole, segments = rows[rows["segment"].isna()], rows[rows["segment"].notna()]
    judged = whole[whole["severity"].notna()]
    scored, total = whole.loc[whole["is_scored"], "feature"].nunique(), judged["feature"].nunique()
    unjudged = _unjudged(whole)
    segment_moves = _moves(segments, ["segment", *SHOWN])
    counted = {"scored_columns": scored, "judged_columns": total, "unjudged": unjudged, "segment_moves": segment_moves}
    if judged.empty:
        reasons = sorted(set(unjudged.values())) or ["no profile of this day"]
        reason = f"not judged: {'; '.join(reasons)}{_in_segments(segment_moves)}"
        return DriftVerdict(day, None, reason, **counted)
    moved = _moves(judged, SHOWN)
    if moved:
        columns = _columns(moved)
        reason = f"{len(columns)} of {total} columns moved: {listed(columns, NAMES_SHOWN)}"
    else:
        everything = total + sum(name in set(whole["feature"]) for name in unjudged)
        reason = f"quiet: {total if total == everything else f'{total} of {everything}'} columns judged"
    reason += _in_segments(segment_moves) + _not_judged(unjudged)
    return DriftVerdict(day, worst([row["severity"] for row in moved]), reason, moved, **counted)  # type: ignore[misc]


def _moves(rows: pd.DataFrame, shown: list[str]) -> list[dict[str, object]]:
    """What is beyond its threshold, worst first: the worst method of each column, window and reference."""
    beyond = rows[rows["severity"] != "ok"]
    if beyond.empty:
        return []
    by = [name for name in ("segment", "feature", "window_days", "reference") if name in shown]
    found: list[dict[str, object]] = ranked(beyond).drop_duplicates(by)[shown].to_dict("records")
    return found


def _unjudged(whole: pd.DataFrame) -> dict[str, str]:
    """Windows of which no column was judged, if others were, and columns judged in no window, each with the reason."""
    is_judged = np.asarray(whole["severity"].notna(), bool)
    if is_judged.all():
        return {}
    found = {}
    windows = list(zip(whole["window_days"], whole["reference"], strict=True))
    judged_windows = {window for window, judged in zip(windows, is_judged, strict=True) if judged}
    for window in sorted(set(windows) - judged_windows) if judged_windows else ():
        found[f"windows of {window_name(*window)}"] = _reason(whole[[each == window for each in windows]])
    judged = set(whole["feature"][is_judged])
    for feature in dict.fromkeys(whole["feature"]):
        if feature not in judged:
            found[str(feature)] = _reason(whole[whole["feature"] == feature])
    return found


def _reason(rows: pd.DataFrame) -> str:
    reasons = rows["reason"].dropna()
    return str(reasons.iloc[0]).removeprefix("not judged: ") if len(reasons) else "no reason was stored"


def _columns(moves: Iterable[dict[str, object]]) -> list[str]:
    """Each column once, with the kind of its worst change."""
    change: dict[str, object] = {}
    for row in moves:
        change.setdefault(str(row["feature"]), row["change"])
    return [f"{name} ({WORDS.get(str(kind), kind)})" for name, kind in change.items()]


def _in_segments(moves: Sequence[dict[str, object]]) -> str:
    of: dict[str, list[dict[str, object]]] = {}
    for row in moves:
        of.setdefault(str(row["segment"]), []).append(row)
    if not of:
        return ""
    names = [f"{segment}: {listed(_columns(rows), 3)}" for segment, rows in of.items()]
    return f"; in {len(of)} segment{'s' if len(of) > 1 else ''}: {listed(names, SEGMENTS_SHOWN, '; ')}"


def _not_judged(unjudged: dict[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in unjudged.items():
        by_reason.setdefault(reason, []).append(name)
    words = "; ".join(f"{listed(names, NAMES_SHOWN)} ({reason})" for reason, names in by_reason.items())
    return f"; not judged: {words}" if words else ""
