"""`new_log_data`: the sensor that ingests days whose files are new or have changed, and what depends on them.

It keeps no cursor, and in memory only which files and folders it has seen. What is due follows from the files, the warehouse's
account of what it has read (`ingestion/arrivals.py`), and the order in which Dagster saw the assets' days materialised; so a
crash anywhere, a lost cursor or a run somebody else started loses nothing and asks for nothing twice.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets.monitor_spec import MonitorSpec, Source, days_between
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.every_monitor import Turn, sensor_of_every_monitor
from monitoring_assets.orchestration.shared_runs import ALONE_TAG, RANGE_END, RANGE_START, earlier_run
from monitoring_assets.warehouse import table
from monitoring_assets.wording import listed

if TYPE_CHECKING:
    import duckdb

    from monitoring_assets.ingestion.arrivals import InspectedFile, News
    from monitoring_assets.ingestion.day_folders import Listing, SeenFolders
    from monitoring_assets.ingestion.present_files import ArrivedFile

# On runs over days before the newest one scored: to the retrain policy and to alerts they are history.
REOPENED_TAG = "monitoring_assets/reopened"
BECAUSE_TAG = "monitoring_assets/because"

# Days for which the files of a monitor are watched after its last labels are in: they may still be corrected.
DAYS_WATCHED_AFTER_THE_END = 7
# What is done again when another day of a window has changed.
RESCORED = ("drift_scores",)
# Runs asked for a monitor a tick, the newest days first; and for the same files and days before it is left to a person.
RUNS_PER_TICK, ATTEMPTS = 10, 3


@dataclass(frozen=True)
class Due:
    """Days that assets are due for, each with a digest of what for. `is_history`: old days are history."""

    assets: tuple[str, ...]
    days: Mapping[date, str]
    because: str
    is_history: bool = True


@dataclass
class SeenFiles:
    """What a process knows of one monitor's files: the folders that need no listing, and how those it listed were when nothing of
    the monitor was due. Lost with the process, which costs one listing of everything."""

    folders: "Mapping[str, SeenFolders]"
    at_rest: dict[str, int] = field(default_factory=dict)
    listed: "tuple[Turn, dict[str, Listing | None]] | None" = None


def is_watched(spec: MonitorSpec) -> bool:
    """Whether a monitor's files are watched: until the last labels are in. Queries and functions are left to the night."""
    wait = 0 if spec.label is None else spec.label.delay_days + spec.label.lateness_days
    until = None if spec.end_day is None else spec.end_day + timedelta(days=wait + DAYS_WATCHED_AFTER_THE_END)
    is_alive = until is None or datetime.now(UTC).date() <= until
    return is_alive and (spec.log.is_watched or (spec.labels is not None and spec.labels.is_watched))


def build_arrival_sensor() -> dg.SensorDefinition:
    """The sensor of a code location."""
    seen: dict[str, SeenFiles] = {}

    def of(turn: Turn) -> SeenFiles:
        from monitoring_assets.ingestion.day_folders import SeenFolders

        return seen.setdefault(turn.spec.name, SeenFiles({asset: SeenFolders() for asset in ("inference_log", "labels")}))

    return sensor_of_every_monitor(
        "new_log_data",
        "Ingests days whose files are new or changed, re-scores the windows that hold them, and measures again.",
        is_watched,
        lambda turn: _runs_due(turn, of(turn)),
        lambda turn: _has_new_files(turn, of(turn)),
    )


def _has_new_files(turn: Turn, seen: SeenFiles) -> bool:
    return any(seen.at_rest.get(folder) != state for folder, state in _state_of(_listings(turn, seen)).items())


