"""The law that where rows are kept changes no result: a monitor from its first file to the gate ends with equal tables."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets.row_storage.kept_rows import KeptRows
from monitoring_assets_tests.dagster_monitor import ALL_TABLES, DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import FIRST, example_rows, learnable_labels, write_day, write_labels
from monitoring_assets_tests.s3_server import BUCKET, ObjectStore

pytestmark = pytest.mark.long

DAYS = days_between(FIRST, FIRST.replace(day=14))
SETTINGS: dict[str, Any] = {
    "reference": {"first_day": str(DAYS[0]), "last_day": str(DAYS[3])},
    "drift": {"windows_days": [1, 3]},
    "segments": ["country"],
    "retain_days": 40,
    "retrain": {
        "drift_window_days": 1,
        "minimum_training_rows": 50,
        "minimum_gate_rows": 50,
        "gate_days": 3,
        "training_days": 5,
    },
}
# Tables without what depends on where and when it ran.
COMPARED = [name for name in ALL_TABLES if name != "retrain_decisions"] + ["serving", "thresholds", "drift_verdicts"]


def run(home: Path, log_and_labels: Path, **overrides: Any) -> tuple[dict[str, Any], DagsterMonitor]:
    sources = {
        "log": {"path": f"{log_and_labels}/log/{{day}}.parquet"},
        "labels": {"path": f"{log_and_labels}/labels/{{day}}.parquet"},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, **(SETTINGS | sources | overrides))
        reference = {"dagster/asset_partition_range_start": str(DAYS[0]), "dagster/asset_partition_range_end": str(DAYS[3])}
        succeeded(monitor.materialise("inference_log", "labels", tags=reference))
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], DAYS[-2]))
        succeeded(monitor.run_days("daily", DAYS[-1]))
        succeeded(monitor.run_days("labels", DAYS[0], DAYS[-1]))
        succeeded(monitor.retrain())
        found = monitor.tables(*COMPARED)
        found["retrain_decisions"] = monitor.rows("SELECT verdict, verdict_reason FROM example.retrain_decisions ORDER BY ALL")
        shown = {day: monitor.metadata("inference_log", day)["dagster/partition_row_count"].value for day in DAYS}
        return found | {"shown": shown}, monitor


def test_every_table_is_equal_wherever_the_rows_are_kept(tmp_path: Path, object_store: ObjectStore) -> None:
    for day in DAYS:
        frame = example_rows(day, 60).assign(id=lambda f: f["id"].mask(f.index == 3))
        write_day(tmp_path, day, frame=frame)
        write_labels(tmp_path, day, frame=learnable_labels(example_rows(day, 60)))
    (tmp_path / "here").mkdir()
    expected, _ = run(tmp_path / "here", tmp_path)
    for name, path in {"folder": "rows", "store": f"s3://{BUCKET}/{tmp_path.name}"}.items():
        (tmp_path / name).mkdir()
        found, monitor = run(tmp_path / name, tmp_path, rows={"path": path})
        different = [table for table in expected if repr(found[table]) != repr(expected[table])]
        assert different == []
        with monitor.warehouse() as connection:
            assert isinstance(connection, KeptRows)
            assert connection.inner.execute("SELECT count(*) FROM example.inference_log").fetchall() == [(0,)]
    assert expected["retrain_decisions"], "the candidate was judged"
    assert all(expected[table] for table in COMPARED if table not in {"serving"})
