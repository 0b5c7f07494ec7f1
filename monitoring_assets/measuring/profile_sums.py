"""Adding up profiles of batches of the same days: the profile of all their rows, bit for bit, however they were divided.

Bins and exact categories depend on the value alone, so their counts add up; a day that is crowded in one batch, or in all
together, names the categories its grid knows and puts the others into buckets, as the kernel does.
"""

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from monitoring_assets.measuring.exact_sums import ROWS
from monitoring_assets.measuring.grid import CategoryGrid, Grid
from monitoring_assets.measuring.kernel import category_lists, name_categories
from monitoring_assets.sql_text import literal


def added_profiles(
    connection: duckdb.DuckDBPyConnection, parts: pa.Table, grids: Mapping[str, Grid], *, weighted: bool
) -> pa.Table:
    """The profile of all rows, from those of batches put below each other, which were counted on these grids."""
    amount = ROWS if weighted else "DOUBLE"
    connection.register("batches", parts)
    connection.execute("CREATE OR REPLACE TEMP TABLE batch_profiles AS FROM batches")
    connection.unregister("batches")
    found = [connection.sql(_numeric_sql(amount)).to_arrow_table()]
    for feature in parts["feature"].unique().to_pylist():
        grid = grids[feature]
        if isinstance(grid, CategoryGrid):
            found.append(_categorical(connection, feature, grid, amount))
    connection.execute("DROP TABLE batch_profiles")
    return pa.concat_tables(found, promote_options="permissive")


def _numeric_sql(amount: str) -> str:
    sums = ", ".join(f"sum({name})::{amount} AS {name}" for name in ("null_count", "nan_count", "infinite_count"))
    return f"""
        WITH heads AS (
            SELECT day, segment, feature, kind, sum(row_count)::BIGINT AS row_count,
                   sum(squared_weight)::{amount} AS squared_weight, {sums},
                   min(minimum) AS minimum, max(maximum) AS maximum, bool_and(is_exact) AS is_exact
            FROM batch_profiles WHERE kind = 'numeric' GROUP BY ALL),
        bins AS (
            SELECT day, segment, feature, lower, upper, sum(n)::{amount} AS n
            FROM (SELECT day, segment, feature, unnest(bins) AS lower, unnest(uppers) AS upper, unnest(counts) AS n
                  FROM batch_profiles WHERE kind = 'numeric') GROUP BY ALL),
        lists AS (
            SELECT day, segment, feature, list(lower ORDER BY lower) AS bins, list(upper ORDER BY lower) AS uppers,
                   list(n ORDER BY lower) AS counts FROM bins GROUP BY ALL)
        SELECT h.*, coalesce(l.bins, []) AS bins, coalesce(l.uppers, []) AS uppers, coalesce(l.counts, []) AS counts
        FROM heads h LEFT JOIN lists l ON l.day = h.day AND l.segment IS NOT DISTINCT FROM h.segment AND l.feature = h.feature"""


def _categorical(connection: duckdb.DuckDBPyConnection, feature: str, grid: CategoryGrid, amount: str) -> pa.Table:
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE profile_groups AS SELECT row_number() OVER () AS gid, * FROM (
            SELECT day, segment, feature, kind, sum(row_count)::BIGINT AS row_count,
                   sum(squared_weight)::{amount} AS squared_weight, bool_or(NOT is_exact) AS was_crowded
            FROM batch_profiles WHERE feature = {literal(feature)} GROUP BY ALL)""")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE counted_categories AS SELECT gid, key, sum(n)::{amount} AS n FROM ("
        "SELECT day, segment, unnest([NULL] || categories) AS key, unnest([null_count] || counts) AS n FROM batch_profiles "
        f"WHERE feature = {literal(feature)}) c JOIN profile_groups g ON g.day = c.day "
        "AND g.segment IS NOT DISTINCT FROM c.segment GROUP BY gid, key"
    )
    name_categories(connection, grid, "gid IN (SELECT gid FROM profile_groups WHERE was_crowded)")
    return connection.sql(
        "SELECT day, segment, feature, kind, any_value(row_count) AS row_count, any_value(squared_weight) AS squared_weight, "
        f"{category_lists(amount)} FROM counted_categories JOIN profile_groups USING (gid) GROUP BY day, segment, feature, kind"
    ).to_arrow_table()
