"""Laws of events stored together on Dagster's default SQLite event log: the same is stored, in few commits, all or nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as db

from monitoring_assets.orchestration.event_batches import stored_together
from monitoring_assets.orchestration.resources import MonitoringHome

pytestmark = pytest.mark.slow

KEY = dg.AssetCheckKey(dg.AssetKey("a"), "c")
DAYS = dg.DailyPartitionsDefinition("2026-03-01", end_date="2026-06-01")
PARTITIONS = DAYS.get_partition_keys()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), {"telemetry": {"enabled": False}}) as instance:
        yield instance


def report(instance: dg.DagsterInstance, partition: str, check: str = KEY.name) -> None:
    evaluation = dg.AssetCheckEvaluation(
        asset_key=KEY.asset_key, check_name=check, passed=partition != PARTITIONS[1], metadata={}, partition=partition
    )
    instance.report_runless_asset_event(evaluation)


def stored(instance: dg.DagsterInstance, check: str = KEY.name) -> dict[str, set[str]]:
    key = KEY._replace(name=check)
    state = instance.event_log_storage.get_asset_check_state([(key, DAYS)])[key]
    found = {status.value: set(subset.subset_value.get_partition_keys()) for status, subset in state.subsets.items()}
    return {status: partitions for status, partitions in found.items() if partitions}


def test_the_same_is_stored_as_one_by_one(instance: dg.DagsterInstance) -> None:
    with stored_together(instance):
        for partition in PARTITIONS[:5]:
            report(instance, partition)
    for partition in PARTITIONS[:5]:
        report(instance, partition, "alone")
    assert stored(instance) == stored(instance, "alone") == {
        "SUCCEEDED": {PARTITIONS[0], *PARTITIONS[2:5]}, "FAILED": {PARTITIONS[1]}
    }  # fmt: skip


def test_ninety_results_are_two_commits_one_for_the_run_and_one_for_the_index(instance: dg.DagsterInstance) -> None:
    report(instance, PARTITIONS[0], "the files exist")
    commits: list[object] = []
    count = partial(list.append, commits)
    db.event.listen(db.Engine, "commit", count)
    try:
        with stored_together(instance):
            for partition in PARTITIONS[:90]:
                report(instance, partition)
    finally:
        db.event.remove(db.Engine, "commit", count)
    # One more per file comes from looking whether it exists.
    assert len(commits) <= 4
    assert len(stored(instance)["SUCCEEDED"]) == 89


def test_after_an_error_nothing_is_stored_and_the_log_goes_on_as_ever(instance: dg.DagsterInstance) -> None:
    def fail_halfway() -> None:
        with stored_together(instance):
            report(instance, PARTITIONS[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert stored(instance) == {}
    report(instance, PARTITIONS[2])
    assert stored(instance) == {"SUCCEEDED": {PARTITIONS[2]}}


def test_another_thread_waits_its_turn_and_loses_nothing(instance: dg.DagsterInstance) -> None:
    with stored_together(instance):
        report(instance, PARTITIONS[0])
        other = threading.Thread(target=report, args=(instance, PARTITIONS[2]))
        other.start()
        other.join(0.2)
        assert other.is_alive(), "the file is locked until the block ends"
    other.join()
    assert stored(instance) == {"SUCCEEDED": {PARTITIONS[0], PARTITIONS[2]}}


def test_the_journal_of_a_runs_events_stays_until_the_run_ends_and_is_written_back_then(instance: dg.DagsterInstance) -> None:
    folder = Path(instance.root_directory) / "history/runs"
    journals: list[int] = []

    class Home(dg.ConfigurableResource):
        @contextmanager
        def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Home"]:
            with MonitoringHome().yield_for_execution(context):
                yield self

    @dg.asset
    def a(context: dg.AssetExecutionContext, home: Home) -> None:
        journals.append(len(list(folder.glob("*.db-wal"))))

    assert dg.materialize([a], instance=instance, resources={"home": Home()}).success
    assert journals == [2], "the run's own file and the index"
    assert list(folder.glob("*.db-wal")) == []
