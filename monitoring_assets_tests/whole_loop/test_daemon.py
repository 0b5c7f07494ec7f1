"""The loop with Dagster's own daemon: a drifted day lands, and nobody touches anything after that."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorTick

from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.retraining.registry import Registry
from monitoring_assets.warehouse import Warehouse, table
from monitoring_assets_tests.whole_loop import payments
from monitoring_assets_tests.whole_loop.conftest import Shop
from monitoring_assets_tests.whole_loop.dagster_dev import wait_until

pytestmark = pytest.mark.long

LAUNCH = """
mutation Launch($job: JobOrPipelineSelector!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: $job, runConfigData: {execution: {config: {in_process: {}}}}, executionMetadata: {tags: $tags}
  }) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
REPOSITORY = {"repositoryLocationName": payments.MODULE, "repositoryName": "__repository__"}
SENSOR = "retrain_on_drift"
DAY = payments.DRIFTED_DAY.isoformat()


@pytest.fixture(scope="module")
def drifted(shop: Shop) -> Shop:
    """The shop after a drifted day was logged, ingested through the webserver, and answered by the daemon."""
    registry = Registry(shop.home)
    payments.serve(shop.spec, registry, [payments.DRIFTED_DAY], shift=3)
    payments.deliver_labels(shop.spec, payments.QUIET_DAYS[-1:])
    finished(shop, launch(shop, DAILY_ASSETS, DAY))
    wait_until(lambda: retrains(shop), 60, lambda: f"no retrain was asked for; the log ends:\n{shop.server.tail()}")
    finished(shop, retrains(shop)[0].run_id)
    return shop


def test_the_sensor_fires_within_two_ticks_of_a_drifted_day(drifted: Shop) -> None:
    landed = drifted.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(["payments", "drift_scores"]), asset_partitions=[DAY]), limit=1
    ).records[0]
    later = [tick for tick in ticks(drifted) if tick.timestamp > landed.timestamp]
    fired = [tick.run_ids for tick in later[:2] if tick.run_ids]
    assert fired == [[retrains(drifted)[0].run_id]]


def test_the_decision_names_the_feature_that_drifted_and_carries_the_verdict(drifted: Shop) -> None:
    asked, decision = retrains(drifted)[0], newest_decision(drifted)
    assert asked.tags["monitoring_assets/decision"] == decision["decision_id"]
    assert str(decision["day"].date()) == DAY
    assert "amount" in decision["reason"]
    assert decision["verdict"] in {"promoted", "refused"}
    assert "neither was trained on" in decision["verdict_reason"]


def test_the_candidate_is_registered_and_its_role_follows_the_verdict(drifted: Shop) -> None:
    decision, registry = newest_decision(drifted), Registry(drifted.home)
    candidate = registry.find("payments", "challenger") or registry.champion("payments")
    champion = registry.champion("payments")
    assert champion is not None
    assert candidate is not None
    assert decision["candidate_version"] == "2"
    assert champion.version == ("2" if decision["verdict"] == "promoted" else "1")
    version = registry._client.get_model_version("payments", "2")
    assert version.tags["decision_id"] == decision["decision_id"]


def test_neither_a_restart_nor_a_lost_cursor_asks_for_a_second_run(drifted: Shop) -> None:
    drifted.server.stop()
    forget_cursor(drifted)  # while no daemon runs: a tick under way would write its cursor afterwards
    seen = len(ticks(drifted))
    drifted.server.start()
    wait_until(lambda: len(ticks(drifted)) >= seen + 2, 60, lambda: f"no ticks; the log ends:\n{drifted.server.tail()}")
    first, *_ = ticks(drifted)[seen:]
    assert "decided before" in (first.skip_reason or ""), "the cursor was not forgotten"
    assert len(retrains(drifted)) == 1


