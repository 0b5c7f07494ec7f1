"""Laws of features that come, go, change their name or their kind when there is history already: none of it is lost, the change
is said, and a retrain works."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets.retraining.registry import Registry
from monitoring_assets.warehouse import ensure_tables
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import (
    EXAMPLE,
    example_rows,
    example_spec,
    learnable_labels,
    warehouse_of,
    write_day,
    write_labels,
    write_reference,
)

pytestmark = pytest.mark.long

ROWS = 120
REFERENCE = days_between(date(2026, 2, 20), date(2026, 2, 23))
DAYS = days_between(date(2026, 3, 2), date(2026, 3, 8))
NEXT = date(2026, 3, 9)
FEATURES: dict[str, Any] = EXAMPLE["features"]
SETTINGS: dict[str, Any] = {
    "reference": {"path": "reference.parquet"},
    "drift": {"windows_days": [1]},
    "retrain": {
        "drift_window_days": 1,
        "minimum_training_rows": 100,
        "minimum_gate_rows": 100,
        "training_days": 5,
        "gate_days": 2,
    },
}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    """A home with a champion, and a week of its predictions and their labels."""
    home = tmp_path_factory.mktemp("history")
    reference = pd.concat([example_rows(day, ROWS) for day in REFERENCE], ignore_index=True)
    write_reference(home, frame=reference.merge(learnable_labels(reference), on="id"))
    for day in (*DAYS, NEXT):
        write_labels(home, day, frame=learnable_labels(write_day(home, day, ROWS)))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, **SETTINGS)
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.retrain())
        run(monitor, DAYS[0], DAYS[-1])
    return home


@pytest.fixture
def home(history: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(history, tmp_path / "home"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(monitor: DagsterMonitor, first: date, last: date) -> None:
    ends = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
    succeeded(monitor.materialise("inference_log", "labels", "daily_profile", "drift_scores", "performance", tags=ends))


def changes(home: Path, **features: Any) -> list[str]:
    """What is said when the tables first meet these features; the second time nothing is."""
    spec = example_spec(home, **SETTINGS | {"features": features})
    with warehouse_of(home).connect() as connection:
        said = ensure_tables(connection, spec)
        assert ensure_tables(connection, spec) == []
    return said


def test_a_feature_removed_keeps_its_column_and_retraining_works(home: Path, instance: dg.DagsterInstance) -> None:
    kept = {name: FEATURES[name] for name in ("amount", "country")}
    before = DagsterMonitor(home, instance, **SETTINGS).rows("SELECT day, items FROM example.inference_log ORDER BY ALL")
    (said,) = changes(home, **kept)
    assert said.startswith("column 'items' is not asked for any more: it stays in inference_log")
    monitor = DagsterMonitor(home, instance, **SETTINGS, features=kept)
    run(monitor, NEXT, NEXT)
    stored = monitor.rows("SELECT day, items FROM example.inference_log ORDER BY ALL")
    assert [row for row in stored if row[0] != NEXT] == before
    assert {items for day, items in stored if day == NEXT} == {None}
    scored = monitor.rows(
        f"SELECT DISTINCT feature FROM example.drift_scores WHERE day = DATE '{NEXT}' AND feature IN ('items', 'amount')"
    )
    assert scored == [("amount",)]
    assert monitor.rows("SELECT count(*) > 0 FROM example.daily_profile WHERE feature = 'items'") == [(True,)]
    succeeded(monitor.retrain())
    # The champion was trained on `items`, which no longer come: it is judged by what it predicted.
    assert "its logged predictions" in monitor.metadata("champion")["reason"].value


def test_a_feature_added_is_missing_before_and_not_judged_until_the_baseline_has_it(
    home: Path, instance: dg.DagsterInstance
) -> None:
    more = FEATURES | {"weight": {"kind": "numeric"}}
    (said,) = changes(home, **more)
    assert said.startswith("feature 'weight' is new: days stored before have it missing; its data quality is monitored at once")
    write_day(home, NEXT, frame=example_rows(NEXT, ROWS).assign(weight=1.5))
    monitor = DagsterMonitor(home, instance, **SETTINGS, features=more)
    run(monitor, NEXT, NEXT)
    assert said in monitor.metadata("inference_log", NEXT)["feature_changes"].value
    assert "feature_changes" not in monitor.metadata("daily_profile", NEXT)
    assert monitor.rows("SELECT day, any_value(weight) FROM example.inference_log WHERE weight IS NOT NULL GROUP BY day") == [
        (NEXT, 1.5)
    ]
    found = monitor.rows(
        f"SELECT DISTINCT severity, reason FROM example.drift_scores WHERE feature = 'weight' AND day = DATE '{NEXT}'"
    )
    assert found == [(None, "not judged: the reference has no values of it")]
    succeeded(monitor.retrain())


def test_a_feature_the_reference_file_lacks_is_checked_at_once_and_drifts_when_the_reference_has_it(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    write_reference(tmp_path, REFERENCE, ROWS)
    write_day(tmp_path, DAYS[-1], ROWS)
    plain = DagsterMonitor(tmp_path, instance, **SETTINGS)
    succeeded(plain.materialise("reference_baseline"))
    succeeded(plain.run_days("daily", DAYS[-1]))
    more = FEATURES | {"weight": {"kind": "numeric", "minimum": 0}}
    monitor = DagsterMonitor(tmp_path, instance, **SETTINGS, features=more)
    later = days_between(NEXT, date(2026, 3, 14))
    for day in later:
        rows = example_rows(day, ROWS)
        write_day(tmp_path, day, frame=rows.assign(weight=rows["items"] + (100 if day == later[-1] else 0)))
    write_day(tmp_path, later[0], frame=example_rows(later[0], ROWS).assign(weight=-1.0))
    before = plain.tables("baselines")
    succeeded(monitor.materialise("reference_baseline"))
    assert monitor.tables("baselines") == before
    shown = monitor.metadata("reference_baseline")
    assert "feature 'weight' is new: days stored before have it missing" in shown["feature_changes"].value
    readiness = monitor.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(monitor.key("reference_baseline"), "can_be_monitored"), limit=1
    )[0].evaluation
    assert (readiness.passed, "weight: not in the reference" in readiness.description) == (False, True)
    succeeded(monitor.run_days("daily", later[0], later[-1]))
    assert monitor.check("inference_log", "in_range", later[0]).evaluation.severity == dg.AssetCheckSeverity.ERROR
    assert monitor.check("inference_log", "not_null", later[1]).evaluation.passed

    def drift(day: date) -> list[tuple[Any, ...]]:
        return monitor.rows(
            f"SELECT DISTINCT severity, reason FROM example.drift_scores WHERE feature = 'weight' AND day = DATE '{day}' "
            "AND method <> 'missingness'"
        )

    assert drift(later[-1]) == [(None, "not judged: the reference has no values of it")]
    # Learnt from days of the log that have it, the reference judges it.
    ranged = {"reference": {"first_day": str(later[1]), "last_day": str(later[4])}}
    learnt = DagsterMonitor(tmp_path, instance, **SETTINGS | ranged, features=more)
    succeeded(learnt.materialise("reference_baseline"))
    succeeded(learnt.run_days("daily", later[-1], later[-1]))
    assert "severe" in {severity for severity, _ in drift(later[-1])}


def test_a_feature_renamed_takes_its_history_along(home: Path, instance: dg.DagsterInstance) -> None:
    old = DagsterMonitor(home, instance, **SETTINGS)
    tables = ("daily_profile", "baseline_profiles", "drift_scores", "profile_grids")

    def rows_of(monitor: DagsterMonitor, feature: str) -> list[list[tuple[Any, ...]]]:
        return [monitor.rows(f"SELECT count(*) FROM example.{name} WHERE feature = '{feature}'") for name in tables]

    before, values = rows_of(old, "amount"), old.rows("SELECT id, amount FROM example.inference_log ORDER BY ALL")
    renamed = {"total": {"kind": "numeric", "renamed_from": "amount"}, "items": FEATURES["items"], "country": FEATURES["country"]}
    (said,) = changes(home, **renamed)
    assert said.startswith("feature 'amount' is now called 'total'")
    for day in (NEXT,):
        write_day(home, day, frame=example_rows(day, ROWS).rename(columns={"amount": "total"}))
    monitor = DagsterMonitor(home, instance, **SETTINGS, features=renamed)
    assert rows_of(monitor, "total") == before
    assert rows_of(monitor, "amount") == [[(0,)]] * len(tables)
    assert monitor.rows("SELECT id, total FROM example.inference_log ORDER BY ALL") == values
    run(monitor, NEXT, NEXT)
    judged = monitor.rows(f"SELECT DISTINCT severity FROM example.drift_scores WHERE feature = 'total' AND day = DATE '{NEXT}'")
    assert (None,) not in judged
    reference = pd.read_parquet(home / "reference.parquet").rename(columns={"amount": "total"})
    write_reference(home, frame=reference)
    succeeded(monitor.retrain())
    # The champion knows the feature by its old name, and is judged by its own scores all the same.
    assert "its logged predictions" not in monitor.metadata("champion")["reason"].value
    assert Registry(home).find("example", "2") is not None


def test_a_feature_of_another_kind_keeps_its_values(home: Path, instance: dg.DagsterInstance) -> None:
    textual = FEATURES | {"items": {"kind": "categorical"}}
    (said,) = changes(home, **textual)
    assert said.startswith("feature 'items' is now categorical, no longer numeric: its values were converted")
    monitor = DagsterMonitor(home, instance, **SETTINGS, features=textual)
    assert {row[0] for row in monitor.rows("SELECT DISTINCT items FROM example.inference_log")} == {str(n) for n in range(1, 9)}
    assert monitor.rows("SELECT count(*) > 0 FROM example.daily_profile WHERE feature = 'items__numeric'") == [(True,)]
    run(monitor, NEXT, NEXT)
    succeeded(monitor.materialise("reference_baseline"))
    run(monitor, DAYS[0], NEXT)
    succeeded(monitor.retrain())


def test_values_that_cannot_be_converted_are_kept_under_a_stated_name(home: Path, instance: dg.DagsterInstance) -> None:
    (said,) = changes(home, **FEATURES | {"country": {"kind": "numeric"}})
    assert (
        f"{len(DAYS) * ROWS:,} of its values cannot be converted, and all are kept in the column 'country__categorical'" in said
    )
    with warehouse_of(home).connect() as connection:
        found = connection.execute(
            "SELECT DISTINCT country__categorical, country FROM example.inference_log ORDER BY 1"
        ).fetchall()
    assert found == [("DE", None), ("JP", None), ("US", None)]
