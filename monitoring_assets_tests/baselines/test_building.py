"""Laws of baselines: identified by content, in force from a day on, never without a trace of why they are missing."""

from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from monitoring_assets.baselines.building import build_candidate_baseline
from monitoring_assets.baselines.in_force import Baseline, baselines_in_force, discard_candidate_baseline, put_in_force
from monitoring_assets.errors import BaselineMissing
from monitoring_assets.measuring.histograms import read_histograms
from monitoring_assets.monitor_spec import CONFIDENCE, MonitorSpec
from monitoring_assets.warehouse import ensure_tables
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    contents,
    example_rows,
    example_spec,
    example_warehouse,
    reference_baseline,
    write_day,
    write_reference,
)
from monitoring_assets_tests.ingested_days import ingest_log

STORED = ("baselines", "baseline_profiles", "baseline_sample", "profile_grids")


@pytest.fixture
def spec(tmp_path: Path) -> MonitorSpec:
    for day in (FIRST, SECOND, THIRD):
        write_day(tmp_path, day)
    return example_spec(tmp_path, segments=["country"])


@pytest.fixture
def connection(tmp_path: Path, spec: MonitorSpec):
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST, SECOND, THIRD])
        yield connection


def candidate(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, version: str, seed: int = 0) -> Baseline:
    predictions = pd.concat([example_rows(day)[["country"]].assign(day=day) for day in (FIRST, SECOND)])
    predictions["score"] = np.random.default_rng(seed).random(len(predictions))
    return build_candidate_baseline(connection, spec, predictions, version, "auc", 0.7)


def in_force(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, day: date) -> str:
    return baselines_in_force(connection, spec, [day])[0][0].baseline_id


def test_the_same_reference_gives_the_same_id_and_tables(connection, spec):
    first = reference_baseline(connection, spec)
    stored = contents(connection, spec, *STORED)
    assert reference_baseline(connection, spec) == first
    assert contents(connection, spec, *STORED) == stored
    assert first.row_count == 60
    assert (first.first_day, first.last_day) == (FIRST, THIRD)


def test_the_order_of_rows_does_not_change_the_id(connection, spec, tmp_path):
    first = reference_baseline(connection, spec).baseline_id
    for day in (FIRST, SECOND, THIRD):
        write_day(tmp_path, day, frame=example_rows(day).iloc[::-1])
    ingest_log(connection, spec, [FIRST, SECOND, THIRD])
    assert reference_baseline(connection, spec).baseline_id == first


@pytest.mark.slow
@pytest.mark.parametrize("change", ["one value", "one row less", "missing instead of zero"])
def test_other_content_gives_another_id(connection, spec, tmp_path, change):
    first = reference_baseline(connection, spec).baseline_id
    frame = example_rows(SECOND)
    if change == "one value":
        frame.loc[3, "country"] = "FR"
    elif change == "one row less":
        frame = frame.iloc[1:]
    else:
        frame.loc[3, "amount"] = None
    write_day(tmp_path, SECOND, frame=frame)
    ingest_log(connection, spec, [SECOND])
    assert reference_baseline(connection, spec).baseline_id != first
    assert len(contents(connection, spec, "baselines")["baselines"]) == 1


@pytest.mark.slow
def test_grids_are_kept_when_the_reference_is_rebuilt(connection, spec, tmp_path):
    reference_baseline(connection, spec)
    grids = contents(connection, spec, "profile_grids")
    write_day(tmp_path, SECOND, shift=30)
    ingest_log(connection, spec, [SECOND])
    reference_baseline(connection, spec)
    rebuilt = contents(connection, spec, "profile_grids")["profile_grids"]
    assert [row for row in rebuilt if row[-1] is None] == grids["profile_grids"]
    assert {row[0] for row in grids["profile_grids"]} == set(spec.watched_columns)
    assert {row[0] for row in rebuilt if row[-1] is not None} == {"amount", "score", CONFIDENCE}  # which have left their grids


