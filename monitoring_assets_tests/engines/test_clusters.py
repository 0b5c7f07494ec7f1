"""Laws of Spark on servers of its own: where executors are other processes, what is stored is the same, also when one is killed;
an executor that is not as it must be, and a server that is gone, are named."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from monitoring_assets.engines.executor import UNLIKE, Lake, connected, versions
from monitoring_assets_tests.engines.clusters import connect_server, executors_of, is_at_work, standalone
from monitoring_assets_tests.engines.lake_monitor import DAYS, SPARK, needs_java, write_days
from monitoring_assets_tests.engines.lake_process import given, stored
from monitoring_assets_tests.example_monitor import example_spec, write_reference

pytestmark = pytest.mark.file_only
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "monitoring_assets":
            raise ModuleNotFoundError("No module named 'monitoring_assets'", name="monitoring_assets")
sys.meta_path.insert(0, Blocked())
"""


def started(home: Path, engine: dict[str, object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "monitoring_assets_tests.engines.lake_process", str(home), json.dumps(engine)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "SPARK_LOCAL_IP": "127.0.0.1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


def of_duckdb(home: Path) -> str:
    spec = example_spec(home, **{**given(home), "log": {"path": str(home / "log/{day}.parquet")}})
    return stored(home / "files_home", spec)


def kill_one_at_work(workers: Sequence[int], running: subprocess.Popen[str]) -> bool:
    """Kill the first executor that has begun a task. False where all was done before."""
    while running.poll() is None:
        for executor in executors_of(workers):
            if is_at_work(executor):
                os.kill(executor, signal.SIGKILL)
                return True
        time.sleep(0.05)
    return False


@needs_java
@pytest.mark.long
def test_two_workers_of_a_standalone_master_store_the_same_also_when_an_executor_is_killed(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=300)
    write_days(tmp_path, DAYS)
    with standalone(tmp_path) as (master, workers):
        config = {**SPARK, "spark.executor.memory": "600m", "spark.executor.cores": 1}
        running = started(tmp_path, {"master": master, "config": config})
        assert kill_one_at_work(workers, running)
        found, _ = running.communicate(timeout=900)
    assert found.strip() == of_duckdb(tmp_path)


@needs_java
@pytest.mark.long
def test_spark_connect_stores_the_same_and_one_that_is_gone_is_a_transient_error(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=300)
    write_days(tmp_path, DAYS)
    with connect_server(tmp_path, SPARK) as (remote, server):
        found, _ = started(tmp_path, {"remote": remote}).communicate(timeout=900)
        assert found.strip() == of_duckdb(tmp_path)
        server.terminate()
        server.wait(60)
        said, _ = started(tmp_path, {"remote": remote}).communicate(timeout=900)
        assert said.startswith(f"SourceUnavailable: Spark: Spark at {remote} does not answer, or was lost")


@needs_java
@pytest.mark.long
def test_executors_without_this_package_are_named_with_what_they_need(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=300)
    write_days(tmp_path, DAYS[:1])
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(BLOCKED)
    with connect_server(tmp_path, SPARK, PYTHONPATH=str(tmp_path / "without")) as (remote, _):
        said, _ = started(tmp_path, {"remote": remote}).communicate(timeout=900)
    assert said.startswith("EngineUnusable: ")
    assert "has no Python module 'monitoring_assets'. Executors need monitoring-assets" in said


@pytest.mark.parametrize("name", ["Python", "duckdb", "pyarrow", "monitoring-assets"])
def test_an_executor_of_another_version_refuses_to_measure(name: str) -> None:
    lake = Lake(example_spec(Path()), "t", "day", {}, None, {}, (), np.zeros(0, np.uint64), versions() | {name: "0.1"})
    with pytest.raises(RuntimeError, match=f"{UNLIKE}{name} .*, the driver has 0.1"), connected(lake):
        pass
