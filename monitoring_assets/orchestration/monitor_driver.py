"""Driving a monitor's own jobs and sensor on a real Dagster instance, in this process, as its daemon would.

What is simulated (the model serving, the truth arriving) belongs to the caller; here everything is Dagster's own.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.utils import make_new_run_id

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.event_batches import events_in_batches
from monitoring_assets.orchestration.resources import MONITORING_HOME

# Errors only: every event is in the instance, and the UI shows it.
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


class MonitorDriver:
    """One monitor of a code location on one instance."""

    def __init__(self, definitions: dg.Definitions, spec: MonitorSpec, instance: dg.DagsterInstance) -> None:
        self.definitions, self.spec, self.instance = definitions, spec, instance
        self._cursor: str | None = None

    def materialise(self, asset: str) -> None:
        """Materialise an asset without partitions."""
        self._run([asset], {})

    def run_days(self, assets: Sequence[str], first_day: str, last_day: str) -> None:
        """Materialise daily assets with their checks over a range of days, as one run."""
        self._run(assets, _range_tags(first_day, last_day))

    def backfill(self, first_day: str, last_day: str) -> None:
        """Materialise every daily asset with its checks over a range of days, as one run."""
        self.run_days((*DAILY_ASSETS, *LABEL_ASSETS), first_day, last_day)

    def tick(self) -> bool:
        """Evaluate `retrain_on_drift` once and carry out what it asks for. Returns whether there was a retrain."""
        sensor = self.definitions.resolve_sensor_def("retrain_on_drift")
        resources = {"monitoring_home": MONITORING_HOME}
        repository = self.definitions.get_repository_def()
        with dg.build_sensor_context(
            self.instance, cursor=self._cursor, repository_def=repository, resources=resources
        ) as context:
            result = sensor.evaluate_tick(context)
        self._cursor = result.cursor
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        for request in result.run_requests or []:
            tags = {**request.tags, "dagster/run_key": str(request.run_key), "dagster/sensor_name": sensor.name}
            self._run([key.path[-1] for key in request.asset_selection or ()], tags)
        return bool(result.run_requests)

    def _run(self, assets: Sequence[str], tags: dict[str, str]) -> None:
        run_id = make_new_run_id()
        with events_in_batches(self.instance, run_id):
            result = self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=self.instance,
                run_id=run_id,
                tags=tags,
                asset_selection=[dg.AssetKey([self.spec.name, name]) for name in assets],
                raise_on_error=True,
                run_config=QUIET,
            )
        if not result.success:
            raise RuntimeError(f"run {run_id} of {', '.join(assets)} failed; its events are in the Dagster UI")


def _range_tags(first_day: str, last_day: str) -> dict[str, str]:
    """What makes a run cover a range of partitions without the backfill daemon."""
    return {"dagster/asset_partition_range_start": first_day, "dagster/asset_partition_range_end": last_day}
