"""The log of a monitor in a lake: as it is delivered, and as the warehouse has accounted for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import duckdb

from monitoring_assets.engines.executor import Lake
from monitoring_assets.engines.lake import LakeRows
from monitoring_assets.errors import RowsChanged
from monitoring_assets.ingestion.prediction_log import log_contract
from monitoring_assets.ingestion.staging import Contract
from monitoring_assets.measuring.delivered import REPEATED_ID
from monitoring_assets.measuring.measure import Tables, Wanted
from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.warehouse import TYPE_NAMES, table


def delivered_rows(spec: MonitorSpec, contract: Contract, source: Source, days: Sequence[date]) -> LakeRows:
    """All rows that a table of the monitor's engine holds for these days."""
    if spec.engine is None or source.table is None:
        raise ValueError(f"{spec.name}: no table of an engine")
    days = tuple(sorted(days))
    lake = Lake(spec, source.table, source.day_column, contract.types, contract.event_time, contract.rules, days)
    return LakeRows(lake, source, spec.engine.spark)


@dataclass(frozen=True)
class AccountedLog:
    """The accepted predictions of some days, of which `inference_log` has counted so many."""

    rows: LakeRows
    accepted: dict[date, int]

    def on(self, days: Sequence[date]) -> "AccountedLog":
        return AccountedLog(self.rows.on(days), {day: self.accepted.get(day, 0) for day in days})

    def types(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """The types that the contract gives every column."""
        return {"day": "DATE"} | {name: TYPE_NAMES.get(kind, kind) for name, kind in self.rows.lake.types.items()}

    def tables(self, connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> Tables:
        """What `measure` says of them.

        Raises
        ------
        RowsChanged
            When the table accepts another number of rows than were counted: what is measured now would contradict what is
            stored. Bins that are divided are compared with what was counted anyway.
        """
        if wanted.finer:
            return self.rows.tables(connection, wanted)
        found = self.rows.tables(connection, replace(wanted, delivered=[]))
        refuse_changes(self, {row["day"]: row["rows"] for row in found["delivered"].to_pylist() if row["rule"] is None})
        return {name: part for name, part in found.items() if name not in ("delivered", "refused")}

    def relation(
        self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str], condition: str = "true", at_most: int | None = None
    ) -> str:
        return self.rows.relation(connection, columns, condition, at_most)


def refuse_changes(log: AccountedLog, now: Mapping[date, int]) -> None:
    """Raise unless as many rows of each day are accepted now as were counted."""
    for day, counted in sorted(log.accepted.items()):
        if now.get(day, 0) != counted:
            raise RowsChanged(
                f"{log.rows.shown}: {now.get(day, 0):,} rows of {day} are accepted, {counted:,} were when "
                f"{log.rows.lake.spec.name}/inference_log of the day was materialised. The table has changed since; materialise "
                "that asset of the day again, together with this one."
            )


def accounted_log(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> AccountedLog:
    """The accepted predictions of these days. Whether ids repeat is known from the account, so nobody looks again."""
    accounts = connection.execute(
        f"SELECT day, accepted_rows, delivered_rows, list_contains(refused_rules, '{REPEATED_ID}') "
        f"FROM {table(spec, 'deliveries')} WHERE asset = 'inference_log' AND day IN (SELECT unnest(?::DATE[]))",
        [list(days)],
    ).fetchall()
    accepted = dict.fromkeys(days, 0) | {day: rows for day, rows, _, _ in accounts}
    repeats, total = any(repeats for *_, repeats in accounts), sum(delivered for _, _, delivered, _ in accounts)
    rows = delivered_rows(spec, log_contract(spec), spec.log, days)
    return AccountedLog(replace(rows, has_repeats=repeats, row_count=total), accepted)
