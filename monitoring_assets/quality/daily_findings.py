"""Quality of the warehouse's days: learns from the baseline in force on them, evaluates, keeps the findings."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from monitoring_assets.engines.day_rows import logged_rows
from monitoring_assets.monitor_spec import MonitorSpec, Severity
from monitoring_assets.quality.declared import evaluate_declared
from monitoring_assets.quality.expectations import GX_NAMES, READABLE_SOURCE
from monitoring_assets.quality.facts import facts_in_force
from monitoring_assets.quality.findings import Finding, evaluate_days
from monitoring_assets.quality.measurement import day_end
from monitoring_assets.retention.costs import measured_cost
from monitoring_assets.retention.forgetting import forgotten_days
from monitoring_assets.warehouse import newest_day, replace_days, table, transaction

# Decimals of a stored number: the last bits of a correlation depend on how threads share the rows, what is stored should not.
DIGITS = 9
STORED = pa.schema(
    {
        "day": pa.date32(), "check": pa.string(), "expectation": pa.string(), "kwargs": pa.string(), "column": pa.string(),
        "success": pa.bool_(), "severity": pa.string(), "observed": pa.float64(), "expected": pa.string(),
        "unexpected_count": pa.int64(), "unexpected_percent": pa.float64(), "partial_unexpected_list": pa.list_(pa.string()),
        "reason": pa.string(), "baseline_id": pa.string(),
    }
)  # fmt: skip


def daily_findings(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], now: datetime | None = None
) -> list[Finding]:
    """The findings of these days, which take the place of those in `quality`, in one transaction.

    A day whose raw rows were deleted keeps the findings it has. Before there is a baseline only the contract counts: a
    reference that is a range of the log is made of checked days.

    Raises
    ------
    ExpectationUnusable
        When a declared expectation is none of Great Expectations', or could not be evaluated. Nothing is stored then.
    """
    gone = forgotten_days(connection, spec, days)
    findings = _stored(connection, spec, sorted(gone))
    days = [day for day in days if day not in gone]
    if not days:
        return findings
    with measured_cost(connection, spec, "quality", days):
        return [*findings, *_evaluated(connection, spec, days, now or datetime.now(UTC))]


def _evaluated(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], now: datetime) -> list[Finding]:
    findings: list[Finding] = []
    rows = []
    for baseline_id, facts, covered in facts_in_force(connection, spec, days):
        found = [
            *evaluate_days(connection, logged_rows(connection, spec, covered), covered, spec, facts),
            *evaluate_declared(connection, spec, covered),
            *_unreadable(connection, spec, covered),
            *_age(connection, spec, covered, now),
        ]
        rows += [_stored_form(finding) | {"baseline_id": baseline_id} for finding in found]
        findings += found
    connection.register("found", pa.Table.from_pylist(rows, STORED))
    with transaction(connection):
        named = 'SELECT * RENAME ("check" AS kind, "column" AS column_name) FROM found ORDER BY day, kind, column_name, expected'
        replace_days(connection, table(spec, "quality"), days, named)
    connection.unregister("found")
    return findings


def _stored_form(finding: Finding) -> dict[str, Any]:
    percent = finding.unexpected_percent
    return vars(finding) | {
        "observed": round(finding.observed, DIGITS),
        "unexpected_percent": None if percent is None else round(percent, DIGITS),
        "kwargs": json.dumps(finding.kwargs, ensure_ascii=False),
    }


def _stored(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[Finding]:
    names = ", ".join('kind AS "check"' if n == "check" else "column_name" if n == "column" else n for n in STORED.names[:-1])
    found = connection.execute(
        f"SELECT {names} FROM {table(spec, 'quality')} WHERE day IN (SELECT unnest(?::DATE[])) ORDER BY day", [list(days)]
    ).fetchall()
    stored = [dict(zip(STORED.names[:-1], row, strict=True)) for row in found]
    return [Finding(**row | {"kwargs": json.loads(row["kwargs"] or "{}")}) for row in stored]


def _unreadable(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[Finding]:
    """For a day whose source could not be read a finding with the reason."""
    noted = connection.execute(
        f"SELECT day, unreadable FROM {table(spec, 'deliveries')} WHERE asset = 'inference_log' AND unreadable IS NOT NULL"
    )
    for day, reason in noted.fetchall():
        if day in days:
            name, kwargs = GX_NAMES["row_count"], {"min_value": 1}
            yield Finding(day, "row_count", None, "severe", 0.0, 1, None, [reason], READABLE_SOURCE, name, kwargs, success=False)


def _age(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], now: datetime) -> Iterator[Finding]:
    """Of a live monitor that says how old its newest day may be: how long ago that ended."""
    allowed = spec.quality.maximum_age_hours
    if allowed is None:
        return
    newest = newest_day(connection, spec)
    if newest is None or newest not in days:
        return
    hours = (now - day_end(newest, spec)).total_seconds() / 3600.0
    late = hours > allowed
    severity: Severity = "moderate" if late else "ok"
    earliest = (now - timedelta(hours=allowed)).astimezone(ZoneInfo(spec.time_zone)).date()  # the first day to end since
    kwargs = {"column": "day", "min_value": f"{earliest}T00:00:00"}
    found = [f"ended {hours:.1f} hours ago"] if late else []
    expected = f"the newest stored day ended at most {allowed:g} hours ago"
    yield Finding(
        newest, "fresh", None, severity, hours, int(late), None, found, expected, GX_NAMES["fresh"], kwargs, success=not late
    )
