"""Laws of the nightly labels: read until a day is complete, once more at the end of their lateness, and no oftener."""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from monitoring_assets.monitor_spec import days_between
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
    instance = dg.DagsterInstance.local_temp(str(tmp_path))  # a schedule finds its instance by reference
    monitor = DagsterMonitor(tmp_path, instance, **settings)
    succeeded(monitor.materialise("reference_baseline"))
    succeeded(monitor.run_days("daily", DAYS[0], DAYS[-1]))
    yield monitor
    instance.dispose()


def tell(home: Path, labels: dict[str, dict[str, int]]) -> None:
    (home / "known.json").write_text(json.dumps(labels))


def readings(home: Path) -> list[str]:
    """The days read since last asked."""
    notes = home / "readings.txt"
    found = notes.read_text().split() if notes.exists() else []
    notes.write_text("")
    return found


def asked_at_night(monitor: DagsterMonitor, nights_later: int = 0) -> list[tuple[str, str, bool]]:
    """What the schedule asks for: first day, last day, whether performance is measured too."""
    zone = ZoneInfo(monitor.spec.time_zone)
    night = datetime.combine(TODAY + timedelta(days=nights_later), datetime.min.time(), zone) + timedelta(hours=2.5)
    schedule = monitor.definitions.resolve_schedule_def("example_labels_nightly")
    repository = monitor.definitions.get_repository_def()
    with dg.build_schedule_context(monitor.instance, scheduled_execution_time=night, repository_def=repository) as context:
        requests = schedule.evaluate_tick(context).run_requests
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    return [(request.tags[first], request.tags[last], request.asset_selection is None) for request in requests]


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
