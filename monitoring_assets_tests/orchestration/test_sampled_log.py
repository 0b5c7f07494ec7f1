"""Laws of a monitor whose log is a sample: what it says of the sample is what it would say of all rows."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, learnable_labels, write_day, write_labels, write_reference

pytestmark = pytest.mark.long

ROWS = 6_000
REFERENCE = days_between(date(2026, 2, 20), date(2026, 2, 22))
DAYS = days_between(date(2026, 3, 2), date(2026, 3, 5))
SETTINGS: dict[str, Any] = {
    "reference": {"path": "reference.parquet"},
    "drift": {"windows_days": [1]},
    "retrain": {
        "drift_window_days": 1,
        "minimum_training_rows": 100,
        "minimum_gate_rows": 100,
        "training_days": 3,
        "gate_days": 1,
    },
    "segments": ["country"],
    "trainer": "monitoring_assets_tests.orchestration.trainers.learning",
}


def sampled(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row above 62, and one in ten of the others with weight 10."""
    always = rows["amount"] > 62
    drawn = np.random.default_rng(len(rows)).random(len(rows)) < 0.1
    return rows.assign(stands_for=np.where(always, 1.0, 10.0))[always | drawn]


@pytest.fixture(scope="module")
def monitors(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[dict[str, DagsterMonitor]]:
    """Three monitors of the same days: of all rows, of the weighted sample, of the sample taken for all rows."""
    found = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for name in ("full", "weighted", "unweighted"):
            home = tmp_path_factory.mktemp(name)
            reference = pd.concat([example_rows(day, ROWS) for day in REFERENCE], ignore_index=True)
            write_reference(home, frame=reference.merge(learnable_labels(reference), on="id"))
            for day in DAYS:
                rows = example_rows(day, ROWS)
                write_day(home, day, frame=rows if name == "full" else sampled(rows))
                labels = learnable_labels(rows)
                kept = rows["id"] if name == "full" else sampled(rows)["id"]
                write_labels(home, day, frame=labels[labels["id"].isin(kept)])
            weight = {"sampling_weight": "stands_for"} if name == "weighted" else {}
            found[name] = DagsterMonitor(home, instance, **SETTINGS, **weight)
            succeeded(found[name].materialise("reference_baseline"))
            ends = {"dagster/asset_partition_range_start": str(DAYS[0]), "dagster/asset_partition_range_end": str(DAYS[-1])}
            assets = ("inference_log", "labels", "daily_profile", "drift_scores", "performance")
            succeeded(found[name].materialise(*assets, tags=ends))
        yield found


def test_only_the_sample_without_its_weights_looks_drifted(monitors) -> None:
    severities = {
        name: {row[0] for row in monitor.rows("SELECT DISTINCT severity FROM example.drift_scores WHERE feature = 'amount' "
                                              "AND segment IS NULL AND method <> 'missingness'")}
        for name, monitor in monitors.items()
    }  # fmt: skip
    assert severities["full"] == severities["weighted"] == {"ok"}
    assert "severe" in severities["unweighted"]


def test_a_profile_of_the_sample_stands_for_all_rows(monitors) -> None:
    sums = "SELECT sum(list_sum(counts)) FROM example.daily_profile WHERE feature = 'items' AND segment IS "
    for segment in ("NULL", "NOT NULL"):
        (full,), (weighted,) = (monitors[name].rows(sums + segment)[0] for name in ("full", "weighted"))
        assert weighted == pytest.approx(full, rel=0.03)
    ((rows, logged),) = monitors["weighted"].rows(
        "SELECT max(p.row_count), count(*) FROM example.daily_profile p JOIN example.inference_log l USING (day) "
        f"WHERE p.feature = 'items' AND p.segment IS NULL AND day = DATE '{DAYS[0]}'"
    )
    assert rows == logged < ROWS / 2


def test_realised_performance_is_that_of_all_rows(monitors) -> None:
    def auc(name: str, segment: str) -> float:
        found = monitors[name].rows(
            "SELECT value FROM example.performance WHERE metric = 'auc' AND model_version IS NULL AND window_days = 7 "
            f"AND day = DATE '{DAYS[-1]}' AND segment {segment}"
        )
        return float(found[0][0])

    rows = sampled(example_rows(DAYS[0], ROWS)).merge(learnable_labels(example_rows(DAYS[0], ROWS)), on="id")
    ((stored,),) = monitors["weighted"].rows(
        "SELECT value FROM example.performance WHERE metric = 'auc' AND segment IS NULL AND model_version IS NULL "
        f"AND window_days = 1 AND day = DATE '{DAYS[0]}'"
    )
    assert stored == pytest.approx(roc_auc_score(rows["late"], rows["score"], sample_weight=rows["stands_for"]))
    assert auc("weighted", "IS NULL") == pytest.approx(auc("full", "IS NULL"), abs=0.02)
    assert auc("weighted", "= 'country=US'") == pytest.approx(auc("full", "= 'country=US'"), abs=0.04)


def test_rows_stored_before_the_monitor_named_its_weight_stand_for_themselves(tmp_path: Path) -> None:
    write_reference(tmp_path, REFERENCE, 100)
    write_day(tmp_path, DAYS[0], 100)
    with dg.DagsterInstance.ephemeral() as instance:
        before = DagsterMonitor(tmp_path, instance, **SETTINGS)
        succeeded(before.materialise("reference_baseline"))
        succeeded(before.run_days("daily", DAYS[0]))
        profiled = "SELECT feature, counts, squared_weight FROM example.daily_profile WHERE segment IS NULL ORDER BY feature"
        stored = before.rows(profiled)
        after = DagsterMonitor(tmp_path, instance, **SETTINGS, sampling_weight="stands_for")
        ends = dict.fromkeys(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), str(DAYS[0]))
        succeeded(after.materialise("daily_profile", "drift_scores", "performance", tags=ends))
        assert after.rows(profiled) == stored


def test_a_candidates_baseline_and_metric_are_weighted_too(monitors) -> None:
    succeeded(monitors["weighted"].retrain())
    found = monitors["weighted"].rows(
        "SELECT p.day, p.row_count, list_sum(p.counts), p.squared_weight FROM example.baseline_profiles p "
        "JOIN example.baselines b USING (baseline_id) "
        "WHERE b.model_version = '1' AND p.feature = 'score' AND p.segment IS NULL ORDER BY day"
    )
    for (day, *sums), expected in zip(found, DAYS[:-1], strict=True):
        weights = sampled(example_rows(expected, ROWS))["stands_for"]
        assert (day, *sums) == (expected, len(weights), weights.sum(), (weights**2).sum())
