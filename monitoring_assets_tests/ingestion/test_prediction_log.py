"""Laws of ingesting the log: nothing is lost, and days give the same tables alone, together and again."""

import json
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.errors import SourceChanged
from monitoring_assets.ingestion import staging
from monitoring_assets.ingestion.arrivals import news_of
from monitoring_assets.ingestion.delivery import store
from monitoring_assets.ingestion.prediction_log import staged_log
from monitoring_assets.ingestion.present_files import find_files
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    contents,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
)
from monitoring_assets_tests.ingested_days import DAYS, STORED, assert_the_account_is_right, ingest, ingest_log, one_day, reasons

# --- nothing is lost -------------------------------------------------------------------------------------------------

TIMES = [None, "", "2026-03-02 10:00", "2026-03-02T23:59:59", "2026-03-03 00:00", "2026-03-02T23:30:00+00:00", "1999-01-01"]
TIMES += ["2026-03-03T02:00Z", "infinity", "-infinity", "yesterday", "2026-02-30", "1772445600"]
CELLS = {
    "id": st.sampled_from([None, "", "1", "1", "2", "3", "a'b", 'q"', "ü", "x;y", "#7", " 1"]),
    "at": st.sampled_from(TIMES),
    "amount": st.sampled_from([None, "", "1", "-2.5", "1e3", "nan", "inf", "abc", "1,5", "true", "0x1", "=1+1", "1" * 400]),
    "items": st.sampled_from(["1", "2", None]),
    "country": st.sampled_from([None, "", "US", "'; DROP TABLE x;--", "#", "ü\n2", 'a"b']),
    "score": st.sampled_from(["0.5", "x", None]),
    "predicted": st.just("1"),
    "model": st.just("1"),
}


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def shared_connection(shared_home, store):
    with example_warehouse(shared_home, example_spec(shared_home)) as connection:
        yield connection


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.fixed_dictionaries(CELLS), max_size=12),
    extension=st.sampled_from(["parquet", "csv", "csv.gz"]),
    is_glob=st.booleans(),
    seed=st.integers(0, 9),
)
def test_accepted_and_quarantined_rows_are_the_delivered_rows_whatever_comes(
    shared_home, shared_connection, rows, extension, is_glob, seed
):
    for name in STORED:
        shared_connection.execute(f"DELETE FROM example.{name}")
    frame = pd.DataFrame(rows, columns=list(CELLS), dtype="string")
    path = f"{is_glob}/{{day}}.{extension}"
    spec = example_spec(shared_home, log={"path": path.replace("{day}", "*") if is_glob else path})
    # A glob's rows go to the day of their event, and those of a file without any day of the monitor's to its first.
    days = [date(2026, 3, 1), *DAYS] if is_glob else [FIRST]

    def tables_of(delivered: pd.DataFrame):
        write_day(shared_home, FIRST, frame=delivered, path=path)
        reported = ingest_log(shared_connection, spec, days)
        assert_the_account_is_right(shared_connection, reported)
        assert sum(d.delivered_rows for d in reported) == len(frame)
        return contents(shared_connection, spec, *STORED)

    try:
        tables = tables_of(frame)
        assert tables_of(frame) == tables
        # The order of the rows decides nothing.
        assert tables_of(frame.sample(frac=1, random_state=seed)) == tables
    finally:
        (shared_home / path.format(day=FIRST)).unlink()
    # Every row is in one of the two tables, in quarantine as it was delivered.
    amounts = [row[3] for row in tables["inference_log"]] + [json.loads(row[4])["amount"] for row in tables["quarantine"]]
    assert len(amounts) == len(frame)
    assert {json.loads(row[4])["amount"] for row in tables["quarantine"]} <= {v or None for v in frame["amount"].fillna("")} | {
        ""
    }


def test_each_broken_rule_is_named_with_its_column_and_value(tmp_path):
    frame = example_rows(FIRST, 8).astype({"amount": "object", "at": "string"})
    frame.loc[0, "id"] = None
    frame.loc[1, "id"] = frame.loc[2, "id"]
    frame.loc[3, "at"] = None
    frame.loc[4, "at"] = "soon"
    frame.loc[5, "at"] = "2026-03-04 12:00"
    frame["amount"] = frame["amount"].astype("string")
    frame.loc[6, "amount"] = "a lot"
    reported, tables = one_day(tmp_path, frame)
    assert reasons(tables) == [
        "missing event time: at is NULL",
        "missing id: id is NULL",
        "not a number: amount is a lot",
        "not a time: at is soon",
        "repeated id: 2026-03-02-0002",
        "wrong day: at is on 2026-03-04",
    ]
    assert (reported.accepted_rows, reported.quarantined_rows) == (2, 6)
    assert reported.reasons == dict.fromkeys(
        ["missing event time", "missing id", "not a number", "not a time", "repeated id", "wrong day"], 1
    )


