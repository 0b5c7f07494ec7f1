"""A day on which no column moved but two go together the other way round: found, named by the check, and kept in the tables."""

from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import Retrain, days_between
from monitoring_assets.retraining.decisions import gather_evidence
from monitoring_assets.retraining.policy import triggers
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_day, write_reference

pytestmark = pytest.mark.slow

ROWS = 600
REFERENCE = days_between(date(2026, 2, 10), date(2026, 2, 23))
QUIET, FLIPPED, THIN = date(2026, 3, 10), date(2026, 3, 11), date(2026, 3, 12)


def going_together(day: date, sign: int, rows: int = ROWS) -> pd.DataFrame:
    """The example's day with `items` in the order of `amount`, up to noise, or in the opposite one: the same values."""
    frame = example_rows(day, rows)
    noisy = sign * frame["amount"].to_numpy() + np.random.default_rng(day.toordinal()).normal(0, 5, rows)
    items = np.empty(rows)
    items[np.argsort(noisy)] = np.sort(frame["items"])
    return frame.assign(items=items)


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory, store: str):
    home = tmp_path_factory.mktemp("multivariate")
    write_reference(home, frame=pd.concat([going_together(day, 1) for day in REFERENCE], ignore_index=True))
    write_day(home, QUIET, frame=going_together(QUIET, 1))
    write_day(home, FLIPPED, frame=going_together(FLIPPED, -1))
    write_day(home, THIN, frame=going_together(THIN, 1, rows=10))
    drift: dict[str, Any] = {"windows_days": [1], "calibrated": True}
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(
            home, instance, reference={"path": "reference.parquet"}, drift=drift, retrain={"drift_window_days": 1}
        )
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", QUIET, THIN))
        yield monitor


def test_only_the_scores_of_all_features_together_find_the_day(monitor):
    drifted = monitor.rows(
        f"SELECT DISTINCT feature, method FROM example.drift_scores WHERE severity <> 'ok' AND day = '{FLIPPED}' ORDER BY ALL"
    )
    assert drifted == [("(all features)", "correlation"), ("(all features)", "pca_reconstruction")]
    assert monitor.rows(f"SELECT count(*) FROM example.drift_scores WHERE severity <> 'ok' AND day = '{QUIET}'") == [(0,)]


def test_the_pair_that_moved_most_is_kept_with_the_score(monitor):
    ((detail,),) = monitor.rows(
        f"SELECT detail FROM example.drift_scores WHERE day = '{FLIPPED}' AND method = 'correlation' AND segment IS NULL"
    )
    assert detail.startswith("amount and items +0.8")
    assert " to -0.8" in detail
    assert monitor.rows("SELECT count(*) FROM example.drift_scores WHERE detail IS NOT NULL AND feature <> '(all features)'") == [
        (0,)
    ]


def test_the_check_and_the_plots_show_them(monitor):
    assert monitor.statuses("drift_scores", "drift_within_threshold")[str(FLIPPED)] == "FAILED"
    evaluation = monitor.check("drift_scores", "drift_within_threshold", FLIPPED).evaluation
    assert "(all features)" in evaluation.description
    shown = monitor.metadata("drift_scores", FLIPPED)
    assert shown["worst_columns"].records[0].data["feature"] == "(all features)"
    assert shown["correlation (all features) (1 day)"].value > 1


def test_the_retrain_policy_hears_of_them(monitor):
    with monitor.warehouse() as connection:
        connection.execute("BEGIN")
        connection.execute("DELETE FROM example.drift_scores WHERE day > ?", [FLIPPED])
        evidence = gather_evidence(connection, monitor.spec, is_in_flight=False, is_backfill=False)
        connection.execute("ROLLBACK")
    assert {*evidence.severities.values(), evidence.prediction_severity} == {"ok"}
    assert triggers(Retrain(), replace(evidence, has_model=True)) == [f"(all features) {evidence.together_severity}"]


def test_a_day_of_few_rows_says_why_it_is_not_scored(monitor):
    of = f"day = '{THIN}' AND feature = '(all features)' AND severity IS NULL"
    reasons = monitor.rows(f"SELECT DISTINCT reason FROM example.drift_scores WHERE {of}")
    assert reasons == [("10 rows, 30 needed",)]


def test_thresholds_are_estimated_once_and_kept(monitor):
    kept = monitor.tables("thresholds")["thresholds"]
    assert len([row for row in kept if "(all features)" in row]) == 2
    succeeded(monitor.run_days("daily", QUIET))
    assert monitor.tables("thresholds")["thresholds"] == kept
