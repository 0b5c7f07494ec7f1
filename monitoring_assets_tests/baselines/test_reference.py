"""Laws of the reference's rows: from a file or from the log, sound ones only, and never silently empty."""

import pandas as pd
import pytest

from monitoring_assets.baselines.reference import ReferenceRows, stage_reference
from monitoring_assets.errors import BaselineMissing, SourceUnreadable
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
    write_file,
    write_labels,
    write_reference,
)
from monitoring_assets_tests.ingested_days import ingest_labels, ingest_log

FILE = {"path": "reference.parquet"}


def staged(home, **overrides):
    spec = example_spec(home, **overrides)
    with example_warehouse(home, spec) as connection:
        found = stage_reference(connection, spec)
        return found, connection.execute("FROM reference_rows ORDER BY day, id").df()


def test_a_reference_file_gives_its_rows_with_predictions_and_label(tmp_path):
    given = write_reference(tmp_path)
    found, rows = staged(tmp_path, reference=FILE)
    assert found == ReferenceRows(FIRST, THIRD, 60, 0, True, True, found.rows)
    assert rows["late"].to_list() == given["late"].to_list()
    assert rows["score"].to_list() == given["score"].to_list()


def test_a_reference_file_may_lack_predictions_and_label(tmp_path):
    frame = example_rows(FIRST).drop(columns=["score", "predicted", "model"])
    write_reference(tmp_path, frame=frame)
    found, rows = staged(tmp_path, reference=FILE)
    assert found == ReferenceRows(FIRST, FIRST, 20, 0, False, False, found.rows)
    assert {"score", "late"}.isdisjoint(rows.columns)


def test_broken_rows_of_a_reference_file_are_left_out_and_counted(tmp_path):
    frame = write_reference(tmp_path).astype({"amount": "string", "at": "string", "late": "string"})
    frame.loc[0, "id"], frame.loc[1, "amount"], frame.loc[2, "at"] = None, "much", "then"
    frame.loc[3, "id"], frame.loc[5, "late"] = frame.loc[4, "id"], "7"
    write_reference(tmp_path, frame=frame)
    found, rows = staged(tmp_path, reference=FILE)
    assert (found.row_count, found.broken_rows, len(rows)) == (55, 5, 55)


def test_a_reference_of_several_files_is_all_their_rows(tmp_path):
    for day in (FIRST, SECOND):
        write_file(tmp_path / f"reference/{day}.csv", example_rows(day))
    found, _ = staged(tmp_path, reference={"path": "reference/*.csv"})
    assert (found.row_count, found.first_day, found.last_day) == (40, FIRST, SECOND)


def test_a_range_of_the_log_is_its_rows_with_the_labels_that_are_known(tmp_path):
    spec = example_spec(tmp_path)
    for day in (FIRST, SECOND):
        write_day(tmp_path, day)
    labels = write_labels(tmp_path, FIRST)
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST, SECOND])
        ingest_labels(connection, spec, spec.label, spec.labels, [FIRST])
    found, rows = staged(tmp_path)
    assert found == ReferenceRows(FIRST, SECOND, 40, 0, True, True, found.rows)
    assert rows["late"].head(20).to_list() == labels["late"].to_list()
    assert rows["late"].tail(20).isna().all()


def test_rows_of_a_reference_file_with_a_broken_weight_are_left_out(tmp_path):
    write_reference(tmp_path, frame=example_rows(FIRST, 3).assign(stands_for=[1.0, -1.0, None]))
    found, rows = staged(tmp_path, reference=FILE, sampling_weight="stands_for")
    assert (found.row_count, found.broken_rows) == (1, 2)
    assert rows["stands_for"].to_list() == [1.0]


def test_an_empty_range_names_the_asset_to_materialise(tmp_path):
    with pytest.raises(BaselineMissing, match=r"2026-03-02 to 2026-03-04, 3 days.*Materialise example/inference_log"):
        staged(tmp_path)


@pytest.mark.parametrize("frame", [example_rows(FIRST).iloc[:0], example_rows(FIRST, 3).assign(id=None)], ids=["no", "no sound"])
def test_a_reference_file_without_usable_rows_is_a_missing_baseline(tmp_path, frame):
    write_reference(tmp_path, frame=frame)
    with pytest.raises(BaselineMissing, match=rf"reference.parquet\) holds no usable rows, of {len(frame)} delivered"):
        staged(tmp_path, reference=FILE)


@pytest.mark.parametrize(
    ("spoil", "reported"),
    [
        (lambda path: path.unlink(), "no file at"),
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "cannot be read"),
        (lambda path: pd.DataFrame({"id": ["1"]}).to_parquet(path), "column 'at', 'amount', 'items', 'country' is not in"),
    ],
    ids=["absent", "truncated", "without columns"],
)
def test_a_reference_file_that_cannot_be_read_is_named_with_the_remedy(tmp_path, spoil, reported):
    write_reference(tmp_path)
    spoil(tmp_path / "reference.parquet")
    with pytest.raises(SourceUnreadable, match="Correct the file") as failed:
        staged(tmp_path, reference=FILE)
    assert reported in str(failed.value)
    assert "reference.parquet" in str(failed.value)
