"""Laws of listing a log with a folder per day: history is not listed again, and nothing new is missed for long."""

import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from monitoring_assets.ingestion import day_folders
from monitoring_assets.ingestion.arrivals import days_read, news_of
from monitoring_assets.ingestion.day_folders import SeenFolders, list_files, note_seen
from monitoring_assets.ingestion.present_files import find_files
from monitoring_assets_tests.example_monitor import FIRST, SECOND, THIRD, example_rows, example_spec, example_warehouse, write_day
from monitoring_assets_tests.ingested_days import ingest_log

PATH = "log/day={day}/{day}-a.parquet"
LOG = {"path": "log/day={day}/*.parquet"}
DAYS = [FIRST, SECOND, THIRD]


class Watched:
    """A source whose days are read, and looked at as the sensor does."""

    def __init__(self, home: Path) -> None:
        self.home, self.spec, self.seen = home, example_spec(home, log=LOG), SeenFolders()
        for day in DAYS:
            write_day(home, day, path=PATH)
        self.rest()
        self.read()

    def rest(self) -> None:
        """An hour goes by."""
        past = time.time() - 3600
        for path in (self.home / "log").rglob("*"):
            if path.stat().st_mtime > time.time() - 60:
                os.utime(path, (past, past))
        for folder in (self.home / "log").iterdir():
            if folder.stat().st_mtime > time.time() - 60:
                os.utime(folder, (past, past))

    def read(self) -> None:
        with example_warehouse(self.home, self.spec) as connection:
            ingest_log(connection, self.spec, DAYS)

    def look(self) -> tuple[set[date], set[date]]:
        """The days that have news, and those whose folders were not listed."""
        now = datetime.now(UTC)
        listing = list_files(self.spec, self.spec.log, self.seen, now)
        with example_warehouse(self.home, self.spec) as connection:
            news = news_of(connection, self.spec, "inference_log", self.spec.log, listing.files, now, listing.skipped)
            note_seen(self.seen, self.spec.log, listing, news, days_read(connection, self.spec, "inference_log"), now)
        return {*news.changed, *news.vanished}, set(listing.skipped)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(day_folders, "RELISTING_SECONDS", -1.0)  # a history too large to list any of it again
    return Watched(tmp_path)


def test_folders_are_listed_once_and_not_again_while_nothing_is_added(watched: Watched) -> None:
    assert watched.look() == (set(), set())
    assert watched.look() == (set(), set(DAYS))


def test_the_files_listed_first_are_those_of_a_glob(watched: Watched) -> None:
    (watched.home / "log" / f"day={FIRST}" / ".hidden.parquet").touch()
    (watched.home / "log" / "day=2026-13-99").mkdir()
    (watched.home / "log" / f"day={date.today() + timedelta(days=2)}").mkdir()
    listing = list_files(watched.spec, watched.spec.log, SeenFolders(), datetime.now(UTC))
    assert sorted(listing.files, key=str) == sorted(find_files(watched.spec, watched.spec.log), key=str)


def test_a_file_that_is_added_or_removed_is_seen_by_the_next_look(watched: Watched) -> None:
    watched.look()
    write_day(watched.home, SECOND, path="log/day={day}/late.parquet")
    watched.rest()
    assert watched.look() == ({SECOND}, {FIRST, THIRD})
    assert watched.look() == ({SECOND}, {FIRST, THIRD})  # until it is read
    watched.read()
    assert watched.look() == (set(), {FIRST, THIRD})
    assert watched.look() == (set(), set(DAYS))
    (watched.home / "log" / f"day={THIRD}" / f"{THIRD}-a.parquet").unlink()
    watched.rest()
    assert watched.look() == ({THIRD}, {FIRST, SECOND})


def test_a_file_that_is_rewritten_in_place_is_seen_when_its_folders_turn_comes(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.look()
    folder = watched.home / "log" / f"day={SECOND}"
    before = folder.stat().st_mtime_ns
    write_day(watched.home, SECOND, frame=example_rows(SECOND, 7), path=PATH)
    past = time.time() - 600
    os.utime(folder / f"{SECOND}-a.parquet", (past, past))
    os.utime(folder, ns=(before, before))
    assert watched.look() == (set(), set(DAYS))
    turns = iter([0.0, 0.0, 9.0] * 10)  # time for one folder a look
    monkeypatch.setattr(day_folders, "time", SimpleNamespace(time_ns=time.time_ns, monotonic=lambda: next(turns)))
    monkeypatch.setattr(day_folders, "RELISTING_SECONDS", 1.0)
    found = [watched.look()[0] for _ in DAYS]
    assert {SECOND} in found


def test_a_history_too_long_for_one_tick_is_listed_in_parts_the_newest_days_first(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_folders, "LISTING_SECONDS", -1.0)  # time for one folder a tick
    with example_warehouse(watched.home, watched.spec) as connection:
        connection.execute("DELETE FROM example.arrivals")
        connection.execute("DELETE FROM example.deliveries")
    for day in (THIRD, SECOND, FIRST):
        assert watched.look() == ({day}, set(DAYS) - {day})
        with example_warehouse(watched.home, watched.spec) as connection:
            ingest_log(connection, watched.spec, [day])
        assert watched.look()[0] == set()
    assert list_files(watched.spec, watched.spec.log, watched.seen, datetime.now(UTC)).waiting_folders == 0
    assert watched.look() == (set(), set(DAYS))


@pytest.mark.file_only
def test_a_warehouse_that_was_put_in_its_place_reads_everything_again(watched: Watched) -> None:
    watched.look()
    assert watched.look() == (set(), set(DAYS))
    (watched.home / "warehouse.duckdb").unlink()
    watched.look()
    assert watched.look() == (set(DAYS), set())
