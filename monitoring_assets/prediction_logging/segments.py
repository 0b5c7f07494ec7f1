"""Segments: the Parquet files a prediction logger leaves in `<root>/day=YYYY-MM-DD/`, and the notes of rows it had to drop.

Rows are turned into Arrow and files written here, each complete or absent. When and in which thread is `prediction_logger.py`'s.
"""

import contextlib
import glob
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from monitoring_assets.errors import SourceUnreadable

Kind = Literal["numeric", "categorical", "time"]

# How the name of a note of dropped rows starts. Readers of whole folders (Arrow, Spark) pass over files that start with `_`.
DROPPED = "_dropped-"

_TYPES = {"numeric": pa.float64(), "categorical": pa.string(), "time": pa.timestamp("us", tz="UTC")}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# pandas' missing values, recognised by name: a serving process need not have pandas.
_MISSING = frozenset({"NAType", "NaTType"})


class RowConverter:
    """Rows, as mappings, into Arrow batches of one layout, by the day of their event time in a zone.

    A row of which a value does not fit (text in a numeric column, a time that is none) goes whole into a batch of the second
    layout, in which every column is text. The monitor reads both, and quarantines what is not a number with its reason.
    """

    def __init__(self, kinds: Mapping[str, Kind], event_time: str, zone: ZoneInfo) -> None:
        self.event_time, self.zone = event_time, zone
        self._struct = pa.struct([(name, _TYPES[kind]) for name, kind in kinds.items()])
        self._text = pa.struct([(name, pa.string()) for name in kinds])
        self._casts: dict[str, Callable[[Any], Any]] = {name: _CASTS[kind] for name, kind in kinds.items()}
        self._day, self._day_starts, self._day_ends = date.min, 0, 0
        # The first conversion makes Arrow import pandas. Done later, that would keep serving threads waiting, fail while the
        # interpreter ends, and leave a child that is forked meanwhile with a lock nobody opens.
        self.convert([{event_time: 0}])

    def convert(self, rows: Sequence[dict[str, Any]]) -> list[tuple[date, bool, pa.RecordBatch]]:
        """Day, whether it is of the text layout, and the rows. The event times of the mappings are changed in place."""
        sound: dict[date, list[dict[str, Any]]] = {}
        odd: dict[date, list[dict[str, Any]]] = {}
        for row in rows:
            try:
                row[self.event_time] = moment = microseconds(row[self.event_time], self.zone)
                sound.setdefault(self.day_of(moment), []).append(row)
            except (TypeError, ValueError, OverflowError):
                odd.setdefault(self.today(), []).append(row)
        batches = []
        for day, of_day in sound.items():
            try:
                array = pa.array(of_day, self._struct)
            except (pa.ArrowException, UnicodeError, TypeError, ValueError, OverflowError):
                array = pa.array(self._cast(of_day, odd.setdefault(day, [])), self._struct)
            batches.append((day, False, array))
        for day, of_day in odd.items():
            texts = [{name: self._as_text(name, row.get(name)) for name in self._casts} for row in of_day]
            batches.append((day, True, pa.array(texts, self._text)))
        return [(day, is_text, pa.RecordBatch.from_struct_array(array)) for day, is_text, array in batches if len(array)]

    def _cast(self, rows: Sequence[dict[str, Any]], odd: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each row cast value by value; rows that cannot be are added to `odd`."""
        kept = []
        for row in rows:
            try:
                kept.append({name: cast(row.get(name)) for name, cast in self._casts.items()})
            except (TypeError, ValueError, OverflowError):
                odd.append(row)
        return kept

    def _as_text(self, name: str, value: Any) -> str | None:
        if name == self.event_time and isinstance(value, int):
            with contextlib.suppress(OverflowError):
                return (_EPOCH + timedelta(microseconds=value)).isoformat()
        return as_category(value)

    def day_of(self, moment: int) -> date:
        """The day, in the zone, of a time in microseconds since 1970."""
        if not self._day_starts <= moment < self._day_ends:
            self._day = (_EPOCH + timedelta(microseconds=moment)).astimezone(self.zone).date()
            start, end = (
                datetime(day.year, day.month, day.day, tzinfo=self.zone) for day in (self._day, self._day + timedelta(days=1))
            )
            self._day_starts, self._day_ends = microseconds(start, self.zone), microseconds(end, self.zone)
        return self._day

    def today(self) -> date:
        return datetime.now(self.zone).date()


def microseconds(value: Any, zone: ZoneInfo) -> int:
    """A time as microseconds since 1970, UTC: from seconds since 1970, a datetime, or ISO text. Without a zone it is local.

    >>> microseconds(1.5, ZoneInfo("UTC")), microseconds("1970-01-01T01:00", ZoneInfo("Europe/Paris"))
    (1500000, 0)
    """
    if type(value).__name__ == "datetime64":
        value = value.astype("datetime64[us]")
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=zone)
        return (value - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"a time was expected, found {type(value).__name__}")
    return round(value * 1e6)


def as_number(value: Any) -> float | None:
    """Anything that is a number by type: truth values, numpy's scalars, decimals. Text is none, whatever it says.

    >>> from decimal import Decimal
    >>> as_number(True), as_number(Decimal("1.5")), as_number(None)
    (1.0, 1.5, None)
    """
    if value is None or type(value).__name__ in _MISSING:
        return None
    if isinstance(value, (str, bytes)):
        raise TypeError("text is not a number")
    return float(value)


def as_category(value: Any) -> str | None:
    """A value as the text of a category. A whole number has the same text whatever its type; NaN is missing.

    >>> as_category(7.0), as_category(7), as_category(True), as_category(float("nan")), as_category("a")
    ('7', '7', 'true', None, 'a')
    """
    try:
        if hasattr(value, "item"):
            value = value.item()
        if value is None or type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) and value.is_integer() and abs(value) < 9e15:
            return str(int(value))
        text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
        return text.encode("utf-8", "backslashreplace").decode()
    except Exception:  # a class of the user's own, whose text cannot be had
        return f"<{type(value).__name__} without text>"


def _as_moment(value: Any) -> int | None:
    return None if value is None else int(value)


_CASTS: dict[Kind, Callable[[Any], Any]] = {"numeric": as_number, "categorical": as_category, "time": _as_moment}


def write_segment(folder: Path, name: str, batches: Sequence[pa.RecordBatch]) -> None:
    """Write `name`.parquet. It appears whole and durable, or an OSError is raised and nothing is left behind."""

    def fill(path: str) -> None:
        pq.write_table(pa.Table.from_batches(batches), path, compression="zstd")

    appear(folder, f"{name}.parquet", fill)


def write_dropped(folder: Path, name: str, day: date, rows: int, reason: str) -> None:
    """Leave a note that so many rows of a day were dropped, and why."""
    note = json.dumps({"day": day.isoformat(), "dropped_rows": rows, "reason": reason})

    def fill(path: str) -> None:
        Path(path).write_text(note, encoding="utf-8")

    appear(folder, f"{DROPPED}{name}.json", fill)


def read_dropped(folders: Sequence[str], days: Sequence[date]) -> dict[date, int]:
    """Rows dropped per day, of those days that have any, by the notes in folders, which may be globs.

    Raises
    ------
    SourceUnreadable
        When a note is not one.
    """
    wanted = {day.isoformat(): day for day in days}
    dropped: dict[date, int] = {}
    notes = {path for folder in folders for path in glob.glob(os.path.join(folder, f"{DROPPED}*.json"), recursive=True)}
    for path in sorted(notes):
        try:
            note = json.loads(Path(path).read_text(encoding="utf-8"))
            day, rows = note["day"], int(note["dropped_rows"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise SourceUnreadable(
                f"{path}: a note of dropped rows was expected, {{'day': ..., 'dropped_rows': ...}}, and could not be read "
                f"({type(error).__name__}: {error}). Repair or delete the file."
            ) from None
        if day in wanted:
            dropped[wanted[day]] = dropped.get(wanted[day], 0) + rows
    return dropped


def appear(folder: Path, name: str, fill: Callable[[str], None]) -> None:
    """Fill a file under a name no reader looks for, make it durable, then give it its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{name}.unfinished"
    try:
        fill(str(unfinished))
        sync(unfinished)
        os.rename(unfinished, folder / name)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    with contextlib.suppress(OSError):  # the file is there: an error now must not make anybody write it twice
        sync(folder)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
