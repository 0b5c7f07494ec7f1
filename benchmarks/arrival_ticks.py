"""What a tick of the arrival sensor costs beside a year of the prediction logger's files, one every ten seconds, none compacted.

`.venv/bin/python benchmarks/arrival_ticks.py` lists 3,153,600 files; `--days 30` fewer. All are noted as read, as after a year of
runs; the instance is Dagster's own, on its default SQLite storage, with the events of a year. Evaluated as the daemon does: the
first tick of a process, ticks without news, and the tick after a file has come. Removing the files takes as long as making them.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa

from monitoring_assets.monitor_spec import days_between
from monitoring_assets.warehouse import Warehouse
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_day, write_reference

FILES_A_DAY = 8640
FIRST = date(2025, 3, 1)
TICKS = 15
NOTHING_NEW = "every file is read as it is"


def main() -> None:
    warnings.filterwarnings("ignore")
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--days", type=int, default=365)
    days = days_between(FIRST, FIRST + timedelta(days=arguments.parse_args().days - 1))
    folder = tempfile.TemporaryDirectory
    with folder() as home, folder() as dagster_home, dg.DagsterInstance.local_temp(dagster_home) as instance:
        measure(Path(home), instance, days)


def measure(home: Path, instance: dg.DagsterInstance, days: list[date]) -> None:
    write_reference(home)
    log = {"path": "log/day={day}/*.parquet", "settle_seconds": 0}
    settings = {"start_day": str(FIRST), "reference": {"path": "reference.parquet"}, "log": log}
    monitor = DagsterMonitor(home, instance, **settings)
    succeeded(monitor.materialise("reference_baseline"))
    for day in days:
        (home / "log" / f"day={day}").mkdir(parents=True)
        for number in range(FILES_A_DAY):
            os.close(os.open(home / "log" / f"day={day}" / f"{number:04d}.parquet", os.O_CREAT | os.O_WRONLY))
        for asset in ("inference_log", "daily_profile", "drift_scores"):
            instance.report_runless_asset_event(dg.AssetMaterialization(monitor.key(asset), partition=str(day)))
    _note_as_read(monitor, days)
    time.sleep(3)  # the clock of the disk must have moved on for a folder to count as unchanged

    first = [_tick(monitor)]
    while first[-1][2] != NOTHING_NEW:
        first.append(_tick(monitor))
    print(f"{len(days) * FILES_A_DAY:,} files: the first tick(s) of a process, and the processor's part:")
    print(", ".join(f"{seconds:.2f} s ({processor:.2f})" for seconds, processor, _ in first))
    idle = [_tick(monitor)[:2] for _ in range(TICKS)]
    (median, processor), longest = map(statistics.median, zip(*idle, strict=True)), max(idle)[0]
    print(f"ticks without news: median {median:.3f} s ({processor:.3f}), longest {longest:.3f} s")
    write_day(home, days[-1], frame=example_rows(days[-1]), path="log/day={day}/late.parquet")
    begun = time.perf_counter()
    tick = monitor.tick("new_log_data")
    print(f"the tick after a file has come: {time.perf_counter() - begun:.3f} s, runs asked for: {len(tick.run_requests)}")


def _tick(monitor: DagsterMonitor) -> tuple[float, float, str | None]:
    """Seconds of a tick, of the clock and of the processor, and what it says."""
    begun, processor = time.perf_counter(), time.process_time()
    found = monitor.tick("new_log_data")
    assert not found.run_requests
    return time.perf_counter() - begun, time.process_time() - processor, found.skip_message


def _note_as_read(monitor: DagsterMonitor, days: list[date]) -> None:
    """The account of a year of runs, written at once."""
    with Warehouse(monitor.home / "warehouse.duckdb").connect() as connection:
        for day in days:
            files = [(entry.path, entry.stat().st_mtime_ns) for entry in os.scandir(monitor.home / "log" / f"day={day}")]
            connection.register("files", pa.table({"path": [path for path, _ in files], "modified_ns": [ns for _, ns in files]}))
            connection.execute(
                "INSERT INTO example.arrivals BY NAME SELECT *, ?::DATE AS day, 0 AS size_bytes, 'inference_log' AS asset, "
                "true AS is_read FROM files",
                [day],
            )
        connection.execute(
            "INSERT INTO example.deliveries BY NAME SELECT unnest(?::DATE[]) AS day, 'inference_log' AS asset, "
            "20 AS delivered_rows, 20 AS accepted_rows, 0 AS quarantined_rows",
            [days],
        )


if __name__ == "__main__":
    main()
