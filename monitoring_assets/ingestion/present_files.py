"""Which files a source has: on this machine, in an object store, or at another address.

What has changed among them is decided in `arrivals.py`; what they hold is read in `files.py`.
"""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache, partial
from pathlib import Path

import duckdb

from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.object_storage import is_object, objects_under

DAY_DIGITS = "-".join("[0-9]" * digits for digits in (4, 2, 2))
# Days whose folders are listed one by one; of more, the folder that holds them all is listed once.
FOLDERS_LISTED = 8


@dataclass(frozen=True)
class ArrivedFile:
    """A file as it lies on the disk or in an object store, with the day its path names (None for a glob)."""

    path: str
    day: date | None
    size_bytes: int
    modified_ns: int


def find_files(spec: MonitorSpec, source: Source) -> list[ArrivedFile]:
    """All files of a source on this machine or in an object store. One that is removed meanwhile is left out."""
    if is_object(str(source.path)):
        return list(_objects_of(str(source.path), None))
    written, resolved = str(source.path), spec.resolve(str(source.path))
    home = "" if resolved == written else spec.resolve("")
    tail = resolved[len(home) :]
    named = _days_in(home, tail) if source.is_per_day else None
    found = []
    for path in glob.iglob(glob.escape(home) + tail.replace("{day}", DAY_DIGITS), recursive=True):
        match = named.fullmatch(path) if named else None
        if named is None or match:
            found.append((path, match["day"] if match else None))
    days = {text: _day_or_none(text) for text in {text for _, text in found if text}}
    return _stat((path, days[text] if text else None) for path, text in found if not text or days[text])


def files_of_days(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, source: Source, days: Sequence[date]
) -> list[ArrivedFile]:
    """The files that hold these days, as they are before a reading. None for a source that is not watched."""
    if not source.is_watched:
        return []
    if is_object(str(source.path)):
        return list(_objects_of(str(source.path), days if source.is_per_day else None))
    asked: Sequence[date | None] = days if source.is_per_day else [None]
    return _stat((path, day) for day in asked for path in _paths_of(connection, spec, source, day))


@dataclass(frozen=True)
class ListedPaths:
    """What lists the files of each day, or of the whole source under None; and those of an object store, which are listed."""

    by_day: Mapping[date | None, Callable[[], list[str]]]
    objects: list[str] = field(default_factory=list)


def paths_by_day(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, source: Source, days: Sequence[date]) -> ListedPaths:
    """The files of some days; the pattern itself where no file matches.

    Raises
    ------
    StorageRefused, StorageUnavailable
        Where the source is in an object store that cannot be listed.
    """
    asked: Sequence[date | None] = days if source.is_per_day else [None]
    if not is_object(str(source.path)):
        return ListedPaths({day: partial(_paths_of, connection, spec, source, day) for day in asked})
    found: dict[date | None, list[str]] = {}
    for file in _objects_of(str(source.path), days if source.is_per_day else None):
        found.setdefault(file.day, []).append(file.path)
    patterns = {day: [spec.resolve(str(source.path), day)] for day in asked}
    by_day = {day: partial(sorted, found.get(day, patterns[day])) for day in asked}
    return ListedPaths(by_day, [path for of_day in found.values() for path in of_day])


def _objects_of(path: str, days: Sequence[date] | None) -> Iterator[ArrivedFile]:
    """The objects that a path with patterns names, of some days or of all: a listing of each folder that holds them."""
    wanted = [path] if days is None else [path.replace("{day}", str(day)) for day in days]
    folders = {_folder_of(each) for each in wanted}
    if len(folders) > FOLDERS_LISTED:
        folders = {_folder_of(path)}
    named, wanted_days = re.compile(_pattern_of(path)), set(days or ())
    for folder in sorted(folders):
        below = path if folder == _folder_of(path) else wanted[0]
        for stored in objects_under(folder, recursive="/" in below[len(_folder_of(below)) :]):
            match = named.fullmatch(stored.path)
            if not match or any(part.startswith(".") for part in stored.path[len(folder) :].split("/")):
                continue
            day = _day_or_none(match["day"]) if "{day}" in path else None
            if (day is not None or "{day}" not in path) and (days is None or day in wanted_days):
                yield ArrivedFile(stored.path, day, stored.size_bytes, stored.modified_ns)


def _folder_of(path: str) -> str:
    """The part of a path with patterns that is the same for all that it names, up to its last slash.

    >>> _folder_of("s3://bucket/log/day={day}/*.csv"), _folder_of("s3://bucket/log/2026-03-02.csv")
    ('s3://bucket/log/', 's3://bucket/log/')
    """
    return re.split(r"[*?\[]|\{day\}", path, maxsplit=1)[0].rpartition("/")[0] + "/"


def _paths_of(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, source: Source, day: date | None) -> list[str]:
    written = str(source.path)
    path = spec.resolve(written, day)
    if "://" in path:
        # A path without a pattern too, because a scan reports the file of a row in this form.
        found = connection.execute("SELECT file FROM glob(?) ORDER BY file", [path]).fetchall()
        return [file for (file,) in found] or [path]
    if Path(path).exists() or not glob.has_magic(written):
        return [path]
    # Only what the user wrote is a pattern: a data folder may well be called `prod [eu]`.
    home, is_whole = spec.resolve(""), path == (written if day is None else written.replace("{day}", day.isoformat()))
    pattern = path if is_whole else path.replace(home, glob.escape(home), 1)
    return sorted(glob.glob(pattern, recursive=True)) or [path]


def _stat(named: Iterable[tuple[str, date | None]]) -> list[ArrivedFile]:
    found = []
    for path, day in named:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append(ArrivedFile(path, day, status.st_size, status.st_mtime_ns))
    return found


def _day_or_none(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


@lru_cache(maxsize=10_000)
def _days_in(home: str, tail: str) -> re.Pattern[str]:
    """Finds the day in the path of a file. Kept for thousands of sources, more than `re` keeps."""
    return re.compile(re.escape(home) + _pattern_of(tail))


def _pattern_of(path: str) -> str:
    """A glob with `{day}` as a regular expression that finds the day.

    >>> re.fullmatch(_pattern_of("log/**/day={day}/*-{day}.parquet"), "log/a/day=2026-03-02/x-2026-03-02.parquet")["day"]
    '2026-03-02'
    """
    wildcards = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    parts, has_day = [], False
    for part in re.findall(r"\*\*/|\{day\}|\[[^\]]+\]|.", path, re.DOTALL):
        if part == "{day}":
            parts.append("(?P=day)" if has_day else r"(?P<day>\d{4}-\d\d-\d\d)")
            has_day = True
        elif len(part) > 1 and part[0] == "[":
            parts.append("[^" + part[2:] if part[1] == "!" else part)
        else:
            parts.append(wildcards.get(part, re.escape(part)))
    return "".join(parts)