def test_rows_of_a_reference_count_by_their_weight_and_singly_in_a_file_without_one(connection, tmp_path):
    weighted = pd.concat([example_rows(FIRST), example_rows(SECOND)]).assign(stands_for=2.5)
    for frame, counted, squared in ((weighted, 50.0, 125.0), (weighted.drop(columns="stands_for"), 20.0, 20.0)):
        write_reference(tmp_path, frame=frame)
        spec = example_spec(tmp_path, reference={"path": "reference.parquet"}, sampling_weight="stands_for", segments=["country"])
        ensure_tables(connection, spec)
        reference_baseline(connection, spec)
        found = connection.execute(
            "SELECT DISTINCT day, row_count, list_sum(counts) + null_count, squared_weight FROM example.baseline_profiles "
            "WHERE segment IS NULL ORDER BY ALL"
        ).fetchall()
        assert found == [(day, 20, counted, squared) for day in (FIRST, SECOND)]
        by_segment = "SELECT sum(list_sum(counts)) FROM example.baseline_profiles WHERE segment IS NOT NULL AND feature = 'items'"
        assert connection.execute(by_segment).fetchall() == [(2 * counted,)]


def test_a_candidates_predictions_count_by_their_weight(connection, tmp_path):
    spec = example_spec(tmp_path, sampling_weight="stands_for")
    ensure_tables(connection, spec)
    predictions = pd.DataFrame({"day": [FIRST] * 3, "score": [0.25, 0.5, 0.5], "stands_for": [1.0, 10.0, 10.0]})
    build_candidate_baseline(connection, spec, predictions, "2", "auc", 0.7)
    (found,) = read_histograms(connection, "example.baseline_profiles", "feature = 'score'").values()
    assert (found.rows.tolist(), found.row_count.tolist(), found.squared_weight.tolist()) == ([21], [3], [201])


def test_a_profile_from_before_there_were_weights_counts_every_row_once(connection, spec):
    reference_baseline(connection, spec)
    before = read_histograms(connection, "example.baseline_profiles")
    connection.execute("UPDATE example.baseline_profiles SET squared_weight = NULL")
    for key, found in read_histograms(connection, "example.baseline_profiles").items():
        assert found.effective_rows.tolist() == before[key].effective_rows.tolist() == before[key].row_count.tolist()


def test_a_candidate_counts_from_its_day_on_and_the_day_before_keeps_the_old_baseline(connection, spec):
    reference, brought = reference_baseline(connection, spec), candidate(connection, spec, "2")
    assert brought.valid_from is None
    assert in_force(connection, spec, THIRD) == reference.baseline_id
    put_in_force(connection, spec, "2", SECOND)
    assert in_force(connection, spec, FIRST) == reference.baseline_id
    assert in_force(connection, spec, SECOND) == brought.baseline_id
    judged = baselines_in_force(connection, spec, [FIRST, SECOND, THIRD])
    assert {baseline.baseline_id: days for baseline, days in judged} == {
        reference.baseline_id: [FIRST],
        brought.baseline_id: [SECOND, THIRD],
    }


def test_a_candidate_takes_its_features_from_profiles_and_its_scores_from_the_predictions_given(connection, spec):
    reference, brought = reference_baseline(connection, spec), candidate(connection, spec, "2")
    profiles = pd.DataFrame(
        contents(connection, spec, "baseline_profiles")["baseline_profiles"],
        columns=[row[0] for row in connection.execute("DESCRIBE example.baseline_profiles").fetchall()],
    )
    profiles = profiles[profiles["segment"].isna()].drop(columns="segment").set_index(["baseline_id", "feature", "day"])
    assert brought.row_count == 40
    for day in pd.to_datetime([FIRST, SECOND]).date:
        for feature in ("amount", "items", "country"):
            ours, theirs = profiles.loc[(brought.baseline_id, feature, day)], profiles.loc[(reference.baseline_id, feature, day)]
            assert repr(ours.to_dict()) == repr(theirs.to_dict())
        assert sum(profiles.loc[(brought.baseline_id, "score", day), "counts"]) == 20


def test_a_candidate_takes_the_sample_of_its_days(connection, spec):
    reference, brought = reference_baseline(connection, spec), candidate(connection, spec, "2")
    sample = f"SELECT * EXCLUDE baseline_id FROM example.baseline_sample WHERE baseline_id = ? AND day <= '{SECOND}' ORDER BY ALL"
    ours, theirs = (connection.execute(sample, [each.baseline_id]).fetchall() for each in (brought, reference))
    assert len(ours) == 40
    assert ours == theirs


def test_putting_in_force_twice_changes_nothing(connection, spec):
    reference_baseline(connection, spec)
    candidate(connection, spec, "2")
    first = put_in_force(connection, spec, "2", SECOND)
    stored = contents(connection, spec, *STORED)
    assert put_in_force(connection, spec, "2", THIRD) == first
    assert contents(connection, spec, *STORED) == stored


