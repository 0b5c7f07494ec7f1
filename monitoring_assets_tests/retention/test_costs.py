"""Laws of what monitoring costs: each day of each asset has its share of the run, and the report adds up to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.reporting.costs_terminal import as_lines
from monitoring_assets.retention import costs
from monitoring_assets.retention.costs import FILLED_BESIDE, bytes_per_row, cost_report, measured_cost
from monitoring_assets.warehouse_tables import tables_of
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, example_spec, example_warehouse, write_day, write_labels
from monitoring_assets_tests.retention.test_retention import ASSETS, DAYS, NEWEST, OLD, ROWS, SETTINGS, of_days, write_logs


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[DagsterMonitor]:
    """A sampled log, each row of which stands for four requests; the oldest days are forgotten."""
    home = tmp_path_factory.mktemp("costs")
    write_logs(home)
    for day in DAYS:
        write_day(home, day, frame=example_rows(day, ROWS).assign(latency=1.0, stands_for=4.0))
        write_labels(home, day, ROWS)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, **SETTINGS, sampling_weight="stands_for")
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.materialise(*ASSETS, tags=of_days(DAYS[0], NEWEST)))
        succeeded(monitor.run_days("daily", NEWEST))
        yield monitor


@pytest.mark.slow
def test_every_day_of_every_asset_has_its_cost(monitor: DagsterMonitor) -> None:
    found = monitor.rows("SELECT asset, day, run_days, stored_rows, source_bytes, seconds, stored_bytes FROM example.costs")
    by_asset = {(asset, day): rest for asset, day, *rest in found}
    assert len(by_asset) == len(found)
    assert set(by_asset) == {(asset, day) for asset in (*ASSETS, "quality") for day in DAYS}
    for (asset, day), (run_days, rows, source_bytes, seconds, stored_bytes) in by_asset.items():
        is_of_the_second_run = day == NEWEST and asset not in {"labels", "performance"}
        assert run_days == (1 if is_of_the_second_run else len(DAYS))
        assert 0 < seconds < 60
        assert rows > 0
        assert stored_bytes > 0
        folder = {"inference_log": "log", "labels": "labels"}.get(asset)
        assert source_bytes == (os.path.getsize(monitor.home / f"{folder}/{day}.parquet") if folder else None)
    assert {by_asset["labels", day][1] for day in DAYS} == {ROWS}
    shown = monitor.metadata("inference_log", OLD[0])
    assert shown["seconds"].value == pytest.approx(by_asset["inference_log", OLD[0]][3], rel=1e-4)
    assert shown["source_bytes"].value == by_asset["inference_log", OLD[0]][2]


def test_a_days_that_are_left_alone_keep_their_cost(monitor: DagsterMonitor) -> None:
    cost = f"SELECT * FROM example.costs WHERE day = DATE '{OLD[0]}' AND asset = 'daily_profile'"
    before = monitor.rows(cost)
    succeeded(monitor.materialise("daily_profile", tags=of_days(OLD[0], OLD[1])))
    assert monitor.rows(cost) == before


def test_the_report_adds_up_and_outlives_the_rows(monitor: DagsterMonitor) -> None:
    with monitor.warehouse() as connection:
        report = cost_report(connection, monitor.spec)
        raw = bytes_per_row(connection, monitor.spec, ["inference_log"])["inference_log"]
    assert [month.month for month in report.months] == ["2026-03"]
    assert sum(month.rows for month in report.months) == len(DAYS) * ROWS == report.logged_rows
    assert report.requests == 4 * report.logged_rows
    assert report.forgotten_days == len(OLD)
    assert [(freed.retain_days, freed.days, freed.bytes) for freed in report.freed] == [(4, 0, 0)]
    assert report.months[0].raw_bytes >= raw * ROWS * (len(DAYS) - len(OLD))
    ((seconds, source),) = monitor.rows("SELECT sum(seconds), sum(source_bytes) FROM example.costs")
    assert report.months[0].seconds == pytest.approx(seconds)
    assert report.months[0].source_bytes == source
    # Each table of the monitor is in the report, whatever is added to them.
    with monitor.warehouse() as connection:
        names = list(tables_of(monitor.spec))
        sizes = bytes_per_row(connection, monitor.spec, names)
        rows = {name: connection.execute(f"SELECT count(*) FROM example.{name}").fetchall()[0][0] for name in names}
    (month,) = report.months
    everything = month.raw_bytes + month.profile_bytes + month.result_bytes + report.other_bytes
    assert everything == pytest.approx(sum(rows[name] * (sizes[name] or 0.0) for name in names), abs=len(names))
    assert report.other_bytes > 0
    lines = list(as_lines(report, monitor.spec.retain_days))
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[4].startswith("baselines, thresholds and all else without a month: ")
    assert f"{report.logged_rows:,} rows stand for {4 * report.logged_rows:,} requests; logging the other 75%" in lines[5]
    assert f"the raw rows of {len(OLD)} days were deleted" in lines[6]


def test_an_asset_costs_the_bytes_of_every_table_it_fills(monitor: DagsterMonitor) -> None:
    with monitor.warehouse() as connection:
        sizes = bytes_per_row(connection, monitor.spec, ["performance", "performance_counts"])
        rows = {name: connection.execute(f"SELECT count(*) FROM example.{name}").fetchall()[0][0] for name in sizes}
    ((stored,),) = monitor.rows("SELECT sum(stored_bytes) FROM example.costs WHERE asset = 'performance'")
    assert stored >= 0.9 * sum(rows[name] * size for name, size in sizes.items())
    # Every table with a day belongs to an asset, or to what no asset's day is charged for.
    shared = {"deliveries", "quarantine", "arrivals", "costs", "alerts", "retrain_decisions"}
    assigned = {"quality", "labels", *FILLED_BESIDE, *(name for beside in FILLED_BESIDE.values() for name in beside)}
    daily = {name for name, columns in tables_of(monitor.spec).items() if "day" in columns and not name.startswith("baseline")}
    assert daily == assigned | shared


def test_what_retention_would_free_is_what_it_frees(tmp_path: Path) -> None:
    quiet = {"retrain": {"enabled": False}, "drift": {"multivariate_methods": []}}
    spec = example_spec(tmp_path, **quiet)
    with example_warehouse(tmp_path, spec) as connection:
        for day in days_between(DAYS[0], DAYS[-1].replace(month=5)):
            connection.execute("INSERT INTO example.inference_log (day, id) SELECT ?, uuid() FROM range(100)", [day])
        report = cost_report(connection, spec)
        per_row = bytes_per_row(connection, spec, ["inference_log"])["inference_log"]
    assert report.requests is None
    # 69 days are stored, so 30 of them stay; keeping more deletes nothing.
    assert [(freed.retain_days, freed.days) for freed in report.freed] == [(30, 39), (90, 0), (365, 0)]
    assert report.freed[0].bytes == round(3900 * per_row)
    assert "retention: raw rows are kept for ever (no `retain_days`)" in list(as_lines(report, None))


def test_what_fails_costs_nothing_that_is_reported(tmp_path: Path) -> None:
    spec = example_spec(tmp_path)
    with example_warehouse(tmp_path, spec) as connection:
        with pytest.raises(ZeroDivisionError), measured_cost(connection, spec, "labels", DAYS):
            raise ZeroDivisionError
        assert connection.execute("SELECT count(*) FROM example.costs").fetchall() == [(0,)]


@pytest.mark.file_only
def test_the_layout_of_a_table_is_read_when_its_rows_have_doubled_and_not_every_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[date] = []

    def counted(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, names: list[str]) -> dict[str, float | None]:
        measured.append(day)
        return bytes_per_row(connection, spec, names)

    monkeypatch.setattr(costs, "bytes_per_row", counted)
    spec = example_spec(tmp_path)
    days = days_between(date(2026, 3, 1), date(2026, 4, 9))
    with example_warehouse(tmp_path, spec) as connection:
        for day in days:
            with measured_cost(connection, spec, "inference_log", [day]) as cost:
                connection.execute("INSERT INTO example.inference_log (day, id) SELECT ?, uuid() FROM range(1000)", [day])
        exact = bytes_per_row(connection, spec, ["inference_log"])["inference_log"]
    assert [days.index(day) + 1 for day in measured] == [1, 2, 3, 5, 9, 17, 33]  # thousands of rows: past 1,024, 2,048, ...
    assert cost[0].stored_bytes == pytest.approx(1000 * exact, rel=0.5)


@pytest.mark.file_only
def test_an_estimate_of_the_bytes_of_a_table_is_what_the_file_grows_by(tmp_path: Path) -> None:
    spec = example_spec(tmp_path)
    path = tmp_path / "warehouse.duckdb"
    with example_warehouse(tmp_path, spec):
        pass
    before = path.stat().st_size
    with example_warehouse(tmp_path, spec) as connection:
        connection.execute(
            "INSERT INTO example.inference_log (day, id, amount) "
            "SELECT DATE '2026-03-02', uuid()::VARCHAR, random() FROM range(400000)"
        )
        estimate = 400_000 * bytes_per_row(connection, spec, ["inference_log"])["inference_log"]
    assert estimate == pytest.approx(path.stat().st_size - before, rel=0.1)


@pytest.mark.slow
def test_the_command_reports_the_monitor_of_the_project(tmp_path: Path) -> None:
    environment = os.environ | {"MONITORING_ASSETS_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-W", "ignore", "-m", "monitoring_assets.cli", "costs"]
    done = [
        subprocess.run([*run, name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
        for name in ("flights", "flihgts")
    ]
    assert done[0].returncode == 0, done[0].stderr
    assert done[0].stdout.splitlines()[0].split() == ["month", "rows", "source", "raw", "rows", "profiles", "results", "seconds"]
    assert "no `retain_days`" in done[0].stdout
    assert (done[1].returncode, "MonitorUnknown" in done[1].stderr) == (1, True)
