"""Finer grids: bins in which a day's rows crowd are divided, and what lies in them is counted again, nothing else.

A grid is refined and never replaced: the new bins lie within an old one, so new and old profiles of a column add up. Fitting and
counting are `grid.py`'s and `kernel.py`'s; here is decided which bins are divided, and on which days.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa

from monitoring_assets.engines.day_rows import Rows, logged_rows
from monitoring_assets.measuring.fitting import FIT_ROWS, fit_numeric
from monitoring_assets.measuring.grid import BINS, NumericGrid
from monitoring_assets.measuring.kernel import within
from monitoring_assets.measuring.measure import Wanted
from monitoring_assets.measuring.watched import read_for, watched_sql
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import include_rows, table
from monitoring_assets.warehouse_reads import include_all

# A bin is divided when it holds a larger share of a day: the day's distribution function is known no better than that, so neither
# is its KS distance from another day of its kind.
COARSE = 0.01
# On n (effective) rows the share must also be above this / √n: a KS distance below it is noise (a threshold over a hundred scores
# at a rate of 1 % is about 2.3 / √n). On flights, 920 rows a day, 1 / √n divided humidity 472 times in a year, once for each hour
# with a value of its own; 3 / √n divides what has left its grid.
NOISE = 3.0
# Bins that all finer grids of a column may have together. A column that never returns to its values (a counter, a time) would
# else get a grid per day; so it gets a dozen, and then its scores' error bound tells that it is no longer resolved.
FINER_BINS = 16_000
# Bins that are counted again in one query, and divided in the next: more save little, and hold more values at once.
DIVIDED_AT_ONCE = 32


@dataclass(frozen=True)
class Refinement:
    """A bin [lower, upper) of a column, and the grid that divides it."""

    column: str
    lower: float
    upper: float
    grid: NumericGrid

    @property
    def size(self) -> int:
        """How many bins it can add to a profile, about: of whole numbers, which have a bin each, it was fitted to few."""
        return min(len(self.grid.starts), BINS)

    @property
    def divides(self) -> bool:
        """Whether its bin becomes several: one that holds a single value or two neighbouring numbers cannot."""
        return len(np.unique(self.grid.bins_within(self.lower, self.upper)[0])) > 1


def refine_profiles(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    target: str,
    rows: Rows,
    columns: Mapping[str, str],
    by_version: bool = False,
) -> None:
    """Divide the crowded bins of freshly written profiles, and the same bins of earlier days. Call it inside a transaction.

    The finer grids the monitor has are applied first. Then each day, in order, may ask for one more, which is fitted to its rows
    alone. So days profiled in one run and days profiled one by one in order end with the same tables; in another order they may
    get other finer grids. A stored day whose raw rows are gone, or no longer those that were profiled, keeps its coarse bin, and
    is compared on it.

    Parameters
    ----------
    connection, columns
        As for `kernel.profiles`, which has filled `target`.
    rows
        The rows it was filled from.
    spec
        The monitor, whose `profile_grids` and `daily_profile` are brought up to date.
    target
        The table of the new profiles.
    by_version
        Whether it also has the predictions of each model version apart.
    """
    numeric = [column for column, kind in columns.items() if kind == "numeric"]
    held: dict[str, int] = {}
    stored = _stored(connection, spec)
    for refinement in stored:
        held[refinement.column] = held.get(refinement.column, 0) + refinement.size
    # A bin of a finer grid may be divided in its turn.
    while due := _due(connection, target, numeric, stored):
        for some in _divided_at_once(spec, due):
            _divide(connection, spec, target, rows.on, some, by_version)
        stored = [refinement for refinement in stored if refinement not in due]
    for column in dict.fromkeys(found[0] for found in _crowded(connection, target, numeric)):
        tried: set[tuple[float, float]] = set()
        while crowded := [found for found in _crowded(connection, target, [column]) if found[2:] not in tried]:
            _, day, lower, upper = crowded[0]
            tried.add((lower, upper))
            x, needed = f"{watched_sql(spec, column)}::DOUBLE", read_for(spec, column)
            in_bin = rows.on([day]).relation(connection, [needed], within(x, lower, upper), at_most=FIT_ROWS)
            refinement = Refinement(column, lower, upper, fit_numeric(connection, in_bin, x))
            if held.get(column, 0) + refinement.size > FINER_BINS:
                break
            if refinement.divides:
                held[column] = held.get(column, 0) + refinement.size
                _store(connection, spec, refinement)
                _divide(connection, spec, target, rows.on, [refinement], by_version)
                include_all(connection, spec, "daily_profile")
                log = partial(_logged_rows, connection, spec)
                _divide(connection, spec, table(spec, "daily_profile"), log, [refinement], by_version=True)


def _due(
    connection: duckdb.DuckDBPyConnection, profiles: str, columns: Iterable[str], refinements: list[Refinement]
) -> list[Refinement]:
    """Those whose bin is in the profiles, the outer ones first: what lies within another is due when that is divided."""
    if not refinements:
        return []
    present = connection.execute(
        f"SELECT DISTINCT feature, unnest(bins) AS lower, unnest(uppers) AS upper FROM {profiles} "
        "WHERE feature IN (SELECT unnest(?::VARCHAR[])) AND NOT is_exact",
        [list(columns)],
    ).fetchnumpy()
    bins = set(zip(*(present[name].tolist() for name in ("feature", "lower", "upper")), strict=True))
    due: list[Refinement] = []
    for each in refinements:  # by column and lower edge, the widest first
        is_within_last = due and due[-1].column == each.column and each.upper <= due[-1].upper
        if (each.column, each.lower, each.upper) in bins and not is_within_last:
            due.append(each)
    return due


def _crowded(
    connection: duckdb.DuckDBPyConnection, profiles: str, columns: Iterable[str]
) -> list[tuple[str, date, float, float]]:
    """Column, day and edges of the bins that hold too large a share of a day, or of its part in a segment: by column, the first
    day's first, of these the one with most rows."""
    return connection.execute(
        f"""
        WITH days AS (
            SELECT feature, day, segment, bins, uppers, counts, list_sum(counts) AS present,
                   present * (null_count + nan_count + infinite_count + present) / squared_weight AS effective,
                   greatest({COARSE}, {NOISE} / sqrt(effective)) * present AS most
            FROM {profiles} WHERE feature IN (SELECT unnest(?::VARCHAR[])) AND NOT is_exact AND len(bins) > 0),
        held AS (
            SELECT feature, day, segment, most, unnest(bins) AS lower, unnest(uppers) AS upper, unnest(counts) AS n
            FROM days WHERE list_max(counts) > most)
        SELECT feature, day, lower, upper FROM held WHERE n > most AND upper > lower
        GROUP BY ALL ORDER BY feature, day, max(n) DESC, lower""",
        [list(columns)],
    ).fetchall()