def test_discarding_a_candidate_leaves_no_trace(connection, spec):
    reference_baseline(connection, spec)
    stored = contents(connection, spec, "baselines", "baseline_profiles", "baseline_sample")
    candidate(connection, spec, "2")
    discard_candidate_baseline(connection, spec, "2")
    assert contents(connection, spec, "baselines", "baseline_profiles", "baseline_sample") == stored
    discard_candidate_baseline(connection, spec, "2")
    assert contents(connection, spec, "baselines", "baseline_profiles", "baseline_sample") == stored


def test_a_baseline_in_force_cannot_be_discarded(connection, spec):
    reference_baseline(connection, spec)
    candidate(connection, spec, "2")
    put_in_force(connection, spec, "2", SECOND)
    stored = contents(connection, spec, *STORED)
    discard_candidate_baseline(connection, spec, "2")
    assert contents(connection, spec, *STORED) == stored


@pytest.mark.slow
def test_a_candidate_built_again_takes_the_place_of_its_first_try(connection, spec):
    reference_baseline(connection, spec)
    first = candidate(connection, spec, "2")
    stored = contents(connection, spec, *STORED)
    assert candidate(connection, spec, "2") == first
    assert contents(connection, spec, *STORED) == stored
    second = candidate(connection, spec, "2", seed=1)
    assert second.baseline_id != first.baseline_id
    assert len(contents(connection, spec, "baselines")["baselines"]) == 2


def test_a_candidate_built_again_after_its_promotion_leaves_the_baseline_in_force(connection, spec):
    reference_baseline(connection, spec)
    candidate(connection, spec, "2")
    promoted = put_in_force(connection, spec, "2", SECOND)
    stored = contents(connection, spec, *STORED)
    assert candidate(connection, spec, "2", seed=1) == promoted
    assert contents(connection, spec, *STORED) == stored


def test_of_two_valid_baselines_the_later_made_counts(connection, spec):
    reference_baseline(connection, spec)
    candidate(connection, spec, "2")
    candidate(connection, spec, "3", seed=1)
    put_in_force(connection, spec, "3", SECOND)
    put_in_force(connection, spec, "2", SECOND)
    assert baselines_in_force(connection, spec, [THIRD])[0][0].model_version == "3"


def test_rebuilding_the_reference_leaves_promoted_baselines_in_force(connection, spec):
    reference_baseline(connection, spec)
    brought = candidate(connection, spec, "2")
    put_in_force(connection, spec, "2", SECOND)
    reference_baseline(connection, spec)
    assert in_force(connection, spec, THIRD) == brought.baseline_id


def test_scoring_without_a_baseline_names_the_asset_to_materialise(connection, spec):
    with pytest.raises(BaselineMissing, match="Materialise the asset example/reference_baseline"):
        baselines_in_force(connection, spec, [FIRST])


def test_a_day_before_every_baseline_is_reported_so(connection, spec):
    reference_baseline(connection, spec)
    candidate(connection, spec, "2")
    put_in_force(connection, spec, "2", SECOND)
    connection.execute("DELETE FROM example.baselines WHERE sequence = 0")
    with pytest.raises(BaselineMissing, match=f"in force on {FIRST}, the earliest is from {SECOND}"):
        baselines_in_force(connection, spec, [FIRST, SECOND])


def test_a_model_without_a_baseline_cannot_be_put_in_force(connection, spec):
    with pytest.raises(BaselineMissing, match="model version 9 of example has no baseline; retrain"):
        put_in_force(connection, spec, "9", SECOND)


def test_a_reference_without_rows_is_a_missing_baseline_and_changes_nothing(connection, tmp_path):
    later = FIRST + timedelta(days=90)
    spec = example_spec(tmp_path, reference={"first_day": str(later), "last_day": str(later)})
    with pytest.raises(BaselineMissing, match=r"holds no usable rows.*Materialise example/inference_log"):
        reference_baseline(connection, spec)
    assert not any(contents(connection, spec, *STORED).values())


def test_a_reference_file_without_predictions_makes_a_baseline_without_them(connection, tmp_path):
    write_reference(tmp_path, frame=example_rows(FIRST).drop(columns=["score", "predicted", "model"]))
    spec = example_spec(tmp_path, reference={"path": "reference.parquet"})
    reference_baseline(connection, spec)
    profiled = connection.execute("SELECT DISTINCT feature FROM example.baseline_profiles ORDER BY ALL").fetchall()
    assert profiled == [("amount",), ("country",), ("items",)]
