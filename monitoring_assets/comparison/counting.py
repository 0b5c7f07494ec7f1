"""The rows of both tables as histograms, column by column: of every value where rows are few, else on bins fitted to both sides.

Which columns are compared is decided in `common_columns.py`, counting on bins is `measuring/kernel.py`'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from monitoring_assets.comparison.common_columns import KINDS, Column, alias_sql
from monitoring_assets.drift.multivariate_thresholds import COMPARED_ROWS
from monitoring_assets.errors import ColumnUnusable
from monitoring_assets.ingestion.tables import Table
from monitoring_assets.measuring.fitting import fit_grids
from monitoring_assets.measuring.grid import EXACT_LIMIT
from monitoring_assets.measuring.histograms import Histogram, read_histograms
from monitoring_assets.measuring.kernel import write_profiles
from monitoring_assets.measuring.values import value_expressions
from monitoring_assets.warehouse import quoted
from monitoring_assets.warehouse_tables import PROFILE_COLUMNS

# Rows of both sides up to which every value is counted: quicker than fitting bins, and without their error.
FEW_ROWS = 20_000
# Bins are fitted on about this many rows of each side; fitting on all of two million would cost more than counting them.
FIT_ROWS = 20_000
# Columns counted at once. The time a statement takes grows with the columns it names, whether it reads them or not.
COLUMNS_AT_ONCE = 30
# The two sides as days of the kernel's.
DAYS = (date(2000, 1, 1), date(2000, 1, 2))

Pair = tuple[Histogram, Histogram]


@dataclass(frozen=True)
class Side:
    """The reference's rows (`place` 0) or the current ones (1), of which there are `rows`."""

    table: Table
    place: int
    weight: str | None
    rows: int

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, table: Table, place: int, weight: str | None) -> "Side":
        if weight is not None:
            _refuse_bad_weights(connection, table, weight)
        (rows,) = connection.execute(f"SELECT count(*) FROM {table.relation}").fetchall()[0]
        return cls(table, place, weight, int(rows))

    def relation(self, columns: Sequence[Column]) -> str:
        """The rows with `day`, `weight` where there is one, and these columns as c0, c1 ..."""
        weight = f", {self.table.sql[self.weight]} AS weight" if self.weight is not None else ""
        return f"(SELECT DATE '{DAYS[self.place]}' AS day, {alias_sql(columns, self.place)}{weight} FROM {self.table.relation})"

    def values(self, connection: duckdb.DuckDBPyConnection, columns: Sequence[Column]) -> list[str]:
        """SQL of the columns of `relation`, numbers as DOUBLE and categories as VARCHAR."""
        return list(value_expressions(connection, self.relation(columns), _kinds(columns)).values())


def histograms(
    connection: duckdb.DuckDBPyConnection, sides: Sequence[Side], columns: Sequence[Column], weight: str | None
) -> Iterator[Pair]:
    """Both sides of each column, in the order of the columns."""
    counted = _by_value if sum(side.rows for side in sides) <= FEW_ROWS else _on_bins
    for start in range(0, len(columns), COLUMNS_AT_ONCE):
        yield from counted(connection, sides, columns[start : start + COLUMNS_AT_ONCE], weight)


def drawn(connection: duckdb.DuckDBPyConnection, side: Side, columns: Sequence[Column], weight: str | None) -> pd.DataFrame:
    """At most `COMPARED_ROWS` rows of a side, drawn by the hash of their place, and by weight as `measuring/sample.py` does."""
    values = side.values(connection, columns)
    names = ", ".join(f"{x} AS {quoted(column.name)}" for x, column in zip(values, columns, strict=True))
    key = "-ln((hash(place)::DOUBLE + 0.5) / 18446744073709551616.0)" + (" / weight" if weight else "")
    found = connection.sql(
        f"SELECT {names} FROM (SELECT *, row_number() OVER () AS place FROM {side.relation(columns)}) "
        f"{'WHERE weight > 0 ' if weight else ''}ORDER BY {key} LIMIT {COMPARED_ROWS}"
    )
    frame: pd.DataFrame = found.to_arrow_table().to_pandas(strings_to_categorical=True)
    return frame


def _by_value(
    connection: duckdb.DuckDBPyConnection, sides: Sequence[Side], columns: Sequence[Column], weight: str | None
) -> Iterator[Pair]:
    fetched = []
    for side in sides:
        selected = [f"{x} AS v{place}" for place, x in enumerate(side.values(connection, columns))]
        selected += ["weight::DOUBLE AS weight"] if weight else []
        fetched.append(connection.sql(f"SELECT {', '.join(selected)} FROM {side.relation(columns)}").to_arrow_table())
    weights = [table["weight"].to_numpy() if weight else np.ones(table.num_rows) for table in fetched]
    for place, column in enumerate(columns):
        counted = _counted_numbers if column.kind == "numeric" else _counted_categories
        before, now = (counted(table[f"v{place}"], w) for table, w in zip(fetched, weights, strict=True))
        if column.kind == "categorical" and max(len(before.support), len(now.support)) > EXACT_LIMIT:
            known = _heavy(before, now)
            before, now = before.bucketed(known), now.bucketed(known)
        yield before, now


