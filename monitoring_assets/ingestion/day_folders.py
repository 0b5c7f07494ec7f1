"""Listing a log that has a folder per day without listing all of its history every time.

Which files are new is decided in `arrivals.py`.
"""

import fnmatch
import glob
import os
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from monitoring_assets.ingestion.arrivals import News, last_day_over
from monitoring_assets.ingestion.present_files import DAY_DIGITS, ArrivedFile, find_files
from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.object_storage import is_object

# How long it may spend on new and changed folders, the newest days first; the rest waits for the next. The first listing of a
# process is of all its folders, and Dagster ends a tick after 60 s: what was listed so far would be lost.
LISTING_SECONDS = 15.0
# How long a listing may spend on folders that have not changed: all of a small log, some days of a large one.
RELISTING_SECONDS = 0.05
# A folder that changed this shortly before it was listed may change again within one tick of the disk's clock.
CLOCK_TICK_NS = 2_000_000_000


@dataclass
class SeenFolders:
    """Folders whose files are all read and unchanged, with the time of each folder's last change; the one listed longest ago
    comes first. A restart loses this and costs one listing of everything."""

    modified_ns: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """Files that were listed, the days whose folders were not, and the folders listed with their day and time of change.
    `waiting_folders` of those not listed have never been, or have changed since."""

    files: list[ArrivedFile]
    skipped: dict[date, str] = field(default_factory=dict)
    folders: Mapping[str, tuple[date, int]] = field(default_factory=dict)
    waiting_folders: int = 0


def list_files(spec: MonitorSpec, source: Source, seen: SeenFolders, now: datetime) -> Listing:
    """The files of a source's finished days, except in folders that gained and lost nothing since they were last listed. A file
    rewritten in place does not change its folder, so a few of those folders are listed again every time, in turn. A source
    without a folder per day, or in an object store, is listed whole."""
    written = str(source.path)
    pattern, name = os.path.split(written)
    if is_object(written) or "{day}" not in pattern or "{day}" in name or glob.has_magic(pattern.replace("{day}", "")):
        return Listing(find_files(spec, source))
    begun_ns, begun = time.time_ns(), time.monotonic()
    present = _day_folders(spec, pattern, now)
    unchanged = {path for path, (_, modified) in present.items() if seen.modified_ns.get(path) == modified}
    changed, files = sorted(present.keys() - unchanged, key=lambda path: present[path][0], reverse=True), list[ArrivedFile]()
    waiting = []
    for place, path in enumerate(changed):
        if place and time.monotonic() > begun + LISTING_SECONDS:  # at least one, or there would be no end
            waiting = changed[place:]
            break
        files += _files_in(path, present[path][0], name)
    until = (time.monotonic() if changed else begun) + RELISTING_SECONDS
    for path in [path for path in seen.modified_ns if path in unchanged]:
        if time.monotonic() > until:
            break
        files += _files_in(path, present[path][0], name)
        unchanged.discard(path)
    unchanged.update(waiting)
    listed = {path: of for path, of in present.items() if path not in unchanged}
    settled = {path: (day, modified if modified < begun_ns - CLOCK_TICK_NS else -1) for path, (day, modified) in listed.items()}
    return Listing(files, {present[path][0]: path for path in unchanged}, settled, len(waiting))


def note_seen(seen: SeenFolders, source: Source, listing: Listing, news: News, read: Collection[date], now: datetime) -> None:
    """Remember which of the listed folders hold nothing new; forget those from which the warehouse has read nothing."""
    resting_ns = (now.timestamp() - source.settle_seconds) * 1e9
    moving = {file.day for file in listing.files if file.modified_ns > resting_ns}
    for path, (day, modified) in listing.folders.items():
        seen.modified_ns.pop(path, None)
        if day in read and day not in moving and day not in news.changed and day not in news.vanished:
            seen.modified_ns[path] = modified
    for day, path in listing.skipped.items():
        if day not in read:
            seen.modified_ns.pop(path, None)


def _day_folders(spec: MonitorSpec, pattern: str, now: datetime) -> dict[str, tuple[date, int]]:
    """The folders of days that are over, each with its day and when it changed last."""
    first, last = spec.start_day, last_day_over(spec, now)
    resolved = spec.resolve(pattern)
    named = re.compile(
        re.escape(resolved).replace(re.escape("{day}"), "(?P<day>.{10})", 1).replace(re.escape("{day}"), "(?P=day)")
    )
    found = {}
    for path in glob.iglob(glob.escape(resolved.replace("{day}", "\0")).replace("\0", DAY_DIGITS)):
        match = named.fullmatch(path)
        try:
            day = date.fromisoformat(match["day"]) if match else None
            if day and first <= day <= last:
                found[path] = (day, os.stat(path).st_mtime_ns)
        except (ValueError, OSError):
            continue
    return found


def _files_in(folder: str, day: date, name: str) -> list[ArrivedFile]:
    """The files of a folder that match a pattern, as `glob` would find them. One that is removed meanwhile is left out."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if fnmatch.fnmatchcase(entry.name, name) and not entry.name.startswith("."):
                    status = entry.stat()
                    found.append(ArrivedFile(entry.path, day, status.st_size, status.st_mtime_ns))
    except OSError:
        return found
    return found
