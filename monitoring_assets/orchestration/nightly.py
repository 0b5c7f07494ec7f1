"""`nightly_days`: the sensor that asks, once a night, for what no file announces: yesterday's data, and the labels that came due.

A night begins at `LOG_AT` for the log and at `LABELS_AT` for the labels, in the monitor's time zone. Each monitor's cursor says
which nights have been asked for; Dagster starts the same key once, so a lost cursor asks for nothing twice.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from monitoring_assets.monitor_spec import Label, MonitorSpec, Source
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.every_monitor import Turn, sensor_of_every_monitor
from monitoring_assets.orchestration.partitions import daily_partitions, days_of
from monitoring_assets.orchestration.shared_runs import RANGE_END, RANGE_START

LOG_AT, LABELS_AT = time(1, 30), time(2, 30)
NIGHTS_MADE_UP_FOR = 7


def build_nightly_sensor() -> dg.SensorDefinition:
    """The sensor of a code location. A monitor whose days have ended needs no nights."""
    return sensor_of_every_monitor(
        "nightly_days",
        "Yesterday's data where no file brought it, and the labels that came due.",
        lambda spec: spec.end_day is None,
        lambda turn: runs_of_the_night(turn, datetime.now(UTC)),
        lambda turn: nights_due(turn.spec, turn.cursor, datetime.now(UTC)) != [],
    )


def nights_due(spec: MonitorSpec, cursor: str | None, now: datetime) -> list[str]:
    """Which of `log` and `labels` have not been asked for in this night.

    Examples
    --------
    >>> spec = MonitorSpec.model_validate({
    ...     "name": "fraud", "id": "id", "event_time": "at", "start_day": "2026-01-01", "time_zone": "America/New_York",
    ...     "features": {"amount": {"kind": "numeric"}}, "prediction": {"score": "score"},
    ...     "log": {"path": "log/{day}.parquet"}, "reference": {"path": "reference.parquet"},
    ... })
    >>> nights_due(spec, None, datetime(2026, 3, 10, 6, 45, tzinfo=UTC))  # 02:45 in New York
    ['log']
    >>> nights_due(spec, '{"log": "2026-03-10"}', datetime(2026, 3, 10, 6, 45, tzinfo=UTC))
    []
    """
    local, asked = now.astimezone(ZoneInfo(spec.time_zone)), json.loads(cursor or "{}")
    begins = {"log": LOG_AT} if spec.labels is None else {"log": LOG_AT, "labels": LABELS_AT}
    return [part for part, at in begins.items() if local.time() >= at and asked.get(part) != str(local.date())]


def runs_of_the_night(turn: Turn, now: datetime) -> dg.SensorResult:
    """One monitor's turn: the runs of this night that have not been asked for."""
    spec, night = turn.spec, now.astimezone(ZoneInfo(turn.spec.time_zone)).date()
    due = nights_due(spec, turn.cursor, now)
    requests: list[dg.RunRequest] = []
    notes: list[str] = []
    if "log" in due:
        asked = _yesterday(turn, night, now)
        if isinstance(asked, str):
            notes.append(asked)
        else:
            requests.append(asked)
    if "labels" in due and spec.label is not None and spec.labels is not None:
        requests += _labels_due(turn, spec.label, spec.labels, night, now)
    cursor = json.loads(turn.cursor or "{}") | dict.fromkeys(due, str(night))
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else "; ".join(notes) or "nothing is due tonight",
        cursor=json.dumps(cursor),
    )


def _yesterday(turn: Turn, night: date, now: datetime) -> dg.RunRequest | str:
    """The run of the newest complete day. Where files are watched it mostly came before, and is left alone."""
    spec = turn.spec
    keys = daily_partitions(spec).get_partition_keys(current_time=now)
    if not keys:
        return f"{spec.name} starts on {spec.start_day}; the first partition is due the night after"
    done = dg.AssetRecordsFilter(dg.AssetKey([spec.name, "drift_scores"]), asset_partitions=keys[-1:])
    if spec.log.is_watched and turn.instance.fetch_materializations(done, limit=1).records:
        return f"{keys[-1]} is in already; new_log_data asks for it again if its files change"
    return _run(spec, DAILY_ASSETS, night, *days_of([keys[-1], keys[-1]]))


def _labels_due(turn: Turn, label: Label, source: Source, night: date, now: datetime) -> list[dg.RunRequest]:
    """Labels that are not complete yet, and the days whose labels count from now on."""
    from monitoring_assets.ingestion.quarantine import ranges

    spec = turn.spec
    keys = daily_partitions(spec).get_partition_keys(current_time=now)
    logged = turn.instance.get_materialized_partitions(dg.AssetKey([spec.name, "inference_log"]))
    days = [day for day in days_of(keys) if str(day) in logged]

    def is_measured_since(day: date, moment: datetime) -> bool:
        asked = dg.AssetRecordsFilter(
            dg.AssetKey([spec.name, "performance"]), asset_partitions=[str(day)], after_timestamp=moment.timestamp()
        )
        return bool(turn.instance.fetch_materializations(asked, limit=1).records)

    # What is watched is read when it comes, however late. What does not count yet is measured only where it may count early.
    read = label.model_copy(update={"lateness_days": 0}) if source.is_watched else label
    young, complete = label_days_due(read, days, days_of(keys[-1:]), ZoneInfo(spec.time_zone), is_measured_since)
    early = [] if source.is_watched else young
    assets = LABEL_ASSETS if label.mature_coverage is not None else LABEL_ASSETS[:1]
    requests = [_run(spec, LABEL_ASSETS, night, first, last) for first, last in ranges(complete)]
    return requests + [_run(spec, assets, night, first, last) for first, last in ranges(early)]


def _run(spec: MonitorSpec, assets: Sequence[str], night: date, first: date, last: date) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{spec.name}:{night}:{','.join(assets)}:{first}:{last}",
        tags={RANGE_START: str(first), RANGE_END: str(last)},
        asset_selection=[dg.AssetKey([spec.name, asset]) for asset in assets],
    )


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
