"""Laws of runs that several monitors share: each day is asked for once, and what fails in one monitor is not felt by another."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from monitoring_assets.chosen_warehouse import FILE_PER_MONITOR, SETTING
from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.orchestration import shared_runs as shared_runs_module
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS
from monitoring_assets.orchestration.resources import MonitoringHome
from monitoring_assets.orchestration.shared_runs import (
    ALONE_TAG,
    MONITORS_WITH_RUNS_OF_THEIR_OWN,
    PART_TAG,
    RANGE_END,
    RANGE_START,
    RUNS_AT_ONCE,
    shared_runs,
)
from monitoring_assets_tests.dagster_monitor import QUIET, failure_of, succeeded
from monitoring_assets_tests.example_monitor import example_spec, write_day, write_reference

DAY = date(2026, 3, 10)
FEW, MANY = MONITORS_WITH_RUNS_OF_THEIR_OWN, MONITORS_WITH_RUNS_OF_THEIR_OWN + 1
NAMES = [f"m{number}" for number in range(6)]
BROKEN = NAMES[2]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def request(monitor: str, day: date = DAY, key: str = "due", **tags: str) -> dg.RunRequest:
    selection = [dg.AssetKey([monitor, asset]) for asset in DAILY_ASSETS]
    return dg.RunRequest(f"{monitor}-{key}", tags={RANGE_START: str(day), RANGE_END: str(day)} | tags, asset_selection=selection)


def monitors(run: dg.RunRequest) -> list[str]:
    return sorted({key.path[0] for key in run.asset_selection or ()})


def test_few_monitors_have_runs_of_their_own_and_many_share_few(instance: dg.DagsterInstance) -> None:
    few = [request(name) for name in NAMES]
    assert [(run.run_key, monitors(run)) for run in shared_runs(instance, few, FEW)] == [
        (asked.run_key, monitors(asked)) for asked in few
    ]
    (shared,) = shared_runs(instance, few, MANY)
    assert (monitors(shared), shared.tags["dagster/max_runtime"]) == (NAMES, "3600")
    thousand = shared_runs(instance, [request(f"m{number}") for number in range(1000)], 1000)
    assert len(thousand) == RUNS_AT_ONCE
    assert sorted(name for run in thousand for name in monitors(run)) == sorted(f"m{number}" for number in range(1000))


def test_only_the_same_work_on_the_same_days_is_shared(instance: dg.DagsterInstance) -> None:
    days = [DAY - timedelta(days=number % 2) for number in range(40)]
    runs = shared_runs(instance, [request(f"m{number}", day) for number, day in enumerate(days)], MANY)
    assert sorted((run.tags[RANGE_START], len(monitors(run))) for run in runs) == [("2026-03-09", 20), ("2026-03-10", 20)]


def test_what_is_to_be_alone_and_what_is_about_no_days_stays_as_it_was_asked_for(instance: dg.DagsterInstance) -> None:
    retrain = dg.RunRequest("decision", asset_selection=[dg.AssetKey(["m0", "model_candidate"])])
    alone = [request(name, **{ALONE_TAG: "it was asked for before"}) for name in NAMES]
    assert [run.run_key for run in shared_runs(instance, [retrain, *alone], MANY)] == [
        "decision",
        *(asked.run_key for asked in alone),
    ]


def test_what_a_run_was_started_for_is_not_asked_for_again_in_whatever_company(instance: dg.DagsterInstance) -> None:
    (run,) = shared_runs(instance, [request(name) for name in NAMES], MANY)
    instance.add_run(dg.DagsterRun("__ASSET_JOB", status=dg.DagsterRunStatus.FAILURE, tags=dict(run.tags)))
    assert shared_runs(instance, [request(name) for name in NAMES[1:]], MANY) == []
    again = shared_runs(instance, [request("m1"), request("m1", key="again")], MANY)
    assert [asked.tags[f"{PART_TAG}m1"] for asked in again] == ["m1-again"]


@pytest.mark.long
def test_what_fails_in_a_run_of_several_monitors_harms_no_other(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monitors that start on different days in different time zones, each with a file of its own: one log is broken,
    and later the process of all dies."""
    monkeypatch.setenv(SETTING, FILE_PER_MONITOR)
    monkeypatch.setattr(shared_runs_module, "MONITORS_WITH_RUNS_OF_THEIR_OWN", 1)
    definitions = _monitors(tmp_path)
    job = definitions.resolve_implicit_global_asset_job_def()

    def launch(keys: Sequence[dg.AssetKey], tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(instance=instance, asset_selection=keys, tags=tags, run_config=QUIET, raise_on_error=False)

    assert _asked(definitions, instance, tmp_path) == []
    assert not (tmp_path / "warehouses").exists()  # a sensor that only asks makes none
    succeeded(launch([dg.AssetKey([name, "reference_baseline"]) for name in NAMES], {}))
    for name in NAMES:
        write_day(tmp_path / name, DAY)
    (tmp_path / BROKEN / "log" / f"{DAY}.parquet").write_bytes(b"no parquet")

    (run,) = _asked(definitions, instance, tmp_path)
    assert monitors(run) == NAMES
    said = failure_of(launch(run.asset_selection or (), dict(run.tags)))
    assert f"the log of {BROKEN}: none of the 1 day(s) asked for could be read" in said
    assert {line.partition("__")[0] for line in said.splitlines() if line} == {BROKEN}
    scored = {name for name in NAMES if instance.get_materialized_partitions(dg.AssetKey([name, "drift_scores"]))}
    assert scored == {*NAMES} - {BROKEN}

    assert sorted(file.parent.name for file in tmp_path.glob("warehouses/*/warehouse.duckdb")) == NAMES
    assert not (tmp_path / "warehouse.duckdb").exists()

    for name in NAMES:
        write_day(tmp_path / name, DAY + timedelta(days=1))
    (run,) = _asked(definitions, instance, tmp_path)
    instance.add_run(dg.DagsterRun("__ASSET_JOB", status=dg.DagsterRunStatus.FAILURE, tags=dict(run.tags)))  # its process died
    again = _asked(definitions, instance, tmp_path)
    assert [(monitors(asked), asked.tags[ALONE_TAG]) for asked in again] == [
        ([name], "it was asked for before") for name in NAMES
    ]


def _monitors(home: Path) -> dg.Definitions:
    settings = {"reference": {"path": "reference.parquet"}, "label": None, "labels": None}
    specs, resource = [], MonitoringHome(path=str(home))
    for number, name in enumerate(NAMES):
        place = {"start_day": f"2026-03-0{1 + number % 3}", "time_zone": ["UTC", "America/New_York"][number % 2]}
        log = {"path": f"{name}/log/{{day}}.parquet", "settle_seconds": 0}
        specs.append(example_spec(home, name=name, log=log, **place, **settings))
    write_reference(home)
    return dg.Definitions.merge(*(build_monitor(spec, resource) for spec in specs))


def _asked(definitions: dg.Definitions, instance: dg.DagsterInstance, home: Path) -> list[dg.RunRequest]:
    """What the arrival sensor asks for."""
    with dg.build_sensor_context(
        instance,
        repository_def=definitions.get_repository_def(),
        resources={"monitoring_home": MonitoringHome(path=str(home))},
    ) as context:
        return list(definitions.resolve_sensor_def("new_log_data").evaluate_tick(context).run_requests or ())
