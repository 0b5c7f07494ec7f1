"""Laws of bad input in Dagster: what fails names itself and its remedy, and the other days are unharmed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets import warehouse
from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, failure_of, succeeded
from monitoring_assets_tests.example_monitor import example_rows, example_spec, write_day, write_labels, write_reference

pytestmark = pytest.mark.slow

ROWS = 200
GOOD, CORRUPT, EMPTY, NULLS, CONSTANT, MISSING = DAYS = days_between(date(2026, 3, 10), date(2026, 3, 15))
REFERENCE = days_between(date(2026, 2, 20), date(2026, 2, 23))
SETTINGS = {"reference": {"path": "reference.parquet"}, "drift": {"windows_days": [1]}, "retrain": {"drift_window_days": 1}}


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[DagsterMonitor]:
    """A range of days of which each but the first is bad in its own way, in one run."""
    home = tmp_path_factory.mktemp("bad")
    write_reference(home, REFERENCE, ROWS)
    write_day(home, GOOD, ROWS)
    (home / "log" / f"{CORRUPT}.parquet").write_bytes(b"PAR1 this is no Parquet file PAR1")
    write_day(home, EMPTY, frame=example_rows(EMPTY, ROWS).iloc[:0])
    write_day(home, NULLS, frame=example_rows(NULLS, ROWS).assign(amount=float("nan"), country=None))
    write_day(home, CONSTANT, frame=example_rows(CONSTANT, ROWS).assign(amount=50.0, country="Atlantis"))
    write_labels(home, GOOD, ROWS)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, **SETTINGS)
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], DAYS[-1]))
        succeeded(monitor.run_days("labels", DAYS[0], DAYS[-1]))
        yield monitor


def test_a_corrupt_or_missing_file_leaves_the_other_days_right(monitor: DagsterMonitor) -> None:
    rows = dict(monitor.rows("SELECT day, count(*) FROM example.inference_log GROUP BY day"))
    assert rows == {GOOD: ROWS, NULLS: ROWS, CONSTANT: ROWS}
    statuses = monitor.statuses("inference_log", "row_count")
    assert {day: statuses[str(day)] for day in DAYS} == {
        GOOD: "SUCCEEDED", CORRUPT: "FAILED", EMPTY: "FAILED", NULLS: "SUCCEEDED", CONSTANT: "SUCCEEDED", MISSING: "FAILED",
    }  # fmt: skip


@pytest.mark.parametrize("check", ["not_null", "in_range", "in_set", "unique_id", "no_outliers", "fresh"])
def test_without_rows_nothing_is_judged_and_nothing_is_green(monitor: DagsterMonitor, check: str) -> None:
    for day in (CORRUPT, EMPTY, MISSING):
        found = monitor.check("inference_log", check, day).evaluation
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert found.description == "not judged: the day has no rows"


@pytest.mark.parametrize("day", [CORRUPT, MISSING])
def test_the_check_of_a_day_that_was_not_read_fails_with_the_file_and_the_reason(monitor: DagsterMonitor, day: date) -> None:
    judged = monitor.check("inference_log", "row_count", day).evaluation
    assert judged.severity == dg.AssetCheckSeverity.ERROR
    assert "not read: " in judged.description
    stored = dict(monitor.rows("SELECT day, unreadable FROM example.deliveries WHERE asset = 'inference_log'"))
    assert stored[day] in judged.description
    assert stored[day] in monitor.metadata("inference_log", day)["not_read"].value
    assert stored[GOOD] is None


def test_a_day_without_rows_is_reported_in_every_asset(monitor: DagsterMonitor) -> None:
    assert monitor.metadata("inference_log", EMPTY)["accepted_rows"].value == 0
    assert monitor.metadata("daily_profile", EMPTY)["rows"].value == 0
    reasons = monitor.rows(f"SELECT DISTINCT severity, reason FROM example.drift_scores WHERE day = '{EMPTY}'")
    assert reasons == [(None, "0 rows, 30 needed")]
    assert monitor.check("drift_scores", "drift_within_threshold", EMPTY).evaluation.description.startswith("not judged: 0 rows")
    assert monitor.metadata("performance", EMPTY)["why_not_1_day"].value == "0 predictions"
    assert "0 rows" in monitor.check("inference_log", "row_count", EMPTY).evaluation.description


def test_a_feature_of_nothing_but_nulls_is_severe_and_named(monitor: DagsterMonitor) -> None:
    judged = monitor.check("inference_log", "not_null", NULLS).evaluation
    assert judged.severity == dg.AssetCheckSeverity.ERROR
    assert {row.data["column"] for row in judged.metadata["findings"].records} == {"amount", "country"}
    moved = monitor.check("drift_scores", "drift_within_threshold", NULLS).evaluation.metadata["moved"].records
    assert {row.data["feature"] for row in moved} >= {"amount", "country"}
    assert monitor.metadata("drift_scores", NULLS)["worst_column"].value.startswith("![")


def test_a_constant_feature_and_a_category_never_seen_are_drift(monitor: DagsterMonitor) -> None:
    moved = monitor.check("drift_scores", "drift_within_threshold", CONSTANT).evaluation.metadata["moved"].records
    assert {row.data["feature"] for row in moved} >= {"amount", "country"}
    judged = monitor.check("inference_log", "in_set", CONSTANT).evaluation
    assert judged.metadata["findings"].records[0].data["partial_unexpected_list"] == "Atlantis"
    assert (judged.passed, judged.severity) == (False, dg.AssetCheckSeverity.WARN)  # nobody declared which there may be


def test_a_label_for_an_unknown_id_is_quarantined_and_named(monitor: DagsterMonitor) -> None:
    labels = write_labels(monitor.home, NULLS, ROWS)
    write_labels(monitor.home, NULLS, frame=pd.concat([labels, pd.DataFrame({"id": ["nobody"], "late": [1]})]))
    succeeded(monitor.run_days("labels", NULLS))
    shown = monitor.metadata("labels", NULLS)
    assert (shown["accepted_rows"].value, shown["quarantined_rows"].value) == (ROWS, 1)
    assert shown["quarantined_for"].records[0].data == {"reason": "unknown id", "rows": 1}


def test_the_only_day_asked_for_fails_and_names_its_file(monitor: DagsterMonitor) -> None:
    before = monitor.tables("inference_log", "drift_scores")
    described = failure_of(monitor.run_days("daily", MISSING))
    assert f"{monitor.home}/log/{MISSING}.parquet" in described
    assert "Correct `log.path`" in described
    assert monitor.tables("inference_log", "drift_scores") == before


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[DagsterMonitor]:
    write_reference(tmp_path, REFERENCE, ROWS)
    write_day(tmp_path, GOOD, ROWS)
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterMonitor(tmp_path, instance, patience_seconds=0.2, **SETTINGS)


def test_a_missing_baseline_is_a_failure_that_names_the_asset_to_materialise(fresh: DagsterMonitor) -> None:
    described = failure_of(fresh.run_days("daily", GOOD))
    assert "BaselineMissing" in described
    assert "Materialise the asset example/reference_baseline" in described
    assert len(fresh.tables("inference_log")["inference_log"]) == ROWS  # what could be done is done
    assert fresh.tables("profile_grids")["profile_grids"] == []  # and no bins were fitted to a single day


@contextmanager
def held(home: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the warehouse for so long."""
    hold = (
        f"import duckdb, time; c = duckdb.connect({str(home / 'warehouse.duckdb')!r}); print('held', flush=True); "
        f"time.sleep({seconds})"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_an_expectation_that_does_not_exist_is_named_when_the_baseline_is_made(tmp_path: Path) -> None:
    write_reference(tmp_path, REFERENCE, ROWS)
    wrong = {"expectations": [{"type": "expect_column_maen_to_be_between", "column": "amount"}]}
    with dg.DagsterInstance.ephemeral() as instance:
        described = failure_of(DagsterMonitor(tmp_path, instance, quality=wrong, **SETTINGS).materialise("reference_baseline"))
    assert "did you mean expect_column_mean_to_be_between" in described


def test_a_held_warehouse_is_waited_for_and_the_run_passes_when_it_is_released(fresh: DagsterMonitor) -> None:
    with fresh.warehouse():
        pass
    patient = DagsterMonitor(fresh.home, fresh.instance, patience_seconds=30, **SETTINGS)
    with held(fresh.home, 1.0):
        succeeded(patient.materialise("reference_baseline"))


@pytest.mark.file_only
def test_a_run_waits_as_long_as_its_failure_says_and_meanwhile_names_the_process_that_holds_the_file(
    fresh: DagsterMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "REPORTED_EVERY_SECONDS", 0.5)
    with fresh.warehouse():
        pass
    waiting = DagsterMonitor(fresh.home, fresh.instance, patience_seconds=2, **SETTINGS)
    begun = time.perf_counter()
    with held(fresh.home, 60) as holder:
        result = waiting.materialise("reference_baseline")
    assert time.perf_counter() - begun < 5  # once: it used to be four times two seconds, and fifteen between
    assert "has been held by another process for 2 s" in failure_of(result)
    logged = [entry.user_message for entry in fresh.instance.all_logs(result.run_id)]
    reported = [line for line in logged if f"(PID {holder.pid})" in line and "waited" in line and "of at most 2 s" in line]
    assert len(reported) >= 2
    assert str(fresh.home / "warehouse.duckdb") in reported[0]


@pytest.mark.file_only
def test_a_damaged_warehouse_is_a_failure_that_names_the_file_and_the_remedy(fresh: DagsterMonitor) -> None:
    succeeded(fresh.materialise("reference_baseline"))
    file = fresh.home / "warehouse.duckdb"
    whole = file.read_bytes()
    for damaged in (b"not a warehouse", b"", whole[: len(whole) // 2], whole[:13_000] + bytes(len(whole) - 13_000)):
        file.write_bytes(damaged)
        described = failure_of(fresh.materialise("reference_baseline"))
        assert "WarehouseUnusable" in described
        assert str(file) in described
        assert "Restore it from a backup, or move it away" in described


@pytest.mark.file_only
@pytest.mark.parametrize("home", ["a file", "a file/below", "/proc/nowhere", "/sys/not_allowed"])
def test_an_impossible_home_is_a_failure_that_names_it_and_the_variable(tmp_path: Path, home: str) -> None:
    (tmp_path / "a file").write_text("no folder")
    with dg.DagsterInstance.ephemeral() as instance:
        described = failure_of(DagsterMonitor(tmp_path / home, instance, **SETTINGS).materialise("reference_baseline"))
    assert f"WarehouseUnusable: the data folder {tmp_path / home} cannot be made" in described
    assert "Set MONITORING_ASSETS_HOME" in described


@pytest.mark.parametrize(
    ("setting", "path"),
    [("trainer", "monitoring_assets_tests.orchestration.trainers.absent"), ("labels", "json.no_such_reader")],
)
def test_a_function_that_is_missing_is_named_when_the_baseline_is_made(tmp_path: Path, setting: str, path: str) -> None:
    write_reference(tmp_path, REFERENCE, ROWS)
    named = {"trainer": path} if setting == "trainer" else {"labels": {"reader": path}}
    with dg.DagsterInstance.ephemeral() as instance:
        described = failure_of(DagsterMonitor(tmp_path, instance, **SETTINGS | named).materialise("reference_baseline"))
    assert repr(path) in described
    assert f"has no {path.rpartition('.')[2]!r}" in described


def test_a_module_that_is_missing_is_named_when_definitions_load(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no module 'monitoring_assets_tests[.]no_trainers' is installed"):
        example_spec(tmp_path, trainer="monitoring_assets_tests.no_trainers.train")
