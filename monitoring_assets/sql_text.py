"""Names and texts that are safe to stand in SQL."""

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


def table(spec: MonitorSpec, name: str) -> str:
    """The quoted, schema-qualified name of a monitor's table."""
    return f"{quoted(spec.name)}.{quoted(name)}"
