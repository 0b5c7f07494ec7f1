"""What is in quarantine and why: counts, examples, and the days that are worth reading again. Reading them again is not here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import table
from monitoring_assets.wording import printable, shortened

ASSETS = ("inference_log", "labels")


@dataclass(frozen=True)
class Chosen:
    """A part of the quarantine: all of it, or only a day, an asset, or reasons that hold a text."""

    day: date | None = None
    asset: str | None = None
    reason: str | None = None

    @property
    def where(self) -> str:
        return "(? IS NULL OR day = ?) AND (? IS NULL OR asset = ?) AND (? IS NULL OR contains(lower(reason), lower(?)))"

    @property
    def parameters(self) -> list[object]:
        return [self.day, self.day, self.asset, self.asset, self.reason, self.reason]


@dataclass(frozen=True)
class Refused:
    """Rows of one day refused for the same rule. `rows` is 0 where a file could not be read, which may hold any number."""

    day: date
    asset: str
    rule: str
    rows: int


@dataclass(frozen=True)
class Example:
    """One row as delivered, or a file that could not be read (`original` is None)."""

    day: date
    asset: str
    source: str
    reason: str
    original: str | None


@dataclass(frozen=True)
class Account:
    """What the warehouse holds of a day of an asset."""

    accepted: int
    quarantined: int
    unreadable: str | None


def refused(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, chosen: Chosen) -> list[Refused]:
    """Counts by day, asset and rule."""
    rows = connection.execute(
        "SELECT day, asset, CASE WHEN original IS NULL THEN 'not read' ELSE split_part(reason, ': ', 1) END AS rule, "
        f"count(original) FROM {table(spec, 'quarantine')} WHERE {chosen.where} GROUP BY ALL ORDER BY ALL",
        chosen.parameters,
    ).fetchall()
    return [Refused(*row) for row in rows]


def examples(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, chosen: Chosen, limit: int) -> list[Example]:
    """Example rows: one for each rule of a day before a second for any."""
    rows = connection.execute(
        f"SELECT day, asset, source, reason, original FROM {table(spec, 'quarantine')} WHERE {chosen.where} "
        "ORDER BY row_number() OVER (PARTITION BY day, asset, split_part(reason, ': ', 1) ORDER BY source, reason, original), "
        "day, asset, reason LIMIT ?",
        [*chosen.parameters, limit],
    ).fetchall()
    return [Example(*row) for row in rows]


def days_concerned(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, chosen: Chosen) -> dict[str, list[date]]:
    """Asset -> its days in quarantine; unless chosen by reason, also days that could not be read or had not arrived."""
    found = connection.execute(
        f"SELECT asset, day FROM {table(spec, 'quarantine')} WHERE {chosen.where} UNION "
        f"SELECT asset, day FROM (SELECT *, unreadable AS reason FROM {table(spec, 'deliveries')}) "
        f"WHERE unreadable IS NOT NULL AND {chosen.where} ORDER BY ALL",
        [*chosen.parameters, *chosen.parameters],
    ).fetchall()
    return {asset: [day for name, day in found if name == asset] for asset in ASSETS if any(name == asset for name, _ in found)}


def accounts(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: dict[str, list[date]]
) -> dict[tuple[date, str], Account]:
    """What is stored of these days now."""
    wanted = [(day, asset) for asset, of_asset in days.items() for day in of_asset]
    rows = connection.execute(
        f"SELECT day, asset, accepted_rows, quarantined_rows, unreadable FROM {table(spec, 'deliveries')} ORDER BY ALL"
    ).fetchall()
    return {(row[0], row[1]): Account(*row[2:]) for row in rows if (row[0], row[1]) in wanted}


def changes(before: dict[tuple[date, str], Account], after: dict[tuple[date, str], Account]) -> list[str]:
    """How the stored rows of each day changed, a line per day.

    >>> old, new = Account(8, 2, None), Account(10, 0, None)
    >>> changes({(date(2026, 3, 2), "labels"): old}, {(date(2026, 3, 2), "labels"): new})
    ['2026-03-02 labels: 0 rows in quarantine (before: 2), 10 accepted (before: 8)']
    """
    lines = []
    for (day, asset), now in sorted(after.items()):
        then = before.get((day, asset), Account(0, 0, None))
        unread = f"still not read: {now.unreadable}; " if now.unreadable else ""
        counts = f"{now.quarantined} rows in quarantine (before: {then.quarantined})"
        lines.append(f"{day} {asset}: {unread}{counts}, {now.accepted} accepted (before: {then.accepted})")
    return lines


def as_delivered(row: Example) -> str:
    r"""A row with its source and its reason, for a terminal.

    >>> print(as_delivered(Example(date(2026, 3, 2), "labels", "l.csv", "not 0 or 1: late is 7", '{"a": "\x1b[31m"}')))
    <BLANKLINE>
    2026-03-02 labels, l.csv
      not 0 or 1: late is 7
      {"a": "\x1b[31m"}
    """
    source, reason, original = (printable(shortened(text or "", 200)) for text in (row.source, row.reason, row.original))
    return f"\n{row.day} {row.asset}, {source}\n  {reason}\n  {original}"


def ranges(days: Sequence[date]) -> list[tuple[date, date]]:
    """Runs of consecutive days, as (first, last).

    >>> [(str(a), str(b)) for a, b in ranges([date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 5)])]
    [('2026-03-02', '2026-03-03'), ('2026-03-05', '2026-03-05')]
    """
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        if found and (day - found[-1][1]).days == 1:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
