"""Names, texts and days as they may safely stand in SQL."""

from collections.abc import Iterable
from datetime import date

from monitoring_assets.monitor_spec import MonitorSpec


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
    """The quoted, schema-qualified name of a monitor's table."""
    return f"{quoted(spec.name)}.{quoted(name)}"
