"""The kernel: rows in, mergeable counts per day and column out.

DuckDB reads each column once for all days asked for and counts its cells; joining cells into bins is numpy's.
`warehouse_tables.py` says what a profile row means; adding profiles up is `profile_sums.py`'s, reading them back
`histograms.py`'s.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring_assets.errors import ColumnUnusable
from monitoring_assets.measuring.exact_sums import LARGEST_WEIGHT, ROWS
from monitoring_assets.measuring.grid import (
    EXACT_LIMIT,
    INFINITE_KEY,
    NAN_KEY,
    NULL_KEY,
    CategoryGrid,
    Grid,
    NumericGrid,
    number_sql,
)
from monitoring_assets.measuring.values import value_expressions
from monitoring_assets.warehouse import literal, quoted

# On a day with more than `EXACT_LIMIT` categories those the grid does not know share as many buckets as two hex digits number.
BUCKET_PREFIX = "\x1f"


def write_profiles(
    connection: duckdb.DuckDBPyConnection,
    target: str,
    rows: str,
    columns: Mapping[str, str],
    grids: Mapping[str, Grid],
    segments: Sequence[str] = (),
    weight: str | None = None,
) -> None:
    """Profile every column of a relation per day, over all rows and per value of each segment column.

    Parameters
    ----------
    connection
        An open connection; call inside a transaction to make the write atomic.
    target
        Table with at least `warehouse_tables.PROFILE_COLUMNS`; rows are added to it.
    rows
        A table or parenthesised query with a DATE column `day` and the columns named. It may read files.
    columns
        Column -> kind. Numeric takes numbers, booleans (0 and 1) and dates or timestamps (days since 1970); cast anything
        else in `rows`. Categorical takes any type, as text.
    grids
        Column -> grid.
    segments
        Categorical columns; each value of each becomes a segment 'column=value'.
    weight
        Column that says how many rows each row stands for. Counts are then sums of weights and `squared_weight` is the sum of
        their squares, but `row_count` stays the rows.

    Raises
    ------
    ColumnUnusable
        When a column is missing, text stands in a numeric one, or a weight is negative, missing or not finite.
    """
    found = profiles(connection, rows, columns, grids, segments, weight)
    if found is not None:
        connection.register("profiled", found)
        connection.execute(f"INSERT INTO {target} BY NAME SELECT * FROM profiled")
        connection.unregister("profiled")


def profiles(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    columns: Mapping[str, str],
    grids: Mapping[str, Grid],
    segments: Sequence[str] = (),
    weight: str | None = None,
    *,
    of_all_rows: bool = True,
) -> pa.Table | None:
    """The rows that `write_profiles` adds, None where there are none; without `of_all_rows` only those of segments. Sums of
    weights are exact decimals here."""
    expressions = value_expressions(connection, rows, columns)
    tables = []
    with _array_counting(connection):
        for segment in (*([None] if of_all_rows else []), *segments):
            # Rows without a value of the segment column belong to no segment.
            within = rows if segment is None else f"(SELECT * FROM {rows} WHERE {quoted(segment)} IS NOT NULL)"
            label = "NULL::VARCHAR" if segment is None else f"{literal(segment + '=')} || {quoted(segment)}"
            numeric = {column: x for column, x in expressions.items() if columns[column] == "numeric"}
            groups = _Groups(connection, within, label, numeric, weight)
            if len(groups.row_count) == 0:
                continue
            for column, x in expressions.items():
                grid = grids[column]
                if isinstance(grid, NumericGrid):
                    tables.append(_numeric(connection, groups, column, x, grid))
                else:
                    tables.append(_categorical(connection, groups, column, x, grid))
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def within(x: str, lower: float, upper: float) -> str:
    """SQL for: a value lies in [lower, upper)."""
    return f"isfinite({x}) AND {x} >= {number_sql(lower)} AND {x} < {number_sql(upper)}"


def count_within(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    bins: Sequence[tuple[str, tuple[float, float], NumericGrid]],
    segments: Sequence[str] = (),
    weight: str | None = None,
) -> pa.Table:
    """Rows of some bins, each counted on a grid of its own: `place` of the bin among them, `day`, `segment`, `lower` and `upper`
    edge, `n`, maybe several for a finer bin.

    A bin is given as its column, its edges, and the grid that divides it, whose bins are cut off at those edges. The first grid
    of a column fills the 16 bits of its keys, so a finer one is counted in a query of its own, over the rows of its bin alone.
    The other parameters are those of `write_profiles`.
    """
    expressions = value_expressions(connection, rows, {column: "numeric" for column, _, _ in bins})
    count = "count(*)::DOUBLE" if weight is None else f"sum({quoted(weight)}::{ROWS})"
    labels = {"NULL::VARCHAR": "true"}
    labels |= {f"{literal(name + '=')} || {quoted(name)}": f"{quoted(name)} IS NOT NULL" for name in segments}
    keys = [f"{grid.key_sql(expressions[column])}::DOUBLE" if grid.ranges else expressions[column] for column, _, grid in bins]
    found = connection.sql(
        " UNION ALL ".join(
            f"SELECT {place} AS place, day::DATE AS day, {label} AS segment, {keys[place]} AS key, {count} AS n FROM {rows} "
            f"WHERE {within(expressions[column], *edges)} AND {condition} GROUP BY ALL HAVING n > 0"
            for place, (column, edges, _) in enumerate(bins)
            for label, condition in labels.items()
        )
    ).to_arrow_table()
    place, key = found["place"].to_numpy(), found["key"].to_numpy()
    lower, upper = np.empty(len(key)), np.empty(len(key))
    for number, (_, edges, grid) in enumerate(bins):
        mine = place == number
        low, high = grid.bins_within(*edges)
        at = grid.bins_of_keys(key[mine].astype(int)) if grid.ranges else grid.bins_of_values(key[mine])
        lower[mine], upper[mine] = low[at], high[at]
    return found.drop_columns("key").append_column("lower", [lower]).append_column("upper", [upper])


def added_finer(connection: duckdb.DuckDBPyConnection, counted: pa.Table) -> pa.Table:
    """The same rows as `count_within` gives, or several batches of them put below each other, each finer bin once."""
    amount = ROWS if pa.types.is_decimal(counted.schema.field("n").type) else "DOUBLE"
    connection.register("finer_counts", counted)
    found = connection.sql(
        f"SELECT place, day, segment, lower, upper, sum(n)::{amount} AS n FROM finer_counts GROUP BY ALL ORDER BY ALL"
    ).to_arrow_table()
    connection.unregister("finer_counts")
    return found


class _Groups:
    """The days (and segments) of a relation, numbered, each with its rows and the smallest and largest finite values."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, rows: str, segment: str, numeric: Mapping[str, str], weight: str | None
    ) -> None:
        self.rows = rows
        self.amount = "DOUBLE" if weight is None else ROWS
        self.count = "count(*)::DOUBLE" if weight is None else f"sum({quoted(weight)}::{ROWS})"
        self.weight = "" if weight is None else f", {quoted(weight)}"
        squared = "count(*)::DOUBLE" if weight is None else f"sum(({quoted(weight)}::DOUBLE ** 2)::{ROWS})"
        if weight is not None:
            _check_weight(connection, rows, weight)
        first, last = _row(connection, f"SELECT min(day)::DATE, max(day)::DATE FROM {rows}")
        # One day is a constant: grouping by it would cost a third of the time.
        self.is_one = first == last and segment.startswith("NULL")
        self.keys = f"DATE '{first}' AS day, {segment} AS segment" if first == last else f"day::DATE AS day, {segment} AS segment"
        extremes = {"minimum": "min", "maximum": "max"}
        if first is None:
            extremes, numeric, self.keys = {}, {}, f"NULL::DATE AS day, {segment} AS segment"
        wanted = [f"{function}({x})" for function in extremes.values() for x in numeric.values()]
        if not self.is_one:
            wanted = [f"{call} FILTER (isfinite({x}))" for call, x in zip(wanted, list(numeric.values()) * 2, strict=True)]
        selected = "".join(f", {call}::DOUBLE AS e{place}" for place, call in enumerate(wanted))
        grouped = f"SELECT {self.keys}, count(*) AS row_count, {squared} AS squared_weight{selected} FROM {rows}"
        grouped += " HAVING row_count > 0" if self.is_one else " WHERE day IS NOT NULL GROUP BY 1, 2"
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE profile_groups AS "
            f"SELECT (row_number() OVER (ORDER BY day, segment) - 1)::INTEGER AS gid, * FROM ({grouped})"
        )
        found = connection.sql("SELECT * FROM profile_groups ORDER BY gid").to_arrow_table()
        self.days, self.segments = found["day"], found["segment"]
        self.row_count, self.squared_weight = found["row_count"], found["squared_weight"]
        lows_and_highs = [np.asarray(found[f"e{place}"].to_numpy(), float) for place in range(len(wanted))]
        self.extremes = dict(
            zip(numeric, zip(lows_and_highs[: len(numeric)], lows_and_highs[len(numeric) :], strict=True), strict=True)
        )
        if self.is_one and len(self.row_count):
            self._without_infinities(connection, numeric)

    def _without_infinities(self, connection: duckdb.DuckDBPyConnection, numeric: Mapping[str, str]) -> None:
        """Unfiltered extremes come from a file's own statistics, for nothing; where they are not finite, read the rows."""
        for column, x in numeric.items():
            if not all(np.isfinite(extreme[0]) for extreme in self.extremes[column]):
                low, high = _row(connection, f"SELECT min(x), max(x) FROM (SELECT {x} AS x FROM {self.rows}) WHERE isfinite(x)")
                self.extremes[column] = np.array([low], float), np.array([high], float)

    def counted_sql(self, expression: str) -> str:
        """SQL for the rows, or their weight, by group and value of an expression: gid, key, n."""
        if self.is_one:
            within = f"(SELECT {expression} AS key{self.weight} FROM {self.rows})"
            return f"SELECT 0::INTEGER AS gid, key, {self.count} AS n FROM {within} GROUP BY key"
        return (
            f"SELECT gid, key, n FROM (SELECT day, segment, key, {self.count} AS n FROM "
            f"(SELECT {self.keys}, {expression} AS key{self.weight} FROM {self.rows}) GROUP BY day, segment, key) c "
            "JOIN profile_groups g ON c.day = g.day AND c.segment IS NOT DISTINCT FROM g.segment"
        )


