"""Jobs and schedules of one monitor: the day's data, the labels that came due, the retrain."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from monitoring_assets.monitor_spec import Label, MonitorSpec, Source
from monitoring_assets.orchestration.arrivals import RANGE_END, RANGE_START
from monitoring_assets.orchestration.model_assets import can_retrain
from monitoring_assets.orchestration.partitions import daily_partitions, days_of

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

DAILY_ASSETS = ("inference_log", "daily_profile", "drift_scores")
LABEL_ASSETS = ("labels", "performance")
RETRAIN_ASSETS = ("model_candidate", "champion")
NIGHTS_MADE_UP_FOR = 7


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
    """Every night yesterday's data, then the labels. A monitor whose days have ended needs no schedule."""
    if spec.end_day is not None:
        return []
    nightly = [_nightly_log(spec)]
    return nightly if spec.label is None or spec.labels is None else [*nightly, _nightly_labels(spec, spec.label, spec.labels)]


def _nightly_log(spec: MonitorSpec) -> dg.ScheduleDefinition:
    """Where `NAME_new_log_data` watches the files, yesterday mostly came first, and is left alone."""

    @dg.schedule(
        name=f"{spec.name}_daily_nightly",
        job_name=f"{spec.name}_daily",
        cron_schedule="30 1 * * *",
        execution_timezone=spec.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Yesterday's partition.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        keys = daily_partitions(spec).get_partition_keys(current_time=context.scheduled_execution_time)
        if not keys:
            return dg.SkipReason(f"{spec.name} starts on {spec.start_day}; the first partition is due the night after")
        key = keys[-1]
        done = dg.AssetRecordsFilter(dg.AssetKey([spec.name, "drift_scores"]), asset_partitions=[key])
        if spec.log.is_watched and context.instance.fetch_materializations(done, limit=1).records:
            return dg.SkipReason(f"{key} is in already; {spec.name}_new_log_data asks for it again if its files change")
        return dg.RunRequest(run_key=key, partition_key=key)

    return nightly


def _nightly_labels(spec: MonitorSpec, label: Label, source: Source) -> dg.ScheduleDefinition:
    """An hour after the log: the days whose labels may have changed, or count from now on."""

    @dg.schedule(
        name=f"{spec.name}_labels_nightly",
        job_name=f"{spec.name}_labels",
        cron_schedule="30 2 * * *",
        execution_timezone=spec.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Labels that are not complete yet, and the days whose labels count from now on.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        from monitoring_assets.ingestion.quarantine import ranges

        keys = daily_partitions(spec).get_partition_keys(current_time=context.scheduled_execution_time)
        logged = context.instance.get_materialized_partitions(dg.AssetKey([spec.name, "inference_log"]))
        days = [day for day in days_of(keys) if str(day) in logged]

        def is_measured_since(day: date, moment: datetime) -> bool:
            asked = dg.AssetRecordsFilter(
                dg.AssetKey([spec.name, "performance"]), asset_partitions=[str(day)], after_timestamp=moment.timestamp()
            )
            return bool(context.instance.fetch_materializations(asked, limit=1).records)

        # What is watched is read when it comes, however late. What does not count yet is measured only where it may count early.
        read = label.model_copy(update={"lateness_days": 0}) if source.is_watched else label
        young, complete = label_days_due(read, days, days_of(keys[-1:]), ZoneInfo(spec.time_zone), is_measured_since)
        night = context.scheduled_execution_time.date()
        early = [] if source.is_watched else young
        assets = None if label.mature_coverage is not None else [dg.AssetKey([spec.name, "labels"])]
        requests = [_of_days(night, first, last, None) for first, last in ranges(complete)]
        requests += [_of_days(night, first, last, assets) for first, last in ranges(early)]
        return requests or dg.SkipReason("no labels are due: every day is either complete, or watched, or has no predictions yet")

    return nightly


def label_days_due(
    label: Label,
    days: Sequence[date],
    newest: Sequence[date],
    zone: ZoneInfo,
    is_measured_since: Callable[[date, datetime], bool],
) -> tuple[list[date], list[date]]:
    """Of the days with predictions: those whose labels are not mature, and those to be read and measured for good.

    A day is measured for good when its delay has passed, and again when its lateness has. `newest` is the last complete day.
    Nights that were missed are made up for as long as `NIGHTS_MADE_UP_FOR`.

    Examples
    --------
    >>> days = [date(2026, 3, day) for day in range(1, 31)]
    >>> never, new_york = (lambda day, moment: moment.day < 28), ZoneInfo("America/New_York")
    >>> young, complete = label_days_due(Label(column="late", delay_days=2, lateness_days=10), days, days[-1:], new_york, never)
    >>> [day.day for day in young], [day.day for day in complete]
    ([29, 30], [15, 16, 17, 18, 25, 26, 27, 28])
    """
    if not newest:
        return [], []
    young = [day for day in days if newest[0] < day + timedelta(days=label.delay_days)]
    complete = set()
    for wait in {label.delay_days, label.delay_days + label.lateness_days}:
        last = newest[0] - timedelta(days=wait)
        for day in days:
            over = datetime.combine(day + timedelta(days=wait + 1), time(), zone)
            if last - timedelta(days=NIGHTS_MADE_UP_FOR) < day <= last and not is_measured_since(day, over):
                complete.add(day)
    return young, sorted(complete)


def _of_days(night: date, first: date, last: date, assets: list[dg.AssetKey] | None) -> dg.RunRequest:
    tags = {RANGE_START: str(first), RANGE_END: str(last)}
    return dg.RunRequest(run_key=f"{night}:{first}:{last}", tags=tags, asset_selection=assets)
