"""`NAME_new_log_data`: the sensor that ingests days whose files are new or have changed, and what depends on them.

It keeps no cursor, and in memory only which folders need not be listed again. What is due follows from the files, the
warehouse's account of what it has read (`ingestion/arrivals.py`), and the order in which Dagster saw the assets' days
materialised; so a crash anywhere, a lost cursor or a run somebody else started loses nothing and asks for nothing twice.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets.errors import WarehouseLocked
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.orchestration.resources import MonitoringHome
from monitoring_assets.warehouse import table
from monitoring_assets.wording import listed

if TYPE_CHECKING:
    import duckdb
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from monitoring_assets.ingestion.arrivals import News
    from monitoring_assets.ingestion.day_folders import Listing, SeenFolders

# On every run asked for: what it is due for, so that the same is asked for a few times at most.
ARRIVAL_TAG = "monitoring_assets/arrival"
# On runs over days before the newest one scored: to the retrain policy and to alerts they are history.
REOPENED_TAG = "monitoring_assets/reopened"
BECAUSE_TAG = "monitoring_assets/because"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# Dagster ends a tick after 60 s, so a warehouse that is held is left for the next.
PATIENCE_SECONDS = 20.0
# Runs asked for a tick, the newest days first; and for the same files and days before it is left to a person.
RUNS_PER_TICK, ATTEMPTS = 10, 3


@dataclass(frozen=True)
class Due:
    """Days a job is due for, each with a digest of what for. `assets` narrows the job; `is_history`: old days are history."""

    job: str
    days: Mapping[date, str]
    because: str
    assets: tuple[str, ...] = ()
    is_history: bool = True


def is_watched(spec: MonitorSpec) -> bool:
    return spec.log.is_watched or (spec.labels is not None and spec.labels.is_watched)


def build_arrival_sensor(spec: MonitorSpec, jobs: "Sequence[UnresolvedAssetJobDefinition]") -> dg.SensorDefinition:
    """The sensor; it runs by default for a monitor that is alive. Queries and functions are left to the nightly schedules."""
    from monitoring_assets.ingestion.day_folders import SeenFolders

    seen = {asset: SeenFolders() for asset in ("inference_log", "labels")}
    status = dg.DefaultSensorStatus.RUNNING if spec.end_day is None else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=f"{spec.name}_new_log_data",
        jobs=[job for job in jobs if job.name in {f"{spec.name}_daily", f"{spec.name}_labels"}],
        minimum_interval_seconds=spec.retrain.check_every_seconds,
        default_status=status,
        description="Ingests days whose files are new or changed, re-scores the windows that hold them, and measures again.",
    )
    def new_log_data(context: dg.SensorEvaluationContext, monitoring_home: MonitoringHome) -> dg.SensorResult:
        located = monitoring_home.located(spec)
        busy = _busy_days(context.instance, spec)  # before the files: what ends in between is then seen as read
        listings = {asset: _listing(located, asset, seen[asset]) for asset in seen}  # before the warehouse is held
        try:
            with monitoring_home.with_patience(PATIENCE_SECONDS).connect(spec) as connection:
                if not _has_baseline(connection, spec):
                    return dg.SensorResult(skip_reason=_no_baseline(spec))
                log = _news(connection, located, "inference_log", seen, listings)
                labels = _news(connection, located, "labels", seen, listings)
                due = _due(connection, context.instance, spec, log, labels)
        except WarehouseLocked as error:
            return dg.SensorResult(skip_reason=str(error))
        notes = [*_notes_on("the log", log), *_notes_on("the labels", labels)]
        requests = _requests(context.instance, spec, due, busy, notes)
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SensorResult(skip_reason="; ".join(notes) or "every file is read as it is")

    return new_log_data


def _listing(spec: MonitorSpec, asset: str, seen: "SeenFolders") -> "Listing | None":
    from monitoring_assets.ingestion.day_folders import list_files

    source = spec.log if asset == "inference_log" else spec.labels
    return list_files(spec, source, seen, datetime.now(UTC)) if source is not None and source.is_watched else None


def _news(
    connection: "duckdb.DuckDBPyConnection",
    spec: MonitorSpec,
    asset: str,
    seen: "Mapping[str, SeenFolders]",
    listings: "Mapping[str, Listing | None]",
) -> "News":
    """What is new of a source; which folders hold nothing new is kept for the next tick."""
    from monitoring_assets.ingestion.arrivals import News, days_read, news_of
    from monitoring_assets.ingestion.day_folders import note_seen

    source, listing, now = spec.log if asset == "inference_log" else spec.labels, listings[asset], datetime.now(UTC)
    if source is None or listing is None:
        return News({}, [])
    news = news_of(connection, spec, asset, source, listing.files, now, listing.skipped)
    note_seen(seen[asset], source, listing, news, days_read(connection, spec, asset), now)
    return news


def _due(
    connection: "duckdb.DuckDBPyConnection", instance: dg.DagsterInstance, spec: MonitorSpec, log: "News", labels: "News"
) -> list[Due]:
    """All that is due, in the order in which it must happen; of a day only the first is asked for at a time."""
    from monitoring_assets.drift.inputs import days_back
    from monitoring_assets.ingestion.arrivals import digests_of

    seen = {name: _newest_events(instance, spec, name) for name in ("inference_log", "daily_profile", "drift_scores")}
    logged, profiled, scored = seen.values()
    read = f"(FROM {table(spec, 'arrivals')} WHERE asset = 'inference_log')"
    behind = [day for day, event in logged.items() if event > profiled.get(day, 0) and day not in log.changed]
    due = [
        Due("daily", log.changed, "new or changed files"),
        Due("daily", digests_of(connection, behind, read), "rows that were never profiled"),
        Due("daily", stale_scores(profiled, scored, days_back(spec)), "a day of the window changed", ("drift_scores",)),
    ]
    if spec.labels is None:
        return due
    labelled, measured = (_newest_events(instance, spec, name) for name in ("labels", "performance"))
    reopened = {
        day: str(logged.get(day, 0))
        for day, event in labelled.items()
        if day not in labels.changed and (event < logged.get(day, 0) or event > measured.get(day, 0))
    }
    known = {day: digest for day, digest in labels.changed.items() if day in logged}
    return [
        *due,
        Due("labels", known, "new or changed labels", is_history=False),
        Due("labels", reopened, "the day's predictions changed, or were not measured"),
    ]


def stale_scores(profiled: Mapping[date, int], scored: Mapping[date, int], days_back: int) -> dict[date, str]:
    """Days whose scores are older than a profile their windows hold, with that profile's event.

    >>> first, second, third = (date(2026, 3, day) for day in (2, 3, 4))
    >>> stale_scores({first: 7, second: 3, third: 3}, {first: 8, second: 4, third: 4}, days_back=1)
    {datetime.date(2026, 3, 3): '7'}
    """
    newest = {
        day: max(profiled.get(day - timedelta(days=back), 0) for back in range(days_back + 1)) for day in {*profiled, *scored}
    }
    return {day: str(event) for day, event in sorted(newest.items()) if event > scored.get(day, 0)}


def _requests(
    instance: dg.DagsterInstance, spec: MonitorSpec, due: Sequence[Due], busy: set[date], notes: list[str]
) -> list[dg.RunRequest]:
    """One run per range of days, of days nothing else is under way for. Why others are left goes to `notes`."""
    from monitoring_assets.drift.inputs import days_back
    from monitoring_assets.ingestion.quarantine import ranges

    newest = max(_newest_events(instance, spec, "drift_scores"), default=None)
    requests: list[dg.RunRequest] = []
    waiting: set[date] = set()
    for part in due:
        # A window is scored when all its days are in.
        reach = days_back(spec) + 1 if part.assets else 1
        blocked = {day + timedelta(days=offset) for day in busy for offset in range(reach)}
        waiting |= part.days.keys() & blocked
        free = [day for day in part.days if day not in blocked]
        for first, last in reversed(ranges(free)):
            request = _request(instance, spec, part, days_between(first, last), newest)
            if isinstance(request, str):
                notes.append(request)
            elif len(requests) < RUNS_PER_TICK:
                requests.append(request)
        busy = busy | set(free)
    if waiting:
        notes.append(f"{_first_days(waiting)} wait(s) for runs under way")
    return requests


def _request(
    instance: dg.DagsterInstance, spec: MonitorSpec, part: Due, days: list[date], newest: date | None
) -> dg.RunRequest | str:
    """The run for a range of days, or why there is none. Its key differs by attempt: Dagster never repeats one, even of a run
    that failed (github.com/dagster-io/dagster/issues/15982)."""
    first, last = days[0], days[-1]
    job, evidence = f"{spec.name}_{part.job}", [part.days[day] for day in days]
    key = sha256(repr((job, part.assets, str(first), str(last), evidence)).encode()).hexdigest()[:16]
    earlier = instance.get_runs(dg.RunsFilter(tags={ARRIVAL_TAG: key}))
    if len(earlier) >= ATTEMPTS:
        given_up = f"{first} to {last}: given up after {ATTEMPTS} runs, the last is {earlier[0].run_id}"
        return f"{given_up}; correct what failed, then launch {job}"
    tags = {ARRIVAL_TAG: key, BECAUSE_TAG: part.because, RANGE_START: str(first), RANGE_END: str(last)}
    if part.is_history and newest is not None and (last < newest or (part.assets and last == newest)):
        tags[REOPENED_TAG] = "true"
    selection = [dg.AssetKey([spec.name, asset]) for asset in part.assets] or None
    return dg.RunRequest(run_key=f"{key}-{len(earlier)}", job_name=job, tags=tags, asset_selection=selection)


def _busy_days(instance: dg.DagsterInstance, spec: MonitorSpec) -> set[date]:
    """Days that some run under way is about, whoever asked for it."""
    busy: set[date] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT)):
        is_own = run.job_name in {f"{spec.name}_daily", f"{spec.name}_labels"}
        first = run.tags.get(RANGE_START) or run.tags.get("dagster/partition")
        last = run.tags.get(RANGE_END) or first
        if first and last and (is_own or any(key.path[0] == spec.name for key in run.asset_selection or ())):
            busy |= set(days_between(date.fromisoformat(first), date.fromisoformat(last)))
    return busy


def _newest_events(instance: dg.DagsterInstance, spec: MonitorSpec, asset: str) -> dict[date, int]:
    """Day -> number of its newest materialisation, which grows with time."""
    found = instance.get_latest_storage_id_by_partition(
        dg.AssetKey([spec.name, asset]), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    events = {date.fromisoformat(key): event for key, event in found.items()}
    return {day: event for day, event in events.items() if spec.start_day <= day <= (spec.end_day or day)}


def _has_baseline(connection: "duckdb.DuckDBPyConnection", spec: MonitorSpec) -> bool:
    return bool(connection.execute(f"SELECT count(*) FROM {table(spec, 'baselines')}").fetchall()[0][0])


def _no_baseline(spec: MonitorSpec) -> str:
    first = "" if spec.reference.path else f"{spec.name}/inference_log of the reference's days, then "
    return f"{spec.name} has no baseline to compare new days with: materialise {first}{spec.name}/reference_baseline"


def _notes_on(what: str, news: "News") -> list[str]:
    notes = []
    if news.unsettled_files:
        notes.append(f"{news.unsettled_files} file(s) of {what} are perhaps still being written")
    if news.uninspected_files:
        notes.append(f"{news.uninspected_files} file(s) of {what} have not been opened yet to find their days")
    if news.vanished:
        notes.append(f"files of {what} are gone, and the rows read from them stay: {_first_days(news.vanished)}")
    return notes


def _first_days(days: Collection[date]) -> str:
    """The first days, and how many more."""
    return listed([str(day) for day in sorted(days)], 3)
