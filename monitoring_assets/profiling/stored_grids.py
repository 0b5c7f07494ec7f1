"""The monitor's grids as the warehouse keeps them: a column gets one once, and every later profile counts on it."""

from collections.abc import Mapping

import duckdb
import numpy as np

from monitoring_assets.engines.day_rows import Rows
from monitoring_assets.measuring.fitting import FIT_ROWS, fit_grids
from monitoring_assets.measuring.grid import CategoryGrid, Grid, NumericGrid
from monitoring_assets.monitor_spec import CONFIDENCE, MonitorSpec
from monitoring_assets.warehouse import table


def ensure_grids(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: Rows, columns: Mapping[str, str]
) -> dict[str, Grid]:
    """The monitor's grids; columns that have none get one now, for good, from these rows.

    A probability's range is known, so the grid of a score needs no rows and is the same for every model.
    """
    grids_table = table(spec, "profile_grids")
    grids: dict[str, Grid] = {}
    for name, lowers, uppers, scales, atoms, starts, categories in connection.execute(
        f"SELECT feature, lowers, uppers, scales, atoms, starts, categories FROM {grids_table} WHERE bin_lower IS NULL"
    ).fetchall():
        if categories is None:
            grids[name] = NumericGrid.stored(lowers, uppers, scales, atoms, starts)
        else:
            grids[name] = CategoryGrid(tuple(categories))
    missing = {name: kind for name, kind in columns.items() if name not in grids}
    made: dict[str, Grid] = {}
    for name, lowest in ((spec.prediction.score, 0.0), (CONFIDENCE, 0.5)):
        if name in missing:
            del missing[name]
            edges = np.linspace(lowest, 1.0, 1 + (1 << 13))
            made[name] = NumericGrid.fitted(edges, np.ones(len(edges)))
    if missing:
        made |= fit_grids(connection, rows.relation(connection, list(missing), at_most=FIT_ROWS), missing)
    for name, grid in made.items():
        values = [*grid.fields, None] if isinstance(grid, NumericGrid) else [None] * 5 + [list(grid.known)]
        connection.execute(f"INSERT INTO {grids_table} VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)", [name, *values])
    return grids | made
