"""Laws of whom performance is about: the model that serves answers for its own predictions, and is compared with its own
baseline, one trained elsewhere with the reference."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from monitoring_assets.alerting.verdict_alerts import alerts_of
from monitoring_assets.baselines.building import build_candidate_baseline
from monitoring_assets.baselines.in_force import put_in_force
from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import example_rows, write_day, write_labels, write_reference

pytestmark = pytest.mark.long

ROWS = 300
DELAY = 4
REFERENCE = days_between(date(2026, 2, 20), date(2026, 2, 25))
DAYS = days_between(date(2026, 3, 2), date(2026, 3, 13))
PROMOTION = DAYS[8]
OLD, NEW = DAYS[:8], DAYS[8:]
CHECK = ("performance", "performance_within_threshold")
SETTINGS: dict[str, Any] = {
    "end_day": "2026-12-31",  # a replay: its clock is the newest day of its log
    "reference": {"path": "reference.parquet"},
    "label": {"column": "late", "delay_days": DELAY},
    "drift": {"windows_days": [1]},
    "retrain": {"drift_window_days": 1, "minimum_gate_rows": 100, "cooldown_days": 0},
    "performance": {"windows_days": [1, 7]},
}


def wrong_labels(day: date) -> pd.DataFrame:
    """The truth, the other way round than the model says."""
    rows = example_rows(day, ROWS)
    return pd.DataFrame({"id": rows["id"], "late": (rows["score"] < 0.4).astype(int)})


def of_days(first: date, last: date) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}


def promote(monitor: DagsterMonitor, version: str, day: date) -> None:
    """What a promotion leaves: a baseline of the champion, in force from a day on."""
    scored = pd.concat([example_rows(each, ROWS).assign(day=pd.Timestamp(each)) for each in REFERENCE])[["day", "score"]]
    with monitor.warehouse() as connection:
        build_candidate_baseline(connection, monitor.spec, scored.assign(day=scored["day"].dt.date), version, "auc", 0.72)
        put_in_force(connection, monitor.spec, version, day)


def prediction(names_version: bool) -> dict[str, str]:
    return {"score": "score", "class": "predicted"} | ({"model_version": "model"} if names_version else {})


@pytest.fixture(scope="module", params=["version in the log", "no version in the log"])
def promoted_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, store: str) -> tuple[Path, bool]:
    """Version 2 failed on its last days and was replaced by version 3, which has served since. Labels take days, so all there are
    of the week before the promotion arrive after it."""
    names_version, home = request.param == "version in the log", tmp_path_factory.mktemp("promoted")
    write_reference(home, REFERENCE, ROWS)
    for day in DAYS:
        rows = example_rows(day, ROWS).assign(model="2" if day in OLD else "3")
        write_day(home, day, frame=rows if names_version else rows.drop(columns="model"))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(home, instance, **SETTINGS, prediction=prediction(names_version))
        succeeded(monitor.materialise("reference_baseline"))
        promote(monitor, "2", DAYS[0])
        promote(monitor, "3", PROMOTION)
        succeeded(monitor.materialise("inference_log", tags=of_days(DAYS[0], DAYS[-1])))
        succeeded(monitor.run_days("daily", DAYS[-1]))
    return home, names_version


@pytest.fixture
def promoted(promoted_home: tuple[Path, bool], tmp_path: Path) -> Iterator[DagsterMonitor]:
    home, names_version = promoted_home
    with dg.DagsterInstance.ephemeral() as instance:
        copy = Path(shutil.copytree(home, tmp_path / "home"))
        yield DagsterMonitor(copy, instance, **SETTINGS, prediction=prediction(names_version))


def test_a_new_model_does_not_inherit_its_predecessors_failures(promoted: DagsterMonitor) -> None:
    for day in OLD:
        write_labels(promoted.home, day, frame=wrong_labels(day))
    succeeded(promoted.run_days("labels", DAYS[0], DAYS[-1]))
    tick = promoted.tick()
    assert tick.run_requests == []
    assert "auc not judged: 0 labelled rows of version 3 yet, 500 needed" in tick.skip_message
    # What is true of the days on which the old model served is still said of them, and wakes nobody.
    assert promoted.check(*CHECK, OLD[-1]).evaluation.severity == dg.AssetCheckSeverity.ERROR
    with promoted.warehouse() as connection:
        assert alerts_of(connection, promoted.spec, "performance", OLD[-1]) == []
    for day in NEW:
        judged = promoted.check(*CHECK, day).evaluation
        assert (judged.passed, judged.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert judged.description == "not judged: 0 labelled rows of version 3 yet, 500 needed"


def test_a_new_model_is_judged_by_its_own_labels_as_soon_as_there_are_enough(promoted: DagsterMonitor) -> None:
    for day in DAYS:
        write_labels(promoted.home, day, ROWS, frame=wrong_labels(day) if day in OLD else None)
    for day in days_between(date(2026, 3, 14), date(2026, 3, 17)):  # time passes, and the labels mature
        write_day(promoted.home, day, frame=example_rows(day, ROWS).assign(model="3"))
    succeeded(promoted.materialise("inference_log", tags=of_days(date(2026, 3, 14), date(2026, 3, 17))))
    succeeded(promoted.run_days("labels", DAYS[0], DAYS[-1]))
    first, enough = (promoted.check(*CHECK, day).evaluation for day in NEW[:2])
    assert first.description == "not judged: 300 labelled rows of version 3 yet, 500 needed"
    assert enough.passed, enough.description
    assert "on 600 labelled rows of 2 day(s) of version 3" in enough.description
    assert promoted.check(*CHECK, OLD[-1]).evaluation.severity == dg.AssetCheckSeverity.ERROR


def test_a_version_the_log_does_not_name_is_not_judged_by_anothers_rows(promoted: DagsterMonitor) -> None:
    """Version 4 is promoted, but the service still answers with version 3."""
    if promoted.spec.prediction.model_version is None:
        pytest.skip("without versions in the log only the day can tell")
    promote(promoted, "4", PROMOTION)
    for day in DAYS:
        write_labels(promoted.home, day, frame=wrong_labels(day))
    succeeded(promoted.run_days("labels", DAYS[0], DAYS[-1]))
    judged = promoted.check(*CHECK, NEW[0]).evaluation
    assert judged.severity == dg.AssetCheckSeverity.WARN
    assert judged.description == "not judged: 0 labelled rows of version 4 yet, 500 needed; the log's rows are of version 3"


def test_drift_of_the_score_is_of_the_model_that_serves(promoted: DagsterMonitor) -> None:
    """A window that reaches back before the promotion holds all days of the features, and its own days of the score."""
    own = {"drift": {"windows_days": [3]}, "retrain": {"drift_window_days": 3}}
    monitor = DagsterMonitor(promoted.home, promoted.instance, **SETTINGS | own)
    succeeded(monitor.materialise("daily_profile", "drift_scores", tags=of_days(OLD[-2], NEW[0])))
    found = dict(
        monitor.rows(f"SELECT feature, max(current_rows) FROM example.drift_scores WHERE day = DATE '{NEW[0]}' GROUP BY feature")
    )
    assert (found["amount"], found["score"], found["prediction_confidence"]) == (3 * ROWS, ROWS, ROWS)


def reference_metric(monitor: DagsterMonitor) -> tuple[Any, ...]:
    ((found),) = monitor.rows("SELECT metric, metric_value FROM example.baselines WHERE sequence = 0")
    return found


def test_a_model_trained_elsewhere_is_judged_by_what_the_reference_says_of_it(tmp_path: Path) -> None:
    """Nothing was ever trained here: the reference has the model's predictions and the truth."""
    reference = write_reference(tmp_path, REFERENCE, ROWS)
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **SETTINGS | {"label": {"column": "late", "delay_days": 0}})
        succeeded(monitor.materialise("reference_baseline"))
        metric, value = reference_metric(monitor)
        assert (metric, value) == ("auc", pytest.approx(roc_auc_score(reference["late"], reference["score"]), abs=1e-11))
        assert monitor.metadata("reference_baseline")["reference_auc"].value == pytest.approx(value)
        for day in DAYS[:4]:
            write_day(tmp_path, day, ROWS)
            write_labels(tmp_path, day, ROWS, frame=wrong_labels(day) if day > DAYS[1] else None)
        succeeded(monitor.materialise("inference_log", tags=of_days(DAYS[0], DAYS[3])))
        succeeded(monitor.run_days("labels", DAYS[0], DAYS[3]))
        assert monitor.statuses(*CHECK) == {
            str(DAYS[0]): "FAILED",  # 300 rows are too few to tell, and that is not passed
            str(DAYS[1]): "SUCCEEDED",
            str(DAYS[2]): "FAILED",
            str(DAYS[3]): "FAILED",
        }
        assert monitor.check(*CHECK, DAYS[0]).evaluation.description == (
            "not judged: 300 labelled rows of version 1 yet, 500 needed"
        )
        assert monitor.check(*CHECK, DAYS[3]).evaluation.severity == dg.AssetCheckSeverity.ERROR
        with monitor.warehouse() as connection:
            (alert,) = alerts_of(connection, monitor.spec, "performance", DAYS[3])
        assert alert.severity == "severe"


