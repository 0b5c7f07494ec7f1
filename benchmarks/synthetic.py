"""Rows made for timing: 20 columns of normal numbers and 5 of strings with 3 to 2,000 categories, in Parquet."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measurement import CPUS
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse_tables import PROFILE_COLUMNS

NUMERIC = [f"number_{place}" for place in range(20)]
CATEGORIES = {f"category_{count}": count for count in (3, 10, 50, 200, 2_000)}
COLUMNS = dict.fromkeys(NUMERIC, "numeric") | dict.fromkeys(CATEGORIES, "categorical")
MILLION = 1_000_000


def write_rows(path: Path, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = {name: pa.array(random.normal(place, 1 + place / 5, rows)) for place, name in enumerate(NUMERIC)}
    for name, count in CATEGORIES.items():
        names = pa.array([f"value {code}" for code in range(count)])
        columns[name] = names.take(pa.array(random.integers(0, count, rows)))
    # Distinct numbers have no dictionary: trying to make one costs time and leaves the same pages.
    pq.write_table(pa.table(columns), path, row_group_size=122_880, use_dictionary=list(CATEGORIES))


def parts(folder: Path | str, millions: int) -> list[str]:
    """The files of a day of so many million rows, a million in each."""
    return [str(Path(folder) / f"part_{part:02}.parquet") for part in range(millions)]


def scanned(files: list[str], day: str = "DATE '2026-01-01'") -> str:
    """SQL of the rows of Parquet files, on a day."""
    listed = ", ".join(f"'{file}'" for file in files)
    return f"(SELECT ({day})::DATE AS day, * FROM read_parquet([{listed}], file_row_number = true))"


def connected() -> duckdb.DuckDBPyConnection:
    """A connection in memory with an empty table `profiles`."""
    connection = duckdb.connect()
    connection.execute(f"SET threads = {CPUS}")
    connection.execute("SET enable_progress_bar = false")
    declared = ", ".join(f"{name} {kind}" for name, (kind, _) in PROFILE_COLUMNS.items())
    connection.execute(f"CREATE TABLE profiles ({declared})")
    return connection


def synthetic_spec(**drift: object) -> MonitorSpec:
    return MonitorSpec.model_validate(
        {
            "name": "synthetic",
            "id": "unused_id",
            "event_time": "unused_time",
            "start_day": "2026-01-01",
            "features": {name: {"kind": kind} for name, kind in COLUMNS.items()},
            "prediction": {"value": "unused"},
            "log": {"path": "/unused.parquet"},
            "reference": {"path": "/unused.parquet"},
            "drift": drift,
        }
    )
