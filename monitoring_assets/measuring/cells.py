"""Distinct numbers with amounts, small enough to keep: few are kept as they are, of many neighbours share a cell.

Which numbers share a cell depends on the numbers alone, so cells of batches add up to those of all rows, however these were
divided: `bounded_cells` is given the numbers of a batch first, and later the cells of several batches.
"""

from collections.abc import Mapping, Sequence

# Up to so many distinct numbers of a group each is a cell of its own.
EXACT_NUMBERS = 20_000
# Bits of a number that say in which cell it lies: 2 ** 17 cells between 0.5 and 1, and between any two powers of two.
CELL_BITS = 18


def number_sql(x: str) -> str:
    """SQL for the cell of one number: itself with `lower` and `upper`. Both zeros are the same number."""
    return f"(CASE WHEN {x} = 0 THEN 0.0::DOUBLE ELSE {x} END)"


def bounded_cells(relation: str, keys: Sequence[str], amounts: Mapping[str, str], *, is_probability: bool = False) -> str:
    """SQL of the cells (keys, lower, upper, amounts) of a relation with those columns.

    `amounts` maps each column that is added up to its type. Probabilities have narrow cells near 1 as near 0. The cells of a
    group do not overlap; `lower` and `upper` are the smallest and the largest number found in each.
    """
    by, names = ", ".join(keys), ", ".join(f"s.{key}" for key in keys)
    sums = ", ".join(f"sum({name})::{kind} AS {name}" for name, kind in amounts.items())
    same = " AND ".join(f"s.{key} IS NOT DISTINCT FROM g.{key}" for key in keys)
    cell = _rounded("lower")
    if is_probability:
        cell = f"(CASE WHEN lower < 0.5 THEN {cell} ELSE 1.0::DOUBLE - {_rounded('(1.0::DOUBLE - lower)')} END)"
    return f"""
        WITH same_numbers AS MATERIALIZED (SELECT {by}, lower, upper, {sums} FROM {relation} GROUP BY {by}, lower, upper),
        crowded AS (
            SELECT {by}, count(*) > {EXACT_NUMBERS} OR bool_or(lower < upper) AS is_crowded FROM same_numbers GROUP BY {by}),
        placed AS (
            SELECT {names}, lower, upper, {", ".join(amounts)}, CASE WHEN is_crowded THEN {cell} ELSE lower END AS cell
            FROM same_numbers s JOIN crowded g ON {same})
        SELECT {by}, min(lower) AS lower, max(upper) AS upper, {sums} FROM placed GROUP BY {by}, cell"""


def _rounded(x: str) -> str:
    """SQL for a number with its first `CELL_BITS` bits only (Veltkamp's splitting; Dekker, Numerische Mathematik 18, 1971)."""
    factor = f"{2.0 ** (53 - CELL_BITS) + 1!r}::DOUBLE"
    return f"(CASE WHEN abs({x}) < 1e200 THEN {x} * {factor} - ({x} * {factor} - {x}) ELSE {x} END)"