def _numeric(connection: duckdb.DuckDBPyConnection, groups: _Groups, column: str, x: str, grid: NumericGrid) -> pa.Table:
    expression = grid.key_sql(x) if grid.ranges else x
    found = connection.sql(groups.counted_sql(expression)).to_arrow_table()
    gid, n = found["gid"].to_numpy().astype(np.int64), found["n"].combine_chunks()
    keys, is_null = found["key"].to_numpy(), found["key"].is_null().to_numpy()
    if grid.ranges:
        missing = [keys == NULL_KEY, keys == NAN_KEY, keys == INFINITE_KEY]
    else:
        missing = [is_null, np.isnan(keys) & ~is_null, np.isinf(keys)]
    days = len(groups.row_count)
    null_count, nan_count, infinite_count = (_dense(gid[where], n.filter(pa.array(where)), days) for where in missing)
    present = ~(missing[0] | missing[1] | missing[2]) & pc.greater(n, pa.scalar(0).cast(n.type)).to_numpy(zero_copy_only=False)
    gid, n, keys = gid[present], n.filter(pa.array(present)), keys[present]
    lower, upper = grid.bins
    place = gid * len(lower) + (grid.bins_of_keys(keys) if grid.ranges else grid.bins_of_values(keys))
    held, counts = _totals(place, n, days * len(lower))
    offsets = pa.array(np.searchsorted(held, np.arange(days + 1) * len(lower)).astype(np.int32))
    bins = held % len(lower)
    inexact = np.bincount(held // len(lower), weights=upper[bins] > lower[bins], minlength=days) > 0
    low, high = groups.extremes[column]  # adding 0.0 makes -0.0 the same zero
    lists = {"bins": lower[bins], "uppers": upper[bins], "counts": counts}
    return pa.table(
        {
            "day": groups.days, "segment": groups.segments, "feature": pa.array([column] * days, pa.string()),
            "kind": pa.array(["numeric"] * days, pa.string()), "row_count": groups.row_count,
            "squared_weight": groups.squared_weight, "null_count": null_count, "nan_count": nan_count,
            "infinite_count": infinite_count,
            "minimum": pa.array(low + 0.0, from_pandas=True), "maximum": pa.array(high + 0.0, from_pandas=True),
            "is_exact": ~inexact,
        }
        | {name: pa.ListArray.from_arrays(offsets, pa.array(values)) for name, values in lists.items()}
    )  # fmt: skip


def _totals(place: np.ndarray, n: pa.Array, size: int) -> tuple[np.ndarray, np.ndarray | pa.Array]:
    """The places below `size` that occur, ascending, and the sum of n at each."""
    if not pa.types.is_floating(n.type):
        found = pa.table({"place": place, "n": n}).group_by("place").aggregate([("n", "sum")]).sort_by("place")
        return found["place"].to_numpy(), found["n_sum"].combine_chunks()
    weights = n.to_numpy(zero_copy_only=False)
    if size < 4 * len(place) + 1_000_000:
        counts = np.bincount(place, weights=weights, minlength=size).astype(float)
        held = np.flatnonzero(counts)
        return held, counts[held]
    held, inverse = np.unique(place, return_inverse=True)
    return held, np.bincount(inverse, weights=weights, minlength=len(held))


def _dense(gid: np.ndarray, n: pa.Array, size: int) -> pa.Array:
    """The sum of n of each group, 0 of a group that does not occur."""
    held, counts = _totals(gid, n, size)
    of_group = dict(zip(held.tolist(), counts.tolist() if isinstance(counts, np.ndarray) else counts.to_pylist(), strict=True))
    return pa.array([of_group.get(group, 0) for group in range(size)], n.type)


def _categorical(connection: duckdb.DuckDBPyConnection, groups: _Groups, column: str, x: str, grid: CategoryGrid) -> pa.Table:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE counted_categories AS {groups.counted_sql(x)}")
    name_categories(connection, grid)
    return connection.sql(f"""
        SELECT day, segment, {literal(column)} AS feature, 'categorical' AS kind, any_value(row_count) AS row_count,
               any_value(squared_weight) AS squared_weight, {category_lists(groups.amount)}
        FROM counted_categories c JOIN profile_groups g USING (gid) GROUP BY day, segment""").to_arrow_table()


def category_lists(amount: str) -> str:
    """SQL for what a profile says of a group in the table `counted_categories` (gid, key, n, is_crowded), n of type `amount`."""
    listed = "FILTER (key IS NOT NULL AND (n > 0 OR is_crowded))"
    return (
        f"coalesce(sum(n) FILTER (key IS NULL), 0)::{amount} AS null_count, 0::{amount} AS nan_count, "
        f"0::{amount} AS infinite_count, NOT bool_or(is_crowded) AS is_exact, "
        f"coalesce(list(key ORDER BY key) {listed}, []) AS categories, "
        f"coalesce(list(n::{amount} ORDER BY key) {listed}, []) AS counts"
    )


def name_categories(connection: duckdb.DuckDBPyConnection, grid: CategoryGrid, crowded: str = "false") -> None:
    """Put the categories that a crowded group's grid does not know into buckets, in the table `counted_categories` (gid, key, n).

    A group is crowded that has more than `EXACT_LIMIT` categories, or for which the SQL aggregate `crowded` holds.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE crowded_groups AS SELECT gid FROM counted_categories GROUP BY gid "
        f"HAVING count(key) > {EXACT_LIMIT} OR {crowded}"
    )
    (found,) = _row(connection, "SELECT count(*) FROM crowded_groups")
    if not found:
        connection.execute("ALTER TABLE counted_categories ADD COLUMN is_crowded BOOLEAN DEFAULT false")
        return
    connection.register("known_categories", pa.table({"key": pa.array(grid.known, pa.string())}))
    crowded, bucket = "gid IN (FROM crowded_groups)", f"{literal(BUCKET_PREFIX)} || left(md5(key), 2)"
    is_rare = f"key NOT IN (FROM known_categories) AND NOT starts_with(key, {literal(BUCKET_PREFIX)})"
    # Known categories are named even where they hold no row, so a day that is not crowded can be added to one that is.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE counted_categories AS SELECT gid, sum(n) AS n, {crowded} AS is_crowded, "
        f"CASE WHEN {crowded} AND {is_rare} THEN {bucket} ELSE key END AS key "
        "FROM (SELECT gid, key, n FROM counted_categories UNION ALL BY NAME "
        "SELECT gid, key, 0 AS n FROM crowded_groups, known_categories) GROUP BY ALL"
    )
    connection.unregister("known_categories")


def _check_weight(connection: duckdb.DuckDBPyConnection, rows: str, weight: str) -> None:
    example, count = _row(
        connection,
        f"SELECT any_value(w::VARCHAR), count(*) FROM (SELECT {quoted(weight)} AS w FROM {rows}) "
        f"WHERE w IS NULL OR NOT isfinite(w::DOUBLE) OR w < 0 OR w > {LARGEST_WEIGHT!r}",
    )
    if count:
        raise ColumnUnusable(
            f"column {weight!r} holds {count} weights that are missing, negative or above a billion, such as {example}; "
            "a weight says how many rows a row stands for: correct or leave out those rows"
        )


@contextmanager
def _array_counting(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let DuckDB count 16-bit keys in an array, which by default it does up to 12 bits only."""
    (before,) = _row(connection, "SELECT current_setting('perfect_ht_threshold')")
    connection.execute("SET perfect_ht_threshold = 18")
    try:
        yield
    finally:
        connection.execute(f"SET perfect_ht_threshold = {before}")


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The one row of a query. Fetched whole: DuckDB lets nobody register a table while a result is unfinished."""
    return connection.execute(sql).fetchall()[0]
