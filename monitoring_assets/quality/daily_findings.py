"""Quality of the warehouse's days: learns from the baseline in force on them, evaluates, keeps the findings."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime

import duckdb
import pyarrow as pa

from monitoring_assets.baselines.in_force import baselines_in_force
from monitoring_assets.errors import BaselineMissing
from monitoring_assets.monitor_spec import MonitorSpec, Severity
from monitoring_assets.quality.declared import evaluate_declared
from monitoring_assets.quality.expectations import GX_NAMES, READABLE_SOURCE, ReferenceFacts
from monitoring_assets.quality.facts import read_facts
from monitoring_assets.quality.findings import Finding, evaluate_days
from monitoring_assets.retention.costs import measured_cost
from monitoring_assets.retention.forgetting import forgotten_days
from monitoring_assets.warehouse import replace_days, table, transaction

# Decimals of a stored number: the last bits of a correlation depend on how threads share the rows, what is stored should not.
DIGITS = 9
STORED = pa.schema(
    {
        "day": pa.date32(), "check": pa.string(), "expectation": pa.string(), "column": pa.string(), "severity": pa.string(),
        "observed": pa.float64(), "expected": pa.string(), "unexpected_count": pa.int64(), "unexpected_share": pa.float64(),
        "samples": pa.list_(pa.string()), "baseline_id": pa.string(),
    }
)  # fmt: skip


def judge_days(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], now: datetime | None = None
) -> list[Finding]:
    """Evaluate these days and put their findings in the place of those in `quality`, in one transaction.

    A day whose raw rows were deleted keeps the findings it has. Before there is a baseline the contract alone is judged: a
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
        return [*findings, *_judge(connection, spec, days, now or datetime.now(UTC))]


def _judge(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], now: datetime) -> list[Finding]:
    findings: list[Finding] = []
    rows = []
    for baseline_id, facts, judged in _facts_in_force(connection, spec, days):
        found = [
            *evaluate_days(connection, table(spec, "inference_log"), judged, spec, facts),
            *evaluate_declared(connection, spec, judged),
            *_unreadable(connection, spec, judged),
            *_age(connection, spec, judged, now),
        ]
        rows += [asdict(finding) | {"observed": round(finding.observed, DIGITS), "baseline_id": baseline_id} for finding in found]
        findings += found
    connection.register("found", pa.Table.from_pylist(rows, STORED))
    with transaction(connection):
        named = 'SELECT * RENAME ("check" AS kind, "column" AS column_name) FROM found ORDER BY day, kind, column_name, expected'
        replace_days(connection, table(spec, "quality"), days, named)
    connection.unregister("found")
    return findings


def _stored(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[Finding]:
    names = ", ".join('kind AS "check"' if n == "check" else "column_name" if n == "column" else n for n in STORED.names[:-1])
    found = connection.execute(
        f"SELECT {names} FROM {table(spec, 'quality')} WHERE day IN (SELECT unnest(?::DATE[])) ORDER BY day", [list(days)]
    ).fetchall()
    return [Finding(**dict(zip(STORED.names[:-1], row, strict=True))) for row in found]


def _facts_in_force(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]
) -> Iterator[tuple[str | None, ReferenceFacts, list[date]]]:
    try:
        in_force = baselines_in_force(connection, spec, days)
    except BaselineMissing:
        yield None, ReferenceFacts(), list(days)
        return
    for baseline, judged in in_force:
        yield baseline.baseline_id, read_facts(connection, spec, baseline.baseline_id), judged


def _unreadable(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[Finding]:
    """For a day whose source could not be read a finding with the reason."""
    told = connection.execute(
        f"SELECT day, unreadable FROM {table(spec, 'deliveries')} WHERE asset = 'inference_log' AND unreadable IS NOT NULL"
    )
    for day, reason in told.fetchall():
        if day in days:
            yield Finding(day, "row_count", None, "severe", 0.0, 0, 1.0, [reason], READABLE_SOURCE, GX_NAMES["row_count"])


def _age(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date], now: datetime) -> Iterator[Finding]:
    """Of a live monitor that says how old its newest day may be: how long ago that ended."""
    allowed = spec.quality.maximum_age_hours
    if allowed is None:
        return
    newest, ended = connection.execute(
        "SELECT day, epoch((day + 1)::TIMESTAMP AT TIME ZONE ?) FROM "
        f"(SELECT max(day) AS day FROM {table(spec, 'inference_log')})",
        [spec.time_zone],
    ).fetchall()[0]
    if newest in days:
        hours = (now.timestamp() - ended) / 3600.0
        late = hours > allowed
        told = [f"ended {hours:.1f} hours ago"] if late else []
        expected = f"the newest stored day ended at most {allowed:g} hours ago"
        severity: Severity = "moderate" if late else "ok"
        yield Finding(newest, "fresh", None, severity, hours, int(late), float(late), told, expected, GX_NAMES["fresh"])
