"""Jobs and schedules of one monitor: the day's data, the labels that came due, the retrain."""

from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.orchestration.model_assets import can_retrain
from monitoring_assets.orchestration.partitions import daily_partitions

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

DAILY_ASSETS = ("inference_log", "daily_profile", "drift_scores")
LABEL_ASSETS = ("labels", "performance")
RETRAIN_ASSETS = ("model_candidate", "champion")


def build_jobs(spec: MonitorSpec) -> "list[UnresolvedAssetJobDefinition]":
    jobs = [_job(spec, "daily", DAILY_ASSETS, "Take in a day of the log, check, profile and score it.")]
    if spec.labels is not None:
        jobs.append(_job(spec, "labels", LABEL_ASSETS, "Take in a day's labels and measure the model on them."))
    if can_retrain(spec):
        jobs.append(_job(spec, "retrain", RETRAIN_ASSETS, "Train a candidate, and promote it if it beats the champion."))
    return jobs


def _job(spec: MonitorSpec, name: str, assets: tuple[str, ...], description: str) -> "UnresolvedAssetJobDefinition":
    # In process: a day's steps are short, and a process of its own for each would cost several times their work.
    return dg.define_asset_job(
        f"{spec.name}_{name}",
        selection=dg.AssetSelection.assets(*([spec.name, asset] for asset in assets)),
        description=description,
        executor_def=dg.in_process_executor,
    )


def build_schedules(spec: MonitorSpec) -> list[dg.ScheduleDefinition]:
    """Every night yesterday's data, and the labels due since. A monitor whose days have ended needs no schedule.

    Where `NAME_new_log_data` watches the files it mostly came first, and the schedule only sees to days for which nothing came.
    """
    if spec.end_day is not None:
        return []
    schedules = [_nightly(spec, "daily", spec.log, "drift_scores", days_back=1)]
    if spec.label is None or spec.labels is None:
        return schedules
    return [*schedules, _nightly(spec, "labels", spec.labels, "performance", days_back=1 + spec.label.delay_days)]


def _nightly(spec: MonitorSpec, job: str, source: Source, last_asset: str, days_back: int) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"{spec.name}_{job}_nightly",
        job_name=f"{spec.name}_{job}",
        cron_schedule="30 1 * * *",
        execution_timezone=spec.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Partition of {days_back} day(s) ago.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        keys = daily_partitions(spec).get_partition_keys(current_time=context.scheduled_execution_time)
        if len(keys) < days_back:
            return dg.SkipReason(
                f"{spec.name} starts on {spec.start_day}; the first partition is due in {days_back - len(keys)} days"
            )
        key = keys[-days_back]
        done = dg.AssetRecordsFilter(dg.AssetKey([spec.name, last_asset]), asset_partitions=[key])
        if source.is_watched and context.instance.fetch_materializations(done, limit=1).records:
            return dg.SkipReason(f"{key} is in already; {spec.name}_new_log_data asks for it again if its files change")
        return dg.RunRequest(run_key=key, partition_key=key)

    return nightly
