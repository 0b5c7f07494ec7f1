"""Laws of ingesting labels: each is a fact about a prediction that is there, or is in quarantine with the reason."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    contents,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
    write_file,
    write_labels,
)
from monitoring_assets_tests.ingested_days import ingest_labels, ingest_log

IDS = list(example_rows(FIRST)["id"])


@pytest.fixture
def spec(tmp_path):
    for day in (FIRST, SECOND):
        write_day(tmp_path, day)
    return example_spec(tmp_path)


@pytest.fixture
def connection(tmp_path, spec):
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST, SECOND])
        yield connection


def ingest(connection, spec, *days):
    reported = ingest_labels(connection, spec, spec.label, spec.labels, list(days))
    tables = contents(connection, spec)
    refused = [row for row in tables["quarantine"] if row[1] == "labels" and row[4] is not None]
    for delivery in reported:
        assert delivery.accepted_rows == sum(row[0] == delivery.day for row in tables["labels"])
        assert delivery.quarantined_rows == sum(row[0] == delivery.day for row in refused)
    return reported, {prediction: label for _, prediction, label in tables["labels"]}, [row[3] for row in refused]


def test_labels_of_predictions_are_accepted_and_doing_it_again_changes_nothing(connection, spec, tmp_path):
    given = write_labels(tmp_path, FIRST)
    reported, stored, refused = ingest(connection, spec, FIRST)
    assert (reported[0].accepted_rows, refused) == (20, [])
    assert stored == dict(zip(given["id"], given["late"], strict=True))
    before = contents(connection, spec)
    ingest(connection, spec, FIRST)
    assert contents(connection, spec) == before


def test_a_label_without_its_prediction_is_quarantined_and_accepted_once_the_prediction_is_there(connection, spec, tmp_path):
    write_labels(tmp_path, THIRD)
    reported, stored, refused = ingest(connection, spec, THIRD)
    assert (reported[0].reasons, stored) == ({"unknown id": 20}, {})
    assert "unknown id: 2026-03-04-0000 has no prediction on 2026-03-04" in refused
    write_day(tmp_path, THIRD)
    ingest_log(connection, spec, [THIRD])
    reported, stored, refused = ingest(connection, spec, THIRD)
    assert (reported[0].accepted_rows, refused) == (20, [])


def test_a_label_does_not_belong_to_the_prediction_of_another_day(connection, spec, tmp_path):
    write_labels(tmp_path, SECOND, frame=pd.DataFrame({"id": IDS[:1], "late": [1]}))
    assert ingest(connection, spec, SECOND)[0][0].reasons == {"unknown id": 1}


def test_ingesting_labels_leaves_the_log_and_its_quarantine_alone_and_the_other_way_round(connection, spec, tmp_path):
    write_day(tmp_path, FIRST, frame=example_rows(FIRST).assign(id=[None, *IDS[1:]]))
    write_labels(tmp_path, FIRST)
    ingest_log(connection, spec, [FIRST])
    ingest(connection, spec, FIRST)
    before = contents(connection, spec)
    assert {row[1] for row in before["quarantine"]} == {"inference_log", "labels"}
    ingest_log(connection, spec, [FIRST])
    ingest(connection, spec, FIRST)
    assert contents(connection, spec) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 1], [0, 1]),
        ([True, False], [1, 0]),
        (["true", "False"], [1, 0]),
        (["1", "0.0"], [1, 0]),
        ([1.0, None], [1, None]),
        ([None, None], [None, None]),
        (["nan", "1"], [None, 1]),
    ],
    ids=["integers", "booleans", "boolean text", "text", "missing", "all missing", "nan text"],
)
@pytest.mark.parametrize("extension", ["parquet", "csv"])
def test_labels_are_0_1_or_missing_however_they_are_written(tmp_path, given, expected, extension):
    spec = example_spec(tmp_path, labels={"path": f"labels/{{day}}.{extension}"})
    write_day(tmp_path, FIRST)
    write_labels(tmp_path, FIRST, frame=pd.DataFrame({"id": IDS[:2], "late": given}), path=spec.labels.path)
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST])
        _, stored, refused = ingest(connection, spec, FIRST)
    assert ([stored[name] for name in IDS[:2]], refused) == (expected, [])


def test_what_is_no_label_is_quarantined_with_its_value(connection, spec, tmp_path):
    frame = pd.DataFrame({"id": [*IDS[:4], None], "late": ["2", "0.5", "yes", "inf", "1"]})
    write_labels(tmp_path, FIRST, frame=frame)
    _, stored, refused = ingest(connection, spec, FIRST)
    assert stored == {}
    assert sorted(refused) == [
        "missing id: id is NULL",
        "not 0 or 1: late is 0.5",
        "not 0 or 1: late is 2",
        "not 0 or 1: late is inf",
        "not a number: late is yes",
    ]


def test_of_two_labels_for_one_id_a_sound_one_counts_and_the_other_is_kept_as_delivered(connection, spec, tmp_path):
    write_labels(tmp_path, FIRST, frame=pd.DataFrame({"id": [IDS[0]] * 3, "late": ["-5", "1", "1"], "note": ["a", "b", "c"]}))
    _, stored, refused = ingest(connection, spec, FIRST)
    assert stored == {IDS[0]: 1}
    assert sorted(refused) == ["not 0 or 1: late is -5", f"repeated id: {IDS[0]}"]
    originals = [json.loads(row[4])["note"] for row in contents(connection, spec)["quarantine"]]
    assert sorted(originals) == ["a", "c"]


def test_labels_of_a_regression_are_finite_numbers(tmp_path):
    spec = example_spec(tmp_path, prediction={"value": "score"})
    write_day(tmp_path, FIRST)
    write_labels(tmp_path, FIRST, frame=pd.DataFrame({"id": IDS[:3], "late": [12.5, -np.inf, 2.0]}))
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST])
        _, stored, refused = ingest(connection, spec, FIRST)
    assert (stored, refused) == ({IDS[0]: 12.5, IDS[2]: 2.0}, ["not finite: late is -inf"])


def test_labels_in_one_file_find_their_day_by_the_time_of_the_prediction(tmp_path):
    spec = example_spec(tmp_path, labels={"path": "labels*.csv", "event_time": "predicted_at"})
    rows = pd.concat([write_day(tmp_path, day) for day in (FIRST, SECOND)])
    labels = pd.DataFrame({"id": rows["id"], "late": 1, "predicted_at": rows["at"]})
    write_file(tmp_path / "labels_all.csv", labels)
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST, SECOND])
        reported, stored, _ = ingest(connection, spec, SECOND)
        assert (reported[0].accepted_rows, set(stored)) == (20, set(example_rows(SECOND)["id"]))
        reported, stored, _ = ingest(connection, spec, FIRST, SECOND)
        assert [d.accepted_rows for d in reported] == [20, 20]


def test_labels_that_have_not_come_yet_are_absent_and_no_fault(connection, spec):
    reported, stored, refused = ingest(connection, spec, FIRST)
    assert (reported[0].is_absent, reported[0].delivered_rows, stored, refused) == (True, 0, {}, [])


def test_a_corrupt_file_of_labels_leaves_the_labels_as_they_were(connection, spec, tmp_path):
    write_labels(tmp_path, FIRST)
    before = ingest(connection, spec, FIRST)[1]
    (tmp_path / f"labels/{FIRST}.parquet").write_bytes(b"PAR1....PAR1")
    reported, stored, _ = ingest(connection, spec, FIRST, FIRST + timedelta(days=1))
    assert stored == before
    assert "cannot be read" in str(reported[0].unreadable)
