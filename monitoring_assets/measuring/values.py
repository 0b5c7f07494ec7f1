"""A column's values as what is compared: numbers as DOUBLE, times as days since 1970, categories as text."""

import re
from collections.abc import Mapping

import duckdb

from monitoring_assets.errors import ColumnUnusable
from monitoring_assets.warehouse import quoted

# DuckDB's types that are compared as numbers, and those of times, which are days since 1970.
NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UINTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN|BIGNUM|\"NULL\")")
TIMES = re.compile(r"DATE|TIMESTAMP.*")


def value_expressions(connection: duckdb.DuckDBPyConnection, rows: str, columns: Mapping[str, str]) -> dict[str, str]:
    """SQL for each column's values: DOUBLE for a numeric one, VARCHAR for a categorical one."""
    types = {row[0].casefold(): row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
    expressions = {}
    for column, kind in columns.items():
        if column.casefold() not in types:
            raise ColumnUnusable(f"no column {column!r} in the rows to profile; they have {', '.join(sorted(types))}")
        found = types[column.casefold()]
        if kind == "categorical":
            expressions[column] = quoted(column) if found == "VARCHAR" else f"CAST({quoted(column)} AS VARCHAR)"
        elif TIMES.fullmatch(found):
            expressions[column] = f"(epoch({quoted(column)}) / 86400.0::DOUBLE)"
        elif NUMBERS.fullmatch(found):
            expressions[column] = quoted(column) if found == "DOUBLE" else f"CAST({quoted(column)} AS DOUBLE)"
        else:
            raise ColumnUnusable(
                f"column {column!r} is of type {found}, a numeric one was expected; cast it, or call it categorical"
            )
    return expressions
