"""Which days of a file source have new, changed or vanished files, compared with what the warehouse has read of them.

`note_read` writes the table `arrivals` in the transaction that stores the rows, so a file whose reading was killed or failed is
still new. Nothing is requested and no row is stored here.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import duckdb

from monitoring_assets.ingestion.contract import Bounds, create_judged
from monitoring_assets.ingestion.present_files import ArrivedFile
from monitoring_assets.ingestion.sources import find_readings, prepare, without_damaged
from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.sql_text import on_days
from monitoring_assets.warehouse import table, transaction

# Seconds a tick may spend on finding the days of a glob's files; the rest waits for the next tick. A Parquet file takes about 5
# ms.
INSPECTION_SECONDS = 15.0


@dataclass(frozen=True)
class InspectedFile:
    """A file of a glob, with the days that it holds rows of."""

    file: ArrivedFile
    days: frozenset[date]


@dataclass(frozen=True)
class News:
    """What is new of a source.

    `changed` maps the days that are over, and have a file that was not read as it is now, to a digest of their files.
    `vanished` days lack a file they were read from. `unsettled_files` are perhaps still being written, and their days wait;
    `uninspected_files` are those of a glob whose days are not known yet.
    """

    changed: dict[date, str]
    vanished: list[date]
    unsettled_files: int = 0
    uninspected_files: int = 0


def news_of(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    asset: str,
    source: Source,
    files: Sequence[ArrivedFile],
    now: datetime,
    skipped: Collection[date] = (),
    uninspected_files: int = 0,
) -> News:
    """Compare the files that are there with what was read.

    A day counts when it is over in the monitor's time zone, and all its files have been left alone for `settle_seconds`.
    `skipped` days, whose files were not listed, are left out. Of a glob only inspected files are known (`note_inspected`).
    """
    last = last_day_over(spec, now)
    _register(connection, "present", files)
    resting = _is_resting(source, now)
    known = f"(FROM {table(spec, 'arrivals')} WHERE asset = '{asset}')"
    if skipped:  # a year of small files is some million rows, of which only those of the other days are read
        others = ({file.day for file in files} | days_read(connection, spec, asset)) - set(skipped)
        concerned = on_days(day for day in others if day)
        known = f"(FROM {table(spec, 'arrivals')} WHERE asset = '{asset}' AND {concerned})"
    fresh = (
        f"SELECT day FROM present ANTI JOIN {known} USING (path, day, size_bytes, modified_ns)"
        if source.is_per_day
        else f"SELECT day FROM {known} SEMI JOIN present USING (path) WHERE NOT is_read"
    )
    days_of = "SELECT day, path FROM present" if source.is_per_day else f"SELECT day, path FROM {known}"
    within = f"day BETWEEN DATE '{spec.start_day}' AND DATE '{last}'"
    moving = f"SELECT DISTINCT day FROM ({days_of}) SEMI JOIN (FROM present WHERE NOT {resting}) USING (path) WHERE {within}"
    unsettled = set(_days(connection, moving))
    ((unsettled_files,),) = connection.execute(f"SELECT count(*) FROM present WHERE NOT {resting}").fetchall()
    changed = [day for day in _days(connection, f"SELECT DISTINCT day FROM ({fresh}) WHERE {within}") if day not in unsettled]
    held = f"(FROM {table(spec, 'deliveries')} WHERE asset = '{asset}' AND delivered_rows > 0)"
    lost = f"SELECT DISTINCT day FROM {known} ANTI JOIN present USING (path) SEMI JOIN {held} USING (day) WHERE {within}"
    gone = _days(connection, lost)
    digests = digests_of(connection, changed, "present" if source.is_per_day else known)
    connection.unregister("present")
    return News(digests, [day for day in gone if day not in changed], unsettled_files, uninspected_files)


def last_day_over(spec: MonitorSpec, now: datetime) -> date:
    """The last of the monitor's days that has ended in its time zone."""
    yesterday = now.astimezone(ZoneInfo(spec.time_zone)).date() - timedelta(days=1)
    return yesterday if spec.end_day is None else min(yesterday, spec.end_day)


def days_read(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str) -> set[date]:
    """The days whose reading was stored."""
    rows = connection.execute(f"SELECT day FROM {table(spec, 'deliveries')} WHERE asset = ?", [asset]).fetchall()
    return {day for (day,) in rows}


def digests_of(connection: duckdb.DuckDBPyConnection, days: Sequence[date], files: str) -> dict[date, str]:
    """A digest of each day's files in a relation; a day without files has the digest of an empty list."""
    if not days:
        return {}
    rows = connection.execute(
        f"SELECT day, path, size_bytes, modified_ns FROM {files} WHERE day IN (SELECT unnest(?::DATE[])) ORDER BY ALL",
        [list(days)],
    ).fetchall()
    of_day: dict[date, list[object]] = {day: [] for day in days}
    for day, *file in rows:
        of_day[day].append(file)
    return {day: sha256(repr(of_day[day]).encode()).hexdigest() for day in days}


