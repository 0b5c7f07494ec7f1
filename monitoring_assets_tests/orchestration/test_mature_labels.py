"""Laws of labels that arrive slowly: a day counts when its labels are complete, not when the first of them are known."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from monitoring_assets.ingestion.label_maturity import days_with_mature_labels, labels_as_of
from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, failure_of, succeeded
from monitoring_assets_tests.example_monitor import example_rows, learnable_labels, write_day, write_labels, write_reference

pytestmark = pytest.mark.long

ROWS = 60
REFERENCE = days_between(date(2026, 2, 20), date(2026, 2, 25))
DAYS = days_between(date(2026, 3, 2), date(2026, 3, 11))
DELAY = 4
SETTINGS: dict[str, Any] = {
    "end_day": "2026-12-31",  # a replay: its clock is the newest day of its log
    "reference": {"path": "reference.parquet"},
    "drift": {"windows_days": [1]},
    "label": {"column": "late", "delay_days": DELAY},
    "retrain": {
        "drift_window_days": 1,
        "minimum_training_rows": 50,
        "minimum_gate_rows": 100,
        "training_days": 4,
        "gate_days": 2,
    },
    "trainer": "monitoring_assets_tests.orchestration.trainers.learning",
}
MATURE = DAYS[:-DELAY]


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[DagsterMonitor]:
    """All labels of the first days; of those younger than the delay only what is known first: chargebacks, all of class 1."""
    reference = pd.concat([example_rows(day, ROWS) for day in REFERENCE], ignore_index=True)
    write_reference(tmp_path, frame=reference.merge(learnable_labels(reference), on="id"))
    for day in DAYS:
        labels = learnable_labels(write_day(tmp_path, day, ROWS))
        write_labels(tmp_path, day, frame=labels if day in MATURE else labels[labels["late"] == 1].head(4))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **SETTINGS)
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], DAYS[-1]))
        yield monitor


def test_a_chargeback_after_two_days_makes_no_gate_of_one_class(monitor: DagsterMonitor) -> None:
    succeeded(monitor.retrain())  # the first champion, of the reference
    succeeded(monitor.run_days("labels", DAYS[0], DAYS[-1]))
    succeeded(monitor.retrain())
    shown = monitor.metadata("model_candidate")
    assert shown["kept_for_the_gate"].value == f"{MATURE[-2]} to {MATURE[-1]}"
    assert shown["trained_on"].value == f"{MATURE[0]} to {MATURE[-3]}"
    assert monitor.metadata("champion")["gate_rows"].value == 2 * ROWS


def test_without_a_mature_day_no_candidate_takes_a_champions_place(monitor: DagsterMonitor) -> None:
    succeeded(monitor.retrain())
    succeeded(monitor.run_days("labels", DAYS[-DELAY], DAYS[-1]))  # early labels only
    succeeded(monitor.retrain())
    shown = monitor.metadata("champion")
    assert (shown["verdict"].value, shown["model_version"].value) == ("refused", "2")
    assert shown["reason"].value == "only 0 labelled rows that neither model was trained on, at least 100 are needed"


def test_where_the_reference_is_a_range_of_the_log_its_early_labels_do_not_train_a_model(tmp_path: Path) -> None:
    for day in DAYS[:2]:
        write_labels(tmp_path, day, frame=learnable_labels(write_day(tmp_path, day, ROWS)))
    with dg.DagsterInstance.ephemeral() as instance:
        settings = SETTINGS | {"reference": {"first_day": str(DAYS[0]), "last_day": str(DAYS[1])}}
        monitor = DagsterMonitor(tmp_path, instance, **settings)
        ends = {"dagster/asset_partition_range_start": str(DAYS[0]), "dagster/asset_partition_range_end": str(DAYS[1])}
        succeeded(monitor.materialise("inference_log", "labels", tags=ends))
        succeeded(monitor.materialise("reference_baseline"))
        reported = failure_of(monitor.retrain())
    assert f"its labels do not count before {DAYS[0] + timedelta(days=DELAY)} is over (label.delay_days: 4)" in reported


def test_a_day_counts_early_where_the_stated_share_of_its_labels_is_known(monitor: DagsterMonitor) -> None:
    succeeded(monitor.run_days("labels", DAYS[0], DAYS[-1]))
    stated = monitor.spec.model_copy(update={"label": monitor.spec.label.model_copy(update={"mature_coverage": 0.9})})
    with monitor.warehouse() as connection:
        young = DAYS[-1]
        assert days_with_mature_labels(connection, stated) == MATURE
        connection.execute("DELETE FROM example.labels WHERE day = ?", [young])
        connection.execute("INSERT INTO example.labels SELECT day, id, 0 FROM example.inference_log WHERE day = ?", [young])
        assert days_with_mature_labels(connection, stated) == [*MATURE, young]
        assert days_with_mature_labels(connection, monitor.spec) == MATURE


def test_a_live_monitor_goes_by_the_clock_and_a_replay_by_its_log(monitor: DagsterMonitor) -> None:
    live = monitor.spec.model_copy(update={"end_day": None})
    noon = datetime(2026, 3, 13, 12, tzinfo=UTC)
    with monitor.warehouse() as connection:
        assert labels_as_of(connection, monitor.spec, noon) == DAYS[-1]
        assert labels_as_of(connection, live, noon) == date(2026, 3, 12)
        # In New York it is still the 12th.
        assert labels_as_of(connection, live, datetime(2026, 3, 13, 2, tzinfo=UTC)) == DAYS[-1]
