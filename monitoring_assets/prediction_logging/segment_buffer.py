"""The buffer between serving and the disk: rows wait in memory, bounded, until a thread has written them as segments.

Safe across threads, forks and the end of the process; a full or absent disk is waited for. What a row means is not known here,
what a segment looks like is in `segments.py`.
"""

import atexit
import logging
import os
import secrets
import sys
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring_assets.prediction_logging.segments import RowConverter

_LOG = logging.getLogger(__name__)

# Rows converted at a stretch, and the pause after it. Conversion holds Python's interpreter lock, for which a serving thread
# would wait; 50 rows of 13 columns take some 60 µs. A pause of 0 does not help, the thread takes the lock again at once.
SLICE_ROWS, PAUSE_SECONDS = 50, 0.0001


@dataclass(frozen=True)
class LoggerStats:
    """Counts of this process's predictions: logged + sampled_out + dropped + waiting = all of them.

    `logged` rows are on disk, `waiting` ones in the buffer. `errors` counts writes that failed, conditions that raised and calls
    that could not be understood; `last_error` tells the newest of them.
    """

    logged: int
    sampled_out: int
    dropped: int
    waiting: int
    errors: int
    last_error: str | None


class SegmentBuffer:
    """Rows on their way to `<root>/day=YYYY-MM-DD/`; the limits are `PredictionLogger`'s. No method raises."""

    def __init__(self, root: Path, converter: "RowConverter", buffer_rows: int, flush_rows: int, flush_seconds: float) -> None:
        self.root, self._converter = root, converter
        self.buffer_rows, self.flush_rows, self.flush_seconds = buffer_rows, flush_rows, flush_seconds
        self._begin()
        _LIVE.add(self)
        atexit.register(self.close)

    def _begin(self) -> None:
        """An empty buffer and nothing counted yet, as in a new process or a forked child."""
        # Reentrant, for a signal handler or a destructor may log while its own thread does.
        self._lock, self._writing = threading.RLock(), threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._buffer: deque[dict[str, Any]] = deque()
        self._unwritten: dict[tuple[date, bool], list[Any]] = {}
        self._dropped_by_day: dict[date, int] = {}
        self._logged = self._sampled_out = self._dropped = self._waiting = self._errors = self._segments = 0
        self._last_error: str | None = None
        self._in_outage = self._closed = False
        self._thread: threading.Thread | None = None
        self._process = f"p{os.getpid()}-{secrets.token_hex(4)}"

    @property
    def stats(self) -> LoggerStats:
        """The account so far."""
        with self._lock:
            return LoggerStats(self._logged, self._sampled_out, self._dropped, self._waiting, self._errors, self._last_error)

    def leave_out(self) -> None:
        """Count a row that was not sampled."""
        with self._lock:
            self._sampled_out += 1

    def append(self, row: dict[str, Any]) -> None:
        """Let a row wait for the disk, or drop it where there is no room."""
        with self._lock:
            if self._closed or self._waiting >= self.buffer_rows:
                why = "the logger is closed" if self._closed else f"{self.buffer_rows} rows wait for the disk already"
                self._drop_counted(why)
                return
            self._buffer.append(row)
            self._waiting += 1
            is_due = len(self._buffer) >= self.flush_rows
            if self._thread is None:
                self._start()
        if is_due and not self._wake.is_set():
            self._wake.set()

    def flush(self) -> bool:
        """Write what waits, now, and say whether all of it is on disk."""
        with self._writing:
            try:
                self._convert()
                self._write()
            except Exception as problem:  # OSError and Arrow's own, whatever the disk is up to; the rows wait
                self.note(problem)
                if not self._in_outage:
                    _LOG.warning("predictions cannot be written to %s, serving goes on: %s", self.root, error_text(problem))
                self._in_outage = True
                return False
            self._in_outage = False
            return True

    def close(self) -> None:
        """Write what waits and stop. Later predictions are dropped, and so is what the disk does not take now."""
        with self._lock:
            thread, self._thread, self._closed = self._thread, None, True
        self._closing.set()
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if not self.flush():
            self._give_up()
        _LIVE.discard(self)
        atexit.unregister(self.close)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="prediction-logger", daemon=True)
        try:
            thread.start()
        except (
            RuntimeError
        ) as problem:  # no more threads, or the interpreter ends; the row waits for the next try, or for `close`
            self.note(problem)
            return
        self._thread = thread
        if "multiprocessing.util" in sys.modules:
            # A process that multiprocessing has forked ends without running what atexit knows, before Python 3.13 at least.
            sys.modules["multiprocessing.util"].Finalize(None, self.close, exitpriority=0)

    def _run(self) -> None:
        while not self._closing.is_set():
            # After a failure the fullness of the buffer is no reason to try again at once.
            (self._closing if self._in_outage else self._wake).wait(self.flush_seconds)
            self._wake.clear()
            self.flush()

    def _convert(self) -> None:
        """Turn the rows that wait by now into Arrow, a few at a time."""
        due = len(self._buffer)
        while due > 0:
            rows = [self._buffer.popleft() for _ in range(min(SLICE_ROWS, due))]
            due -= len(rows)
            try:
                for day, is_text, batch in self._converter.convert(rows):
                    self._unwritten.setdefault((day, is_text), []).append(batch)
            except Exception as problem:  # out of memory, for one
                with self._lock:
                    self._waiting -= len(rows)
                self.drop(problem, len(rows))
            del rows
            time.sleep(PAUSE_SECONDS)

    def _write(self) -> None:
        from monitoring_assets.prediction_logging.segments import write_dropped, write_segment

        for (day, is_text), batches in list(self._unwritten.items()):
            name = self._name(day) + ("-text" if is_text else "")
            write_segment(self.root / f"day={day}", name, batches)
            del self._unwritten[day, is_text]
            rows = sum(len(batch) for batch in batches)
            with self._lock:
                self._logged += rows
                self._waiting -= rows
        with self._lock:
            dropped = dict(self._dropped_by_day)
        for day, rows in dropped.items():
            write_dropped(self.root / f"day={day}", self._name(day), day, rows, self._last_error or "")
            with self._lock:
                self._dropped_by_day[day] -= rows
                if not self._dropped_by_day[day]:
                    del self._dropped_by_day[day]

    def _name(self, day: date) -> str:
        """A name no other segment has: the process's part is drawn anew in every process."""
        self._segments += 1
        return f"{day}-{self._process}-{self._segments:06d}"

    def _give_up(self) -> None:
        """At the end, count what the disk does not take as dropped."""
        with self._lock:
            lost = self._waiting
            self._unwritten.clear()
            self._buffer.clear()
            self._dropped += lost
            self._waiting = 0
        if lost:
            _LOG.warning("%d predictions could not be written to %s and are lost: %s", lost, self.root, self._last_error)

    def drop(self, problem: BaseException, rows: int = 1) -> None:
        """Count rows that an error keeps from being logged."""
        self.note(problem)
        self._drop_counted("", rows)

    def _drop_counted(self, reason: str, rows: int = 1) -> None:
        with self._lock:
            today = self._converter.today()
            self._dropped += rows
            self._dropped_by_day[today] = self._dropped_by_day.get(today, 0) + rows
            # Why the disk took nothing says more than that the buffer is full.
            self._last_error = self._last_error or reason

    def note(self, problem: BaseException) -> None:
        """Count an error and remember it as the newest."""
        with self._lock:
            self._errors += 1
            self._last_error = error_text(problem)


def error_text(problem: BaseException) -> str:
    """An error as one short text, even one whose own text cannot be had."""
    try:
        return f"{type(problem).__name__}: {problem}"[:500]
    except Exception:
        return type(problem).__name__


# Every buffer of this process that is not closed, so that a fork finds none of them in the middle of something.
_LIVE: "weakref.WeakSet[SegmentBuffer]" = weakref.WeakSet()
_HELD = threading.local()


def _before_fork() -> None:
    _HELD.locks = []
    for buffer in sorted(_LIVE, key=lambda buffer: buffer._process):
        # A disk that hangs must not hold up the fork; the child writes nothing of what the parent was writing anyway.
        for lock in (buffer._writing, buffer._lock):
            if lock.acquire(timeout=1):
                _HELD.locks.append(lock)


def _after_fork_in_parent() -> None:
    while _HELD.locks:
        _HELD.locks.pop().release()


def _after_fork_in_child() -> None:
    for buffer in list(_LIVE):
        buffer._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
