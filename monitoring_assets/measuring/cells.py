"""Distinct numbers with amounts, small enough to keep: few are kept as they are, of many neighbours share a cell.

Which numbers share a cell depends on the numbers alone, so cells of batches add up to those of all rows, however these were
divided: `bounded_cells` is given the numbers of a batch first, and later the cells of several batches.
"""

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

# Up to so many distinct numbers of a group each is a cell of its own.
EXACT_NUMBERS = 20_000
# Bits of a number that say in which cell it lies: 2 ** 14 cells between any two powers of two.
CELL_BITS = 15


def number_sql(x: str) -> str:
    """SQL for the cell of one number: itself with `lower` and `upper`. Both zeros are the same number."""
    return f"(CASE WHEN {x} = 0 THEN 0.0::DOUBLE ELSE {x} END)"


def bounded_cells(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    keys: Sequence[str],
    amounts: Mapping[str, str],
    *,
    is_probability: bool = False,
) -> pa.Table:
    """The cells (keys, lower, upper, amounts) of a relation with those columns, in rising order.

    `amounts` maps each column that is added up to its type. Probabilities have narrow cells near 1 as near 0. The cells of a
    group do not overlap; `lower` and `upper` are the smallest and the largest number found in each.
    """
    by = ", ".join(keys)
    sums = ", ".join(f"sum({name})::{kind} AS {name}" for name, kind in amounts.items())
    cell = _rounded("lower")
    if is_probability:
        cell = f"(CASE WHEN lower < 0.5 THEN {cell} ELSE 1.0::DOUBLE - {_rounded('(1.0::DOUBLE - lower)')} END)"
    # Numbers are put into cells at once: of many that is cheaper than finding the distinct ones first.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE number_cells AS SELECT {by}, min(lower) AS low, max(upper) AS high, {sums}, "
        f"bool_or(lower < upper) AS was_crowded FROM {relation} GROUP BY {by}, {cell}"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE few_numbers AS SELECT {by}, lower, upper, {sums} FROM {relation} r SEMI JOIN "
        f"(SELECT {by} FROM number_cells GROUP BY {by} HAVING count(*) <= {EXACT_NUMBERS} AND NOT bool_or(was_crowded)) f "
        f"ON {_same(keys, 'r', 'f')} GROUP BY {by}, lower, upper"
    )
    few = f"(SELECT {by} FROM few_numbers GROUP BY {by} HAVING count(*) <= {EXACT_NUMBERS}) f"
    names = ", ".join(amounts)
    found = connection.sql(
        f"SELECT * FROM (SELECT {by}, lower, upper, {names} FROM few_numbers n SEMI JOIN {few} ON {_same(keys, 'n', 'f')} "
        f"UNION ALL SELECT {by}, low, high, {names} FROM number_cells n ANTI JOIN {few} ON {_same(keys, 'n', 'f')}) "
        f"ORDER BY {by}, lower"
    ).to_arrow_table()
    connection.execute("DROP TABLE number_cells; DROP TABLE few_numbers")
    return found


def _same(keys: Sequence[str], one: str, other: str) -> str:
    return " AND ".join(f"{one}.{key} IS NOT DISTINCT FROM {other}.{key}" for key in keys)


def _rounded(x: str) -> str:
    """SQL for a number with its first `CELL_BITS` bits only (Veltkamp's splitting; Dekker, Numerische Mathematik 18, 1971)."""
    factor = f"{2.0 ** (53 - CELL_BITS) + 1!r}::DOUBLE"
    return f"(CASE WHEN abs({x}) < 1e200 THEN {x} * {factor} - ({x} * {factor} - {x}) ELSE {x} END)"
