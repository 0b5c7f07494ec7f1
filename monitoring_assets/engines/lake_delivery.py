"""The account of what a table of a lake holds for some days. Its rows stay where they are: what is stored is how many were
accepted and refused, and some of the refused ones as examples.

`delivery.py` stores rows that the warehouse keeps.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date

import duckdb
import pyarrow as pa

from monitoring_assets.ingestion.delivery import Delivery, new_columns
from monitoring_assets.ingestion.prediction_log import log_contract
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import on_days
from monitoring_assets.warehouse import replace_days, table, transaction


@dataclass(frozen=True)
class MeasuredDelivery:
    """What was measured of the rows delivered for these days; `seconds` is what that took."""

    asset: str
    days: Sequence[date]
    tables: Tables
    sources: Mapping[date, str]
    other_columns: Sequence[str]
    seconds: float


def measured_log(spec: MonitorSpec, days: Sequence[date]) -> MeasuredDelivery:
    """Measure what the log's table holds for these days, before the warehouse is opened."""
    from monitoring_assets.engines.lake_days import delivered_rows

    begun = time.perf_counter()
    rows = replace(delivered_rows(spec, log_contract(spec), spec.log, days), has_originals=True).counted()
    others = rows.other_columns()
    with duckdb.connect() as connection:
        tables = rows.tables(connection, Wanted(delivered=list(spec.log_columns), serving=spec.serving is not None))
    sources = {day: rows.lake.source_of(day) for day in days}
    return MeasuredDelivery("inference_log", days, tables, sources, others, time.perf_counter() - begun)


def measured_labels(
    spec: MonitorSpec, days: Sequence[date], connect: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
) -> MeasuredDelivery:
    """Measure what the labels' table holds for these days; a label whose prediction is unknown is refused."""
    from monitoring_assets.engines.lake_days import accounted_log
    from monitoring_assets.engines.lake_labels import joined_tables, labels_of

    begun = time.perf_counter()
    with connect() as connection:
        log = accounted_log(connection, spec, days)
    labels = labels_of(spec, days)
    tables = joined_tables(log, labels, Wanted(delivered=list(labels.lake.types)))
    sources = {day: labels.lake.source_of(day) for day in days}
    return MeasuredDelivery("labels", days, tables, sources, labels.other_columns(), time.perf_counter() - begun)


def store_account(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, found: MeasuredDelivery) -> list[Delivery]:
    """Replace the account of these days, and the examples of refused rows."""
    asset, days = found.asset, list(found.days)
    accounts = {day: _Account() for day in days}
    for row in found.tables["delivered"].to_pylist():
        accounts[row["day"]].add(row["rule"], row["column_name"], row["rows"])
    with transaction(connection):
        if asset == "inference_log":  # findings on other rows say nothing about these
            connection.execute(f"DELETE FROM {table(spec, 'quality')} WHERE {on_days(days)}")
        connection.register("refused_examples", found.tables["refused"])
        examples = f"SELECT day, '{asset}' AS asset, source, reason, original FROM refused_examples ORDER BY ALL"
        replace_days(connection, table(spec, "quarantine"), days, examples, f"asset = '{asset}'")
        connection.unregister("refused_examples")
        connection.register("lake_accounts", _as_table(found, accounts))
        replace_days(connection, table(spec, "deliveries"), days, "FROM lake_accounts", f"asset = '{asset}'")
        connection.unregister("lake_accounts")
    news = new_columns(connection, spec, asset, days)
    return [
        Delivery(day, account.accepted, account.refused, account.by_rule(), new_columns=news.get(day, ()))
        for day, account in accounts.items()
    ]


class _Account:
    """The rows of a day: accepted, and refused by rule and column."""

    def __init__(self) -> None:
        self.accepted = 0
        self.refusals: list[tuple[str, str | None, int]] = []

    def add(self, rule: str | None, column: str | None, rows: int) -> None:
        if rule is None:
            self.accepted += rows
        else:
            self.refusals.append((rule, column, rows))

    @property
    def refused(self) -> int:
        return sum(rows for _, _, rows in self.refusals)

    def by_rule(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for rule, _, rows in self.refusals:
            found[rule] = found.get(rule, 0) + rows
        return found


def _as_table(found: MeasuredDelivery, accounts: Mapping[date, _Account]) -> pa.Table:
    """The rows of `deliveries`."""
    schema = pa.schema(
        {
            "day": pa.date32(), "asset": pa.string(), "delivered_rows": pa.int64(), "accepted_rows": pa.int64(),
            "quarantined_rows": pa.int64(), "forgotten": pa.bool_(), "sources": pa.list_(pa.string()),
            "other_columns": pa.list_(pa.string()), "refused_rules": pa.list_(pa.string()),
            "refused_columns": pa.list_(pa.string()), "refused_counts": pa.list_(pa.int64()),
        }
    )  # fmt: skip
    rows = [
        {
            "day": day,
            "asset": found.asset,
            "delivered_rows": account.accepted + account.refused,
            "accepted_rows": account.accepted,
            "quarantined_rows": account.refused,
            "forgotten": False,
            "sources": [found.sources[day]] if account.accepted + account.refused else [],
            "other_columns": sorted(found.other_columns) if account.accepted + account.refused else [],
            "refused_rules": [rule for rule, _, _ in account.refusals],
            "refused_columns": [column for _, column, _ in account.refusals],
            "refused_counts": [rows for _, _, rows in account.refusals],
        }
        for day, account in accounts.items()
    ]
    return pa.Table.from_pylist(rows, schema)
