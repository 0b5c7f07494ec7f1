"""Quality of the warehouse's days: reads a batch of days, learns from the baseline in force on them, evaluates."""

from collections.abc import Iterator, Sequence
from datetime import date

import duckdb

from monitoring_assets.errors import BaselineMissing
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.profiling.baselines import baselines_in_force
from monitoring_assets.profiling.histograms import read_histograms
from monitoring_assets.quality.expectations import READABLE_SOURCE, ReferenceFacts
from monitoring_assets.quality.facts import reference_facts
from monitoring_assets.quality.findings import Finding, evaluate_days
from monitoring_assets.warehouse import table

# Rows validated at once: enough to share a validation's fixed cost over many days, few enough to bound memory.
BATCH_ROWS = 400_000


def quality_of_days(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[Finding]:
    """Every finding of these days, and for a day whose source could not be read one more, with the reason.

    Before there is a baseline the contract alone is judged: a reference that is a range of the log is made of checked days.
    """
    unreadable = dict(
        connection.execute(
            f"SELECT day, unreadable FROM {table(spec, 'deliveries')} WHERE asset = 'inference_log' AND unreadable IS NOT NULL"
        ).fetchall()
    )
    for facts, judged in _facts_in_force(connection, spec, days):
        for batch in _batches(connection, spec, judged):
            yield from _evaluate(connection, spec, batch, facts)
    for day in days:
        if day in unreadable:
            yield Finding(day, "row_count", None, "severe", 0.0, 0, 1.0, [unreadable[day]], READABLE_SOURCE)


def _facts_in_force(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]
) -> Iterator[tuple[ReferenceFacts, list[date]]]:
    try:
        in_force = baselines_in_force(connection, spec, days)
    except BaselineMissing:
        yield ReferenceFacts(), list(days)
        return
    where = "baseline_id = ? AND segment IS NULL"
    for baseline, judged in in_force:
        profiles = read_histograms(connection, table(spec, "baseline_profiles"), where, [baseline.baseline_id])
        yield reference_facts(profiles), judged


def _evaluate(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: list[date], facts: ReferenceFacts) -> list[Finding]:
    rows = connection.execute(
        f"SELECT * FROM {table(spec, 'inference_log')} WHERE day IN (SELECT unnest(?::DATE[])) ORDER BY day", [days]
    ).df()
    return evaluate_days(rows, days, spec, facts)


def _batches(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Iterator[list[date]]:
    counts = dict(connection.execute(f"SELECT day, count(*) FROM {table(spec, 'inference_log')} GROUP BY day").fetchall())
    batch: list[date] = []
    rows = 0
    for day in days:
        if batch and rows + counts.get(day, 0) > BATCH_ROWS:
            yield batch
            batch, rows = [], 0
        batch.append(day)
        rows += counts.get(day, 0)
    if batch:
        yield batch
