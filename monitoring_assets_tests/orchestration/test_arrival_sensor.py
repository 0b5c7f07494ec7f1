"""Laws of `new_log_data`: exactly the days whose files are new or changed, once, and then what depends on them."""

import os
import shutil
import subprocess
import sys
import time
import timeit
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets.ingestion.arrivals import note_read
from monitoring_assets.ingestion.present_files import find_files
from monitoring_assets.monitor_spec import days_between
from monitoring_assets.orchestration import every_monitor
from monitoring_assets.orchestration.arrivals import ATTEMPTS, REOPENED_TAG, RUNS_PER_TICK, is_watched
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.shared_runs import RANGE_END, RANGE_START
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import (
    example_rows,
    example_spec,
    write_day,
    write_file,
    write_labels,
    write_reference,
)

pytestmark = pytest.mark.long

SENSOR = "new_log_data"
DAYS = days_between(date(2026, 3, 10), date(2026, 3, 19))
PER_DAY, GLOB = "log/{day}.parquet", "log/*.parquet"
NOTHING_NEW = "every file is read as it is"
SETTINGS: dict[str, Any] = {
    "reference": {"path": "reference.parquet"},
    "drift": {"windows_days": [1, 3]},
    "retrain": {"drift_window_days": 1, "minimum_training_rows": 20, "minimum_gate_rows": 20},
    "labels": {"path": "labels/{day}.parquet", "settle_seconds": 0},
}