def test_new_files_are_ingested_by_the_daemon_and_a_changed_profile_is_scored_again(drifted: Shop) -> None:
    """The files of a monitor whose days ended long ago are not watched; as if they had not, they are."""
    new = payments.DRIFTED_DAY + timedelta(days=1)
    payments.serve(drifted.spec, Registry(drifted.home), [new])
    profile = {"dagster/asset_partition_range_start": DAY, "dagster/asset_partition_range_end": DAY}
    build_monitor(drifted.spec).resolve_implicit_global_asset_job_def().execute_in_process(
        instance=drifted.instance, tags=profile, asset_selection=[dg.AssetKey(["payments", "daily_profile"])]
    )
    drifted.server.stop()
    payments.write_project(drifted.project, end_day=date.today())
    drifted.server.start()

    def arrivals() -> dict[tuple[str, str, frozenset[str]], str]:
        runs = drifted.instance.get_runs(dg.RunsFilter(tags={"dagster/sensor_name": "new_log_data"}))
        days = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
        return {
            (run.tags[days[0]], run.tags[days[1]], frozenset(key.path[-1] for key in run.asset_selection or ())): run.status.value
            for run in runs
        }

    late_labels = str(payments.QUIET_DAYS[-1])
    wanted = {
        (str(new), str(new), frozenset(DAILY_ASSETS)),
        (DAY, DAY, frozenset(["drift_scores"])),
        (late_labels, late_labels, frozenset(LABEL_ASSETS)),
    }
    wait_until(
        lambda: len(arrivals()) >= 3 and set(arrivals().values()) == {"SUCCESS"},
        120,
        lambda: f"{arrivals()}; the log ends:\n{drifted.server.tail()}",
    )
    assert set(arrivals()) == wanted
    rescored = drifted.instance.get_runs(dg.RunsFilter(tags={"monitoring_assets/because": "a day of the window changed"}))
    assert [set(run.asset_selection or ()) for run in rescored] == [{dg.AssetKey(["payments", "drift_scores"])}]


def launch(shop: Shop, assets: Sequence[str], day: str) -> str:
    """Materialise a day of the monitor's assets, as the UI does."""
    tags = [{"key": "dagster/partition", "value": day}]
    job = {**REPOSITORY, "jobName": "__ASSET_JOB", "assetSelection": [{"path": ["payments", name]} for name in assets]}
    answer = shop.server.ask(LAUNCH, job=job, tags=tags)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def finished(shop: Shop, run_id: str, seconds: float = 90) -> None:
    """Wait for a run to end, and fail unless it succeeded."""

    def ended() -> dg.DagsterRun | None:
        run = shop.instance.get_run_by_id(run_id)
        return run if run is not None and run.is_finished else None

    run = wait_until(ended, seconds, lambda: f"run {run_id} did not end; the log ends:\n{shop.server.tail()}")
    assert run is not None
    assert run.is_success, f"{run.job_name} failed; the log ends:\n{shop.server.tail()}"


def retrains(shop: Shop) -> list[dg.DagsterRun]:
    """Runs the daemon's sensor asked for: they come from a code location, unlike those of the days before."""
    runs = shop.instance.get_runs(dg.RunsFilter(tags={"dagster/sensor_name": SENSOR}))
    return [run for run in runs if run.remote_job_origin is not None]


def ticks(shop: Shop) -> list[InstigatorTick]:
    """The sensor's finished ticks, oldest first."""
    state = next(state for state in shop.instance.all_instigator_state() if state.name == SENSOR)
    found = shop.instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return sorted((tick for tick in found if tick.is_completed), key=lambda tick: tick.timestamp)


def forget_cursor(shop: Shop) -> None:
    state = next(state for state in shop.instance.all_instigator_state() if state.name == SENSOR)
    shop.instance.update_instigator_state(state.with_data(state.instigator_data._replace(cursor=None)))


def newest_decision(shop: Shop) -> dict[str, Any]:
    decisions = Warehouse(shop.home / "warehouse.duckdb").query(
        f"SELECT * FROM {table(shop.spec, 'retrain_decisions')} WHERE day = DATE '{DAY}' AND verdict IS NOT NULL"
    )
    assert len(decisions) == 1
    return dict(decisions.iloc[0])
