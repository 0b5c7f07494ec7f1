"""How a column of the warehouse is kept in PostgreSQL: its type, and texts that PostgreSQL cannot hold as they are.

The one place that knows both type systems. Every value comes back as it went, NaN, infinities and NULLs inside lists included.
"""

from monitoring_assets.errors import WarehouseMismatch
from monitoring_assets.sql_text import quoted

# DuckDB's name of a type -> PostgreSQL's. Lists of them are arrays.
TYPES = {
    "BOOLEAN": "boolean",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "VARCHAR": "text",
    "DATE": "date",
    "TIMESTAMP": "timestamp without time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
}
DUCKDB_TYPES = {theirs: ours for ours, theirs in TYPES.items()}
# PostgreSQL cuts longer names, counted in bytes.
LONGEST_NAME = 63
# PostgreSQL's text cannot hold U+0000: it is kept as U+001A 0, and U+001A itself as U+001A 1.
ENCODED = "replace(replace({x}, chr(26), chr(26) || '1'), chr(0), chr(26) || '0')"
DECODED = "replace(replace({x}, chr(26) || '0', chr(0)), chr(26) || '1', chr(26))"


def postgres_type(kind: str) -> str:
    """
    >>> postgres_type("DOUBLE[]")
    'double precision[]'
    """
    if kind.removesuffix("[]") not in TYPES:
        raise WarehouseMismatch(
            f"the shared warehouse has no place for a column of type {kind}; expected one of {', '.join(TYPES)}"
        )
    return TYPES[kind.removesuffix("[]")] + "[]" * kind.endswith("[]")


def duckdb_type(kind: str) -> str | None:
    """None for a type that none of our columns has.

    >>> duckdb_type("text[]"), duckdb_type("numeric(3,1)")
    ('VARCHAR[]', None)
    """
    ours = DUCKDB_TYPES.get(kind.removesuffix("[]"))
    return None if ours is None else ours + "[]" * kind.endswith("[]")


def checked_name(name: str) -> str:
    """The name, which PostgreSQL takes as it is."""
    if len(name.encode()) > LONGEST_NAME or not name:
        raise WarehouseMismatch(
            f"PostgreSQL has no place for the name {name!r}: names have at most {LONGEST_NAME} bytes there. "
            "Rename it, or keep the results in the DuckDB file."
        )
    return name


def sent(name: str, kind: str) -> str:
    """A column as DuckDB gives it to PostgreSQL, as SQL."""
    return f"{_converted(quoted(name), kind, ENCODED, 'chr(26)', 'chr(0)')} AS {quoted(name)}"


def received(name: str, kind: str) -> str:
    """A column as DuckDB takes it from PostgreSQL, as SQL."""
    return f"{_converted(quoted(name), kind, DECODED, 'chr(26)')}::{kind} AS {quoted(name)}"


def _converted(column: str, kind: str, by: str, *marks: str) -> str:
    if kind == "VARCHAR":
        has_mark = " OR ".join(f"contains({column}, {mark})" for mark in marks)
        return f"CASE WHEN {has_mark} THEN {by.format(x=column)} ELSE {column} END"
    if kind == "VARCHAR[]":
        return f"list_transform({column}, lambda item: {by.format(x='item')})"
    return column
