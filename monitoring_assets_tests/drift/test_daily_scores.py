"""Scoring days of the warehouse with thresholds calibrated from the baseline that judges them."""

from datetime import timedelta

import pytest

from monitoring_assets.baselines.building import build_reference_baseline
from monitoring_assets.drift.daily_scores import score_history
from monitoring_assets.ingestion.prediction_log import ingest_log
from monitoring_assets.monitor_spec import days_between
from monitoring_assets.profiling.daily_profiles import profile_days
from monitoring_assets.warehouse import table
from monitoring_assets_tests.example_monitor import FIRST, example_spec, example_warehouse, write_day

DAYS = days_between(FIRST, FIRST + timedelta(days=13))
QUIET, SHIFTED = FIRST + timedelta(days=14), FIRST + timedelta(days=15)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Fourteen days of reference, a quiet day and one whose amount moved by two standard deviations; scored twice."""
    home = tmp_path_factory.mktemp("calibrated")
    spec = example_spec(
        home,
        drift={"calibrated": True, "windows_days": [1]},
        reference={"first_day": str(DAYS[0]), "last_day": str(DAYS[-1])},
    )
    for day in (*DAYS, QUIET):
        write_day(home, day, rows=300)
    write_day(home, SHIFTED, rows=300, shift=2)
    with example_warehouse(home, spec) as connection:
        ingest_log(connection, spec, [*DAYS, QUIET, SHIFTED])
        build_reference_baseline(connection, spec)
        profile_days(connection, spec, [*DAYS, QUIET, SHIFTED])
        first = score_history(lambda: example_warehouse(home, spec), spec, [QUIET, SHIFTED])[0].scores
        kept = connection.execute(f"SELECT count(*) FROM {table(spec, 'thresholds')}").fetchall()[0][0]
        again = score_history(lambda: example_warehouse(home, spec), spec, [QUIET, SHIFTED])[0].scores
        assert connection.execute(f"SELECT count(*) FROM {table(spec, 'thresholds')}").fetchall()[0][0] == kept
    return first, again, kept


def test_a_baseline_is_calibrated_once_and_its_thresholds_are_kept(scored) -> None:
    first, again, kept = scored
    assert kept == len(first) / 2  # a threshold for each score of a day, those of all features together among them
    assert first.equals(again)


def test_a_quiet_day_is_quiet_and_a_shifted_column_is_found(scored) -> None:
    severities = {(row.day, row.feature): row.severity for row in scored[0].itertuples() if row.method == "psi"}
    assert {feature for (day, feature), severity in severities.items() if day == QUIET and severity != "ok"} == set()
    assert severities[SHIFTED, "amount"] == "severe"