@pytest.fixture(scope="module")
def with_baseline(tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_reference(home, days_between(date(2026, 2, 20), date(2026, 2, 25)), 100)
    with dg.DagsterInstance.ephemeral() as instance:
        succeeded(DagsterMonitor(home, instance, **SETTINGS).materialise("reference_baseline"))
    return home


@pytest.fixture
def monitor(request: pytest.FixtureRequest, with_baseline: Path, tmp_path: Path) -> Iterator[DagsterMonitor]:
    """A monitor with a baseline and no day. Its files need no time to settle, unless the test says so."""
    home = Path(shutil.copytree(with_baseline, tmp_path / "home [eu]"))
    log = {"path": PER_DAY, "settle_seconds": 0} | getattr(request, "param", {})
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterMonitor(home, instance, **(SETTINGS | {"log": log}))


both_layouts = pytest.mark.parametrize("monitor", [{"path": PER_DAY}, {"path": GLOB}], indirect=True, ids=["per day", "glob"])


def asked(requests: list[dg.RunRequest]) -> list[tuple[str, str, str]]:
    """(what, first day, last day) of each run; what is `daily` or `labels` for all assets of the kind, else the assets."""
    known = {DAILY_ASSETS: "daily", LABEL_ASSETS: "labels"}
    found = []
    for request in requests:
        assets = tuple(key.path[-1] for key in request.asset_selection or ())
        found.append((known.get(assets, ", ".join(assets)), request.tags[RANGE_START][5:], request.tags[RANGE_END][5:]))
    return found


def until_quiet(monitor: DagsterMonitor) -> list[tuple[str, str, str]]:
    """Tick and run until nothing is asked for. Returns all that was."""
    done: list[tuple[str, str, str]] = []
    for _ in range(8):
        requests = monitor.tick(SENSOR).run_requests
        if not requests:
            return done
        done += asked(requests)
        for request in requests:
            succeeded(monitor.launch(request))
    raise AssertionError(f"never quiet: {done}")


def with_late_row(day: date, rows: int = 20) -> pd.DataFrame:
    late = example_rows(day, 1).assign(id="late")
    return pd.concat([example_rows(day, rows), late], ignore_index=True)


@both_layouts
def test_a_new_file_asks_for_exactly_its_day_and_then_for_nothing(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[3], 100)
    assert until_quiet(monitor) == [("daily", "03-13", "03-13")]
    assert monitor.tick(SENSOR).skip_message == NOTHING_NEW
    assert monitor.rows("SELECT day, accepted_rows FROM example.deliveries") == [(DAYS[3], 100)]


@both_layouts
def test_adjacent_days_are_one_run_and_a_gap_makes_two(monitor: DagsterMonitor) -> None:
    for day in DAYS:
        write_day(monitor.home, day)
    assert asked(monitor.tick(SENSOR).run_requests) == [("daily", "03-10", "03-19")]
    (monitor.home / f"log/{DAYS[4]}.parquet").unlink()
    requests = monitor.tick(SENSOR).run_requests
    assert asked(requests) == [("daily", "03-15", "03-19"), ("daily", "03-10", "03-13")]


def test_ticks_before_the_run_has_ended_ask_for_no_second_one(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    (request,) = monitor.tick(SENSOR).run_requests
    (again,) = monitor.tick(SENSOR).run_requests  # a crash before the daemon took the first: Dagster starts a key once
    assert again.run_key == request.run_key
    monitor.run_of(DAILY_ASSETS, dict(request.tags), dg.DagsterRunStatus.STARTED)
    tick = monitor.tick(SENSOR)
    assert tick.run_requests == []
    assert "2026-03-10 wait(s) for runs under way" in tick.skip_message


def test_a_run_somebody_else_has_under_way_or_has_made_is_not_repeated(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    write_day(monitor.home, DAYS[1])
    run = monitor.run_of(DAILY_ASSETS, {"dagster/partition": str(DAYS[1])}, dg.DagsterRunStatus.STARTED)
    assert asked(monitor.tick(SENSOR).run_requests) == [("daily", "03-10", "03-10")]
    monitor.instance.report_run_canceled(run)
    succeeded(monitor.run_days("daily", DAYS[0], DAYS[1]))
    assert monitor.tick(SENSOR).skip_message == NOTHING_NEW


@both_layouts
def test_a_late_file_of_an_old_day_reopens_it_and_then_the_days_whose_windows_hold_it(monitor: DagsterMonitor) -> None:
    for day in DAYS[:6]:
        write_day(monitor.home, day)
        write_labels(monitor.home, day)
    assert until_quiet(monitor) == [("daily", "03-10", "03-15"), ("labels", "03-10", "03-15")]
    before = monitor.rows("SELECT * FROM example.drift_scores WHERE day = '2026-03-14' ORDER BY ALL")
    write_day(monitor.home, DAYS[1], frame=with_late_row(DAYS[1]))
    write_labels(monitor.home, DAYS[1], frame=pd.DataFrame({"id": ["late"], "late": [1]}))
    done = until_quiet(monitor)
    assert done[0] == ("daily", "03-11", "03-11")
    assert sorted(done[1:]) == [("drift_scores", "03-12", "03-13"), ("labels", "03-11", "03-11")]
    assert monitor.rows("SELECT current_rows FROM example.drift_scores WHERE day = '2026-03-13' AND window_days = 3 LIMIT 1") == [
        (61,)
    ]
    labelled = "SELECT DISTINCT labelled_rows FROM example.performance WHERE window_days = 1 AND day = '2026-03-11'"
    assert monitor.rows(labelled) == [(1,)]
    assert monitor.rows("SELECT * FROM example.drift_scores WHERE day = '2026-03-14' ORDER BY ALL") == before


def test_what_comes_of_a_late_file_equals_what_would_be_had_it_been_in_time(monitor: DagsterMonitor, tmp_path: Path) -> None:
    in_time = Path(shutil.copytree(monitor.home, tmp_path / "in_time"))
    for day in DAYS[:5]:
        write_day(monitor.home, day)
        write_day(in_time, day, frame=with_late_row(day) if day == DAYS[1] else None)
    until_quiet(monitor)
    write_day(monitor.home, DAYS[1], frame=with_late_row(DAYS[1]))
    until_quiet(monitor)
    with dg.DagsterInstance.ephemeral() as instance:
        other = DagsterMonitor(in_time, instance, **SETTINGS)
        succeeded(other.run_days("daily", DAYS[0], DAYS[4]))
        assert monitor.tables("drift_scores", "daily_profile") == other.tables("drift_scores", "daily_profile")


@pytest.mark.parametrize("monitor", [{"path": "log/{day}*.parquet"}, {"path": GLOB}], indirect=True, ids=["per day", "glob"])
def test_a_renamed_file_is_read_again_and_a_vanished_one_is_reported_and_its_rows_stay(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    write_day(monitor.home, DAYS[1])
    until_quiet(monitor)
    (monitor.home / f"log/{DAYS[0]}.parquet").rename(monitor.home / f"log/{DAYS[0]}-again.parquet")
    (monitor.home / f"log/{DAYS[1]}.parquet").unlink()
    (request,) = monitor.tick(SENSOR).run_requests
    assert asked([request]) == [("daily", "03-10", "03-10")]
    succeeded(monitor.launch(request))
    until_quiet(monitor)
    reported = "files of the log are gone, and the rows read from them stay: 2026-03-11"
    assert monitor.tick(SENSOR).skip_message == reported
    assert monitor.rows("SELECT day, count(*) FROM example.inference_log GROUP BY day ORDER BY day") == [
        (day, 20) for day in DAYS[:2]
    ]


def test_a_glob_s_file_is_known_by_the_days_of_its_rows_old_and_new(monitor: DagsterMonitor) -> None:
    spec = {"log": {"path": GLOB, "settle_seconds": 0}}
    monitor = DagsterMonitor(monitor.home, monitor.instance, **(SETTINGS | spec))
    part = monitor.home / "log/part.parquet"
    write_file(part, pd.concat([example_rows(DAYS[0]), example_rows(DAYS[1])], ignore_index=True))
    assert asked(monitor.tick(SENSOR).run_requests) == [("daily", "03-10", "03-11")]
    until_quiet(monitor)
    write_file(part, pd.concat([example_rows(DAYS[0]), example_rows(DAYS[5])], ignore_index=True))
    assert asked(monitor.tick(SENSOR).run_requests) == [("daily", "03-15", "03-15"), ("daily", "03-10", "03-11")]
    until_quiet(monitor)
    assert monitor.rows("SELECT DISTINCT day FROM example.inference_log ORDER BY day") == [(DAYS[0],), (DAYS[5],)]


@pytest.mark.parametrize(
    "monitor", [{"settle_seconds": 60}, {"path": GLOB, "settle_seconds": 60}], indirect=True, ids=["per day", "glob"]
)
def test_a_file_still_being_written_waits(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    tick = monitor.tick(SENSOR)
    assert tick.run_requests == []
    assert tick.skip_message == "1 file(s) of the log are perhaps still being written"
    then = time.time() - 61
    os.utime(monitor.home / f"log/{DAYS[0]}.parquet", (then, then))
    assert asked(monitor.tick(SENSOR).run_requests) == [("daily", "03-10", "03-10")]


@both_layouts
def test_a_day_that_is_not_over_waits(monitor: DagsterMonitor) -> None:
    today = datetime.now(ZoneInfo(monitor.spec.time_zone)).date()
    write_day(monitor.home, today)
    assert monitor.tick(SENSOR).skip_message == NOTHING_NEW


@both_layouts
def test_a_damaged_file_is_tried_once_until_it_changes(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    until_quiet(monitor)
    (monitor.home / f"log/{DAYS[0]}.parquet").write_bytes(b"no Parquet at all")
    (request,) = monitor.tick(SENSOR).run_requests
    assert not monitor.launch(request).success
    assert monitor.tick(SENSOR).skip_message == NOTHING_NEW
    write_day(monitor.home, DAYS[0], 7)
    assert until_quiet(monitor) == [("daily", "03-10", "03-10")]
    assert monitor.rows("SELECT accepted_rows FROM example.deliveries") == [(7,)]


def test_a_listing_serves_no_later_turn_than_its_own(monitor: DagsterMonitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed in a tick in which nothing was new, a monitor has a turn in the next because of a run: with the files there now."""
    assert monitor.tick(SENSOR).skip_message == NOTHING_NEW
    monkeypatch.setattr(every_monitor, "OTHERS_A_TICK", 0)
    assert monitor.tick(SENSOR).skip_message == "no monitor has news"
    write_day(monitor.home, DAYS[0])
    monitor.run_of(["reference_baseline"], {}, dg.DagsterRunStatus.STARTED)
    assert asked(monitor.tick(SENSOR).run_requests) == [("daily", "03-10", "03-10")]


def test_a_run_that_fails_is_asked_for_again_with_its_own_key_a_few_times(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    keys = []
    for _ in range(ATTEMPTS):
        (request,) = monitor.tick(SENSOR).run_requests
        keys.append(request.run_key)
        monitor.run_of(DAILY_ASSETS, dict(request.tags), dg.DagsterRunStatus.FAILURE)
    assert len(set(keys)) == ATTEMPTS
    tick = monitor.tick(SENSOR)
    assert tick.run_requests == []
    assert "2026-03-10 to 2026-03-10: given up after 3 runs" in tick.skip_message
    write_day(monitor.home, DAYS[0], 30)
    assert len(monitor.tick(SENSOR).run_requests) == 1


def test_a_run_that_was_killed_after_the_rows_were_stored_is_asked_for_again(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    succeeded(monitor.materialise("inference_log", tags={RANGE_START: str(DAYS[0]), RANGE_END: str(DAYS[0])}))
    assert until_quiet(monitor) == [("daily", "03-10", "03-10")]
    assert monitor.materialisations("drift_scores") == 1


def test_labels_are_ingested_when_they_come_and_wait_for_their_predictions(monitor: DagsterMonitor) -> None:
    write_labels(monitor.home, DAYS[0])
    assert monitor.tick(SENSOR).run_requests == []
    write_day(monitor.home, DAYS[0])
    write_day(monitor.home, DAYS[1])
    assert until_quiet(monitor) == [("daily", "03-10", "03-11"), ("labels", "03-10", "03-10")]
    write_labels(monitor.home, DAYS[1])
    assert until_quiet(monitor) == [("labels", "03-11", "03-11")]
    assert monitor.rows("SELECT count(*) FROM example.labels") == [(40,)]


@pytest.mark.parametrize("is_told_apart", [True, False], ids=["as asked for", "as if it were a new day"])
def test_a_late_file_of_an_old_day_fires_no_retrain_by_itself(monitor: DagsterMonitor, is_told_apart: bool) -> None:
    settings = {
        "retrain": {"drift_window_days": 3, "minimum_training_rows": 100, "minimum_gate_rows": 100},
        "log": {"path": PER_DAY, "settle_seconds": 0},
    }
    monitor = DagsterMonitor(monitor.home, monitor.instance, **(SETTINGS | settings))
    for day in DAYS[:4]:
        write_day(monitor.home, day, 200)
        write_labels(monitor.home, day, 200)
    until_quiet(monitor)
    cursor = monitor.tick().cursor
    write_day(monitor.home, DAYS[2], frame=example_rows(DAYS[2], 200, shift=9))
    for _ in range(3):
        for request in monitor.tick(SENSOR).run_requests:
            assert request.tags[REOPENED_TAG] == "true"
            tags = {name: value for name, value in request.tags.items() if is_told_apart or name != REOPENED_TAG}
            succeeded(monitor.launch(request.with_replaced_attrs(tags=tags)))
    monitor.cursors["retrain_on_drift"] = cursor
    tick = monitor.tick()
    assert bool(tick.run_requests) != is_told_apart
    if is_told_apart:
        assert tick.skip_message.startswith("2026-03-13: history: 2026-03-13 was scored by a backfill")


def test_a_tick_asks_for_a_few_runs_and_the_next_for_the_rest(monitor: DagsterMonitor) -> None:
    apart = [date(2026, 3, 1).replace(month=month, day=day) for month in (3, 4) for day in range(1, 29, 4)]
    for day in apart:
        write_day(monitor.home, day)
    first = monitor.tick(SENSOR).run_requests
    assert len(first) == RUNS_PER_TICK < len(apart)
    for request in first:
        succeeded(monitor.launch(request))
    assert len(monitor.tick(SENSOR).run_requests) == len(apart) - RUNS_PER_TICK


def test_without_a_baseline_nothing_is_asked_for_and_the_remedy_is_reported(tmp_path: Path) -> None:
    write_day(tmp_path, DAYS[0])
    with dg.DagsterInstance.ephemeral() as instance:
        tick = DagsterMonitor(tmp_path, instance, **SETTINGS).tick(SENSOR)
    assert tick.run_requests == []
    assert "materialise example/reference_baseline" in tick.skip_message


@pytest.mark.file_only
def test_a_warehouse_that_a_run_holds_is_left_for_the_next_tick(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    monitor.resource = monitor.resource.with_patience(0.2)
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(monitor.home / "warehouse.duckdb")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        tick = monitor.tick(SENSOR)
        holder.communicate(b"")
    assert tick.run_requests == []
    assert "has been held by another process" in tick.skip_message
    assert len(monitor.tick(SENSOR).run_requests) == 1


def test_files_are_watched_while_the_monitor_is_alive_and_until_its_last_labels_are_in(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    assert is_watched(example_spec(tmp_path, end_day=None))
    assert is_watched(example_spec(tmp_path, end_day=str(today)))
    assert not is_watched(example_spec(tmp_path, end_day="2026-03-31"))


def test_the_files_of_a_paused_monitor_are_left_alone(monitor: DagsterMonitor) -> None:
    write_day(monitor.home, DAYS[0])
    log = {"path": PER_DAY, "settle_seconds": 0}
    paused = DagsterMonitor(monitor.home, monitor.instance, **(SETTINGS | {"log": log, "paused": True}))
    assert (paused.tick(SENSOR).run_requests, paused.tick(SENSOR).skip_message) == ([], "no monitor has news")


def test_a_monitor_of_queries_has_no_files_to_watch(tmp_path: Path) -> None:
    log = {"sql": "SELECT * FROM log WHERE at >= $1 AND at < $2", "uri_env": "EXAMPLE_DB"}
    assert not is_watched(example_spec(tmp_path, log=log, label=None, labels=None))


@both_layouts
def test_a_tick_over_100_000_files_seen_costs_little_more_than_walking_them(monitor: DagsterMonitor) -> None:
    folder = monitor.home / "log"
    folder.mkdir()
    days = days_between(date(2026, 3, 1), date(2026, 9, 16))
    is_per_day = monitor.spec.log.is_per_day
    if is_per_day:
        monitor = DagsterMonitor(
            monitor.home, monitor.instance, **(SETTINGS | {"log": {"path": "log/{day}/*.parquet", "settle_seconds": 0}})
        )
    for day in days:
        (folder / str(day)).mkdir()
        for number in range(500):
            (folder / str(day) / f"{number}.parquet" if is_per_day else folder / f"{day}-{number}.parquet").touch()
    _as_read(monitor)
    best = min(timeit.repeat(lambda: monitor.tick(SENSOR), number=1, repeat=3))
    walk = min(timeit.repeat(lambda: _walk(folder), number=1, repeat=3))
    assert monitor.tick(SENSOR).skip_message == NOTHING_NEW
    print(f"{'per day' if is_per_day else 'glob'}: tick {best:.2f} s, walk {walk:.2f} s, ratio {best / walk:.1f}")
    assert best < 15 * walk


def _as_read(monitor: DagsterMonitor) -> None:
    """Note all files as read, without reading them."""
    files = find_files(monitor.spec, monitor.spec.log)
    assert len(files) == 100_000
    days = days_between(date(2026, 3, 1), date(2026, 9, 16))
    of_day: dict[date, list[str]] = {day: [] for day in days}
    for file in files:
        if file.day is None:
            of_day[date.fromisoformat(os.path.basename(file.path)[:10])].append(file.path)
    with monitor.warehouse() as connection:
        note_read(connection, monitor.spec, "inference_log", days, files, of_day, set())


def _walk(folder: Path) -> int:
    total = 0
    for entry in os.scandir(folder):
        total += _walk(Path(entry.path)) if entry.is_dir() else entry.stat().st_size
    return total
