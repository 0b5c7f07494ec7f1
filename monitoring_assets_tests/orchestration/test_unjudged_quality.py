"""What a day shows nothing of is not judged: its check warns and says why, for the day and in the summary of a range."""

from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_day, write_reference

pytestmark = pytest.mark.slow

SOUND, CONSTANT, WRONG = date(2026, 3, 10), date(2026, 3, 11), date(2026, 3, 12)


def related(day: date) -> pd.DataFrame:
    """A day on which `items` follows `amount`."""
    frame = example_rows(day, 300)
    return frame.assign(items=frame["amount"] / 10 + np.random.default_rng(day.day).normal(0, 0.3, 300))


def test_a_rule_that_a_day_shows_nothing_of_warns_and_a_range_counts_broken_and_unjudged_days_apart(tmp_path: Path) -> None:
    reference = days_between(date(2026, 2, 18), date(2026, 2, 25))
    write_reference(tmp_path, frame=pd.concat([related(day) for day in reference]))
    write_day(tmp_path, SOUND, frame=related(SOUND))
    write_day(tmp_path, CONSTANT, frame=related(CONSTANT).assign(items=5.0))
    wrong = related(WRONG)
    write_day(tmp_path, WRONG, frame=wrong.assign(items=np.random.default_rng(0).permutation(wrong["items"])))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, reference={"path": "reference.parquet"})
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", SOUND, WRONG))
        record = monitor.check("inference_log", "correlated", CONSTANT)
        states = monitor.statuses("inference_log", "correlated")
        key = dg.AssetCheckKey(monitor.key("inference_log"), "correlated")
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    assert record.evaluation is not None
    assert (record.evaluation.passed, record.evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert record.evaluation.description == (
        "not judged: 1 of 1 expectations (of the 300 rows with amount and items one column has the same value in all)"
    )
    assert record.evaluation.metadata["severity"].value == "not judged"
    assert states == {str(SOUND): "SUCCEEDED", str(CONSTANT): "FAILED", str(WRONG): "FAILED"}
    (summary,) = [record.evaluation for record in history if record.partition is None and record.evaluation is not None]
    assert summary.description == f"of 3 days 1 broken (the last on {WRONG}), 1 not judged (the last on {CONSTANT})"
    assert (summary.metadata["broken_days"].value, summary.metadata["unjudged_days"].value) == (1, 1)
    assert (summary.metadata["which"].value, summary.metadata["not_judged"].value) == (str(WRONG), str(CONSTANT))
