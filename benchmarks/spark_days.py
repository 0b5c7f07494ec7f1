"""A day of a lake measured by Spark, beside DuckDB on the same files: seconds, memory, and whether every table is the same.

Run as: python -m benchmarks.spark_days [million rows, 5 unless given]. It needs Java. What a row and a batch cost is measured in
this process, in processor time; what a cluster needs follows from that.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring_assets.engines import executor
from monitoring_assets.engines.lake_days import delivered_rows
from monitoring_assets.engines.spark_session import session_of
from monitoring_assets.ingestion.prediction_log import log_contract
from monitoring_assets.measuring.fitting import fit_grids
from monitoring_assets.measuring.measure import Tables, Wanted, measure
from monitoring_assets.measuring.watched import watched_rows
from monitoring_assets.monitor_spec import MonitorSpec

DAY = date(2026, 3, 2)
NUMERIC, CATEGORICAL = [f"x{place}" for place in range(20)], [f"c{place}" for place in range(5)]
FILE_ROWS = 1_000_000


def write_lake(folder: Path, millions: int) -> None:
    """A day of 28 columns, in files of a million rows."""
    (folder / f"day={DAY}").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(millions):
        seconds = (random.random(FILE_ROWS) * 86_399e6).astype("timedelta64[us]")
        columns: dict[str, Any] = {
            "id": np.char.add("r", (np.arange(FILE_ROWS) + number * FILE_ROWS).astype(str)),
            "at": pa.array(np.datetime64(DAY, "us") + seconds, pa.timestamp("us", tz="UTC")),
        }
        columns |= {name: random.normal(50, 10, FILE_ROWS) for name in NUMERIC}
        values = np.array([f"v{value}" for value in range(12)])
        columns |= {name: values[random.integers(0, 12, FILE_ROWS)] for name in CATEGORICAL}
        columns["score"] = random.random(FILE_ROWS)
        pq.write_table(pa.table(columns), folder / f"day={DAY}" / f"{number}.parquet", row_group_size=250_000)


def spec_of(folder: Path) -> MonitorSpec:
    kinds = {**dict.fromkeys(NUMERIC, "numeric"), **dict.fromkeys(CATEGORICAL, "categorical")}
    return MonitorSpec.model_validate(
        {
            "name": "lake",
            "id": "id",
            "event_time": "at",
            "start_day": str(DAY),
            "features": {name: {"kind": kind} for name, kind in kinds.items()},
            "prediction": {"score": "score"},
            "engine": {"spark": {"master": "local[2]", "config": {"spark.driver.memory": "1g"}}},
            "log": {"table": f"parquet.`{folder}`"},
            "reference": {"first_day": str(DAY), "last_day": str(DAY)},
        }
    )


def timed(what: str, run: Callable[[], Tables]) -> Tables:
    begun = time.perf_counter()
    found = run()
    print(f"{what:60} {time.perf_counter() - begun:7.1f} s", flush=True)
    return found


def is_same(one: Tables, other: Tables) -> bool:
    def ordered(table: pa.Table) -> list[str]:
        return sorted(str(row) for row in table.select(sorted(table.column_names)).to_pylist())

    return all(ordered(one[name]) == ordered(other[name]) for name in other)


def cost_of_batches(lake: executor.Lake, wanted: Wanted, folder: Path) -> tuple[float, float]:
    """Processor seconds of a million rows, and of a batch, from batches of two sizes; and of adding up its tables."""
    rows = pq.read_table(next((folder / f"day={DAY}").glob("*.parquet")))
    rows = rows.append_column("day", pa.array([DAY] * rows.num_rows))
    seconds = {}
    with executor.connected(lake) as connection:
        for size in (50_000, 250_000, 50_000, 250_000):  # the second time counts
            begun = time.process_time()
            parts = [executor.measured(connection, lake, wanted, rows.slice(start, size)) for start in range(0, 1_000_000, size)]
            executor.added(connection, lake, wanted, parts)
            seconds[size] = time.process_time() - begun
    per_batch = (seconds[50_000] - seconds[250_000]) / (20 - 4)
    return seconds[250_000] - 4 * per_batch, per_batch


def main(millions: int) -> None:
    with TemporaryDirectory(prefix="spark-days-") as home:
        folder = Path(home) / "lake"
        write_lake(folder, millions)
        spec = spec_of(folder)
        rows = f"(SELECT * FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true))"
        connection = duckdb.connect(config={"threads": 2})
        connection.execute("SET TimeZone = 'UTC'")
        grids = fit_grids(connection, watched_rows(spec, rows), spec.watched_columns)
        wanted = Wanted(grids, sample=True)
        print(f"{millions} M rows x {len(spec.log_columns)} columns")
        expected = timed("DuckDB: profile and sample", lambda: measure(connection, rows, spec, wanted))
        lake_rows = delivered_rows(spec, log_contract(spec), spec.log, [DAY])
        timed("Spark: start", lambda: session_of(lake_rows.spark) and {})
        lake_rows = lake_rows.counted()
        timed("Spark: rows that share an id", lambda: {"resolved": lake_rows.resolved[0]})
        for time_ in ("first", "again"):
            found = timed(f"Spark: profile and sample, {time_}", partial(lake_rows.tables, connection, wanted))
        print(f"every table the same: {is_same(found, expected)}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"driver: Python {peak:,.0f} MB (DuckDB's own pass included), JVM heap at most 1 GB, executors included")
        per_million, per_batch = cost_of_batches(lake_rows.lake, wanted, folder)
        print(
            f"processor time: {per_million:.2f} s a million rows, {1000 * per_batch:.0f} ms a batch ({os.cpu_count()} cores here)"
        )
        batches = 1_000_000 / executor.ROWS_AT_ONCE
        core_hours = 10_000 * (per_million + batches * per_batch) / 3600
        print(f"10 billion rows a day: {core_hours:.0f} core hours of measuring, so {core_hours:.0f} cores for an hour")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
