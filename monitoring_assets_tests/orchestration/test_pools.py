"""Laws of pools: a step that has to wait for one says so in Dagster, instead of waiting for the warehouse's file."""

import threading
import time
from pathlib import Path

import dagster as dg
import pytest

from monitoring_assets.chosen_warehouse import FILE_PER_MONITOR, SETTING, warehouse_pool
from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.orchestration.model_assets import TRAINING_POOL
from monitoring_assets_tests.dagster_monitor import DagsterMonitor
from monitoring_assets_tests.example_monitor import example_spec, write_reference


def pools(spec_name: str = "example") -> dict[str, str | None]:
    """By asset, of which pool its step takes a slot."""
    repository = build_monitor(example_spec(Path("data"), name=spec_name)).get_repository_def()
    return {key.path[-1]: asset.op.pool for key, asset in repository.assets_defs_by_key.items()}


@pytest.mark.file_only
def test_training_has_a_pool_and_so_has_the_file_of_all_monitors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pools()["model_candidate"] == TRAINING_POOL
    assert pools()["drift_scores"] == pools()["reference_baseline"] == "monitoring_assets/warehouse"
    for setting in (FILE_PER_MONITOR, "postgresql://host/db"):
        monkeypatch.setenv(SETTING, setting)
        assert (pools()["drift_scores"], pools()["model_candidate"]) == (None, TRAINING_POOL)


@pytest.mark.long
@pytest.mark.file_only
def test_a_step_waits_for_the_pool_and_says_so(tmp_path: Path) -> None:
    write_reference(tmp_path)
    pool = warehouse_pool() or ""
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots(pool, 1)
        assert storage.claim_concurrency_slot(pool, "another_run", "another_step").is_claimed
        monitor = DagsterMonitor(tmp_path, instance, reference={"path": "reference.parquet"}, label=None, labels=None)
        results: list[dg.ExecuteInProcessResult] = []
        running = threading.Thread(target=lambda: results.append(monitor.materialise("reference_baseline")))
        running.start()
        said = ""
        for _ in range(100):
            runs = instance.get_runs()
            said = " ".join(str(entry.message) for run in runs for entry in instance.all_logs(run.run_id))
            if pool in said:
                break
            time.sleep(0.2)
        storage.free_concurrency_slot_for_step("another_run", "another_step")
        running.join(60)
    assert "blocked" in said
    assert results[0].success
