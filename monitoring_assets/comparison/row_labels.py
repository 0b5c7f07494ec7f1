"""Columns that say which row it is or when it was made: ids, counters, timestamps. They differ between any two tables.

Numbers with a fraction are never such, however distinct; of whole numbers and times the values must show it. To leave out a
feature is worse than to list an id.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.comparison.contents import HEAD_ROWS, Contents
from monitoring_assets.ingestion.tables import Table

# Text of which a smaller share is repeated is names or ids; as categories it has nothing to compare.
DISTINCT = 0.99
# Repeats that whole numbers drawn at random from so narrow a range would have; where there is none, they were made to be unique.
EXPECTED_REPEATS = 20
# Values that share a bin when repeats are estimated.
IN_BIN = 10
# Fewer values are in order by chance.
MINIMUM_VALUES = 30
# Times with fewer values, such as a default in every row, are in order by chance.
MINIMUM_TIMES = 3
# Times of a later table begin within so many times the longer side's own span; a wrong century is drift.
GAP = 30
# Counters of a later table run about as fast: within this factor.
PACE = 10


def row_label(
    connection: duckdb.DuckDBPyConnection, tables: tuple[Table, Table], name: str, held: tuple[Contents, Contents]
) -> str | None:
    """Why a column is left out as a label of rows; None where it is a feature, or may be one."""
    families = {side.family for side in held}
    are_whole = families == {"number"} and all("INT" in table.types[name] for table in tables)
    sides = [_Side(connection, table, name, contents) for table, contents in zip(tables, held, strict=True)]
    if not (are_whole or families in ({"text"}, {"time"})) or min(len(side.values) for side in sides) < MINIMUM_VALUES:
        return None
    if families == {"text"}:
        is_id = all(side.values.nunique() >= DISTINCT * len(side.values) for side in sides)
        is_id = is_id and all(side.distinct_share() >= DISTINCT for side in sides)
        return "nearly every value is another" if is_id else None
    return _label_of_numbers(*sides) if are_whole else _label_of_times(*sides)


@dataclass(frozen=True)
class _Side:
    """A column of one table."""

    connection: duckdb.DuckDBPyConnection
    table: Table
    name: str
    contents: Contents

    @cached_property
    def values(self) -> "pd.Series[Any]":
        """The values of the first rows; times as seconds."""
        found = self.contents.values.to_pandas().dropna()
        if self.contents.family == "number":
            return found if pd.api.types.is_integer_dtype(found) else found.astype(float)
        if self.contents.family == "time":
            moments = pd.to_datetime(found, utc=True, errors="coerce").dropna()
            return pd.Series(moments.to_numpy("datetime64[us]").astype(np.int64) / 1e6)
        return found

    def distinct_share(self) -> float:
        """Different values, per value."""
        x = self.table.sql[self.name]
        if len(self.contents.values) < HEAD_ROWS:
            return self.values.nunique() / len(self.values)
        (share,) = self._row(f"SELECT count(DISTINCT {x}) / count({x}) FROM {self.table.relation}")
        return float(share)

    def is_in_order(self, strictly: bool) -> bool:
        """Whether values ascend, or descend, from row to row; if not strictly, some may be equal."""
        steps = np.diff(self.values.astype(float))
        if not _are_in_order(int((steps > 0).sum()), int((steps < 0).sum()), int((steps == 0).sum()), strictly):
            return False
        values = f"(SELECT {self.table.sql[self.name]} AS x FROM {self.table.relation}) WHERE x IS NOT NULL"
        rising, falling, level = self._row(
            "SELECT count(*) FILTER (x > before), count(*) FILTER (x < before), count(*) FILTER (x = before) "
            f"FROM (SELECT x, lag(x) OVER () AS before FROM {values})"
        )
        return _are_in_order(rising, falling, level, strictly)

    @cached_property
    def span(self) -> tuple[float, float, int]:
        """The smallest and the largest value, times as seconds, and how many there are."""
        x, found = self.table.sql[self.name], self.table.types[self.name]
        if "INT" not in found:
            x = f"epoch(CAST({x} AS TIMESTAMPTZ))" if found.startswith("TIMESTAMP") else f"epoch({x})"
        low, high, count = self._row(
            f"SELECT min(x), max(x), count(x) FROM (SELECT {x}::DOUBLE AS x FROM {self.table.relation}) WHERE isfinite(x)"
        )
        return low, high, count

    def _row(self, sql: str) -> tuple[Any, ...]:
        return self.connection.execute(sql).fetchall()[0]


def _label_of_numbers(reference: _Side, current: _Side) -> str | None:
    sides = (reference, current)
    if any(side.values.nunique() < len(side.values) for side in sides):
        return None
    is_made_unique = sum(_expected_repeats(side.values) for side in sides) >= EXPECTED_REPEATS
    if is_made_unique and all(side.distinct_share() == 1 for side in sides):
        return "every row has a number of its own"
    if not all(side.is_in_order(strictly=True) for side in sides) or current.span[0] <= reference.span[1]:
        return None
    paces = [(high - low) / count for low, high, count in (reference.span, current.span)]
    return "it counts up from row to row, and on in the current table" if max(paces) <= PACE * min(paces) else None


def _label_of_times(reference: _Side, current: _Side) -> str | None:
    sides = (reference, current)
    different = [side.values.nunique() for side in sides]
    if max(different) < MINIMUM_TIMES:
        return None
    (first, last, _), (start, end, _) = reference.span, current.span
    is_next = 0 <= start - last <= GAP * max(last - first, end - start)
    if (is_next or min(different) > 1) and all(side.is_in_order(strictly=False) for side in sides):
        return "its times follow the order of the rows"
    return "its times are all later in the current table" if is_next and min(different) >= MINIMUM_TIMES else None


def _expected_repeats(values: "pd.Series[Any]") -> float:
    """Pairs of equal values that as many random whole numbers, so dense at every place, would have."""
    edges = np.sort(values.to_numpy(float))[::IN_BIN]
    return float(np.sum(IN_BIN**2 / 2 / np.maximum(np.diff(edges), 1.0)))


def _are_in_order(rising: int, falling: int, level: int, strictly: bool) -> bool:
    return not (rising and falling) and not (strictly and level)