def note_read(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    asset: str,
    days: Sequence[date],
    files: Sequence[ArrivedFile],
    sources: Mapping[date, Collection[str]],
    unreadable: Collection[str],
) -> None:
    """Keep, for days just stored, which files they were read from. `files` is what `files_of_days` found before the reading,
    `sources` the files that hold rows of a day. A file that could not be read counts as read: it will not get better by itself.
    Call it inside the transaction that stores the rows."""
    target = table(spec, "arrivals")
    listed = [list(days)]
    before = connection.execute(
        f"SELECT day, path FROM {target} WHERE asset = '{asset}' AND day IN (SELECT unnest(?::DATE[]))", listed
    ).fetchall()
    connection.execute(f"DELETE FROM {target} WHERE asset = '{asset}' AND day IN (SELECT unnest(?::DATE[]))", listed)
    of_path = {file.path: file for file in files if file.day is None}
    held = {(day, path) for day, paths in sources.items() for path in paths} | {pair for pair in before if pair[1] in unreadable}
    rows = [file for file in files if file.day is not None]
    rows += [ArrivedFile(path, day, of_path[path].size_bytes, of_path[path].modified_ns) for day, path in held if path in of_path]
    _register(connection, "just_read", rows)
    connection.execute(f"INSERT INTO {target} BY NAME SELECT *, '{asset}' AS asset, true AS is_read FROM just_read")
    connection.unregister("just_read")


def bounds_of(spec: MonitorSpec, days: Sequence[date] = ()) -> Bounds:
    """The monitor's first and last day. A live monitor has no last day; tomorrow stands in for it."""
    tomorrow = datetime.now(ZoneInfo(spec.time_zone)).date() + timedelta(days=1)
    return spec.start_day, spec.end_day or max(tomorrow, *days, spec.start_day)


def files_to_inspect(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    asset: str,
    source: Source,
    files: Sequence[ArrivedFile],
    now: datetime,
) -> list[ArrivedFile]:
    """The new and changed files of a glob, whose days are not known before they are opened, the oldest first."""
    if source.is_per_day:
        return []
    _register(connection, "present", files)
    new = connection.execute(
        "SELECT path, day, size_bytes, modified_ns FROM present ANTI JOIN "
        f"(FROM {table(spec, 'arrivals')} WHERE asset = '{asset}') USING (path, size_bytes, modified_ns) "
        f"WHERE {_is_resting(source, now)} ORDER BY modified_ns, path"
    ).fetchall()
    connection.unregister("present")
    return [ArrivedFile(*file) for file in new]


def inspect(spec: MonitorSpec, source: Source, files: Sequence[ArrivedFile]) -> list[InspectedFile]:
    """Open files of a glob to find their days, as many as `INSPECTION_SECONDS` allow. The warehouse is not needed."""
    until, found = time.monotonic() + INSPECTION_SECONDS, list[InspectedFile]()
    with duckdb.connect() as connection:
        prepare(connection, spec)
        for file in files:
            if time.monotonic() > until:
                break
            with TemporaryDirectory(prefix="monitoring-assets-") as folder:
                found.append(InspectedFile(file, frozenset(_days_in(connection, spec, source, file.path, Path(folder)))))
    return found


def note_inspected(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str, inspected: Sequence[InspectedFile]
) -> None:
    """Keep the days of inspected files, as not read; but for files that a run has read as they are in the meantime."""
    target = table(spec, "arrivals")
    with transaction(connection):
        for each in inspected:
            path, size, modified = each.file.path, each.file.size_bytes, each.file.modified_ns
            known = connection.execute(
                f"SELECT day, size_bytes = ? AND modified_ns = ? FROM {target} WHERE asset = ? AND path = ?",
                [size, modified, asset, path],
            ).fetchall()
            if any(is_as_now for _, is_as_now in known):
                continue
            # The days it held before are read again too: it may hold fewer rows of them now, or none.
            days = each.days | {day for day, _ in known if day is not None}
            connection.execute(f"DELETE FROM {target} WHERE asset = ? AND path = ?", [asset, path])
            connection.execute(
                f"INSERT INTO {target} BY NAME SELECT ? AS asset, ? AS path, unnest(?::DATE[]) AS day, ? AS size_bytes, "
                "? AS modified_ns, ? AS is_read",
                [asset, path, sorted(days) or [None], size, modified, not days],
            )


def _is_resting(source: Source, now: datetime) -> str:
    """SQL for: nobody has written to a file for `settle_seconds`. A time far in the future is a wrong clock, not a writer."""
    return f"abs({now.timestamp() * 1e9!r}::DOUBLE - modified_ns) >= {source.settle_seconds * 1e9!r}"


def _days_in(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, source: Source, path: str, folder: Path) -> set[date]:
    """The days for which a file of a glob holds rows, sound or not; none when it cannot be read. Only its time column is
    scanned."""
    event_time = str(source.event_time or spec.event_time)
    types = {spec.id: "VARCHAR", event_time: "TIMESTAMPTZ"}
    readings, _ = find_readings(connection, spec, Source(path=path), [], types, folder)

    def days() -> set[date]:
        create_judged(connection, "inspected", readings, types, spec.id, event_time, None, bounds_of(spec), {})
        return set(_days(connection, "SELECT DISTINCT day FROM inspected WHERE day IS NOT NULL"))

    try:
        return days()
    except duckdb.Error:
        readings, _ = without_damaged(connection, readings)
        return days()


def _days(connection: duckdb.DuckDBPyConnection, sql: str) -> list[date]:
    return sorted(day for (day,) in connection.execute(sql).fetchall())


def _register(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[ArrivedFile]) -> None:
    import pyarrow as pa

    columns = {
        "path": pa.array([file.path for file in files], pa.string()),
        "day": pa.array([file.day for file in files], pa.date32()),
        "size_bytes": pa.array([file.size_bytes for file in files], pa.int64()),
        "modified_ns": pa.array([file.modified_ns for file in files], pa.int64()),
    }
    connection.register(name, pa.table(columns))
