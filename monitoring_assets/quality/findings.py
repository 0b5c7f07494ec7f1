"""What was found, day by day: expectations are evaluated over all days at once, then folded by day and judged.

A validation costs about 5 ms a rule whatever the rows (47 rules on each of 306 days: 70 s), so all days share one.
What is expected is declared in `expectations.py`; how a frame is validated is `validation.py`'s. Storing findings or
reporting them is the caller's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitoring_assets.errors import PermanentError
from monitoring_assets.monitor_spec import MonitorSpec, Severity
from monitoring_assets.quality.expectations import (
    ZONED,
    Expectation,
    Kind,
    ReferenceFacts,
    Tolerance,
    expectations_of,
    shortened,
)
from monitoring_assets.quality.validation import Rows, Rule, rows_breaking

ROW_KINDS: dict[Kind, str] = {
    "not_null": "ExpectColumnValuesToNotBeNull",
    "in_range": "ExpectColumnValuesToBeBetween",
    "in_set": "ExpectColumnValuesToBeInSet",
    "unique_id": "ExpectCompoundColumnsToBeUnique",
}


@dataclass(frozen=True)
class Finding:
    """How one expectation fared on one day.

    `observed` is the unexpected share of the day's rows (for `not_null` the missing share; for `of_type` 1 for a wrong
    type, else 0), and for `row_count` the rows. `samples` are unexpected values; for `not_null` the ids of such rows,
    for `unique_id` the repeated ids, for `of_type` and `row_count` what was found.
    """

    day: date
    check: Kind
    column: str | None
    severity: Severity
    observed: float
    unexpected_count: int
    unexpected_share: float
    samples: list[str]
    expected: str


@dataclass(frozen=True)
class _Days:
    """The frame's rows by day: `codes` holds each row's place in `days`, `rows` each day's number of rows."""

    days: list[date]
    codes: npt.NDArray[np.intp]
    rows: npt.NDArray[np.intp]

    def count(self, positions: Rows) -> npt.NDArray[np.intp]:
        return np.bincount(self.codes[positions], minlength=len(self.days))


def evaluate_days(frame: pd.DataFrame, days: Sequence[date], spec: MonitorSpec, facts: ReferenceFacts) -> list[Finding]:
    """Findings of every day, the good ones too, ordered by day as `days` has them.

    `frame` holds the accepted rows of exactly these days: `day` and `spec.log_columns`, as DuckDB's `.df()` gives them.
    A day's findings are the same whether it is evaluated alone or with others. A day without rows has `row_count` and
    `of_type` findings only: shares of no rows are undefined. A column of the wrong type is not compared by value, an
    absent one has its `of_type` finding only.

    Raises
    ------
    PermanentError
        When the frame has no `day`, or rows of other days, or Great Expectations could not evaluate a rule.
    """
    by_day = _split(frame, days)
    expectations = expectations_of(spec, facts)
    mistyped = _mistyped(frame, expectations)
    comparable = [e for e in expectations if _is_comparable(e, frame, mistyped)]
    findings = [
        *_type_findings(expectations, mistyped, by_day),
        *_row_findings(comparable, frame, spec, by_day),
        *_volume_findings(expectations[-1], by_day),
    ]
    order = {day: place for place, day in enumerate(by_day.days)}
    return sorted(findings, key=lambda finding: order[finding.day])


def _split(frame: pd.DataFrame, days: Sequence[date]) -> _Days:
    if "day" not in frame:
        raise PermanentError(f"the frame needs a column 'day', found {list(frame.columns)}; read it from inference_log")
    wanted = list(dict.fromkeys(days))
    stamps = frame["day"].to_numpy(dtype="datetime64[D]")
    numbers = pd.Index(np.asarray(wanted, dtype="datetime64[D]").astype(np.int64))
    codes = numbers.get_indexer(pd.Index(stamps.astype(np.int64)))
    strangers = np.flatnonzero(codes < 0)
    if len(strangers):
        raise PermanentError(
            f"the frame may hold rows of the {len(wanted)} days asked for only, found {len(strangers)} others, "
            f"the first of {stamps[strangers[0]]}; read exactly the days that are evaluated"
        )
    return _Days(wanted, codes, np.bincount(codes, minlength=len(wanted)))


