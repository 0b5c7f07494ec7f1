"""The verdict of a day, from its scores: how bad, what moved and how, worst first, and what could not be judged.

A day has drifted when any of its scores of all rows is beyond its threshold. With calibrated thresholds that happens on at most a
share `drift.false_alarm_rate` of quiet days, because each is set for the whole family of them. Segments are a family of their
own, at the same rate, with a severity of their own.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb
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
# A row of `drift_scores` by column name.
Row = dict[str, Any]
SEGMENTS_SHOWN = 5


@dataclass(frozen=True)
class DriftVerdict:
    """`moved` has a row per drifted column, window and reference, worst first; its keys are `SHOWN`. `segment_moves` has the
    same of the segments, with the key `segment` before. `unjudged` maps columns, and windows of which no column was judged, to
    the reason. `severity` is that of all rows; None where nothing was judged."""

    day: date
    severity: Severity | None
    reason: str
    moved: list[Row] = field(default_factory=list)
    scored_columns: int = 0
    judged_columns: int = 0
    unjudged: dict[str, str] = field(default_factory=dict)
    segment_moves: list[Row] = field(default_factory=list)

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
        return worst([row["severity"] for row in self.segment_moves]) if self.segment_moves else None

    @property
    def overall_severity(self) -> Severity | None:
        """The worse of all rows' severity and the segments': what a check and an alert go by."""
        found = [severity for severity in (self.severity, self.segment_severity) if severity is not None]
        return worst(found) if found else None


def drift_verdicts(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[DriftVerdict]:
    """One verdict per day, over all columns, windows and references. A day that could not be judged says why."""
    names = ["segment", *SHOWN, "is_scored", "reason"]
    scores = connection.execute(
        f"SELECT day, segment, {', '.join(SHOWN)}, score IS NOT NULL AND NOT isnan(score) AS is_scored, reason "
        f"FROM {table(spec, 'drift_scores')} "
        "WHERE (segment IS NULL OR severity <> 'ok') AND day IN (SELECT unnest(?::DATE[]))",
        [list(days)],
    ).fetchall()
    of_day: dict[date, list[Row]] = {}
    for day, *values in scores:
        of_day.setdefault(day, []).append(dict(zip(names, values, strict=True)))
    for day in days:
        yield _verdict(day, of_day.get(day, []))


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


def ranked(scores: Iterable[Row]) -> list[Row]:
    """Scores in the order of how bad they are: by severity, then by how many times beyond the threshold."""
    return sorted(scores, key=_how_bad, reverse=True)


def _how_bad(row: Row) -> tuple[int, float]:
    severity, excess = row["severity"], row["excess"]
    rank = -1 if severity is None else SEVERITIES.index(severity)
    return rank, -math.inf if excess is None or math.isnan(excess) else excess


def window_name(window_days: int, reference: str) -> str:
    """How a window is named to people.

    >>> window_name(1, "baseline"), window_name(7, "previous_window")
    ('1 day', '7 days against previous_window')
    """
    length = "1 day" if window_days == 1 else f"{window_days} days"
    return length if reference == "baseline" else f"{length} against {reference}"


def _verdict(day: date, rows: list[Row]) -> DriftVerdict:
    whole, segments = ([row for row in rows if (row["segment"] is not None) == within] for within in (False, True))
    judged = [row for row in whole if row["severity"] is not None]
    scored, total = (len({row["feature"] for row in some}) for some in ([row for row in whole if row["is_scored"]], judged))
    unjudged = _unjudged(whole)
    segment_moves = _moves(segments, ["segment", *SHOWN])
    counted: dict[str, Any] = {
        "scored_columns": scored,
        "judged_columns": total,
        "unjudged": unjudged,
        "segment_moves": segment_moves,
    }
    if not judged:
        reasons = sorted(set(unjudged.values())) or ["no profile of this day"]
        reason = f"not judged: {'; '.join(reasons)}{_in_segments(segment_moves)}"
        return DriftVerdict(day, None, reason, **counted)
    moved = _moves(judged, SHOWN)
    if moved:
        columns = _columns(moved)
        reason = f"{len(columns)} of {total} columns moved: {listed(columns, NAMES_SHOWN)}"
    else:
        everything = total + len(unjudged.keys() & {row["feature"] for row in whole})
        reason = f"quiet: {total if total == everything else f'{total} of {everything}'} columns judged"
    reason += _in_segments(segment_moves) + _not_judged(unjudged)
    return DriftVerdict(day, worst([row["severity"] for row in moved]), reason, moved, **counted)


def _moves(rows: list[Row], shown: list[str]) -> list[Row]:
    """What is beyond its threshold, worst first: the worst method of each column, window and reference."""
    by = [name for name in ("segment", "feature", "window_days", "reference") if name in shown]
    found: dict[tuple[object, ...], Row] = {}
    for row in ranked(row for row in rows if row["severity"] != "ok"):
        found.setdefault(tuple(row[name] for name in by), {name: row[name] for name in shown})
    return list(found.values())


def _unjudged(whole: list[Row]) -> dict[str, str]:
    """Windows of which no column was judged, if others were, and columns judged in no window, each with the reason."""
    by_window: dict[tuple[int, str], list[Row]] = defaultdict(list)
    by_feature: dict[str, list[Row]] = defaultdict(list)
    for row in whole:
        by_window[row["window_days"], row["reference"]].append(row)
        by_feature[str(row["feature"])].append(row)
    windows = [window for window, rows in by_window.items() if all(row["severity"] is None for row in rows)]
    found = {}
    if len(windows) < len(by_window):
        found = {f"windows of {window_name(*window)}": _reason(by_window[window]) for window in sorted(windows)}
    unjudged = {name: rows for name, rows in by_feature.items() if all(row["severity"] is None for row in rows)}
    return found | {name: _reason(rows) for name, rows in unjudged.items()}


def _reason(rows: list[Row]) -> str:
    reasons = (str(row["reason"]) for row in rows if row["reason"] is not None)
    return next(reasons, "no reason was stored").removeprefix("not judged: ")


def _columns(moves: Iterable[Row]) -> list[str]:
    """Each column once, with the kind of its worst change."""
    change: dict[str, object] = {}
    for row in moves:
        change.setdefault(str(row["feature"]), row["change"])
    return [f"{name} ({WORDS.get(str(kind), kind)})" for name, kind in change.items()]


def _in_segments(moves: Sequence[Row]) -> str:
    of: dict[str, list[Row]] = {}
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