def _runs_due(turn: Turn, seen: SeenFiles) -> dg.SensorResult:
    """One monitor's turn: the runs that are due, or why there is none."""
    spec = turn.home.located(turn.spec)
    busy = _busy_days(turn)
    listings = _listings(turn, seen)  # before the warehouse is held
    if not turn.home.has_warehouse(spec):
        seen.at_rest |= _state_of(listings)  # the run that makes a baseline gives the monitor its next turn
        return dg.SensorResult(skip_reason=_no_baseline(spec))
    inspected = {asset: _inspected(turn, spec, asset, listing) for asset, listing in listings.items()}
    with turn.home.connect(turn.spec) as connection:
        if not _has_baseline(connection, spec):
            seen.at_rest |= _state_of(listings)
            return dg.SensorResult(skip_reason=_no_baseline(spec))
        log = _news(connection, spec, "inference_log", seen.folders, listings, inspected)
        labels = _news(connection, spec, "labels", seen.folders, listings, inspected)
        due = _due(connection, turn.instance, spec, log, labels)
    notes = [*_notes_on("the log", log), *_notes_on("the labels", labels), *_waiting_folders(listings)]
    requests = _requests(turn.instance, spec, due, busy, notes)
    if not requests and not notes:
        seen.at_rest |= _state_of(listings)
    return dg.SensorResult(
        run_requests=requests, skip_reason=None if requests else "; ".join(notes) or "every file is read as it is"
    )


def _listings(turn: Turn, seen: SeenFiles) -> "dict[str, Listing | None]":
    """The files as they lie in this turn, listed once. Those of an earlier one would be older than what is known of its runs."""
    if seen.listed is None or seen.listed[0] is not turn:
        spec = turn.home.located(turn.spec)
        seen.listed = turn, {asset: _listing(spec, asset, folders) for asset, folders in seen.folders.items()}
    return seen.listed[1]


def _state_of(listings: "Mapping[str, Listing | None]") -> dict[str, int]:
    """Per folder that was listed, a number that changes with any of its files."""
    files: dict[str, list[ArrivedFile]] = {}
    for asset, listing in listings.items():
        for file in () if listing is None else listing.files:
            files.setdefault(f"{asset} {os.path.dirname(file.path)}", []).append(file)
    return {folder: hash(frozenset(found)) for folder, found in files.items()}


def _listing(spec: MonitorSpec, asset: str, seen: "SeenFolders") -> "Listing | None":
    from monitoring_assets.ingestion.day_folders import list_files

    source = _source(spec, asset)
    return list_files(spec, source, seen, datetime.now(UTC)) if source is not None and source.is_watched else None


def _source(spec: MonitorSpec, asset: str) -> Source | None:
    return spec.log if asset == "inference_log" else spec.labels


def _inspected(turn: Turn, spec: MonitorSpec, asset: str, listing: "Listing | None") -> "tuple[list[InspectedFile], int]":
    """The days of new files of a glob, which are opened while nobody waits for the warehouse, and how many are left."""
    from monitoring_assets.ingestion.arrivals import files_to_inspect, inspect

    source = _source(spec, asset)
    if source is None or listing is None or source.is_per_day:
        return [], 0
    with turn.home.connect(turn.spec) as connection:
        is_ready = _has_baseline(connection, spec)
        new = files_to_inspect(connection, spec, asset, source, listing.files, datetime.now(UTC)) if is_ready else []
    found = inspect(spec, source, new) if new else []
    return found, len(new) - len(found)


def _news(
    connection: "duckdb.DuckDBPyConnection",
    spec: MonitorSpec,
    asset: str,
    seen: "Mapping[str, SeenFolders]",
    listings: "Mapping[str, Listing | None]",
    inspected: "Mapping[str, tuple[list[InspectedFile], int]]",
) -> "News":
    """What is new of a source; which folders hold nothing new is kept for the next tick."""
    from monitoring_assets.ingestion.arrivals import News, days_read, news_of, note_inspected
    from monitoring_assets.ingestion.day_folders import note_seen

    source, listing, now = _source(spec, asset), listings[asset], datetime.now(UTC)
    if source is None or listing is None:
        return News({}, [])
    found, left = inspected[asset]
    if found:
        note_inspected(connection, spec, asset, found)
    news = news_of(connection, spec, asset, source, listing.files, now, listing.skipped, left)
    note_seen(seen[asset], source, listing, news, days_read(connection, spec, asset), now)
    return news


