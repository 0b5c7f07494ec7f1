"""Laws of the nights: read until a day is complete, once more at the end of their lateness, and no oftener."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets.orchestration.every_monitor import Turn
from monitoring_assets.orchestration.nightly import LABELS_AT, runs_of_the_night
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_day, write_reference

pytestmark = pytest.mark.long

# The clock of the machine is real, so the days are the newest there are.
TODAY = datetime.now(ZoneInfo("America/New_York")).date()
DAYS = days_between(TODAY - timedelta(days=6), TODAY - timedelta(days=1))
YESTERDAY = DAYS[-1]
DELAY = 2
ROWS = 40


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[DagsterMonitor]:
    """Six days of predictions, whose labels a function gives. Nothing of them has been read yet."""
    write_reference(tmp_path, days_between(date(2026, 2, 20), date(2026, 2, 23)), ROWS)
    for day in DAYS:
        write_day(tmp_path, day, ROWS)
    tell(tmp_path, {})
    reader = "monitoring_assets_tests.orchestration.late_labels.known_labels"
    settings: dict[str, Any] = {
        "start_day": str(DAYS[0]),
        "reference": {"path": "reference.parquet"},
        "drift": {"windows_days": [1]},
        "label": {"column": "late", "delay_days": DELAY, "lateness_days": 2},
        "labels": {"reader": reader, "options": {"folder": str(tmp_path)}},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **settings)
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], DAYS[-1]))
        yield monitor


def tell(home: Path, labels: dict[str, dict[str, int]]) -> None:
    (home / "known.json").write_text(json.dumps(labels))


def readings(home: Path) -> list[str]:
    """The days read since last asked."""
    notes = home / "readings.txt"
    found = notes.read_text().split() if notes.exists() else []
    notes.write_text("")
    return found


def asked_at_night(monitor: DagsterMonitor, nights_later: int = 0) -> list[tuple[str, str, bool]]:
    """The runs of the labels of a night: first day, last day, whether performance is measured too."""
    zone = ZoneInfo(monitor.spec.time_zone)
    night = datetime.combine(TODAY + timedelta(days=nights_later), datetime.min.time(), zone) + timedelta(hours=2.5)
    turn = Turn(monitor.spec, monitor.resource, monitor.instance, json.dumps({"log": str(night.date())}))
    requests = runs_of_the_night(turn, night).run_requests or []
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    measured = monitor.key("performance")
    return [(request.tags[first], request.tags[last], measured in (request.asset_selection or ())) for request in requests]


def run(monitor: DagsterMonitor, asked: list[tuple[str, str, bool]]) -> None:
    for first, last, is_measured in asked:
        assets = ("labels", "performance") if is_measured else ("labels",)
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        succeeded(monitor.materialise(*assets, tags=tags))


def test_every_night_reads_the_days_that_are_not_complete_and_measures_those_that_are(monitor: DagsterMonitor) -> None:
    complete, open_days = DAYS[:-DELAY], DAYS[-DELAY:]
    asked = asked_at_night(monitor)
    assert asked == [(str(complete[0]), str(complete[-1]), True), (str(open_days[0]), str(open_days[-1]), False)]
    run(monitor, asked)
    assert sorted(readings(monitor.home)) == [str(day) for day in DAYS]
    # The same night again: what is complete is not asked for again.
    assert asked_at_night(monitor) == [(str(open_days[0]), str(open_days[-1]), False)]


def test_a_label_that_comes_while_its_day_is_open_is_stored_the_night_after(monitor: DagsterMonitor) -> None:
    run(monitor, asked_at_night(monitor))
    late = str(example_rows(YESTERDAY, ROWS)["id"][0])
    tell(monitor.home, {str(YESTERDAY): {late: 1}})
    run(monitor, asked_at_night(monitor))
    assert monitor.rows("SELECT day, prediction_id, label FROM example.labels") == [(YESTERDAY, late, 1.0)]


def test_each_day_is_measured_when_it_is_complete_and_once_more_at_the_end_of_its_lateness(monitor: DagsterMonitor) -> None:
    run(monitor, asked_at_night(monitor))
    # No new predictions come: the open days grow complete one a night, then late, two nights after.
    measured = {night: [asked[:2] for asked in asked_at_night(monitor, night) if asked[2]] for night in range(1, 8)}
    day = {name: str(DAYS[place]) for name, place in (("fifth", 4), ("sixth", 5))}
    assert (day["fifth"], day["fifth"]) in [(first, first) for first, _ in measured[1]]
    assert any(last == day["sixth"] for _, last in measured[2])
    assert asked_at_night(monitor, 40) == []


def test_yesterday_is_asked_for_once_a_night_where_no_file_brought_it(monitor: DagsterMonitor) -> None:
    noon = datetime.combine(TODAY, datetime.min.time(), ZoneInfo(monitor.spec.time_zone)) + timedelta(hours=12)
    turn = Turn(monitor.spec, monitor.resource, monitor.instance)
    answer = runs_of_the_night(turn, noon + timedelta(days=1))
    (asked,) = [
        request for request in answer.run_requests or () if monitor.key("inference_log") in (request.asset_selection or ())
    ]
    assert asked.tags["dagster/asset_partition_range_start"] == str(TODAY)
    assert runs_of_the_night(replace(turn, cursor=answer.cursor), noon + timedelta(days=1)).run_requests == []


def test_a_day_that_came_in_by_day_is_left_alone_at_night(monitor: DagsterMonitor) -> None:
    night = datetime.combine(TODAY, datetime.min.time(), ZoneInfo(monitor.spec.time_zone)) + timedelta(hours=1.75)
    answer = runs_of_the_night(Turn(monitor.spec, monitor.resource, monitor.instance), night)
    assert answer.run_requests == []
    assert f"{YESTERDAY} is in already" in str(answer.skip_reason)


def test_the_sensor_keeps_the_night_and_asks_again_in_none_of_its_ticks(monitor: DagsterMonitor) -> None:
    now = datetime.now(ZoneInfo(monitor.spec.time_zone))
    wanted = [] if now.time() < LABELS_AT else asked_at_night(monitor)
    assert len(monitor.tick("nightly_days").run_requests) == len(wanted)
    assert monitor.tick("nightly_days").run_requests == []
