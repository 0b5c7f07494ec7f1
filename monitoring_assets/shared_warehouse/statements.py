"""What a statement names and does, as far as the shared warehouse must know it before the statement runs."""

import re
from typing import Any

_IDENTIFIER = r'("(?:[^"]|"")+"|[A-Za-z_]\w*)'
_QUALIFIED = re.compile(rf"{_IDENTIFIER}\s*\.\s*{_IDENTIFIER}")
_CHANGE = re.compile(
    rf"\s*(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE|DELETE\s+FROM|TRUNCATE)\s+{_IDENTIFIER}\s*\.\s*{_IDENTIFIER}", re.IGNORECASE
)
_SHAPING = re.compile(r"\s*(?:ALTER|COMMENT|DROP|CREATE\s+(?!TEMP|OR\s+REPLACE\s+TEMP))", re.IGNORECASE)
_SHAPE_ONLY = re.compile(
    r"\s*(?:COMMENT|CREATE\s+(?:SCHEMA|TABLE(?!.*\b(?:AS|FROM)\b))|ALTER\s+TABLE\s+\S+\s+ADD\s+COLUMN)", re.IGNORECASE | re.DOTALL
)
_CATALOG = re.compile(r"duckdb_(?:columns|tables)\s*\(", re.IGNORECASE)
_OF_A_BASELINE = re.compile(r"\s*SELECT\b.*\bbaseline_id\s*=\s*(?:\?|\$\w+)", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK)\b", re.IGNORECASE)
# The tables of which a query about one baseline needs its rows alone: others are a year's retrains.
BY_BASELINE = ("baseline_profiles", "baseline_sample", "baseline_facts", "thresholds")


def control_word(sql: str) -> str | None:
    """BEGIN, COMMIT or ROLLBACK, where it is one of them."""
    found = _CONTROL.match(sql)
    return found[1].upper() if found else None


def tables_named(sql: str) -> list[tuple[str, str]]:
    """What stands there as schema.table; it may also be a column of an alias.

    >>> tables_named('SELECT p.day FROM "my shop".labels p')
    [('p', 'day'), ('my shop', 'labels')]
    """
    return [(_plain(schema), _plain(name)) for schema, name in _QUALIFIED.findall(sql)]


def changed_table(sql: str) -> tuple[str, str] | None:
    """The table whose rows it changes."""
    found = _CHANGE.match(sql)
    return (_plain(found[1]), _plain(found[2])) if found else None


def is_shaping(sql: str) -> bool:
    """Whether it changes tables or their comments, rather than rows."""
    return bool(_SHAPING.match(sql))


def needs_no_rows(sql: str) -> bool:
    """Whether it needs no rows of the tables it names."""
    return bool(_SHAPE_ONLY.match(sql))


def lists_tables(sql: str) -> bool:
    """Whether it asks which tables there are."""
    return bool(_CATALOG.search(sql)) and "temporary" not in sql


def baselines_asked_for(sql: str, parameters: Any) -> set[str]:
    """The baselines that a query is about, and of whose tables it needs no other rows; none where it may be about all."""
    if not _OF_A_BASELINE.match(sql) or any(name == "baselines" for _, name in tables_named(sql)):
        return set()
    return {value for value in values_of(parameters) if isinstance(value, str)}


def values_of(parameters: Any) -> list[Any]:
    """The values of a statement's parameters, by place or by name."""
    return list(parameters.values()) if isinstance(parameters, dict) else list(parameters or ())


def _plain(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier
