"""Grids fitted to rows: which bins the values of a column are counted in. What a grid is, is in `grid.py`."""

from collections.abc import Iterator, Mapping, Sequence

import duckdb
import numpy as np

from monitoring_assets.measuring.grid import EXACT_LIMIT, CategoryGrid, Grid, NumericGrid
from monitoring_assets.measuring.values import value_expressions

# A grid is fitted on about this many rows, drawn in blocks; more do not change its bins.
FIT_ROWS = 2_000_000
# Values that are fetched at once to fit grids on: 32 MB.
FETCHED_VALUES = 4_000_000


def fit_grids(connection: duckdb.DuckDBPyConnection, rows: str, columns: Mapping[str, str]) -> dict[str, Grid]:
    """A grid for each column, from the rows of a relation."""
    expressions = value_expressions(connection, rows, columns)
    numeric = {column: x for column, x in expressions.items() if columns[column] == "numeric"}
    grids: dict[str, Grid] = dict(zip(numeric, _fit_numeric(connection, rows, list(numeric.values())), strict=True))
    for column, x in expressions.items():
        if columns[column] != "numeric":
            found = connection.execute(
                f"SELECT {x} AS category, count(*) FROM {rows} WHERE category IS NOT NULL GROUP BY category "
                f"ORDER BY count(*) DESC, category LIMIT {EXACT_LIMIT}"
            ).fetchall()
            # Of more than fit, those seen once are heavy by nothing but their name.
            heavy = [name for name, count in found if count > 1 or len(found) < EXACT_LIMIT]
            grids[column] = CategoryGrid(tuple(sorted(heavy)))
    return grids


def fit_numeric(connection: duckdb.DuckDBPyConnection, rows: str, x: str) -> NumericGrid:
    """A grid for the finite values of an SQL expression of type DOUBLE over the rows of a relation."""
    return next(_fit_numeric(connection, rows, [x]))


def _fit_numeric(connection: duckdb.DuckDBPyConnection, rows: str, expressions: Sequence[str]) -> Iterator[NumericGrid]:
    """The grids of several expressions: as many are read at once as fit into `FETCHED_VALUES`."""
    if not expressions:
        return
    ((row_count,),) = connection.execute(f"SELECT count(*) FROM {rows}").fetchall()
    sample = f"USING SAMPLE {100 * FIT_ROWS / row_count}% (system, 1)" if row_count > 2 * FIT_ROWS else ""
    width = max(FETCHED_VALUES // max(min(row_count, FIT_ROWS), 1), 1)
    for start in range(0, len(expressions), width):
        selected = ", ".join(f"{x} AS v{place}" for place, x in enumerate(expressions[start : start + width]))
        for fetched in connection.execute(f"SELECT {selected} FROM {rows} {sample}").fetchnumpy().values():
            values: np.ndarray = np.ma.filled(np.ma.asarray(fetched, float), np.nan)
            values = np.sort(values[np.isfinite(values)])
            first = np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(values) else np.zeros(0, int)
            yield NumericGrid.fitted(values[first], np.diff(np.append(first, len(values))))