def _mistyped(frame: pd.DataFrame, expectations: Sequence[Expectation]) -> dict[str, str]:
    """Columns that are not of the declared type, with the type found.

    The types are validated as a table with a row per column: one rule instead of one per column (15 ms instead of 50),
    and an absent column is a finding, not a crash.
    """
    declared = {e.column: e.arguments["type"] for e in expectations if e.kind == "of_type" and e.column is not None}
    schema = pd.DataFrame({"expected": declared, "found": {c: _type_name(frame, c) for c in declared}}, dtype=object)
    columns = ("found", "expected")
    rule = Rule("ExpectColumnPairValuesToBeEqual", columns, {"column_A": columns[0], "column_B": columns[1]})
    (positions,) = rows_breaking([rule], schema)
    return {str(column): str(found) for column, found in schema["found"].iloc[positions].items()}


def _type_name(frame: pd.DataFrame, column: str) -> str:
    if column not in frame:
        return "absent"
    return ZONED if isinstance(frame[column].dtype, pd.DatetimeTZDtype) else str(frame[column].dtype)


def _is_comparable(expectation: Expectation, frame: pd.DataFrame, mistyped: dict[str, str]) -> bool:
    if expectation.kind not in ROW_KINDS or expectation.column not in frame:
        return False
    return expectation.kind not in ("in_range", "in_set") or expectation.column not in mistyped


def _type_findings(expectations: Sequence[Expectation], mistyped: dict[str, str], by_day: _Days) -> Iterator[Finding]:
    for e in expectations:
        if e.kind == "of_type":
            found = mistyped.get(str(e.column))
            severity: Severity = "severe" if found else "ok"
            samples = [found] if found else []
            for day, rows in zip(by_day.days, by_day.rows.tolist(), strict=True):
                count, share = (rows, 1.0) if found else (0, 0.0)
                yield Finding(day, e.kind, e.column, severity, share, count, share, samples, e.expected)


def _row_findings(
    expectations: Sequence[Expectation], frame: pd.DataFrame, spec: MonitorSpec, by_day: _Days
) -> Iterator[Finding]:
    broken = rows_breaking([_rule(e) for e in expectations], frame)
    for e, positions in zip(expectations, broken, strict=True):
        shown = spec.id if e.kind == "not_null" and spec.id in frame else str(e.column)
        samples = _samples(frame[shown], positions, by_day, spec.quality.samples)
        counts = by_day.count(positions).tolist()
        for code, (day, rows, count) in enumerate(zip(by_day.days, by_day.rows.tolist(), counts, strict=True)):
            if rows:
                share = count / rows
                severity = _severity(share, e.tolerance)
                yield Finding(day, e.kind, e.column, severity, share, count, share, samples.get(code, []), e.expected)


def _rule(expectation: Expectation) -> Rule:
    name, arguments = ROW_KINDS[expectation.kind], expectation.arguments
    if expectation.kind == "unique_id":
        return Rule(name, tuple(arguments["column_list"]), arguments)
    return Rule(name, (str(expectation.column),), arguments | {"column": expectation.column})


def _severity(share: float, tolerance: Tolerance) -> Severity:
    if share > tolerance.severe:
        return "severe"
    return "minor" if share > tolerance.minor else "ok"


def _samples(values: pd.Series, positions: Rows, by_day: _Days, limit: int) -> dict[int, list[str]]:
    """The first distinct values of the rows at those positions, by day."""
    if not len(positions):
        return {}
    picked = pd.DataFrame({"code": by_day.codes[positions], "value": values.to_numpy()[positions]})
    picked = picked.dropna().drop_duplicates().groupby("code").head(limit)
    samples: dict[int, list[str]] = {}
    for code, value in zip(picked["code"].tolist(), picked["value"].tolist(), strict=True):
        samples.setdefault(code, []).append(shortened(str(value)))
    return samples


def _volume_findings(expectation: Expectation, by_day: _Days) -> Iterator[Finding]:
    """A day without rows is severe; one with too few or too many is moderate: the model may still be right on it."""
    rule = Rule("ExpectColumnValuesToBeBetween", ("row_count",), expectation.arguments | {"column": "row_count"})
    (positions,) = rows_breaking([rule], pd.DataFrame({"row_count": by_day.rows}))
    unusual = set(positions.tolist())
    for code, (day, rows) in enumerate(zip(by_day.days, by_day.rows.tolist(), strict=True)):
        breaks = code in unusual
        severity: Severity = "ok" if not breaks else "moderate" if rows else "severe"
        samples = [str(rows)] if breaks else []
        yield Finding(day, "row_count", None, severity, float(rows), int(breaks), float(breaks), samples, expectation.expected)
