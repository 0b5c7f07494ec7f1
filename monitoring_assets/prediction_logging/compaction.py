"""Many small segments of a day that is over become one file, with the same rows: 8,640 a day where a logger writes every 10 s.

The journal `_compacting.json` makes it safe to be killed anywhere: it names the new files and those they replace, is there before
the first new one and gone after the last old one. When a day is over is decided by the caller.
"""

import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from monitoring_assets.prediction_logging.segments import appear, sync

# Fewer files than this are left as they are.
FEWEST_SEGMENTS = 16
# Rows that are gathered before they are written: as many as a full buffer of the logger.
GATHERED_ROWS = 50_000
JOURNAL = "_compacting.json"
# A segment as a logger names it: day, process, number.
_SEGMENT = re.compile(r"\d{4}-\d\d-\d\d-p\d+-[0-9a-f]{8}-\d{6}(-text)?\.parquet")


def compact_segments(folder: Path) -> int:
    """Put one file per layout in the place of a folder's segments, and say how many segments were replaced.

    Rows keep the order of the segments' names. A segment that cannot be read stays; so does every other file. Several processes
    may ask for it at once. Until the replaced segments are deleted, a reader other than a monitor's run sees their rows twice.

    Raises
    ------
    OSError
        When the folder cannot be written to; the segments are then as they were.
    """
    with _alone_in(folder):
        _finish(folder)
        segments = sorted(name for name in os.listdir(folder) if _SEGMENT.fullmatch(name))
        if len(segments) < FEWEST_SEGMENTS:
            return 0
        gathering = _Gathering(folder, segments[0][:10])
        try:
            replaced = [name for name in segments if gathering.add(folder / name)]
            gathering.close()
            compacted = list(gathering.unfinished)
            _write_journal(folder, compacted, replaced)
            newest = max((folder / name).stat().st_mtime_ns for name in replaced) if replaced else 0
            for name, unfinished in gathering.unfinished.items():
                os.utime(unfinished, ns=(newest, newest))
                os.rename(unfinished, folder / name)
            sync(folder)
        finally:
            gathering.discard()
            _finish(folder)
        return len(replaced)


def is_interrupted(folder: Path) -> bool:
    """Whether a compaction was killed here, so that rows may stand in two files: `compact_segments` brings it to its end."""
    return (folder / JOURNAL).exists()


class _Gathering:
    """Rows on their way into one unfinished file per layout."""

    def __init__(self, folder: Path, day: str) -> None:
        self.folder, self.day = folder, day
        self.unfinished: dict[str, Path] = {}
        self._tables: dict[str, list[pa.Table]] = {}
        self._writers: dict[str, tuple[pq.ParquetWriter, Path]] = {}

    def add(self, segment: Path) -> bool:
        """Whether the segment could be read."""
        try:
            table = pq.ParquetFile(segment).read()
        except (pa.ArrowInvalid, FileNotFoundError):
            return False
        layout = str(table.schema.remove_metadata())
        if layout not in self._writers:
            name = f"{self.day}-compacted-{secrets.token_hex(6)}.parquet"
            self.unfinished[name] = self.folder / f".{name}.unfinished"
            writer = pq.ParquetWriter(self.unfinished[name], table.schema, compression="zstd")
            self._writers[layout] = (writer, self.unfinished[name])
        tables = self._tables.setdefault(layout, [])
        tables.append(table)
        if sum(map(len, tables)) >= GATHERED_ROWS:
            self._write(layout)
        return True

    def _write(self, layout: str) -> None:
        self._writers[layout][0].write_table(pa.concat_tables(self._tables.pop(layout)))

    def close(self) -> None:
        """Write what is left, and make the files durable."""
        for layout in list(self._tables):
            self._write(layout)
        for writer, path in self._writers.values():
            writer.close()
            sync(path)

    def discard(self) -> None:
        """Remove what has not got its name, after a failure."""
        for path in self.unfinished.values():
            path.unlink(missing_ok=True)


def _write_journal(folder: Path, compacted: Sequence[str], replaced: Sequence[str]) -> None:
    text = json.dumps({"compacted": compacted, "replaced": replaced})

    def fill(path: str) -> None:
        Path(path).write_text(text, encoding="utf-8")

    appear(folder, JOURNAL, fill)


def _finish(folder: Path) -> None:
    """Bring what a journal describes to its end: forward where all new files are there, else back."""
    journal = folder / JOURNAL
    for left in folder.glob(".*-compacted-*.unfinished"):
        left.unlink()
    if not journal.exists():
        return
    noted = json.loads(journal.read_text(encoding="utf-8"))
    is_complete = all((folder / name).exists() for name in noted["compacted"])
    for name in noted["replaced"] if is_complete else noted["compacted"]:
        (folder / name).unlink(missing_ok=True)
    sync(folder)
    journal.unlink()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process compacts the folder. Without POSIX locks nobody is waited for."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(ImportError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
