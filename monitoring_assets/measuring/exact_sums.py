"""Sums that come out the same bit for bit, in whatever order and in however many batches rows are added up.

Floating-point addition rounds after every step, so its last bits depend on the order. Integers and decimals do not: amounts of
rows (weights, and what is in proportion to them) are added up as decimals with twelve places; what has a unit of its own (the
errors of a regression) as integers, three for each number.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import inf

# What sums of weights, and of their squares, are added up in: 26 digits before the point.
ROWS = "DECIMAL(38, 12)"
# A larger weight is a mistake, and a hundred million squares of such would not fit.
LARGEST_WEIGHT = 1e9
# The unit of each of the three integers, as a power of two. A number below 2 ** 120 is split exactly, but for what lies below
# 2 ** -100; 2 ** 40 rows may be added up.
UNITS = (60, -20, -100)
TOO_LARGE = 2.0**120


def parts_sql(x: str, name: str) -> dict[str, str]:
    """SQL that adds up an expression of type DOUBLE, NULL counting as 0: column -> aggregate, for `value`.

    >>> import duckdb
    >>> listed = ", ".join(f"{sql} AS {column}" for column, sql in parts_sql("x", "s").items())
    >>> row = duckdb.sql(f"SELECT {listed} FROM (VALUES (1e16), (1.0), (0.1), (-1e16)) t(x)").fetchall()[0]
    >>> value(row)
    1.1
    """
    rest, found = f"(CASE WHEN abs({x}) < {TOO_LARGE!r} THEN {x} END)", {}
    for place, unit in enumerate(UNITS):
        whole = f"trunc({rest} * {2.0**-unit!r}::DOUBLE)"
        found[f"{name}_{place}"] = f"coalesce(sum({whole}::HUGEINT), 0)"
        rest = f"({rest} - {whole} * {2.0**unit!r}::DOUBLE)"
    found[f"{name}_{len(UNITS)}"] = f"(count(*) FILTER (NOT abs({x}) < {TOO_LARGE!r}))::HUGEINT"
    return found


def value(parts: Sequence[int | Decimal]) -> float:
    """The sum, rounded once; infinite where a number was too large to be added up.

    >>> value((0, 3 << 20, 0, 0)), value((0, 0, 0, 1))
    (3.0, inf)
    """
    return inf if parts[-1] else float(fraction(parts))


def fraction(parts: Sequence[int | Decimal]) -> Fraction:
    """The sum of all numbers that were added up, as it is."""
    finest = min(UNITS)
    return Fraction(sum(int(whole) << (unit - finest) for whole, unit in zip(parts, UNITS, strict=False)), 1 << -finest)
