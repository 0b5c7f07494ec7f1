"""Laws of `retain_days`, on a real Dagster instance: raw rows go, what was computed from them stays, and nothing computed later
replaces it by nothing."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, failure_of, succeeded
from monitoring_assets_tests.example_monitor import example_rows, example_spec, write_day, write_labels, write_reference

pytestmark = pytest.mark.long

ROWS = 60
DAYS = days_between(date(2026, 3, 2), date(2026, 3, 9))
OLD, KEPT, NEWEST = DAYS[:4], DAYS[4:], DAYS[-1]
SETTINGS: dict[str, Any] = {
    "reference": {"path": "reference.parquet"},
    "drift": {"windows_days": [1, 2]},
    "serving": {"latency_ms": "latency"},
    "retrain": {"drift_window_days": 1, "minimum_training_rows": 50, "minimum_gate_rows": 50, "training_days": 2, "gate_days": 1},
    "retain_days": 4,
}
# Judged on the day's rows, or stored as delivered, and kept for ever.
KEPT_TABLES = (
    "daily_profile", "drift_scores", "drift_verdicts", "labels", "performance_counts", "performance", "quality", "serving",
    "baselines",
)  # fmt: skip
ASSETS = ("inference_log", "daily_profile", "drift_scores", "labels", "performance")


def write_logs(home: Path) -> None:
    write_reference(home, days_between(date(2026, 2, 20), date(2026, 2, 23)), ROWS)
    for day in DAYS:
        rows = example_rows(day, ROWS).assign(latency=[float(i) for i in range(ROWS)]).astype({"amount": "string"})
        rows.loc[rows.index[-1], "amount"] = "broken"  # one row a day goes into quarantine
        write_day(home, day, frame=rows)
        write_labels(home, day, ROWS)


def of_days(first: date, last: date) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[DagsterMonitor]:
    """All days in one run: nothing is forgotten yet, for a run spares the days it works on."""
    write_logs(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **SETTINGS)
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], NEWEST))
        succeeded(monitor.run_days("labels", DAYS[0], NEWEST))
        yield monitor


@pytest.fixture
def forgetful(monitor: DagsterMonitor) -> DagsterMonitor:
    """After one more daily run, of the newest day."""
    succeeded(monitor.run_days("daily", NEWEST))
    return monitor


def days_with_rows(monitor: DagsterMonitor, table: str) -> list[date]:
    return [day for (day,) in monitor.rows(f"SELECT DISTINCT day FROM example.{table} ORDER BY day")]


def stored_of_old_days(monitor: DagsterMonitor) -> dict[str, Any]:
    names = [name for name in KEPT_TABLES if name != "baselines"]
    old = ", ".join(f"DATE '{day}'" for day in OLD)
    return {name: str(monitor.rows(f"SELECT * FROM example.{name} WHERE day IN ({old}) ORDER BY ALL")) for name in names}


def test_a_daily_run_deletes_raw_rows_before_the_newest_days_and_keeps_what_was_computed(monitor: DagsterMonitor) -> None:
    for name in ("inference_log", "daily_sample", "quarantine"):
        assert days_with_rows(monitor, name) == DAYS
    before = {name: str(rows) for name, rows in monitor.tables(*KEPT_TABLES).items()}
    assert all(len(text) > 100 for text in before.values())
    succeeded(monitor.run_days("daily", NEWEST))
    for name in ("inference_log", "daily_sample", "quarantine"):
        assert days_with_rows(monitor, name) == KEPT
    assert {name: str(rows) for name, rows in monitor.tables(*KEPT_TABLES).items()} == before
    assert monitor.metadata("drift_scores", NEWEST)["forgotten_days"].value == len(OLD)
    assert monitor.metadata("drift_scores", NEWEST)["forgotten_rows"].value == len(OLD) * (2 * (ROWS - 1) + 2)
    accounts = monitor.rows(
        "SELECT day, delivered_rows, forgotten FROM example.deliveries WHERE asset = 'inference_log' ORDER BY day"
    )
    assert accounts == [(day, ROWS, day in OLD) for day in DAYS]
    again = monitor.tables()
    succeeded(monitor.run_days("daily", NEWEST))
    assert str(monitor.tables()) == str(again)
    assert "forgotten_days" not in monitor.metadata("drift_scores", NEWEST)


def test_a_day_that_is_not_profiled_and_scored_yet_is_not_forgotten(monitor: DagsterMonitor) -> None:
    with monitor.warehouse() as connection:
        connection.execute("DELETE FROM example.daily_profile WHERE day = ?", [OLD[1]])
        connection.execute("DELETE FROM example.drift_scores WHERE day = ?", [OLD[2]])
    succeeded(monitor.run_days("daily", NEWEST))
    assert days_with_rows(monitor, "inference_log") == [OLD[1], OLD[2], *KEPT]


def test_materialising_a_forgotten_day_keeps_what_is_stored_and_says_why(forgetful: DagsterMonitor) -> None:
    before = stored_of_old_days(forgetful)
    write_labels(forgetful.home, OLD[0], ROWS, frame=example_rows(OLD[0], ROWS)[["id"]].assign(late=1))
    succeeded(forgetful.materialise("daily_profile", "labels", "performance", tags=of_days(OLD[0], KEPT[0])))
    assert stored_of_old_days(forgetful) == before
    for asset, reported in (("daily_profile", "kept_as_stored"), ("performance", "kept_as_stored"), ("labels", "not_read")):
        said = forgetful.metadata(asset, OLD[0])[reported].value
        assert "raw rows of the day were deleted, as `retain_days` says" in said
        assert "materialise example/inference_log of the day together with this" in said
        assert reported not in forgetful.metadata(asset, KEPT[0])


def test_scoring_a_forgotten_day_again_uses_its_profile_and_says_what_the_rows_would_have_told(forgetful: DagsterMonitor) -> None:
    scores = "SELECT * EXCLUDE (reason) FROM example.drift_scores WHERE feature <> '(all features)' ORDER BY ALL"
    before = str(forgetful.rows(scores))
    succeeded(forgetful.materialise("drift_scores", tags=of_days(DAYS[0], NEWEST)))
    assert str(forgetful.rows(scores)) == before
    together = forgetful.rows(
        "SELECT day, window_days, bool_and(score IS NULL), any_value(reason) FROM example.drift_scores "
        "WHERE feature = '(all features)' AND method = 'pca_reconstruction' GROUP BY ALL ORDER BY ALL"
    )
    reported = {(day, window): reason or "" for day, window, _, reason in together}
    # A window with a forgotten day in it is not compared by what is left of it.
    without_rows = {(day, 1) for day in OLD} | {(day, 2) for day in (*OLD, KEPT[0])}
    assert {place for place, reason in reported.items() if "rows of a day in the window were deleted" in reason} == without_rows
    assert {(day, window) for day, window, is_undefined, _ in together if is_undefined} == without_rows


@pytest.mark.parametrize("source_says", ["no file", "no rows"])
def test_a_forgotten_day_whose_source_is_gone_too_keeps_its_profile_and_its_account(
    forgetful: DagsterMonitor, source_says: str
) -> None:
    before = stored_of_old_days(forgetful)
    for day in OLD:
        if source_says == "no file":
            (forgetful.home / f"log/{day}.parquet").unlink()
        else:
            write_day(forgetful.home, day, frame=example_rows(day, ROWS).assign(latency=1.0)[:0])
    reported = failure_of(forgetful.run_days("daily", OLD[0], OLD[-1]))
    assert "its stored rows were deleted, as `retain_days` says" in reported
    succeeded(forgetful.materialise(*ASSETS[1:], tags=of_days(OLD[0], OLD[-1])))
    succeeded(forgetful.run_days("daily", OLD[-1], NEWEST))  # one day of many, as a backfill has it
    kept = ("daily_profile", "labels", "performance", "quality", "serving")
    assert {name: stored_of_old_days(forgetful)[name] for name in kept} == {name: before[name] for name in kept}
    ((delivered, forgotten),) = forgetful.rows(
        f"SELECT delivered_rows, forgotten FROM example.deliveries WHERE asset = 'inference_log' AND day = DATE '{OLD[-1]}'"
    )
    assert (delivered, forgotten) == (ROWS, True)


def test_a_forgotten_day_can_be_read_again_while_its_source_has_it(forgetful: DagsterMonitor) -> None:
    before = stored_of_old_days(forgetful)
    write_labels(forgetful.home, OLD[0], ROWS, frame=example_rows(OLD[0], ROWS)[["id"]].assign(late=1))
    succeeded(forgetful.materialise(*ASSETS, tags=of_days(OLD[0], OLD[0])))
    assert OLD[0] in days_with_rows(forgetful, "inference_log")
    ones = forgetful.rows(f"SELECT DISTINCT label FROM example.labels WHERE day = DATE '{OLD[0]}'")
    assert ones == [(1.0,)]
    after = stored_of_old_days(forgetful)
    assert after["daily_profile"] == before["daily_profile"]
    assert after["performance"] != before["performance"]
    succeeded(forgetful.run_days("daily", NEWEST))
    assert days_with_rows(forgetful, "inference_log") == KEPT


def test_without_retain_days_nothing_is_deleted(tmp_path: Path) -> None:
    write_logs(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **SETTINGS | {"retain_days": None})
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], NEWEST))
        succeeded(monitor.run_days("daily", NEWEST))
        assert days_with_rows(monitor, "inference_log") == DAYS


def test_a_reference_of_forgotten_days_is_not_made_again_from_what_is_left(tmp_path: Path) -> None:
    write_logs(tmp_path)
    reference = {"first_day": str(DAYS[3]), "last_day": str(DAYS[5])}
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **SETTINGS | {"reference": reference})
        succeeded(monitor.materialise("inference_log", tags=of_days(DAYS[0], NEWEST)))
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], NEWEST))
        succeeded(monitor.run_days("daily", NEWEST))
        before = monitor.tables("baselines", "baseline_profiles")
        reported = failure_of(monitor.materialise("reference_baseline"))
        assert f"the raw rows of 1 of its days, the first {DAYS[3]}, were deleted" in reported
        assert monitor.tables("baselines", "baseline_profiles") == before


@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"retain_days": 3}, "a retrain reads label.delay_days + retrain.gate_days + retrain.training_days = 4 days of raw rows"),
        (
            {"retain_days": 1, "retrain": {"enabled": False}},
            "read the longest of drift.windows_days = 2",
        ),
        (
            {"retain_days": 5, "retrain": {"enabled": False}, "label": {"column": "late", "delay_days": 5}},
            "realised performance reads label.delay_days + 1 = 6",
        ),
        ({"retain_days": 0}, "greater than or equal to 1"),
    ],
)
def test_too_few_days_are_refused_with_what_needs_more(tmp_path: Path, changed: dict[str, Any], reported: str) -> None:
    with pytest.raises(ValueError, match=reported.replace("(", r"\(").replace("+", r"\+")):
        example_spec(tmp_path, **SETTINGS | changed)
    assert example_spec(tmp_path, **SETTINGS).minimum_retain_days == 4


def test_with_the_fewest_days_allowed_a_retrain_has_all_its_rows(forgetful: DagsterMonitor) -> None:
    # Labels are due a day after the prediction, so the newest day has none yet.
    with forgetful.warehouse() as connection:
        connection.execute("DELETE FROM example.labels WHERE day = ?", [NEWEST])
    succeeded(forgetful.retrain())
    assert forgetful.metadata("model_candidate")["trained_on"].value == f"{KEPT[0]} to {KEPT[1]}"
    assert forgetful.metadata("model_candidate")["training_rows"].value == 2 * (ROWS - 1)
