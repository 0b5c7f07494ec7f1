"""Laws of `can_be_monitored`: what a monitor cannot see is said when its baseline is made, before a day is judged."""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import EXAMPLE, example_rows, write_day, write_reference

pytestmark = pytest.mark.slow

REFERENCE = days_between(date(2026, 2, 8), date(2026, 2, 21))
DAY = date(2026, 3, 10)
FEATURES = EXAMPLE["features"] | {"idle": {"kind": "numeric"}, "empty": {"kind": "numeric"}, "wild": {"kind": "numeric"}}
SETTINGS = {
    "reference": {"path": "reference.parquet"},
    "features": FEATURES,
    "drift": {"windows_days": [1, 7], "multivariate_methods": []},
}


def hard_to_watch(day: date, rows: int) -> pd.DataFrame:
    """`idle` is constant, `empty` has no value, `wild` is at 0 on one day and at 100 on the next."""
    wild = float(day.toordinal() % 2 * 100)
    return example_rows(day, rows).assign(idle=3.0, empty=float("nan"), wild=wild)


def prepared(home, rows: int, instance: dg.DagsterInstance) -> DagsterMonitor:
    write_reference(home, frame=pd.concat([hard_to_watch(day, rows) for day in REFERENCE], ignore_index=True))
    write_day(home, DAY, frame=hard_to_watch(DAY, rows))
    monitor = DagsterMonitor(home, instance, **SETTINGS)
    succeeded(monitor.materialise("reference_baseline"))
    return monitor


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[DagsterMonitor]:
    """48 rows a day."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield prepared(tmp_path_factory.mktemp("thin"), 48, instance)


def judged(monitor: DagsterMonitor) -> dg.AssetCheckEvaluation:
    key = dg.AssetCheckKey(monitor.key("reference_baseline"), "can_be_monitored")
    (record,) = monitor.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.evaluation is not None
    return record.evaluation


def test_columns_that_cannot_alarm_are_named_with_the_reason(thin: DagsterMonitor) -> None:
    found = judged(thin)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "idle: constant in the reference (3.0)" in found.description
    assert "empty: no values in the reference" in found.description
    assert "wild: no shift below 2 standard deviations alarms" in found.description
    assert "amount:" not in found.description


def test_a_minimum_that_the_rows_of_a_day_never_reach_names_the_window_that_would(thin: DagsterMonitor) -> None:
    """48 rows a day make 336 in the 7 days of the gate, which asks for 1,000: 21 days would have them."""
    reason = judged(thin).description
    assert "retrain.minimum_gate_rows 1,000: about 48 rows a day make 336 in the 7 days of retrain.gate_days" in reason
    assert "raise retrain.gate_days to 21" in reason
    assert "performance.minimum_labelled_rows 500: about 48 rows a day make 336" in reason
    assert "training_days" not in reason  # 60 days have enough


def test_the_table_shows_from_which_shift_on_each_column_alarms(thin: DagsterMonitor) -> None:
    shown = thin.metadata("reference_baseline")
    rows = {row.data["column"]: row.data for row in shown["columns"].records}
    assert 0 < rows["amount"]["alarms from, 7 days"] < rows["amount"]["alarms from, 1 day"] < 2
    assert rows["wild"]["alarms from, 1 day"] > 2
    assert rows["empty"]["alarms from, 1 day"] is None
    assert shown["rows_a_day"].value == 48
    assert shown["reference_days"].value == 14


def test_a_feature_without_any_value_in_the_reference_is_not_judged_and_all_others_are(thin: DagsterMonitor) -> None:
    write_day(thin.home, DAY, frame=hard_to_watch(DAY, 48).assign(empty=1.0))
    succeeded(thin.run_days("daily", DAY))
    of = "FROM example.drift_scores WHERE segment IS NULL AND window_days = 1 AND feature"
    assert thin.rows(f"SELECT DISTINCT severity, reason {of} = 'empty'") == [
        (None, "not judged: the reference has no values of it")
    ]
    assert thin.rows(f"SELECT count(*) {of} <> 'empty' AND method = 'psi' AND severity IS NULL") == [(0,)]
    found = thin.check("drift_scores", "drift_within_threshold", DAY).evaluation
    assert found.passed
    assert found.description == "quiet: 7 of 8 columns judged; not judged: empty (the reference has no values of it)"


def test_a_monitor_of_many_rows_and_a_long_reference_passes(tmp_path) -> None:
    write_reference(tmp_path, REFERENCE, 300)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, reference={"path": "reference.parquet"})
        succeeded(monitor.materialise("reference_baseline"))
        found = judged(monitor)
    assert found.passed
    assert found.description == "5 of 5 columns can alarm (about 300 rows a day, 14 reference days)"


def test_neither_does_a_range_of_the_log_with_such_a_feature_stop_the_monitor(tmp_path) -> None:
    for day in (*REFERENCE, DAY):
        write_day(tmp_path, day, frame=example_rows(day, 48).assign(empty=float("nan")))
    features = {"amount": {"kind": "numeric"}, "empty": {"kind": "numeric"}}
    settings = {"features": features, "prediction": {"score": "score"}, "start_day": str(REFERENCE[0])}
    with dg.DagsterInstance.ephemeral() as instance:
        reference = {"first_day": str(REFERENCE[0]), "last_day": str(REFERENCE[-1])}
        drift = {"windows_days": [1], "numeric_methods": ["ks", "psi"]}
        monitor = DagsterMonitor(tmp_path, instance, reference=reference, drift=drift, **settings)
        ends = {"dagster/asset_partition_range_start": str(REFERENCE[0]), "dagster/asset_partition_range_end": str(REFERENCE[-1])}
        succeeded(monitor.materialise("inference_log", tags=ends))
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAY))
        found = monitor.check("drift_scores", "drift_within_threshold", DAY).evaluation
    assert "empty (the reference has no values of it)" in found.description
    assert found.metadata["judged_columns"].value >= 3  # the other feature, the score and its confidence
