"""Laws of the daily assets and their checks, on days whose story is known: two monitors on one log, one run as a range of
days (twice), the other day by day."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from monitoring_assets.baselines.building import build_candidate_baseline
from monitoring_assets.baselines.in_force import put_in_force
from monitoring_assets.monitor_spec import days_between
from monitoring_assets_tests.dagster_monitor import ALL_TABLES, DagsterMonitor, succeeded
from monitoring_assets_tests.example_monitor import EXAMPLE, example_rows, rounded, write_day, write_labels, write_reference

pytestmark = pytest.mark.long

ROWS = 600
QUIET, DRIFTED, PATCHY, BROKEN, UNLABELLED = (date(2026, 3, day) for day in (10, 11, 12, 13, 14))
DAYS = [QUIET, DRIFTED, PATCHY, BROKEN, UNLABELLED]
REFERENCE = days_between(date(2026, 2, 20), date(2026, 2, 25))


@dataclass(frozen=True)
class Twins:
    """The same log behind two warehouses. `after_one` holds the tables of `ranged` after its first run over the days."""

    ranged: DagsterMonitor
    single: DagsterMonitor
    after_one: dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("twins")
    _write_story(folder)
    paths: dict[str, Any] = {
        "log": {"path": f"{folder}/log/{{day}}.parquet"},
        "labels": {"path": f"{folder}/labels/{{day}}.parquet"},
        "reference": {"path": f"{folder}/reference.parquet"},
        "segments": ["country"],
        # The countries are declared, the amounts learnt from the reference.
        "features": EXAMPLE["features"] | {"country": {"kind": "categorical", "allowed": ["US", "DE", "JP"]}},
    }
    # The range on the storage that users have by default.
    with dg.DagsterInstance.local_temp(str(folder)) as one, dg.DagsterInstance.ephemeral() as other:
        ranged = DagsterMonitor(folder / "ranged", one, **paths)
        single = DagsterMonitor(folder / "single", other, **paths)
        for monitor in (ranged, single):
            succeeded(monitor.materialise("reference_baseline"))
            _put_champion_in_force(monitor, auc=0.95)
        for day in DAYS:
            succeeded(single.run_days("daily", day))
            succeeded(single.run_days("labels", day))
        _run_range(ranged)
        after_one = ranged.tables()
        _run_range(ranged)
        yield Twins(ranged, single, after_one)


def _run_range(monitor: DagsterMonitor) -> None:
    succeeded(monitor.run_days("daily", DAYS[0], DAYS[-1]))
    succeeded(monitor.run_days("labels", DAYS[0], DAYS[-1]))


def _write_story(folder: Path) -> None:
    write_reference(folder, REFERENCE, ROWS)
    write_day(folder, QUIET, ROWS)
    write_day(folder, DRIFTED, ROWS, shift=3)
    patchy = example_rows(PATCHY, ROWS)
    patchy.loc[patchy.index[:24], "country"] = None  # 4 %: above 1 %, below 5 %
    write_day(folder, PATCHY, frame=patchy)
    broken = example_rows(BROKEN, ROWS)
    broken.loc[broken.index[:150], "amount"] = 9_999.0
    broken.loc[broken.index[150:300], "country"] = "Atlantis"
    write_day(folder, BROKEN, frame=broken)
    write_day(folder, UNLABELLED, ROWS)
    for day in DAYS[:-1]:
        write_labels(folder, day, ROWS)


def _put_champion_in_force(monitor: DagsterMonitor, auc: float) -> None:
    """A baseline that says the model was that good, as a promotion leaves it."""
    with monitor.warehouse() as connection:
        rows = connection.execute(
            "SELECT day, 0.5 AS score, 'US' AS country FROM (SELECT DISTINCT day FROM example.baseline_profiles), range(50) "
            "ORDER BY day"
        ).df()
        build_candidate_baseline(connection, monitor.spec, rows, "1", "auc", auc)
        put_in_force(connection, monitor.spec, "1", UNLABELLED)


@pytest.mark.parametrize("name", ALL_TABLES)
def test_a_range_in_one_run_leaves_the_tables_that_single_days_leave(twins: Twins, name: str) -> None:
    ranged, single = twins.ranged.tables(name)[name], twins.single.tables(name)[name]
    assert len(ranged) == len(single)
    assert [rounded(row) for row in ranged] == [rounded(row) for row in single]


@pytest.mark.parametrize("name", ALL_TABLES)
def test_a_range_run_twice_leaves_every_table_identical(twins: Twins, name: str) -> None:
    assert twins.ranged.tables(name)[name] == twins.after_one[name]


def test_the_tables_compared_are_not_empty(twins: Twins) -> None:
    filled = {name for name, rows in twins.after_one.items() if rows}
    assert filled == set(ALL_TABLES) - {"quarantine", "retrain_decisions"}
    assert {row[0] for row in twins.after_one["drift_scores"]} == set(DAYS)


def _of_the_day(monitor: DagsterMonitor, asset: str, day: date) -> dict[str, dg.MetadataValue]:
    """Metadata but for what the run cost, which no two runs share."""
    return {name: value for name, value in monitor.metadata(asset, day).items() if name not in {"seconds", "stored_bytes"}}


@pytest.mark.parametrize("asset", ["inference_log", "daily_profile", "drift_scores", "labels", "performance"])
def test_metadata_of_a_day_is_the_same_from_a_range_and_from_a_single_run(twins: Twins, asset: str) -> None:
    for day in DAYS:
        assert _of_the_day(twins.ranged, asset, day) == _of_the_day(twins.single, asset, day), day


def test_metadata_tells_the_rows_of_each_day(twins: Twins) -> None:
    for day in DAYS:
        shown = twins.ranged.metadata("inference_log", day)
        assert shown["accepted_rows"].value == ROWS
        assert shown["dagster/partition_row_count"].value == ROWS
        assert shown["quarantined_rows"].value == 0
    assert twins.ranged.metadata("labels", BROKEN)["accepted_rows"].value == ROWS
    assert twins.ranged.metadata("labels", UNLABELLED)["accepted_rows"].value == 0
    missing = {day: twins.ranged.metadata("daily_profile", day)["missing_fraction"].value for day in DAYS}
    assert missing[PATCHY] == pytest.approx(24 / (ROWS * 5))  # amount, items, country, score and the confidence in it
    assert missing[QUIET] == 0


def test_scores_are_numbers_that_the_ui_plots_and_differ_by_day(twins: Twins) -> None:
    shown = {day: twins.ranged.metadata("drift_scores", day) for day in DAYS}
    for column in ("amount", "items", "country", "score"):
        values = [shown[day][f"psi {column} (1 day)"] for day in DAYS]
        assert all(isinstance(value, dg.FloatMetadataValue) for value in values)
        assert len({value.value for value in values}) == len(DAYS)
    assert shown[DRIFTED]["psi amount (1 day)"].value > 0.3 > 0.1 > shown[QUIET]["psi amount (1 day)"].value
    stored = twins.ranged.rows(
        f"SELECT score FROM example.drift_scores WHERE day = '{DRIFTED}' AND window_days = 1 AND segment IS NULL "
        "AND feature = 'amount' AND method = 'psi'"
    )
    assert shown[DRIFTED]["psi amount (1 day)"].value == pytest.approx(stored[0][0], abs=1e-3)


def test_a_drifted_day_names_its_worst_column_and_shows_it_beside_the_baseline(twins: Twins) -> None:
    shown = twins.ranged.metadata("drift_scores", DRIFTED)
    assert shown["severity"].value == "severe"
    assert shown["worst_columns"].records[0].data["feature"] == "amount"
    assert shown["worst_column"].value.startswith("![amount](data:image/svg+xml;base64,")
    quiet = twins.ranged.metadata("drift_scores", QUIET)
    assert quiet["severity"].value == "ok"
    assert quiet["drifted_columns"].value == 0
    assert quiet["worst_column"].value != shown["worst_column"].value


def test_each_day_tells_the_baseline_that_judged_it(twins: Twins) -> None:
    by_sequence = dict(twins.ranged.rows("SELECT sequence, baseline_id FROM example.baselines"))
    reported = {day: twins.ranged.metadata("drift_scores", day)["baseline_id"].value for day in DAYS}
    assert reported == {day: by_sequence[1 if day >= UNLABELLED else 0] for day in DAYS}
    assert by_sequence[0] != by_sequence[1]


def test_a_day_without_labels_says_why_it_has_no_metrics(twins: Twins) -> None:
    shown = twins.ranged.metadata("performance", UNLABELLED)
    assert "auc_1_day" not in shown
    assert shown["why_not_1_day"].value == "no labels yet, due 1 days after the prediction"
    labelled = twins.ranged.metadata("performance", QUIET)
    assert 0.5 < labelled["auc_1_day"].value < 1
    assert labelled["labelled_rows_1_day"].value == ROWS


# What each check must say, day by day; every other day passes.
FAILING = {
    ("inference_log", "not_null"): {PATCHY},
    ("inference_log", "in_range"): {DRIFTED, BROKEN},
    ("inference_log", "in_set"): {BROKEN},
    ("inference_log", "of_type"): set(),
    ("inference_log", "unique_id"): set(),
    ("inference_log", "row_count"): set(),
    ("inference_log", "no_outliers"): {DRIFTED, BROKEN},
    ("inference_log", "prediction_varies"): set(),
    ("inference_log", "fresh"): set(),
    ("inference_log", "correlated"): set(),
    # The scores of DRIFTED are 0.3 too high for its labels, so rows of different days are no longer ranked; each day alone is.
    # UNLABELLED is not judged, which is not passed.
    ("performance", "performance_within_threshold"): {DRIFTED, PATCHY, BROKEN, UNLABELLED},
}


@pytest.mark.parametrize(("asset", "check"), FAILING)
@pytest.mark.parametrize("how", ["ranged", "single"])
def test_every_day_has_its_own_check_status(twins: Twins, how: str, asset: str, check: str) -> None:
    expected = {str(day): "FAILED" if day in FAILING[asset, check] else "SUCCEEDED" for day in DAYS}
    assert getattr(twins, how).statuses(asset, check) == expected


def test_the_drift_check_fails_on_the_days_that_drifted_and_alike_in_both(twins: Twins) -> None:
    statuses = twins.ranged.statuses("drift_scores", "drift_within_threshold")
    assert statuses == twins.single.statuses("drift_scores", "drift_within_threshold")
    assert set(statuses) == {str(day) for day in DAYS}
    assert statuses[str(QUIET)] == "SUCCEEDED"
    assert statuses[str(DRIFTED)] == "FAILED"


@pytest.mark.parametrize("how", ["ranged", "single"])
def test_a_severe_finding_is_an_error_and_one_that_may_be_drift_a_warning(twins: Twins, how: str) -> None:
    monitor: DagsterMonitor = getattr(twins, how)
    severities = {
        check: monitor.check("inference_log", check, day).evaluation.severity
        for check, day in (("not_null", PATCHY), ("in_range", BROKEN), ("in_set", BROKEN))
    }
    assert severities == {
        "not_null": dg.AssetCheckSeverity.WARN, "in_range": dg.AssetCheckSeverity.WARN, "in_set": dg.AssetCheckSeverity.ERROR,
    }  # fmt: skip
    drift = monitor.check("drift_scores", "drift_within_threshold", DRIFTED).evaluation
    assert (drift.passed, drift.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert drift.metadata["moved"].records[0].data["feature"] == "amount"


@pytest.mark.parametrize("how", ["ranged", "single"])
def test_a_failing_check_shows_what_was_observed_how_much_and_samples(twins: Twins, how: str) -> None:
    monitor: DagsterMonitor = getattr(twins, how)
    (row,) = monitor.check("inference_log", "in_set", BROKEN).evaluation.metadata["findings"].records
    assert row.data["column"] == "country"
    assert (row.data["unexpected_count"], row.data["unexpected_percent"]) == (150, 25)
    assert row.data["expectation"] == "expect_column_values_to_be_in_set"
    assert '"value_set": ["US", "DE", "JP"], "mostly": 0.9' in row.data["arguments"]
    assert row.data["partial_unexpected_list"] == "Atlantis"
    (row,) = monitor.check("inference_log", "not_null", PATCHY).evaluation.metadata["findings"].records
    assert row.data["unexpected_percent"] == pytest.approx(4)
    assert row.data["partial_unexpected_list"].split(", ") == [f"{PATCHY}-{i:04d}" for i in range(5)]


def test_the_findings_of_every_day_are_stored_as_the_checks_tell_them(twins: Twins) -> None:
    stored = twins.ranged.rows(
        "SELECT day, kind, expectation, column_name, severity, unexpected_count, partial_unexpected_list FROM example.quality "
        "WHERE severity NOT IN ('ok') AND kind IN ('not_null', 'in_set') ORDER BY ALL"
    )
    ids = [f"{PATCHY}-{i:04d}" for i in range(5)]
    assert stored == [
        (PATCHY, "not_null", "expect_column_values_to_not_be_null", "country", "minor", 24, ids),
        (BROKEN, "in_set", "expect_column_values_to_be_in_set", "country", "severe", 150, ["Atlantis"]),
    ]  # fmt: skip
    judged = dict(twins.ranged.rows("SELECT day, any_value(baseline_id) FROM example.quality GROUP BY day"))
    assert judged == dict(twins.ranged.rows("SELECT day, any_value(baseline_id) FROM example.drift_scores GROUP BY day"))


def test_a_check_of_a_range_refers_to_the_materialisation_it_judged(twins: Twins) -> None:
    for day in DAYS:
        record = twins.ranged.check("inference_log", "in_set", day)
        (newest,) = twins.ranged.instance.fetch_materializations(
            dg.AssetRecordsFilter(twins.ranged.key("inference_log"), asset_partitions=[str(day)]), limit=1
        ).records
        assert record.evaluation.target_materialization_data.storage_id == newest.storage_id


def test_a_range_of_one_day_is_a_day(twins: Twins) -> None:
    before = twins.single.tables()
    succeeded(twins.single.run_days("daily", BROKEN, BROKEN))
    assert twins.single.tables() == before
    assert twins.single.statuses("inference_log", "in_set")[str(BROKEN)] == "FAILED"
    assert twins.single.metadata("inference_log", BROKEN)["accepted_rows"].value == ROWS


@pytest.mark.parametrize("how", ["ranged", "single"])
def test_a_day_that_cannot_be_judged_warns_and_says_why(twins: Twins, how: str) -> None:
    judged = getattr(twins, how).check("performance", "performance_within_threshold", UNLABELLED).evaluation
    assert (judged.passed, judged.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert judged.description == "not judged: 0 labelled rows of version 1 yet, 500 needed"


def test_a_model_that_got_worse_fails_the_performance_check_as_an_error(twins: Twins) -> None:
    """Labels come for the last day, which a champion with an AUC of 0.95 is judged on."""
    for monitor, last in ((twins.single, None), (twins.ranged, UNLABELLED)):
        folder = Path(monitor.spec.log.path).parents[1]
        write_labels(folder, UNLABELLED, ROWS)
        succeeded(monitor.run_days("labels", UNLABELLED if last is None else BROKEN, last))
        assert monitor.statuses("performance", "performance_within_threshold") == {
            str(day): "SUCCEEDED" if day == QUIET else "FAILED" for day in DAYS
        }
        judged = monitor.check("performance", "performance_within_threshold", UNLABELLED).evaluation
        assert judged.severity == dg.AssetCheckSeverity.ERROR
        assert judged.metadata["baseline_auc"].value == 0.95
        assert np.isclose(judged.metadata["fall"].value, 0.95 - judged.metadata["auc"].value)
