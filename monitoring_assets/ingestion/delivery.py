"""Storing what a source delivered for some days: sound rows, quarantined rows, and the account of both.

Shared by the prediction log and the labels. The rows have been read before (`staging.py`): the warehouse is held only while they
are written, in the transaction that writes the account; that transaction fails unless accepted + quarantined = delivered.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date

import duckdb

from monitoring_assets.errors import SourceChanged
from monitoring_assets.ingestion.arrivals import note_read
from monitoring_assets.ingestion.sources import Reading, Unreadable, prepare
from monitoring_assets.ingestion.staging import STAGED_ROWS, Contract, Counted, Staged, bounded_memory, count
from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.sql_text import on_days, stored_table
from monitoring_assets.warehouse import quoted, replace_days, table, transaction

# Temporary views and tables, in the order in which they are made: rows judged against what is stored, all sound rows whose id
# occurs more than once, and rows for the quarantine.
JUDGED, REPEATED, REFUSED = "judged", "repeated", "refused"


@dataclass(frozen=True)
class Delivery:
    """The account of one day. With `unreadable` set, the stored day was left as it was, and the numbers are those of its stored
    rows.

    `warnings` names files that could not be read and may hold rows of the day; what the other files hold was stored.
    `new_columns` are columns the monitor does not ask for and no earlier day had.
    """

    day: date
    accepted_rows: int
    quarantined_rows: int
    reasons: dict[str, int]
    unreadable: str | None = None
    is_absent: bool = False
    warnings: tuple[str, ...] = ()
    new_columns: tuple[str, ...] = ()

    @property
    def delivered_rows(self) -> int:
        return self.accepted_rows + self.quarantined_rows


@dataclass(frozen=True)
class _Stored:
    """What the account says about a day stored earlier."""

    accepted: int
    quarantined: int
    sources: list[str]
    others: list[str]
    forgotten: bool


NOTHING = _Stored(0, 0, [], [], forgotten=False)


def store(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, staged: Staged, withheld: Sequence[Unreadable] = ()
) -> list[Delivery]:
    """Replace the days of an asset with what was staged of them, and account for every row.

    `withheld` names days whose rows must not be stored, and why. An unreadable day keeps the rows it had, accepted and
    quarantined; only its account and its note in the quarantine change.
    """
    contract, days, readings = staged.contract, staged.days, staged.readings
    unreadable = [*withheld, *staged.unreadable]
    prepare(connection, spec)
    with bounded_memory(connection):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {STAGED_ROWS} AS FROM {staged.relation}")
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {JUDGED} AS {contract.judged or f'FROM {STAGED_ROWS}'}")
        counted = staged.counted if staged.counted is not None else count(connection, spec, readings, JUDGED)
        stored = _stored_accounts(connection, spec, contract.asset, days)
        present = {file.path for file in staged.files}
        left = _days_left_alone(staged.source, days, readings, unreadable, counted, stored, present)
        readable = [day for day in days if day not in left]
        repeated = [day for day in readable if day in counted and counted[day].sound > counted[day].distinct]
        _stage_repeated(connection, spec, repeated)
        _stage_refused(
            connection, spec, [day for day in readable if day in counted and counted[day].sound < counted[day].delivered]
        )
        with transaction(connection):
            replace_days(connection, table(spec, contract.asset), readable, _accepted_sql(spec, contract, readable, repeated))
            if contract.asset == "inference_log":  # findings on the replaced rows say nothing about the new ones
                connection.execute(f"DELETE FROM {table(spec, 'quality')} WHERE {on_days(readable)}")
            _quarantine(connection, spec, contract.asset, days, readable, unreadable)
            accounts = _accounts(connection, spec, contract.asset, days, left)
            _refuse_differences(spec, contract.asset, accounts, counted, readable)
            _write_accounts(connection, spec, contract.asset, accounts, counted, stored, readings)
            sources = {day: found.sources for day, found in counted.items()}
            note_read(connection, spec, contract.asset, days, staged.files, sources, {note.file for note in unreadable})
        news = new_columns(connection, spec, contract.asset, days)
    return [_with_notes(account, unreadable, news.get(account.day, ())) for account in accounts]


def _refuse_differences(
    spec: MonitorSpec, asset: str, accounts: Sequence[Delivery], counted: Mapping[date, Counted], readable: Sequence[date]
) -> None:
    """Raise unless accepted and quarantined rows of each day add up to the delivered ones; then nothing is stored."""
    for account in accounts:
        found = counted[account.day].delivered if account.day in counted else 0
        if account.day in readable and account.delivered_rows != found:
            raise SourceChanged(
                f"{spec.name}.{asset}, {account.day}: {found} rows counted, {account.delivered_rows} stored. "
                "A file changed while it was read, and nothing was stored; run this again."
            )


def _stored_accounts(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str, days: Sequence[date]
) -> dict[date, _Stored]:
    rows = connection.execute(
        f"SELECT day, accepted_rows, quarantined_rows, sources, other_columns, forgotten FROM {table(spec, 'deliveries')} "
        "WHERE asset = ? AND day IN (SELECT unnest(?::DATE[]))",
        [asset, list(days)],
    ).fetchall()
    return {
        day: _Stored(accepted, quarantined, files or [], others or [], bool(forgotten))
        for day, accepted, quarantined, files, others, forgotten in rows
    }


def _days_left_alone(
    source: Source,
    days: Sequence[date],
    readings: Sequence[Reading],
    unreadable: Sequence[Unreadable],
    counted: Mapping[date, Counted],
    stored: Mapping[date, _Stored],
    present: Set[str],
) -> dict[date, Unreadable]:
    """The days whose rows cannot be known now, each with the reason.

    The days of an unreadable file of a glob are those it delivered earlier; `present` are the files that are there.
    """
    left: dict[date, Unreadable] = {note.day: note for note in reversed(unreadable) if note.day is not None}
    shared = [note for note in unreadable if note.day is None]
    for day in days:
        before = stored.get(day, NOTHING)
        blocking = [note for note in shared if note.file in before.sources or not readings]
        if day not in left and blocking:
            left[day] = blocking[0]
        elif source.is_per_day or day in left or day in counted or not before.sources:
            continue
        elif present.isdisjoint(before.sources):
            left[day] = Unreadable(before.sources[0], day, f"no file at {before.sources[0]}", is_absent=True)
    for day in days:
        if stored.get(day, NOTHING).forgotten and day not in counted:
            reason = left[day].reason if day in left else f"`{source.kind}` of the source no longer has a row of it"
            left[day] = Unreadable("", day, f"{reason}; its stored rows were deleted, as `retain_days` says", is_absent=True)
    return left


def _stage_repeated(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> None:
    """All sound rows whose id occurs more than once on a day, by file, then by content: the first is accepted."""
    key, sound = quoted(spec.id), f"__reason IS NULL AND {on_days(days)}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {REPEATED} AS "
        f"SELECT *, row_number() OVER (PARTITION BY day, {key} ORDER BY __source, __original) AS __place FROM {JUDGED} "
        f"SEMI JOIN (SELECT day, {key} FROM {JUDGED} WHERE {sound} GROUP BY ALL HAVING count(*) > 1) "
        f"USING (day, {key}) WHERE {sound}"
    )


def _stage_refused(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> None:
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {REFUSED} AS SELECT day, __source AS source, __reason AS reason, __original AS original "
        f"FROM {JUDGED} WHERE __reason IS NOT NULL AND {on_days(days)}"
    )
    connection.execute(
        f"INSERT INTO {REFUSED} SELECT day, __source, 'repeated id: ' || {quoted(spec.id)}, __original "
        f"FROM {REPEATED} WHERE __place > 1"
    )


def _accepted_sql(spec: MonitorSpec, contract: Contract, days: Sequence[date], with_repeats: Sequence[date]) -> str:
    columns = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in contract.stored.items())
    accepted = f"SELECT day, {columns} FROM {JUDGED} WHERE __reason IS NULL AND {on_days(days)}"
    if not with_repeats:
        return accepted
    key = quoted(spec.id)
    return (
        f"{accepted} AND (day, {key}) NOT IN (SELECT (day, {key}) FROM {REPEATED}) "
        f"UNION ALL SELECT day, {columns} FROM {REPEATED} WHERE __place = 1"
    )


def _quarantine(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    asset: str,
    days: Sequence[date],
    readable: Sequence[date],
    unreadable: Sequence[Unreadable],
) -> None:
    """Replace the quarantined rows of readable days, and the notes about files of all days."""
    rows = f"SELECT day, '{asset}' AS asset, source, reason, original FROM {REFUSED} ORDER BY ALL"
    replace_days(connection, table(spec, "quarantine"), readable, rows, f"asset = '{asset}'")
    quarantine = stored_table(spec, "quarantine")  # notes are in the warehouse, wherever rows are kept
    # A file that has not arrived yet is no fault, so it is noted in the account only.
    notes = [
        (day, asset, note.file, note.reason)
        for note in unreadable
        if not note.is_absent
        for day in ([note.day] if note.day else days)
    ]
    connection.execute(
        f"DELETE FROM {quarantine} WHERE asset = ? AND original IS NULL AND day IN (SELECT unnest(?::DATE[]))",
        [asset, list(days)],
    )
    if notes:
        connection.executemany(
            f"INSERT INTO {quarantine} BY NAME SELECT ?::DATE AS day, ? AS asset, ? AS source, ? AS reason", notes
        )


def _accounts(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    asset: str,
    days: Sequence[date],
    left: Mapping[date, Unreadable],
) -> list[Delivery]:
    """What the tables hold now, day by day."""
    among = "day IN (SELECT unnest(?::DATE[])) GROUP BY ALL ORDER BY ALL"
    accepted = dict(connection.execute(f"SELECT day, count(*) FROM {table(spec, asset)} WHERE {among}", [list(days)]).fetchall())
    reasons: dict[date, dict[str, int]] = {}
    for day, rule, rows in connection.execute(
        f"SELECT day, split_part(reason, ': ', 1) AS rule, count(*) FROM {table(spec, 'quarantine')} "
        f"WHERE asset = '{asset}' AND original IS NOT NULL AND {among}",
        [list(days)],
    ).fetchall():
        reasons.setdefault(day, {})[rule] = rows
    return [
        Delivery(
            day,
            accepted.get(day, 0),
            sum(reasons.get(day, {}).values()),
            reasons.get(day, {}),
            left[day].reason if day in left else None,
            left[day].is_absent if day in left else False,
        )
        for day in days
    ]


def _write_accounts(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    asset: str,
    accounts: Sequence[Delivery],
    counted: Mapping[date, Counted],
    stored: Mapping[date, _Stored],
    readings: Sequence[Reading],
) -> None:
    deliveries = table(spec, "deliveries")
    connection.execute(
        f"DELETE FROM {deliveries} WHERE asset = ? AND day IN (SELECT unnest(?::DATE[]))", [asset, [a.day for a in accounts]]
    )
    others: dict[str, tuple[str, ...]] = {}
    for reading in readings:
        others |= reading.others
    rows: list[tuple[object, ...]] = []
    for account in accounts:
        counts = (account.delivered_rows, account.accepted_rows, account.quarantined_rows)
        if account.unreadable:
            before = stored.get(account.day, NOTHING)
            if before.forgotten:  # the counts of that delivery stay
                counts = (before.accepted + before.quarantined, before.accepted, before.quarantined)
            rows.append((account.day, asset, *counts, account.unreadable, before.sources, before.others, before.forgotten))
        else:
            sources = counted[account.day].sources if account.day in counted else []
            besides = sorted({column for file in sources for column in others.get(file, ())})
            rows.append((account.day, asset, *counts, None, sources, besides, False))
    connection.executemany(
        f"INSERT INTO {deliveries} BY NAME SELECT ?::DATE AS day, ? AS asset, ? AS delivered_rows, ? AS accepted_rows, "
        "? AS quarantined_rows, ? AS unreadable, ?::VARCHAR[] AS sources, ?::VARCHAR[] AS other_columns, ?::BOOLEAN AS forgotten",
        rows,
    )


def new_columns(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str, days: Sequence[date]
) -> dict[date, tuple[str, ...]]:
    """The columns of a day that no earlier day had. The first day with rows has nothing to be compared with."""
    found = connection.execute(
        "SELECT day, list_sort(other_columns), "
        "list_sort(flatten(list(other_columns) OVER (ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))) "
        f"FROM {table(spec, 'deliveries')} WHERE asset = ? AND delivered_rows > 0 AND other_columns IS NOT NULL "
        "QUALIFY row_number() OVER (ORDER BY day) > 1",
        [asset],
    ).fetchall()
    news = {day: tuple(name for name in now if name not in set(before)) for day, now, before in found}
    return {day: news.get(day, ()) for day in days}


def _with_notes(account: Delivery, unreadable: Sequence[Unreadable], new_columns: tuple[str, ...]) -> Delivery:
    if account.unreadable:
        return account
    notes = tuple(f"{note.file}: {note.reason}" for note in unreadable if note.day is None and not note.is_absent)
    return replace(account, warnings=notes, new_columns=new_columns)
