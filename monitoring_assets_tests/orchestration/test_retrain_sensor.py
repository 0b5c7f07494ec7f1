"""Laws of `retrain_on_drift`: one decision a tick, stored with its reason, and never a second run for the same evidence."""

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets.orchestration.model_assets import DECISION_TAG, RETRAIN_ASSETS
from monitoring_assets.quality.daily_findings import daily_findings
from monitoring_assets.warehouse import Warehouse
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_day, write_labels, write_reference

pytestmark = pytest.mark.long

ROWS = 200
FIRST, SECOND, THIRD, FOURTH = days_between(date(2026, 3, 10), date(2026, 3, 13))
SETTINGS = {
    "reference": {"path": "reference.parquet"},
    "drift": {"windows_days": [1]},
    "performance": {"minimum_labelled_rows": 2 * ROWS},
    "retrain": {"drift_window_days": 1, "minimum_training_rows": 100, "minimum_gate_rows": 100, "cooldown_days": 10},
}


@pytest.fixture(scope="module")
def two_quiet_days(tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    """A home with two quiet days and their labels; the reference holds predictions, so there is a model."""
    home = tmp_path_factory.mktemp("home")
    write_reference(home, days_between(date(2026, 2, 20), date(2026, 2, 25)), ROWS)
    for day in (FIRST, SECOND):
        write_day(home, day, ROWS)
        write_labels(home, day, ROWS)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, **SETTINGS)
        succeeded(monitor.materialise("reference_baseline"))
        score(monitor, FIRST, SECOND)
        succeeded(monitor.run_days("labels", FIRST, SECOND))
    return home


@pytest.fixture
def monitor(two_quiet_days: Path, tmp_path: Path) -> Iterator[DagsterMonitor]:
    """A copy of that home, on an instance that has seen it filled."""
    home = Path(shutil.copytree(two_quiet_days, tmp_path / "home"))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, **SETTINGS)
        for asset in ("drift_scores", "performance"):
            for day in (FIRST, SECOND):
                instance.report_runless_asset_event(dg.AssetMaterialization(monitor.key(asset), partition=str(day)))
        yield monitor


def score(monitor: DagsterMonitor, first: date, last: date | None = None, **tags: str) -> None:
    """The daily assets, with their checks."""
    ends = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last or first)}
    succeeded(monitor.materialise("inference_log", "daily_profile", "drift_scores", tags=ends | tags))


def decisions(monitor: DagsterMonitor) -> list[tuple[object, ...]]:
    return monitor.rows("SELECT decision_id, day, retrain, reason, evidence FROM example.retrain_decisions ORDER BY rowid")


def drift(monitor: DagsterMonitor, day: date, **tags: str) -> None:
    write_day(monitor.home, day, ROWS, shift=5)
    score(monitor, day, **tags)


def test_quiet_evidence_is_decided_stored_and_skipped_with_its_reason(monitor: DagsterMonitor) -> None:
    tick = monitor.tick()
    assert tick.run_requests == []
    ((_, day, retrain, reason, evidence),) = decisions(monitor)
    assert (day, retrain) == (SECOND, False)
    assert reason.startswith("nothing to do: 0 of 3 judged features moderate")
    assert '"amount": "ok"' in evidence
    assert f"{SECOND}: {reason}" in tick.skip_message


def test_drift_asks_for_one_run_whose_key_and_tag_are_the_decision(monitor: DagsterMonitor) -> None:
    monitor.tick()
    drift(monitor, THIRD)
    (request,) = monitor.tick().run_requests
    decision_id, day, retrain, reason, _ = decisions(monitor)[-1]
    assert (day, retrain) == (THIRD, True)
    assert "amount" in reason
    assert request.run_key == request.tags[DECISION_TAG] == decision_id
    assert request.asset_selection == [monitor.key("model_candidate"), monitor.key("champion")]


def test_every_decision_is_reported_on_the_candidate_with_reason_and_evidence(monitor: DagsterMonitor) -> None:
    monitor.tick()
    (record,) = monitor.instance.fetch_observations(monitor.key("model_candidate"), limit=10).records
    observation = record.asset_observation
    assert observation.metadata["decision_id"].value == decisions(monitor)[0][0]
    assert observation.metadata["retrain"].value is False
    assert observation.metadata["evidence"].value["day"] == str(SECOND)


def test_days_of_one_tick_are_one_decision(monitor: DagsterMonitor) -> None:
    for day in (THIRD, FOURTH):
        drift(monitor, day)
    assert len(monitor.tick().run_requests) == 1
    assert [row[1] for row in decisions(monitor)] == [FOURTH]


def test_without_new_events_nothing_is_decided_and_the_cursor_stays(monitor: DagsterMonitor) -> None:
    before = json.loads(monitor.tick().cursor or "")["cursors"]
    tick = monitor.tick()
    assert (tick.run_requests, json.loads(tick.cursor or "")["cursors"]) == ([], before)
    assert "no drift was scored" in tick.skip_message
    assert len(decisions(monitor)) == 1


@pytest.mark.parametrize("ended", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED])
def test_a_lost_cursor_never_asks_again_for_a_run_that_has_started(monitor: DagsterMonitor, ended: dg.DagsterRunStatus) -> None:
    drift(monitor, THIRD)
    (request,) = monitor.tick().run_requests
    _launch(monitor, request, ended)
    tick = monitor.tick(cursor_lost=True)
    assert tick.run_requests == []
    assert "decided before" in tick.skip_message
    assert len(decisions(monitor)) == 1


def test_a_crash_between_decision_and_run_asks_again_for_the_same_run(monitor: DagsterMonitor) -> None:
    drift(monitor, THIRD)
    (first,) = monitor.tick().run_requests
    (again,) = monitor.tick(cursor_lost=True).run_requests
    assert (again.run_key, again.tags[DECISION_TAG]) == (first.run_key, first.tags[DECISION_TAG])
    assert len(decisions(monitor)) == 1