def _counted_numbers(values: pa.ChunkedArray, weights: np.ndarray) -> Histogram:
    x = values.to_numpy()
    present = np.isfinite(x)
    support, codes = np.unique(x[present], return_inverse=True)
    counts = np.bincount(codes, weights=weights[present], minlength=len(support)).astype(float)
    ends = (support[0], support[-1]) if len(support) else (np.nan, np.nan)
    return _histogram("numeric", support, counts, ends, weights, present)


def _counted_categories(values: pa.ChunkedArray, weights: np.ndarray) -> Histogram:
    encoded = values.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_numpy(zero_copy_only=False)
    codes = encoded.indices.fill_null(-1).to_numpy()
    present = codes >= 0
    counts = np.bincount(codes[present], weights=weights[present], minlength=len(names)).astype(float)
    order = np.argsort(names)
    return _histogram("categorical", names[order], counts[order], (np.nan, np.nan), weights, present)


def _histogram(
    kind: str, support: np.ndarray, counts: np.ndarray, ends: tuple[float, float], weights: np.ndarray, present: np.ndarray
) -> Histogram:
    held = counts > 0
    return Histogram(
        kind, [DAYS[0]], support[held], counts[None, held], np.array([weights[~present].sum()]), np.array([ends[0]]),
        np.array([ends[1]]), True, row_count=np.array([float(len(weights))]), squared_weight=np.array([np.sum(weights**2)]),
    )  # fmt: skip


def _heavy(*sides: Histogram) -> set[str]:
    """The commonest categories of both sides, as many as keep their names; those seen once are none."""
    names = np.concatenate([side.support for side in sides])
    pooled = pd.Series(np.concatenate([side.counts[0] for side in sides])).groupby(names).sum()
    return set(pooled[pooled > 1].nlargest(EXACT_LIMIT).index)


def _on_bins(
    connection: duckdb.DuckDBPyConnection, sides: Sequence[Side], columns: Sequence[Column], weight: str | None
) -> Iterator[Pair]:
    """Counted on bins fitted to both sides: bins that only the reference has shaped would know its luck.

    Which categories keep their names is decided by equal shares of both sides' rows. Were they those of all of 10,000 rows and of
    a fifth of 100,000, each rare one of the smaller side would have a bin and few of the larger: 4 of 12 quiet pairs with a
    column of 3,000 categories then alarm.
    """
    kinds = _kinds(columns)
    shares = [FIT_ROWS / side.rows if side.rows > 2 * FIT_ROWS else 1.0 for side in sides]
    samples = [
        f"SELECT {', '.join(kinds)}, hash(row_number() OVER ()) < {round(2**64 * min(shares) / share) - 1}::UBIGINT AS in_both "
        f"FROM (SELECT * FROM {side.relation(columns)} {f'USING SAMPLE {100 * share}% (system, 1)' if share < 1 else ''})"
        for side, share in zip(sides, shares, strict=True)
    ]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE fitted AS {' UNION ALL '.join(f'({sample})' for sample in samples)}")
    numeric, categorical = ({name: each for name, each in kinds.items() if each == kind} for kind in KINDS)
    grids = fit_grids(connection, "fitted", numeric) | fit_grids(connection, "(FROM fitted WHERE in_both)", categorical)
    declared = ", ".join(f"{quoted(name)} {kind}" for name, (kind, _) in PROFILE_COLUMNS.items())
    connection.execute(f"CREATE OR REPLACE TEMP TABLE profiles ({declared})")
    found = []
    for day, side in zip(DAYS, sides, strict=True):
        write_profiles(connection, "profiles", side.relation(columns), kinds, grids, weight="weight" if weight else None)
        profiled = read_histograms(connection, "profiles", "day = ?", [day])
        found.append([profiled.get((None, name), _no_rows(kind)) for name, kind in kinds.items()])
    yield from zip(*found, strict=True)


def _no_rows(kind: str) -> Histogram:
    nothing = np.zeros(0, float if kind == "numeric" else object)
    return Histogram(kind, [DAYS[0]], nothing, np.zeros((1, 0)), np.zeros(1), np.full(1, np.nan), np.full(1, np.nan), True)


def _kinds(columns: Sequence[Column]) -> dict[str, str]:
    return {f"c{place}": column.kind for place, column in enumerate(columns)}


def _refuse_bad_weights(connection: duckdb.DuckDBPyConnection, table: Table, weight: str) -> None:
    x = table.sql.get(weight, "NULL")
    wrong, example = connection.execute(
        f"SELECT count(*) FILTER (bad), any_value(shown) FILTER (bad) FROM (SELECT TRY_CAST({x} AS DOUBLE) AS w, "
        f"coalesce(w IS NULL OR NOT isfinite(w) OR w < 0, true) AS bad, coalesce({x}::VARCHAR, 'NULL') AS shown "
        f"FROM {table.relation})"
    ).fetchall()[0]
    if wrong:
        raise ColumnUnusable(
            f"column {weight!r} of the {table.role} holds {wrong} weights that are missing, negative or no finite number, such "
            f"as {example}; a weight says how many rows a row stands for: correct or leave out those rows"
        )
