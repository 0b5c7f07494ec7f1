"""Profiles of arrays, for tests: what the kernel writes for some rows, as histograms or as plain rows."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa

from monitoring_assets.measuring.fitting import fit_grids
from monitoring_assets.measuring.grid import Grid
from monitoring_assets.measuring.histograms import Histogram, read_histograms
from monitoring_assets.measuring.kernel import write_profiles
from monitoring_assets.warehouse_tables import PROFILE_COLUMNS

FIRST_DAY = date(2026, 1, 1)


def connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE profiles (" + ", ".join(f"{name} {kind}" for name, (kind, _) in PROFILE_COLUMNS.items()) + ")"
    )
    return connection


def grid_of(values: object, kind: str = "numeric") -> Grid:
    connection = connect()
    connection.register("rows", pa.table({"x": values}))
    return fit_grids(connection, "rows", {"x": kind})["x"]


def profile(
    days: Sequence[object], grid: Grid, kind: str = "numeric", weights: Sequence[object] | None = None, column: str = "x"
) -> Histogram:
    """The histogram of one column, a row per day, each day given as its values."""
    connection = connect()
    write_profiles(connection, "profiles", _register(connection, days, weights, column), {column: kind}, {column: grid},
                   weight="w" if weights is not None else None)  # fmt: skip
    return read_histograms(connection, "profiles")[(None, column)]


def rows_of(table: Mapping[str, object], kinds: Mapping[str, str], grids: Mapping[str, Grid], **kwargs: object) -> list[dict]:
    """Profile rows of one day's table, every column of it."""
    connection = connect()
    connection.register("given", pa.table(dict(table)))
    write_profiles(connection, "profiles", f"(SELECT DATE '{FIRST_DAY}' AS day, * FROM given)", kinds, grids, **kwargs)
    return connection.sql("SELECT * FROM profiles ORDER BY segment, feature").to_arrow_table().to_pylist()


def _register(
    connection: duckdb.DuckDBPyConnection, days: Sequence[object], weights: Sequence[object] | None, column: str
) -> str:
    tables = []
    for place, values in enumerate(days):
        array = values if isinstance(values, pa.Array) else pa.array(np.asarray(values))
        columns = {"day": pa.array([FIRST_DAY + timedelta(days=place)] * len(array), pa.date32()), column: array}
        if weights is not None:
            columns["w"] = pa.array(weights[place])
        tables.append(pa.table(columns))
    connection.register("rows", pa.concat_tables(tables))
    return "rows"