def test_a_reference_in_the_log_gets_its_metric_when_its_labels_have_come(tmp_path: Path) -> None:
    first, last = DAYS[0], DAYS[2]
    frames = [write_day(tmp_path, day, ROWS) for day in DAYS]
    own = SETTINGS | {"reference": {"first_day": str(first), "last_day": str(last)}}
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **own)
        succeeded(monitor.materialise("inference_log", tags=of_days(first, DAYS[-1])))
        succeeded(monitor.materialise("reference_baseline"))
        assert reference_metric(monitor) == (None, None)
        truth = {day: write_labels(tmp_path, day, ROWS) for day in DAYS[3:6]}
        succeeded(monitor.run_days("labels", DAYS[3], DAYS[5]))
        assert reference_metric(monitor) == (None, None)
        judged = monitor.check(*CHECK, DAYS[5]).evaluation
        assert judged.severity == dg.AssetCheckSeverity.WARN
        assert judged.description.startswith("not judged: the baseline has no auc")
        truth |= {day: write_labels(tmp_path, day, ROWS) for day in DAYS[:3]}
        succeeded(monitor.run_days("labels", first, last))
        rows = pd.concat([frame.merge(truth[day], on="id") for frame, day in zip(frames[:3], DAYS, strict=False)])
        expected = roc_auc_score(rows["late"], rows["score"])
        assert reference_metric(monitor) == ("auc", pytest.approx(expected, abs=1e-11))
        succeeded(monitor.run_days("labels", DAYS[4], DAYS[5]))
        assert monitor.check(*CHECK, DAYS[5]).evaluation.passed
        # Again, and made anew when the labels are there, it is the same.
        before = monitor.tables("baselines")
        succeeded(monitor.run_days("labels", first, last))
        assert monitor.tables("baselines") == before
        succeeded(monitor.materialise("reference_baseline"))
        assert monitor.tables("baselines") == before


def test_a_reference_without_predictions_cannot_be_compared_with_and_the_check_says_so(tmp_path: Path) -> None:
    reference = pd.concat([example_rows(day, ROWS) for day in REFERENCE]).drop(columns=["score", "predicted"])
    write_reference(tmp_path, frame=reference.assign(late=0))
    with dg.DagsterInstance.ephemeral() as instance:
        monitor = DagsterMonitor(tmp_path, instance, **SETTINGS | {"label": {"column": "late", "delay_days": 0}})
        succeeded(monitor.materialise("reference_baseline"))
        for day in DAYS[:2]:
            write_day(tmp_path, day, ROWS)
            write_labels(tmp_path, day, ROWS)
        succeeded(monitor.materialise("inference_log", tags=of_days(DAYS[0], DAYS[1])))
        succeeded(monitor.run_days("labels", DAYS[0], DAYS[1]))
        judged = monitor.check(*CHECK, DAYS[1]).evaluation
        assert (judged.passed, judged.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert judged.description == (
            "not judged: the baseline has no auc: its rows have no predictions with labels, or fewer than 500 such rows"
        )
