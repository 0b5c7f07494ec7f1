"""Laws of `new_log_data` over an object store: new and changed objects are ingested once, by one listing a source and turn."""

from collections.abc import Iterator
from datetime import date
from io import BytesIO
from pathlib import Path

import dagster as dg
import pytest

from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_labels, write_reference
from monitoring_assets_tests.s3_server import BUCKET, ObjectStore

pytestmark = pytest.mark.long

SENSOR = "new_log_data"
FIRST, SECOND = date(2026, 3, 10), date(2026, 3, 11)


@pytest.fixture
def monitor(object_store: ObjectStore, tmp_path: Path) -> Iterator[DagsterMonitor]:
    """A monitor with a baseline whose log and labels are in a bucket."""
    write_reference(tmp_path, rows=100)
    start = f"s3://{BUCKET}/{tmp_path.name}"
    sources = {
        "log": {"path": f"{start}/log/day={{day}}/*.parquet", "settle_seconds": 0},
        "labels": {"path": f"{start}/labels/{{day}}.csv", "settle_seconds": 0},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, reference={"path": "reference.parquet"}, **sources)
        succeeded(monitor.materialise("reference_baseline"))
        yield monitor


def put_day(monitor: DagsterMonitor, store: ObjectStore, day: date, rows: int, name: str = "a") -> None:
    content = BytesIO()
    example_rows(day, rows).to_parquet(content, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)
    store.put(f"{monitor.home.name}/log/day={day}/{name}.parquet", content.getvalue())


def run_what_is_due(monitor: DagsterMonitor) -> list[tuple[str, str]]:
    """Tick and run until nothing is due. Gives the day and the first asset of each run."""
    done = []
    while requests := monitor.tick(SENSOR).run_requests:
        for request in requests:
            done.append((request.tags["dagster/asset_partition_range_start"], request.asset_selection[0].path[-1]))
            succeeded(monitor.launch(request))
    return done


def test_new_and_changed_objects_are_ingested_once(monitor, object_store):
    put_day(monitor, object_store, FIRST, 100)
    assert run_what_is_due(monitor) == [(str(FIRST), "inference_log")]
    object_store.requests.clear()
    assert monitor.tick(SENSOR).skip_message == "every file is read as it is"
    assert sum("list-type" in line for line in object_store.requests) == len(object_store.requests) == 2
    write_labels(monitor.home, FIRST, 100, path="labels/{day}.csv")
    object_store.upload(monitor.home / "labels", f"{monitor.home.name}/labels/")
    put_day(monitor, object_store, SECOND, 50)
    due = run_what_is_due(monitor)
    assert {(str(FIRST), "labels"), (str(SECOND), "inference_log")} <= set(due)
    put_day(monitor, object_store, SECOND, 60)
    assert (str(SECOND), "inference_log") in run_what_is_due(monitor)
    counted = monitor.rows("SELECT asset, day, accepted_rows FROM example.deliveries ORDER BY ALL")
    assert [row for row in counted if row[2]] == [
        ("inference_log", FIRST, 100),
        ("inference_log", SECOND, 60),
        ("labels", FIRST, 100),
    ]
    source_bytes = monitor.rows("SELECT source_bytes > 0 FROM example.costs WHERE asset = 'inference_log' ORDER BY day")
    assert source_bytes == [(True,), (True,)]


def test_a_store_that_cannot_be_listed_is_named_and_the_turn_comes_again(monitor, object_store, monkeypatch):
    put_day(monitor, object_store, FIRST, 100)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        tick = monitor.tick(SENSOR)
        assert tick.run_requests == []
        assert "failed, StorageUnavailable: s3://" in tick.skip_message
    assert len(monitor.tick(SENSOR).run_requests) == 1
