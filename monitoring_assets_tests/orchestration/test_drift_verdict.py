"""One verdict a day: the event of `drift_scores`, the row of `drift_verdicts`, the check and the alert say the same of it."""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import pytest

from monitoring_assets.alerting.verdict_alerts import alerts_of
from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import EXAMPLE, example_rows, write_day, write_reference

pytestmark = pytest.mark.slow

ROWS = 300
REFERENCE = days_between(date(2026, 2, 10), date(2026, 2, 23))
DAYS = days_between(date(2026, 3, 10), date(2026, 3, 13))
# THERE only Germany moves; on MOVED every `amount` does; on AFTER only the window of three days still holds that; NOTHING has no
# rows.
THERE, MOVED, AFTER, NOTHING = DAYS


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[DagsterMonitor]:
    home = tmp_path_factory.mktemp("verdict")
    write_reference(home, REFERENCE, ROWS)
    for day, shift in ((THERE, 0.0), (MOVED, 4.0), (AFTER, 0.0)):
        frame = example_rows(day, ROWS, shift)
        if day == THERE:
            frame.loc[frame["country"] == "DE", "amount"] += 30
        write_day(home, day, frame=frame)
    write_day(home, NOTHING, frame=example_rows(NOTHING, ROWS).iloc[:0])
    methods = {"numeric_methods": ["wasserstein"], "categorical_methods": ["psi"], "multivariate_methods": []}
    drift = {"windows_days": [1, 3], **methods}
    features = {name: EXAMPLE["features"][name] for name in ("amount", "country")}
    with dg.DagsterInstance.ephemeral() as instance:
        settings = {"drift": drift, "features": features, "segments": ["country"]}
        monitor = DagsterMonitor(home, instance, reference={"path": "reference.parquet"}, **settings)
        succeeded(monitor.materialise("reference_baseline"))
        succeeded(monitor.run_days("daily", DAYS[0], DAYS[-1]))
        yield monitor


@pytest.mark.parametrize("day", DAYS)
def test_event_table_and_check_agree_on_every_day(monitor: DagsterMonitor, day: date) -> None:
    ((severity, columns, judged, segment_severity, segments, reason),) = monitor.rows(
        "SELECT severity, columns, judged_columns, segment_severity, segments, reason FROM example.drift_verdicts "
        f"WHERE day = '{day}'"
    )
    check = monitor.check("drift_scores", "drift_within_threshold", day).evaluation
    assert check.description == reason
    for shown in (monitor.metadata("drift_scores", day), check.metadata):
        assert shown["severity"].value == (severity or "not judged")
        assert shown["drifted_columns"].value == len(columns)
        assert shown["judged_columns"].value == judged
        moved = [row.data["feature"] for row in shown["moved"].records] if "moved" in shown else []
        assert list(dict.fromkeys(moved)) == columns
        found = [row.data["segment"] for row in shown["moved_in_segments"].records] if "moved_in_segments" in shown else []
        assert list(dict.fromkeys(found)) == segments
        assert (shown["segment_severity"].value if segments else None) == segment_severity


def test_what_only_the_longer_window_shows_is_labelled_with_that_window(monitor: DagsterMonitor) -> None:
    shown = monitor.metadata("drift_scores", AFTER)
    moved = {(row.data["feature"], row.data["window_days"], row.data["reference"]) for row in shown["moved"].records}
    assert ("amount", 3, "baseline") in moved
    assert ("amount", 1, "baseline") not in moved
    worst = shown["worst_columns"].records[0].data
    assert (worst["feature"], worst["window_days"], worst["reference"]) == ("amount", 3, "baseline")


def test_a_plotted_score_carries_the_window_it_is_of(monitor: DagsterMonitor) -> None:
    for day in (MOVED, AFTER):
        ((score,),) = monitor.rows(
            f"SELECT score FROM example.drift_scores WHERE day = '{day}' AND window_days = 1 AND segment IS NULL "
            "AND feature = 'amount' AND method = 'wasserstein'"
        )
        assert monitor.metadata("drift_scores", day)["wasserstein amount (1 day)"].value == pytest.approx(score, rel=1e-3)


def test_a_day_without_rows_warns_that_it_was_not_judged_and_does_not_pass(monitor: DagsterMonitor) -> None:
    shown = monitor.rows(f"SELECT DISTINCT severity FROM example.drift_scores WHERE day = '{NOTHING}' AND window_days = 1")
    assert shown == [(None,)]
    check = monitor.check("drift_scores", "drift_within_threshold", NOTHING).evaluation
    assert not check.passed
    assert "windows of 1 day (0 rows, 30 needed)" in check.description


def test_a_segment_that_moved_alone_fails_the_check_and_is_alerted_by_name(monitor: DagsterMonitor) -> None:
    """A third of its rows moved by three standard deviations."""
    check = monitor.check("drift_scores", "drift_within_threshold", THERE).evaluation
    first = check.metadata["moved_in_segments"].records[0].data
    assert (first["segment"], first["feature"]) == ("country=DE", "amount")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    with monitor.warehouse() as connection:
        (alert,) = alerts_of(connection, monitor.spec, "drift", THERE)
    assert alert.severity == "severe"
    assert "country=DE: amount (shifted)" in alert.message


def test_a_day_that_cannot_be_judged_at_all_is_a_warning(monitor: DagsterMonitor) -> None:
    alone = NOTHING + timedelta(days=3)  # no day of its longer window has rows either
    write_day(monitor.home, alone, frame=example_rows(alone, ROWS).iloc[:0])
    succeeded(monitor.run_days("daily", alone))
    check = monitor.check("drift_scores", "drift_within_threshold", alone).evaluation
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "not judged: 0 rows, 30 needed"
    assert check.metadata["severity"].value == "not judged"
    assert monitor.statuses("drift_scores", "drift_within_threshold")[str(alone)] == "FAILED"