def test_the_quarantine_holds_the_row_as_delivered_also_of_a_repeated_id(tmp_path):
    frame = example_rows(FIRST, 2).assign(note="extra", items=["007", "008"], id="same")
    _, tables = one_day(tmp_path, frame)
    original = json.loads(tables["quarantine"][0][4])
    assert set(original) == {*frame.columns}
    assert (original["items"], original["note"]) == ("008", "extra")


def test_an_id_may_come_again_on_another_day(tmp_path):
    for day in (FIRST, SECOND):
        write_day(tmp_path, day, frame=example_rows(day, 2).assign(id=["a", "b"]))
    reported, _ = ingest(tmp_path, example_spec(tmp_path), [FIRST, SECOND])
    assert [d.accepted_rows for d in reported] == [2, 2]


def test_a_file_delivered_twice_counts_once(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/*.parquet"})
    for copy in ("a", "b"):
        write_day(tmp_path, FIRST, path=f"log/{copy}.parquet")
    reported, tables = ingest(tmp_path, spec, [FIRST])
    assert (reported[0].accepted_rows, reported[0].reasons) == (20, {"repeated id": 20})
    assert {Path(row[2]).name for row in tables["quarantine"]} == {"b.parquet"}


def test_a_file_that_changes_after_it_was_read_is_stored_as_it_was_read_and_is_new_again(tmp_path):
    spec = example_spec(tmp_path)
    write_day(tmp_path, FIRST, rows=5)
    with example_warehouse(tmp_path, spec) as connection:
        with staged_log(spec, [FIRST]) as rows:
            write_day(tmp_path, FIRST, rows=9)
            (reported,) = store(connection, spec, rows)
        assert (reported.accepted_rows, reported.quarantined_rows) == (5, 0)
        assert connection.execute("SELECT count(*) FROM example.inference_log").fetchall() == [(5,)]
        later = datetime.now(UTC) + timedelta(days=1)
        assert list(news_of(connection, spec, "inference_log", spec.log, find_files(spec, spec.log), later).changed) == [FIRST]


def test_a_file_that_changes_while_it_is_read_changes_nothing(tmp_path, monkeypatch):
    """Rows with a repeated id are read a second time, for their originals. By then the file repeats other ids."""
    spec = example_spec(tmp_path)
    write_day(tmp_path, FIRST)
    before = ingest(tmp_path, spec, [FIRST])[1]
    frame = example_rows(FIRST, 5)
    write_day(tmp_path, FIRST, frame=pd.concat([frame, frame[:1]]))
    counted = staging.count

    def counted_too_early(*arguments):
        write_day(tmp_path, FIRST, frame=pd.concat([frame, frame[1:]]))
        return counted(*arguments)

    monkeypatch.setattr(staging, "count", counted_too_early)
    with example_warehouse(tmp_path, spec) as connection:
        with pytest.raises(SourceChanged, match="9 rows counted, 5 stored"):
            ingest_log(connection, spec, [FIRST])
        assert contents(connection, spec, *STORED) == before


def test_nothing_is_left_of_staged_rows_whatever_happens(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    spec = example_spec(tmp_path)
    write_day(tmp_path, FIRST)
    ingest(tmp_path, spec, [FIRST])
    with pytest.raises(ZeroDivisionError), staged_log(spec, [FIRST]) as rows:
        len(rows.rows.parent.relative_to(tmp_path / "temporary").parts) / 0
    assert list((tmp_path / "temporary").iterdir()) == []


# --- the same whatever is asked for together ---------------------------------------------------------------------------


@pytest.mark.file_only
@pytest.mark.slow
@pytest.mark.parametrize("path", ["log/{day}.parquet", "log/*.csv"])
def test_days_give_the_same_tables_alone_in_a_range_and_again(tmp_path, path):
    spec = example_spec(tmp_path, log={"path": path})
    for day in DAYS:
        frame = example_rows(day).astype({"amount": "string"})
        frame.loc[2, "amount"], frame.loc[3, "id"], frame.loc[4, "id"] = "many", None, frame.loc[5, "id"]
        frame["at"] = frame["at"].astype("string")
        frame.loc[6, "at"] = "never"
        write_day(tmp_path, day, frame=frame, path=path.replace("*", "{day}"))
    together = ingest(tmp_path, spec, DAYS)[1]
    assert ingest(tmp_path, spec, DAYS)[1] == together
    for day in (THIRD, FIRST, SECOND):
        assert ingest(tmp_path, spec, [day])[1] == together
    (tmp_path / "warehouse.duckdb").unlink()
    for day in (THIRD, FIRST, SECOND):
        alone = ingest(tmp_path, spec, [day])[1]
    assert alone == together