def _due(
    connection: "duckdb.DuckDBPyConnection", instance: dg.DagsterInstance, spec: MonitorSpec, log: "News", labels: "News"
) -> list[Due]:
    """All that is due, in the order in which it must happen; of a day only the first is asked for at a time."""
    from monitoring_assets.ingestion.arrivals import digests_of

    seen = {name: _newest_events(instance, spec, name) for name in ("inference_log", "daily_profile", "drift_scores")}
    logged, profiled, scored = seen.values()
    read = f"(FROM {table(spec, 'arrivals')} WHERE asset = 'inference_log')"
    behind = [day for day, event in logged.items() if event > profiled.get(day, 0) and day not in log.changed]
    due = [
        Due(DAILY_ASSETS, log.changed, "new or changed files"),
        Due(DAILY_ASSETS, digests_of(connection, behind, read), "rows that were never profiled"),
        Due(RESCORED, stale_scores(profiled, scored, spec.drift.days_back), "a day of the window changed"),
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
        Due(LABEL_ASSETS, known, "new or changed labels", is_history=False),
        Due(LABEL_ASSETS, reopened, "the day's predictions changed, or were not measured"),
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
    from monitoring_assets.ingestion.quarantine import ranges

    newest = max(_newest_events(instance, spec, "drift_scores"), default=None)
    requests: list[dg.RunRequest] = []
    waiting: set[date] = set()
    for part in due:
        # A window is scored when all its days are in.
        reach = spec.drift.days_back + 1 if part.assets == RESCORED else 1
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
    """The run for a range of days, or why there is none. Its key says what it is due for, and the attempt: Dagster never repeats
    one, even of a run that failed (github.com/dagster-io/dagster/issues/15982)."""
    first, last = days[0], days[-1]
    evidence = [part.days[day] for day in days]
    due_for = sha256(repr((spec.name, part.assets, str(first), str(last), evidence)).encode()).hexdigest()[:16]
    keys = [f"{due_for}-{attempt}" for attempt in range(ATTEMPTS)]
    attempt, last_run = 0, earlier_run(instance, spec.name, keys[0])
    while last_run is not None:
        attempt += 1
        if attempt == ATTEMPTS:
            given_up = f"{first} to {last}: given up after {ATTEMPTS} runs, the last is {last_run.run_id}"
            return f"{given_up}; correct what failed, then materialise {', '.join(part.assets)} of these days"
        last_run = earlier_run(instance, spec.name, keys[attempt])
    tags = {BECAUSE_TAG: part.because, RANGE_START: str(first), RANGE_END: str(last)}
    if attempt:
        tags[ALONE_TAG] = "it was asked for before"
    if part.is_history and newest is not None and (last < newest or (part.assets == RESCORED and last == newest)):
        tags[REOPENED_TAG] = "true"
    selection = [dg.AssetKey([spec.name, asset]) for asset in part.assets]
    return dg.RunRequest(run_key=keys[attempt], tags=tags, asset_selection=selection)


def _busy_days(turn: Turn) -> set[date]:
    """Days that some run under way is about, whoever asked for it."""
    busy: set[date] = set()
    for found in turn.in_flight:
        first = found.run.tags.get(RANGE_START) or found.run.tags.get("dagster/partition")
        last = found.run.tags.get(RANGE_END) or first
        if first and last:
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


def _waiting_folders(listings: "Mapping[str, Listing | None]") -> list[str]:
    waiting = sum(listing.waiting_folders for listing in listings.values() if listing is not None)
    return [f"{waiting} folder(s) of days have not been listed yet, the newest came first"] if waiting else []


def _first_days(days: Collection[date]) -> str:
    """The first days, and how many more."""
    return listed([str(day) for day in sorted(days)], 3)
