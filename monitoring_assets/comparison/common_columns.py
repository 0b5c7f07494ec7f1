"""Which columns two tables have in common, and whether they are compared as numbers or as categories.

A number, boolean, date or time on both sides is numeric; text is categorical. Whole numbers stay numeric, however few they are: a
count of rooms and a code look the same, and numeric methods find a change in either. Say otherwise where it matters.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from monitoring_assets.errors import ColumnUnusable, ComparisonImpossible
from monitoring_assets.ingestion.contract import typed_sql
from monitoring_assets.ingestion.tables import Table
from monitoring_assets.warehouse import quoted

FAMILIES = {
    "number": re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UINTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN|BIGNUM"),
    "time": re.compile(r"DATE|TIMESTAMP.*"),
    "text": re.compile(r"VARCHAR|ENUM\(.*\)|UUID"),
    "nothing": re.compile(r"\"NULL\""),
}
KINDS = ("numeric", "categorical")


@dataclass(frozen=True)
class Column:
    """A column of both tables: SQL for its values in the reference and in the current table, and their types."""

    name: str
    kind: str
    sql: tuple[str, str]
    types: tuple[str, str]


def common_columns(
    connection: duckdb.DuckDBPyConnection,
    reference: Table,
    current: Table,
    features: Sequence[str] | Mapping[str, str] | None,
    categorical: Collection[str],
    weight: str | None,
) -> tuple[list[Column], dict[str, str]]:
    """The columns to compare, and those left out with the reason.

    Raises
    ------
    ComparisonImpossible
        When no column is left, or columns have contradictory types; all of them are named.
    ColumnUnusable
        When a feature that was asked for is missing or cannot be compared.
    """
    asked = {features: None} if isinstance(features, str) else features
    wanted = dict(asked) if isinstance(asked, Mapping) else dict.fromkeys(asked or ())
    kinds = wanted | dict.fromkeys([categorical] if isinstance(categorical, str) else categorical, "categorical")
    _refuse_unknown(reference, current, kinds, weight)
    columns, left_out, contradictions = [], _on_one_side(reference, current), []
    for name in wanted if features is not None else [n for n in reference.columns if n in current.columns]:
        if name == weight:
            continue
        found = _column(connection, reference, current, name, kinds.get(name))
        if isinstance(found, Column):
            columns.append(found)
        elif found.startswith("has "):
            contradictions.append(f"{name!r} {found}")
        elif features is not None:
            raise ColumnUnusable(f"column {name!r} cannot be compared: {found}; cast it, or leave it out of `features`")
        else:
            left_out[name] = found
    if contradictions:
        raise ComparisonImpossible(
            f"{len(contradictions)} column(s) hold something else on either side: {'; '.join(contradictions)}. Mend the values, "
            "name the columns to compare (`features=`, --features), or take these as categories (`categorical=`, --categorical)"
        )
    if not columns:
        told = ", ".join(f"{name!r} ({why})" for name, why in list(left_out.items())[:20])
        raise ComparisonImpossible(
            f"{reference.name} and {current.name} have no column in common to compare: {told or 'no columns'}"
        )
    return columns, left_out


def _refuse_unknown(reference: Table, current: Table, wanted: Mapping[str, str | None], weight: str | None) -> None:
    for name, kind in wanted.items():
        if kind is not None and kind not in KINDS:
            raise ComparisonImpossible(f"feature {name!r} is to be {kind!r}; numeric or categorical was expected")
    for table in (reference, current):
        for name in (*wanted, *([weight] if weight else [])):
            if name not in table.columns:
                held = ", ".join(map(repr, table.columns[:50]))
                raise ColumnUnusable(f"no column {name!r} in the {table.role} ({table.name}); it has {held or 'no columns'}")


def _on_one_side(reference: Table, current: Table) -> dict[str, str]:
    only = {name: "only in the reference" for name in reference.columns if name not in current.columns}
    return only | {name: "only in the current table" for name in current.columns if name not in reference.columns}


def _column(connection: duckdb.DuckDBPyConnection, reference: Table, current: Table, name: str, kind: str | None) -> Column | str:
    """The column, or why there is none; a reason that starts with 'has' is a contradiction."""
    for table in (reference, current):
        if name in table.unreadable:
            return f"{'has mixed values: ' if ' object' in table.unreadable[name] else ''}{table.role} {table.unreadable[name]}"
    types = reference.types[name], current.types[name]
    families = [_family(connection, table, name) for table in (reference, current)]
    for table, family in zip((reference, current), families, strict=True):
        if family is None:
            return f"of type {table.types[name][:60]} in the {table.role}: neither number, time nor text"
    held = {family for family in families if family != "nothing"}
    if kind is None and len(held) > 1:
        return f"has {_shown(connection, reference, name, families)} and {_shown(connection, current, name, families)}"
    kind = kind or ("categorical" if held == {"text"} else "numeric")
    if kind == "numeric" and "text" in held:
        place = families.index("text")
        return f"has {_shown(connection, (reference, current)[place], name, ['text', 'number'])}, and is to be numeric"
    one, other = (
        _values_sql(table.sql[name], found, kind, family)
        for table, found, family in zip((reference, current), types, families, strict=True)
    )
    return Column(name, kind, (one, other), types)


def _family(connection: duckdb.DuckDBPyConnection, table: Table, name: str) -> str | None:
    family = next((family for family, pattern in FAMILIES.items() if pattern.fullmatch(table.types[name])), None)
    if family == "text":
        # A CSV column without any value is taken for text.
        (is_held,) = connection.execute(
            f"SELECT count(*) > 0 FROM (SELECT {table.sql[name]} AS x FROM {table.relation} WHERE x IS NOT NULL LIMIT 1)"
        ).fetchall()[0]
        return "text" if is_held else "nothing"
    return family


def _shown(connection: duckdb.DuckDBPyConnection, table: Table, name: str, families: Sequence[str | None]) -> str:
    """Type and example of a column; of text where the other side has numbers, a text that is none."""
    x = table.sql[name]
    order = f"TRY_CAST({x} AS DOUBLE) IS NOT NULL" if table.types[name] == "VARCHAR" and "number" in families else "1"
    found = connection.execute(
        f"SELECT left(CAST({x} AS VARCHAR), 60) FROM {table.relation} WHERE {x} IS NOT NULL ORDER BY {order} LIMIT 1"
    ).fetchall()
    return f"{table.types[name][:60]} in the {table.role}" + (f" (such as {found[0][0]!r})" if found else "")


def _values_sql(x: str, found: str, kind: str, family: str | None) -> str:
    """SQL of a column's values, so that equal values of the two sides have equal text whatever type they are stored as."""
    if family == "nothing":
        return "NULL::DOUBLE" if kind == "numeric" else "NULL::VARCHAR"
    if family == "time":
        # DuckDB 2.0 has no epoch() for zoned nanoseconds, which is what pandas has.
        moment = f"CAST({x} AS TIMESTAMPTZ)" if found.startswith("TIMESTAMP") else x
        return moment if kind == "numeric" else f"CAST(CAST({moment} AS TIMESTAMP) AS VARCHAR)"
    if kind == "numeric" or family == "text":
        return x
    return (
        typed_sql(f"CAST({x} AS DOUBLE)", "DOUBLE", "VARCHAR") if found.startswith("DECIMAL") else typed_sql(x, found, "VARCHAR")
    )


def alias_sql(columns: Sequence[Column], side: int) -> str:
    """The columns of a side under numbered names, which no name of the user's can upset."""
    return ", ".join(f"{column.sql[side]} AS {quoted(f'c{place}')}" for place, column in enumerate(columns))
