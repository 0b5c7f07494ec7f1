"""Names, texts and days as they may safely stand in SQL."""

from collections.abc import Iterable
from datetime import date

from monitoring_assets.monitor_spec import MonitorSpec

# Tables whose rows a monitor may keep elsewhere (`rows`).
ROWS_ELSEWHERE = ("inference_log", "quarantine")


def quoted(identifier: str) -> str:
    """An identifier, safe to stand in SQL.

    >>> quoted('a "b"')
    '"a ""b""\"'
    """
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal, safe to stand in SQL.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def on_days(days: Iterable[date], column: str = "day") -> str:
    """The condition that a column is one of these days, for SQL that is put together from parts; a query of its own takes the
    days as a parameter: `day IN (SELECT unnest(?::DATE[]))`.

    >>> on_days([date(2026, 3, 2), date(2026, 3, 3)]), on_days([])
    ("day IN (DATE '2026-03-02', DATE '2026-03-03')", 'false')
    """
    listed = ", ".join(f"DATE '{day.isoformat()}'" for day in days)
    return f"{column} IN ({listed})" if listed else "false"


def table(spec: MonitorSpec, name: str) -> str:
    """The quoted, schema-qualified name of a monitor's table; of rows that are kept elsewhere, the name of their relation."""
    if spec.rows is not None and name in ROWS_ELSEWHERE:
        return quoted(f"{spec.name}.{name}")
    return stored_table(spec, name)


def stored_table(spec: MonitorSpec, name: str) -> str:
    """The name of a table in the warehouse, also of one whose rows are kept elsewhere."""
    return f"{quoted(spec.name)}.{quoted(name)}"


def days_held(spec: MonitorSpec, name: str, where: str = "true") -> str:
    """The days of which a table has rows, and how many, as SQL: `day`, `row_count`. Rows kept elsewhere are not read for it."""
    stored = f"SELECT day, count(*) AS row_count FROM {stored_table(spec, name)} WHERE {where} GROUP BY day"
    if spec.rows is None or name not in ROWS_ELSEWHERE:
        return f"({stored})"
    files = f"SELECT day, row_count FROM {table(spec, 'row_files')} WHERE table_name = '{name}' AND {where}"
    return f"(SELECT day, sum(row_count)::BIGINT AS row_count FROM ({stored} UNION ALL {files}) GROUP BY day)"


def days_accepted(spec: MonitorSpec, name: str = "inference_log", where: str = "true") -> str:
    """The days of which rows of the log, or labels, were accepted, and how many, as SQL: `day`, `row_count`. Those of a lake are
    not held here, so the account says it."""
    if not spec.is_in_lake:
        return days_held(spec, name, where)
    return (
        f"(SELECT day, accepted_rows AS row_count FROM {table(spec, 'deliveries')} "
        f"WHERE asset = '{name}' AND accepted_rows > 0 AND forgotten IS NOT TRUE AND {where})"
    )


def days_labelled(spec: MonitorSpec) -> str:
    """The days that have labels, as SQL: `day`, `row_count`, and how many of them are `known`. Of labels in a lake nobody counts
    those that say that the truth will never be known, so all are taken to be."""
    if spec.is_in_lake:
        return f"(SELECT *, row_count AS known FROM {days_accepted(spec, 'labels')})"
    return f"(SELECT day, count(*) AS row_count, count(label) AS known FROM {table(spec, 'labels')} GROUP BY day)"