def test_what_a_backfill_scored_is_history(monitor: DagsterMonitor) -> None:
    monitor.tick()
    drift(monitor, THIRD, **{"dagster/backfill": "abcdef"})
    tick = monitor.tick()
    assert tick.run_requests == []
    assert f"history: {THIRD} was scored by a backfill" in tick.skip_message
    assert "amount" in tick.skip_message


def test_a_retrain_in_flight_blocks_another(monitor: DagsterMonitor) -> None:
    monitor.run_of(RETRAIN_ASSETS, {}, dg.DagsterRunStatus.STARTED)
    drift(monitor, THIRD)
    tick = monitor.tick()
    assert tick.run_requests == []
    assert "a retrain is already running" in tick.skip_message


def test_the_cooldown_blocks_until_the_day_it_names(monitor: DagsterMonitor) -> None:
    monitor.tick()
    with monitor.warehouse() as connection:
        connection.execute("UPDATE example.retrain_decisions SET verdict = 'refused'")
    drift(monitor, THIRD)
    tick = monitor.tick()
    assert tick.run_requests == []
    assert f"the last retrain was on {SECOND}, the next may be on 2026-03-21" in tick.skip_message


def write_broken(monitor: DagsterMonitor, day: date) -> None:
    """A day that has drifted, and misses 82 of 200 amounts."""
    broken = example_rows(day, ROWS, shift=5)
    broken.loc[broken.index[:82], "amount"] = None
    write_day(monitor.home, day, frame=broken)


def forget_quality(monitor: DagsterMonitor, day: date) -> None:
    """As if the day's checks had not run."""
    with monitor.warehouse() as connection:
        connection.execute("DELETE FROM example.quality WHERE day = ?", [day])


def test_drift_on_a_day_that_is_severely_broken_is_no_reason_and_the_decision_says_so(monitor: DagsterMonitor) -> None:
    monitor.tick()
    write_broken(monitor, THIRD)
    score(monitor, THIRD)
    tick = monitor.tick()
    assert tick.run_requests == []
    _, day, retrain, reason, evidence = decisions(monitor)[-1]
    assert (day, retrain) == (THIRD, False)
    assert reason.startswith(
        f"the log of {THIRD} is broken (missing values of amount: 41 %); drift on broken data is no reason; "
        "seen: 1 of 3 judged features"
    )
    assert json.loads(evidence)["severe_quality"] == {str(THIRD): "missing values of amount: 41 %"}
    assert reason in tick.skip_message
    # The next day has drifted as much and is sound: what the day before was does not matter in a window of one day.
    drift(monitor, FOURTH)
    assert len(monitor.tick().run_requests) == 1


def test_a_fall_in_performance_is_a_reason_even_where_the_log_is_broken(monitor: DagsterMonitor) -> None:
    monitor.tick()
    write_broken(monitor, THIRD)
    score(monitor, THIRD)
    with monitor.warehouse() as connection:
        connection.execute("UPDATE example.baselines SET metric = 'auc', metric_value = 0.99")
    (request,) = monitor.tick().run_requests
    reason = decisions(monitor)[-1][3]
    assert "auc" in reason
    assert request.tags[DECISION_TAG] == decisions(monitor)[-1][0]


def test_drift_on_a_day_whose_checks_have_not_run_waits_for_them(monitor: DagsterMonitor) -> None:
    monitor.tick()
    drift(monitor, THIRD)
    judged = monitor.tables("quality")["quality"]
    forget_quality(monitor, THIRD)
    for _ in range(2):
        tick = monitor.tick()
        assert tick.run_requests == []
        assert f"the quality of 1 day(s) is not judged yet ({THIRD}): run the checks of inference_log" in tick.skip_message
    assert len(monitor.instance.fetch_observations(monitor.key("model_candidate"), limit=10).records) == 2  # said once
    succeeded(monitor.run_days("daily", THIRD))
    assert monitor.tables("quality")["quality"] == judged
    (request,) = monitor.tick().run_requests
    assert [row[2] for row in decisions(monitor)] == [False, False, True]
    assert request.run_key == decisions(monitor)[-1][0]


def test_checks_alone_are_enough_to_end_the_wait(monitor: DagsterMonitor) -> None:
    drift(monitor, THIRD)
    forget_quality(monitor, THIRD)
    assert monitor.tick().run_requests == []
    with monitor.warehouse() as connection:
        daily_findings(connection, monitor.spec, [THIRD])  # no event tells of it
    assert len(monitor.tick().run_requests) == 1
    assert monitor.tick().run_requests == []


def test_a_missing_baseline_is_skipped_with_the_asset_to_materialise(tmp_path: Path) -> None:
    write_day(tmp_path, FIRST, ROWS)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **SETTINGS)
        instance.report_runless_asset_event(dg.AssetMaterialization(monitor.key("drift_scores"), partition=str(FIRST)))
        tick = monitor.tick()
    assert tick.run_requests == []
    assert "Materialise the asset example/reference_baseline" in tick.skip_message


def _launch(monitor: DagsterMonitor, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    """What the daemon does with a request, up to a state of the run."""
    monitor.run_of(RETRAIN_ASSETS, dict(request.tags), status)


@pytest.mark.file_only
def test_the_warehouse_is_free_after_every_tick(monitor: DagsterMonitor) -> None:
    monitor.tick()
    with Warehouse(monitor.home / "warehouse.duckdb", patience_seconds=0.1).connect() as connection:
        assert connection.execute("SELECT count(*) FROM example.retrain_decisions").fetchone() == (1,)
