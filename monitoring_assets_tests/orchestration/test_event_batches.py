"""Laws of events stored in batches on Dagster's default SQLite event log: the same is stored as one by one, in few commits, and
neither a kill, an error nor another run loses any of it."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._core.utils import make_new_run_id

from monitoring_assets.orchestration import event_batches
from monitoring_assets.orchestration.event_batches import events_in_batches, stored_together
from monitoring_assets.orchestration.monitor_driver import QUIET
from monitoring_assets.orchestration.resources import MonitoringHome

pytestmark = pytest.mark.slow

DAYS = dg.DailyPartitionsDefinition("2026-03-01", end_date="2026-03-08")
PARTITIONS = DAYS.get_partition_keys()
CHECK = dg.AssetCheckKey(dg.AssetKey("second"), "small")
RANGE = {"dagster/asset_partition_range_start": PARTITIONS[0], "dagster/asset_partition_range_end": PARTITIONS[-1]}
daily = partial(dg.asset, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), code_version="1")


@daily
def first(context: dg.AssetExecutionContext) -> None:
    for i, partition in enumerate(context.partition_keys):
        context.add_asset_metadata({"rows": i, "table": dg.MetadataValue.md(f"|{partition}|")}, partition_key=partition)


@daily(deps=[first])
def second(context: dg.AssetExecutionContext) -> None:
    context.add_asset_metadata({"days": len(context.partition_keys)}, partition_key=context.partition_keys[-1])


@dg.multi_asset_check(specs=[dg.AssetCheckSpec("small", asset=second, partitions_def=DAYS)])
def small(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    with stored_together(context.instance, context.run.run_id):
        for i, partition in enumerate(context.op_execution_context.partition_keys):
            evaluation = dg.AssetCheckEvaluation(
                asset_key=CHECK.asset_key, check_name="small", passed=i != 1, metadata={"row": i}, partition=partition
            )
            # Dagster accepts it, though its annotation leaves it out.
            context.op_execution_context.log_event(evaluation)  # type: ignore[arg-type]
            if context.run.tags.get("fails_at") == partition:
                raise ZeroDivisionError
    yield dg.AssetCheckResult(asset_key=CHECK.asset_key, check_name="small", passed=True)


@daily(deps=[second])
def killed(context: dg.AssetExecutionContext) -> None:
    os._exit(9)


@contextmanager
def instance_in(folder: Path) -> Iterator[dg.DagsterInstance]:
    folder.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(folder), {"telemetry": {"enabled": False}}) as instance:
        yield instance


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path) as instance:
        yield instance


def run(instance: dg.DagsterInstance, *, in_batches: bool = True, assets: Any = (first, second, small), **tags: str) -> str:
    run_id = make_new_run_id()
    job = dg.Definitions(
        [asset for asset in assets if asset is not small],
        asset_checks=[small],
        jobs=[dg.define_asset_job("days", dg.AssetSelection.all(), executor_def=dg.in_process_executor)],
    ).resolve_job_def("days")
    with events_in_batches(instance, run_id) if in_batches else nullcontext():
        job.execute_in_process(instance=instance, run_id=run_id, tags=RANGE | tags, raise_on_error=False, run_config=QUIET)
    return run_id


def in_another_process(home: Path, does: str) -> subprocess.Popen[bytes]:
    script = f"from {__name__} import *\nwith instance_in(Path({str(home)!r})) as instance: {does}"
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", script])


def everything_in(instance: dg.DagsterInstance, run_id: str) -> dict[str, list[Any]]:
    """All rows of the index and of the run's own file, without what differs between any two runs."""
    tables = ("event_logs", "asset_keys", "asset_event_tags", "asset_check_executions")
    found = {}
    for shard in ("index", run_id):
        with sqlite3.connect(Path(instance.root_directory) / f"history/runs/{shard}.db") as connection:
            for table in tables if shard == "index" else tables[:1]:
                names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                kept = ", ".join(name for name in names if "timestamp" not in name)
                rows = [repr(row) for row in connection.execute(f"SELECT {kept} FROM {table} ORDER BY id")]
                found[f"{table} of {'the index' if shard == 'index' else 'the run'}"] = [_timeless(row) for row in rows]
    return found


def _timeless(row: str) -> str:
    row = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "RUN", row)
    row = re.sub(r'"(pid|timestamp|process_id|duration_ms)": [\d.]+', r'"\1": 0', row)
    return re.sub(r"[\d.]+(ms|s)\b|0x\w+|pid: \d+|/tmp/[\w/.-]+|\"(external_url|log_key|file_key)\": .*?[,}]", "", row)


def results_of(instance: dg.DagsterInstance, run_id: str) -> dict[str | None, str]:
    history = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=100)
    return {record.partition: record.status.value for record in history if record.run_id == run_id}