def _divided_at_once(spec: MonitorSpec, due: Sequence[Refinement]) -> Iterator[Sequence[Refinement]]:
    """Few at a time; those of predictions, which are also counted by model version, apart from those of features."""
    of_predictions = [each for each in due if each.column in spec.prediction.watched]
    for some in ([each for each in due if each.column not in spec.prediction.watched], of_predictions):
        for start in range(0, len(some), DIVIDED_AT_ONCE):
            yield some[start : start + DIVIDED_AT_ONCE]


def _divide(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    profiles: str,
    rows_of: Callable[[Sequence[date]], Rows],
    refinements: Sequence[Refinement],
    by_version: bool,
) -> None:
    """Put finer counts in the place of bins that do not overlap, wherever profiles hold one and the rows still add up to what it
    counts."""
    edges = [
        {"place": place, "feature": each.column, "lower": each.lower, "upper": each.upper}
        for place, each in enumerate(refinements)
    ]
    connection.register("divided_bins", pa.Table.from_pylist(edges))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE coarse AS SELECT p.feature, day, segment, place, lower, upper, "
        f"counts[list_position(bins, lower)] AS n FROM {profiles} p JOIN divided_bins b ON p.feature = b.feature "
        "WHERE uppers[list_position(bins, lower)] = upper"
    )
    connection.unregister("divided_bins")
    days = [day for (day,) in connection.execute("SELECT DISTINCT day FROM coarse ORDER BY day").fetchall()]
    if not days:
        return
    bins = [(each.column, (each.lower, each.upper), each.grid) for each in refinements]
    is_by_version = by_version and refinements[0].column in spec.prediction.watched
    found = rows_of(days).tables(connection, Wanted(finer=bins, by_version=is_by_version))
    connection.register("finer", found["finer"])
    same_profile = "c.feature = p.feature AND c.day = p.day AND c.segment IS NOT DISTINCT FROM p.segment"
    same_rows = "f.place = c.place AND f.day = c.day AND f.segment IS NOT DISTINCT FROM c.segment"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE divided AS
        WITH agreed AS (
            SELECT c.* FROM coarse c JOIN (SELECT place, day, segment, sum(n) AS n FROM finer GROUP BY ALL) f
            ON {same_rows} WHERE abs(f.n - c.n) <= 1e-9 * c.n),
        pieces AS (
            FROM (SELECT feature, day, segment, unnest(bins) AS lower, unnest(uppers) AS upper, unnest(counts) AS n
                  FROM {profiles} p SEMI JOIN agreed c ON {same_profile}) p
            ANTI JOIN agreed c ON {same_profile} AND c.lower = p.lower AND c.upper = p.upper
            UNION ALL
            SELECT c.feature, c.day, c.segment, f.lower, f.upper, sum(f.n) FROM finer f JOIN agreed c ON {same_rows} GROUP BY ALL)
        SELECT feature, day, segment, list(lower ORDER BY lower) AS bins, list(upper ORDER BY lower) AS uppers,
               list(n ORDER BY lower) AS counts, bool_and(lower = upper) AS is_exact
        FROM pieces GROUP BY feature, day, segment"""
    )
    connection.unregister("finer")
    connection.execute(
        f"UPDATE {profiles} AS p SET bins = c.bins, uppers = c.uppers, counts = c.counts, is_exact = c.is_exact "
        f"FROM divided AS c WHERE {same_profile}"
    )


def _logged_rows(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> Rows:
    include_rows(connection, spec, days)
    return logged_rows(connection, spec, days)


def _stored(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> list[Refinement]:
    """The monitor's finer grids, each after the one whose bin it divides: wider bins hold narrower ones."""
    return [
        Refinement(column, lower, upper, NumericGrid.stored(*fields))
        for column, lower, upper, *fields in connection.execute(
            "SELECT feature, bin_lower, bin_upper, lowers, uppers, scales, atoms, starts "
            f"FROM {table(spec, 'profile_grids')} WHERE bin_lower IS NOT NULL ORDER BY feature, bin_lower, bin_upper DESC"
        ).fetchall()
    ]


def _store(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, refinement: Refinement) -> None:
    connection.execute(
        f"INSERT INTO {table(spec, 'profile_grids')} VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)",
        [refinement.column, *refinement.grid.fields, refinement.lower, refinement.upper],
    )
