"""Laws of many processes on one warehouse: each materialises a day of its own at the same time, and all succeed."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets.warehouse_tables import TABLES
from monitoring_assets_tests.example_monitor import write_reference
from monitoring_assets_tests.whole_loop.chaos import REFERENCE_DAYS, ROWS, Rows, Snapshot, check_accounts, put_day, snapshot
from monitoring_assets_tests.whole_loop.day_process import DayProcess, Results, Step

pytestmark = pytest.mark.long

DAYS = days_between(date(2026, 3, 8), date(2026, 3, 15))


@pytest.fixture(autouse=True, params=["file", pytest.param("postgres", marks=pytest.mark.postgres)])
def results(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the processes keep their results."""
    if request.param == "postgres":
        Results.address_of = request.getfixturevalue("databases").address_of
    yield
    Results.address_of = None


def work_on(first: date, last: date) -> list[Step]:
    return [("daily", first, last), ("labels", first, last)]


def prepare(home: Path) -> None:
    write_reference(home, REFERENCE_DAYS, ROWS)
    for day in DAYS:
        put_day(home, day, 0)
    DayProcess(home, [("reference_baseline",)]).succeed()


def of_one_day(scores: Rows) -> Rows:
    window = list(TABLES["drift_scores"]).index("window_days")
    return [row for row in scores if row[window] == 1]


def test_eight_processes_with_a_day_each_leave_the_tables_that_one_leaves(tmp_path: Path) -> None:
    """A window of several days holds those that are profiled when it is scored, so these are scored again at the end."""
    home = tmp_path / "home"
    prepare(home)
    processes = [DayProcess(home, work_on(day, day)) for day in DAYS]
    print("seconds until each was done:", [round(process.succeed(), 1) for process in processes])
    at_once = snapshot(home)
    check_accounts(at_once)
    DayProcess(home, work_on(DAYS[0], DAYS[-1])).succeed()
    again = snapshot(home)

    home.rename(tmp_path / "at once")  # accounts name files, so both have the same folder
    prepare(home)
    DayProcess(home, work_on(DAYS[0], DAYS[-1])).succeed()
    serial: Snapshot = snapshot(home)

    assert {row[0] for row in serial["drift_scores"]} == set(DAYS)
    windows = {"drift_scores", "drift_verdicts"}
    assert [name for name in serial if name not in windows and at_once[name] != serial[name]] == []
    assert of_one_day(at_once["drift_scores"]) == of_one_day(serial["drift_scores"])
    assert [name for name in serial if again[name] != serial[name]] == []