def test_a_run_in_batches_stores_what_a_run_stores_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_batches, "EVENTS_TOGETHER", 4)
    with instance_in(tmp_path / "one by one") as alone, instance_in(tmp_path / "batches") as batches:
        for _ in range(2):  # the second finds the rows of the first
            expected = everything_in(alone, run(alone, in_batches=False))
            found = everything_in(batches, run(batches))
    for table, rows in expected.items():
        assert len(found[table]) == len(rows), table
        differing = [pair for pair in zip(found[table], rows, strict=True) if pair[0] != pair[1]]
        assert not differing[:1], table
    assert len(expected["asset_check_executions of the index"]) == 2 * (len(PARTITIONS) + 1)
    assert len(expected["asset_event_tags of the index"]) == 4 * len(PARTITIONS)


def test_a_run_over_a_week_commits_about_as_often_as_it_has_steps(instance: dg.DagsterInstance) -> None:
    commits: list[object] = []
    count = partial(list.append, commits)
    db.event.listen(db.Engine, "commit", count)
    try:
        run_id = run(instance)
    finally:
        db.event.remove(db.Engine, "commit", count)
    events = instance.all_logs(run_id)
    assert len(events) > 45
    assert len(commits) < 90
    assert results_of(instance, run_id) == dict.fromkeys([*PARTITIONS, None], "SUCCEEDED") | {PARTITIONS[1]: "FAILED"}


def test_a_kill_in_a_later_step_loses_no_day_of_an_earlier_one(tmp_path: Path) -> None:
    assert in_another_process(tmp_path, "run(instance, assets=(first, second, small, killed))").wait() == 9
    with instance_in(tmp_path) as instance:
        for asset in ("first", "second"):
            assert instance.get_materialized_partitions(dg.AssetKey(asset)) == set(PARTITIONS)


def test_results_reported_before_an_error_are_stored_and_the_log_goes_on_as_ever(instance: dg.DagsterInstance) -> None:
    failed = results_of(instance, run(instance, fails_at=PARTITIONS[2]))
    before = dict(zip(PARTITIONS, ["SUCCEEDED", "FAILED", "SUCCEEDED"], strict=False))
    assert failed == dict.fromkeys(PARTITIONS, "PLANNED") | before
    assert set(results_of(instance, run(instance, in_batches=False)).values()) == {"SUCCEEDED", "FAILED"}


def test_runs_of_two_processes_at_once_are_stored_whole(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    other = in_another_process(tmp_path, "run(instance)")
    while other.poll() is None:
        run(instance)
    assert other.returncode == 0
    records = instance.get_run_records()
    assert len(records) > 1
    for record in records:
        made = instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        assert (len(made), record.dagster_run.is_success) == (2 * len(PARTITIONS), True)
        assert set(results_of(instance, record.dagster_run.run_id)) == {*PARTITIONS, None}
    assert instance.get_materialized_partitions(dg.AssetKey("first")) == set(PARTITIONS)


def test_runs_that_overlap_in_one_process_are_stored_whole_and_leave_the_log_as_it_was(instance: dg.DagsterInstance) -> None:
    early, late = make_new_run_id(), make_new_run_id()
    begun_early, begun_late = events_in_batches(instance, early), events_in_batches(instance, late)
    begun_early.__enter__()
    begun_late.__enter__()
    assert set(results_of(instance, run(instance))) == {*PARTITIONS, None}
    begun_early.__exit__(None, None, None)
    assert set(results_of(instance, run(instance))) == {*PARTITIONS, None}
    begun_late.__exit__(None, None, None)
    assert {"batches", "_connect", "store_event", "store_event_batch"}.isdisjoint(vars(instance.event_log_storage))
    assert not instance._is_batch_writing_enabled()


def test_the_other_process_is_not_kept_waiting_by_a_block_that_takes_long(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run_id = make_new_run_id()
    evaluation = dg.AssetCheckEvaluation(CHECK.asset_key, "small", True, {}, partition=PARTITIONS[0])
    with instance_in(tmp_path) as other, events_in_batches(instance, run_id), stored_together(instance, run_id):
        instance.report_runless_asset_event(evaluation)
        other.report_runless_asset_event(dg.AssetMaterialization("first", partition=PARTITIONS[0]))
        assert instance.get_materialized_partitions(dg.AssetKey("first")) == {PARTITIONS[0]}


def test_the_journal_of_a_runs_events_stays_until_the_run_ends_and_is_written_back_then(instance: dg.DagsterInstance) -> None:
    folder = Path(instance.root_directory) / "history/runs"
    journals: list[int] = []

    class Home(dg.ConfigurableResource):
        @contextmanager
        def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Home"]:
            with MonitoringHome().yield_for_execution(context):
                yield self

    @dg.asset
    def a(home: Home) -> None: ...

    @dg.asset(deps=[a])
    def b() -> None:
        journals.append(len(list(folder.glob("*.db-wal"))))

    assert dg.materialize([a, b], instance=instance, resources={"home": Home()}).success
    assert journals == [2], "the run's own file and the index"
    assert list(folder.glob("*.db-wal")) == []
