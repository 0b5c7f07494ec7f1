"""However long a source takes, the warehouse is free meanwhile, and what others write to it is not lost."""

import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets.ingestion import arrivals
from monitoring_assets.ingestion.labels import staged_labels, store_labels
from monitoring_assets.warehouse import Warehouse
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import (
    FIRST,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
    write_labels,
    write_reference,
)
from monitoring_assets_tests.ingested_days import ingest_log

pytestmark = pytest.mark.slow

HERE = "monitoring_assets_tests.orchestration.test_slow_source"
LEAST = 0.3


def wait(options: Mapping[str, Any]) -> None:
    """Say that the reading has begun, and go on when the test says so."""
    Path(options["begun"]).touch()
    time.sleep(LEAST)
    until = time.monotonic() + 60
    while not Path(options["go_on"]).exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def slow_rows(day: date, options: Mapping[str, Any]) -> pd.DataFrame:
    wait(options)
    return example_rows(day)


def slow_labels(day: date, options: Mapping[str, Any]) -> pd.DataFrame:
    wait(options)
    return write_labels(Path(options["begun"]).parent / "given", day)


@pytest.mark.file_only
@pytest.mark.parametrize("asset", ["inference_log", "labels"])
def test_another_process_writes_while_a_slow_reader_reads(tmp_path: Path, asset: str) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go_on"
    options = {"begun": str(begun), "go_on": str(go_on)}
    log, labels = ({"reader": f"{HERE}.{name}", "options": options} for name in ("slow_rows", "slow_labels"))
    with dg.DagsterInstance.ephemeral() as instance, ThreadPoolExecutor(1) as thread:
        monitor = DagsterMonitor(tmp_path, instance, log=log, labels=labels)
        with monitor.warehouse():
            pass
        if asset == "labels":
            go_on.touch()
            succeeded(monitor.materialise("inference_log", tags=partition(FIRST)))
            begun.unlink()
            go_on.unlink()
        running = thread.submit(monitor.materialise, asset, tags=partition(FIRST))
        while not begun.exists():
            time.sleep(0.01)
        code = f"import duckdb; duckdb.connect({str(tmp_path / 'warehouse.duckdb')!r}).execute('CREATE TABLE theirs (x INT)')"
        other = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
        assert not running.done()
        go_on.touch()
        assert other.returncode == 0, other.stderr
        succeeded(running.result())
        assert monitor.rows("FROM theirs") == []
        assert monitor.rows(f"SELECT count(*) FROM example.{asset}") == [(20,)]
        ((cost,),) = monitor.rows(f"SELECT seconds FROM example.costs WHERE asset = '{asset}'")
        assert cost >= LEAST  # reading is part of what the day cost


@pytest.mark.file_only
def test_the_sensor_opens_the_files_of_a_glob_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reference(tmp_path)
    write_day(tmp_path, FIRST, path="log/a.parquet")
    log = {"path": "log/*.parquet", "settle_seconds": 0}
    code = f"import duckdb; duckdb.connect({str(tmp_path / 'warehouse.duckdb')!r}).execute('CREATE TABLE theirs (x INT)')"
    others = []

    def days_in(*arguments: Any) -> set[date]:
        others.append(subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60))
        return found(*arguments)

    found = arrivals._days_in
    monkeypatch.setattr(arrivals, "_days_in", days_in)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, log=log, reference={"path": "reference.parquet"})
        succeeded(monitor.materialise("reference_baseline"))
        (request,) = monitor.tick("new_log_data").run_requests
        assert request.tags["dagster/asset_partition_range_start"] == str(FIRST)
        assert [(other.returncode, other.stderr) for other in others] == [(0, "")]
        # The file is noted; it is not opened again.
        assert len(monitor.tick("new_log_data").run_requests) == 1
        assert len(others) == 1


@pytest.mark.file_only
def test_a_source_that_cannot_be_read_needs_no_warehouse_to_say_so(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, log={"sql": "SELECT $1, $2", "uri_env": "NO_SUCH_DATABASE"})
        assert not monitor.materialise("inference_log", tags=partition(FIRST)).success
    assert not (tmp_path / "warehouse.duckdb").exists()


@pytest.mark.file_only
def test_labels_are_judged_by_the_predictions_stored_when_they_are_written(tmp_path: Path) -> None:
    """A day of predictions that arrives while its labels are read is not too late for them."""
    spec = example_spec(tmp_path)
    assert spec.label is not None
    assert spec.labels is not None
    write_day(tmp_path, FIRST)
    write_labels(tmp_path, FIRST)
    with staged_labels(spec, spec.label, spec.labels, [FIRST]) as rows:
        with example_warehouse(tmp_path, spec) as connection:
            ingest_log(connection, spec, [FIRST])
        with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
            (reported,) = store_labels(connection, spec, rows)
    assert (reported.accepted_rows, reported.quarantined_rows) == (20, 0)


def partition(day: date) -> dict[str, str]:
    return dict.fromkeys(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), str(day))
