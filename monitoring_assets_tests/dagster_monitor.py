"""A monitor on a real Dagster instance: runs its jobs and its sensor, and reads back what Dagster shows of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.model_assets import RETRAIN_ASSETS
from monitoring_assets.orchestration.partitions import daily_partitions
from monitoring_assets.orchestration.resources import MonitoringHome
from monitoring_assets_tests.example_monitor import contents, example_spec, example_warehouse

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
ALL_TABLES = (
    "inference_log", "quarantine", "deliveries", "labels", "profile_grids", "daily_profile", "baseline_profiles", "baselines",
    "baseline_facts", "quality", "drift_scores", "performance_counts", "performance", "retrain_decisions", "daily_sample",
    "baseline_sample",
)  # fmt: skip


@dataclass(frozen=True)
class Tick:
    """The result of one tick, its message without the name of the one monitor."""

    run_requests: list[dg.RunRequest]
    skip_message: str
    cursor: str | None


class DagsterMonitor:
    """One monitor, its data folder and its instance."""

    def __init__(self, home: Path, instance: dg.DagsterInstance, patience_seconds: float = 5.0, **overrides: Any) -> None:
        self.home, self.instance = home, instance
        self.spec: MonitorSpec = example_spec(home, **overrides)
        self.resource = MonitoringHome(path=str(home), patience_seconds=patience_seconds)
        self.definitions = build_monitor(self.spec, self.resource)
        self.cursors: dict[str, str | None] = {}

    def key(self, asset: str) -> dg.AssetKey:
        return dg.AssetKey([self.spec.name, asset])

    def materialise(
        self, *assets: str, tags: dict[str, str] | None = None, partition: str | None = None
    ) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            tags=tags or {},
            partition_key=partition,
            asset_selection=[self.key(asset) for asset in assets],
            run_config=QUIET,
            raise_on_error=False,
        )

    def run_days(self, assets: str, first: date, last: date | None = None, **tags: str) -> dg.ExecuteInProcessResult:
        """The `daily` or `labels` assets of a range of days as one run; without `last` a run of the one partition."""
        of_a_day = {"daily": DAILY_ASSETS, "labels": LABEL_ASSETS}[assets]
        if last is None:
            return self.materialise(*of_a_day, tags=tags, partition=str(first))
        ends = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
        return self.materialise(*of_a_day, tags=ends | tags)

    def retrain(self, decision: str | None = None) -> dg.ExecuteInProcessResult:
        return self.materialise(*RETRAIN_ASSETS, tags={"monitoring_assets/decision": decision} if decision else {})

    def launch(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what a sensor asked for, as the daemon would."""
        assets = [key.path[-1] for key in request.asset_selection or ()]
        return self.materialise(*assets, tags={**request.tags, "dagster/run_key": str(request.run_key)})

    def run_of(self, assets: Sequence[str], tags: dict[str, str], status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """A run of these assets that nobody carries out."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return self.instance.create_run_for_job(
            job, tags=tags, status=status, asset_selection=frozenset(self.key(asset) for asset in assets)
        )

    def tick(self, sensor: str = "retrain_on_drift", *, cursor_lost: bool = False) -> Tick:
        """Evaluate a sensor as the daemon does: the cursor is kept, asset events are reported, nothing is launched."""
        definition = self.definitions.resolve_sensor_def(sensor)
        with dg.build_sensor_context(
            self.instance,
            cursor=None if cursor_lost else self.cursors.get(sensor),
            repository_def=self.definitions.get_repository_def(),
            resources={"monitoring_home": self.resource},
        ) as context:
            data = definition.evaluate_tick(context)
        self.cursors[sensor] = data.cursor
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return Tick(list(data.run_requests or []), (data.skip_message or "").removeprefix(f"{self.spec.name}: "), data.cursor)

    def statuses(self, asset: str, check: str) -> dict[str, str]:
        """What the UI shows of a check, partition by partition; days without a status are left out."""
        key = dg.AssetCheckKey(self.key(asset), check)
        state = self.instance.event_log_storage.get_asset_check_state([(key, daily_partitions(self.spec))])[key]
        return {day: status.value for status, subset in state.subsets.items() for day in subset.subset_value.get_partition_keys()}

    def check(self, asset: str, check: str, day: date) -> AssetCheckExecutionRecord:
        """The newest evaluation of one day."""
        key = dg.AssetCheckKey(self.key(asset), check)
        history = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1000)
        return next(record for record in history if record.partition == str(day) and record.evaluation is not None)

    def metadata(self, asset: str, day: date | None = None) -> dict[str, dg.MetadataValue]:
        """The metadata of the newest materialisation, of one day or at all."""
        wanted = dg.AssetRecordsFilter(self.key(asset), asset_partitions=[str(day)] if day else None)
        (record,) = self.instance.fetch_materializations(wanted, limit=1).records
        assert record.asset_materialization is not None
        return dict(record.asset_materialization.metadata)

    def materialisations(self, asset: str) -> int:
        return len(self.instance.fetch_materializations(self.key(asset), limit=1000).records)

    @contextmanager
    def warehouse(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with example_warehouse(self.home, self.spec) as connection:
            yield connection

    def tables(self, *names: str) -> dict[str, list[tuple[Any, ...]]]:
        with self.warehouse() as connection:
            return contents(connection, self.spec, *(names or ALL_TABLES))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.warehouse() as connection:
            return connection.execute(sql).fetchall()


def succeeded(result: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    """The run, which must have succeeded; else what its steps said."""
    assert result.success, failure_of(result)
    return result


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the failed steps of a run say, with their causes, without the calls that led there."""
    assert not result.success, "the run was to fail, and succeeded"
    described = []
    for event in result.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        while error is not None:
            described.append(f"{event.step_key}: {error.message}")
            error = error.cause
    return "\n".join(described)
