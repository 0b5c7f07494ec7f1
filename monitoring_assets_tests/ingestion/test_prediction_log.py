"""Laws of ingesting the log: nothing is lost, a day is a day of the monitor's zone, one bad file harms no other day."""

import gzip
import json
import math
import random
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.errors import SourceChanged
from monitoring_assets.ingestion import staging
from monitoring_assets.ingestion.arrivals import find_files, news_of
from monitoring_assets.ingestion.delivery import store
from monitoring_assets.ingestion.prediction_log import staged_log
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
)
from monitoring_assets_tests.ingested_days import ingest_log

DAYS = [FIRST, SECOND, THIRD]
STORED = ("inference_log", "quarantine", "deliveries")


def ingest(home: Path, spec, days):
    with example_warehouse(home, spec) as connection:
        deliveries = ingest_log(connection, spec, days)
        assert_the_account_is_right(connection, deliveries)
        return deliveries, contents(connection, spec, *STORED)


def assert_the_account_is_right(connection, deliveries) -> None:
    """What a delivery says is what the tables hold."""
    for reported in deliveries:
        stored = connection.execute("SELECT count(*) FROM example.inference_log WHERE day = ?", [reported.day]).fetchone()
        refused = connection.execute(
            "SELECT count(*) FROM example.quarantine WHERE day = ? AND original IS NOT NULL", [reported.day]
        ).fetchone()
        account = connection.execute(
            "SELECT delivered_rows, accepted_rows, quarantined_rows, unreadable FROM example.deliveries WHERE day = ?",
            [reported.day],
        ).fetchall()
        assert (reported.accepted_rows, reported.quarantined_rows) == (stored[0], refused[0])
        assert account == [(reported.delivered_rows, reported.accepted_rows, reported.quarantined_rows, reported.unreadable)]
        assert sum(reported.reasons.values()) == reported.quarantined_rows


def one_day(tmp_path, frame: pd.DataFrame, **overrides):
    """Ingest one frame as the first day; gives the delivery and the tables."""
    spec = example_spec(tmp_path, **overrides)
    write_day(tmp_path, FIRST, frame=frame, path=spec.log.path)
    deliveries, tables = ingest(tmp_path, spec, [FIRST])
    return deliveries[0], tables


def reasons(tables) -> list[str]:
    return sorted(row[3] for row in tables["quarantine"])


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


# --- bad files ---------------------------------------------------------------------------------------------------------


def damage_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:400] = random.Random(1).randbytes(396)
    path.write_bytes(content)


def a_page_that_is_not_compressed_data(path: Path) -> None:
    """The footer stays sound, so only reading the rows finds out."""
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    content[start : start + 60] = b"\xff" * 60
    path.write_bytes(content)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda path: path.unlink(), "no file at"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes"),
    "not Parquet": (lambda path: path.write_bytes(b"hello world, " * 9), "cannot be read"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "cannot be read"),
    "damaged": (damage_the_middle, "cannot be read"),
    "damaged behind its header": (a_page_that_is_not_compressed_data, "cannot be read"),
    "without a column": (
        lambda path: write_file(path, example_rows(SECOND).drop(columns="country")),
        "column 'country' is not in",
    ),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("path", ["log/{day}.parquet", "log/*.parquet"])
def test_a_bad_file_leaves_its_day_as_it_was_and_the_other_days_unharmed(tmp_path, kind, path):
    spec = example_spec(tmp_path, log={"path": path})
    for day in DAYS:
        write_day(tmp_path, day, frame=example_rows(day).assign(id=lambda f: f["id"].mask(f.index == 3)))
    before = ingest(tmp_path, spec, DAYS)[1]
    spoil, reason = BAD_FILES[kind]
    spoil(tmp_path / f"log/{SECOND}.parquet")
    write_day(tmp_path, THIRD, rows=7)
    reported, after = ingest(tmp_path, spec, DAYS)
    assert [d.accepted_rows for d in reported] == [19, 19, 7]
    assert [d.unreadable is not None for d in reported] == [False, True, False]
    assert reason in str(reported[1].unreadable)
    assert reported[1].is_absent == (kind == "absent")
    for name in ("inference_log", "quarantine"):
        rows = [row for row in after[name] if row[0] == SECOND and (name != "quarantine" or row[4])]
        assert rows == [row for row in before[name] if row[0] == SECOND]
    notes = [row for row in after["quarantine"] if row[4] is None and row[0] == SECOND]
    assert [Path(row[2]).name for row in notes] == ([] if kind == "absent" else [f"{SECOND}.parquet"])
    assert ingest(tmp_path, spec, DAYS)[1] == after
    if kind != "a folder":
        write_day(tmp_path, SECOND, rows=4)
        reported, fixed = ingest(tmp_path, spec, DAYS)
        assert ([d.accepted_rows for d in reported], fixed["quarantine"]) == (
            [19, 4, 7],
            [r for r in before["quarantine"] if r[0] == FIRST],
        )


def test_a_day_that_was_never_readable_is_empty_and_says_why(tmp_path):
    reported, tables = ingest(tmp_path, example_spec(tmp_path), [FIRST])
    assert (reported[0].delivered_rows, reported[0].is_absent) == (0, True)
    assert reported[0].unreadable == f"no file at {tmp_path}/log/2026-03-02.parquet"
    assert tables["quarantine"] == []


def test_a_glob_without_files_leaves_every_day_as_it_was(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/*.parquet"})
    write_day(tmp_path, FIRST)
    before = ingest(tmp_path, spec, [FIRST])[1]
    shutil.rmtree(tmp_path / "log")
    reported, after = ingest(tmp_path, spec, [FIRST, SECOND])
    assert [d.is_absent for d in reported] == [True, True]
    assert after["inference_log"] == before["inference_log"]


def test_a_new_bad_file_of_a_glob_warns_on_the_days_it_may_hold(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/*.parquet"})
    write_day(tmp_path, FIRST)
    (tmp_path / "log/broken.parquet").write_bytes(b"PAR1 half a file")
    reported, tables = ingest(tmp_path, spec, [FIRST])
    assert (reported[0].accepted_rows, reported[0].unreadable) == (20, None)
    assert "broken.parquet: cannot be read" in reported[0].warnings[0]
    assert [Path(row[2]).name for row in tables["quarantine"]] == ["broken.parquet"]


CSV = "id,at,amount,items,country,score,predicted,model\n"
ROW = "{},2026-03-02 10:00,1,1,US,0.5,1,1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        (CSV, 0),
        (CSV + ROW.format("#1") + ROW.format("2"), 2),
        ("\ufeff" + CSV + ROW.format("1"), 1),
        ((CSV + ROW.format("1")).replace("\n", "\r\n"), 1),
        ((CSV + ROW.format("1")).replace(",", ";"), 1),
        ((CSV + ROW.format("1")).replace(",", "\t"), 1),
        (CSV + ROW.format('"a ""quoted"", id"'), 1),
        ("a title\n" + CSV + ROW.format("1"), None),
        (ROW.format("1"), None),
    ],
    ids=["header", "hash", "bom", "crlf", "semicolon", "tab", "quotes", "title", "no header"],
)
def test_csv_with_a_header_of_the_columns_needed_is_read(tmp_path, content, accepted):
    spec = example_spec(tmp_path, log={"path": "log/{day}.csv"})
    (tmp_path / "log").mkdir()
    (tmp_path / f"log/{FIRST}.csv").write_bytes(content.encode())
    reported, _ = ingest(tmp_path, spec, [FIRST])
    assert reported[0].accepted_rows == (accepted or 0)
    assert (reported[0].unreadable is None) == (accepted is not None)


@pytest.mark.file_only
def test_files_with_other_delimiters_or_column_orders_or_types_are_read_side_by_side(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/{day}.csv"})
    frame = write_day(tmp_path, FIRST, path=spec.log.path)
    example_rows(SECOND)[frame.columns[::-1]].to_csv(tmp_path / f"log/{SECOND}.csv", index=False)
    example_rows(THIRD).assign(more=1).to_csv(tmp_path / f"log/{THIRD}.csv", index=False, sep=";")
    _, from_csv = ingest(tmp_path, spec, DAYS)
    (tmp_path / "warehouse.duckdb").unlink()
    for day in DAYS:
        write_day(tmp_path, day)
    write_day(tmp_path, SECOND, frame=example_rows(SECOND).astype({"items": "float32", "amount": "object"}))
    _, from_parquet = ingest(tmp_path, example_spec(tmp_path), DAYS)
    assert from_csv["inference_log"] == from_parquet["inference_log"]


# --- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-03-02 23:30", "2026-03-02"),
        ("2026-03-03T04:30:00Z", "2026-03-02"),
        ("2026-03-03T05:00:00+00:00", "2026-03-03"),
        ("2026-03-02T23:30:00-05:00", "2026-03-02"),
        ("2026-03-03T05:30:00+01:00", "2026-03-02"),
        # The day summer time begins has 23 hours, the day it ends 25.
        ("2026-03-08T04:59:59Z", "2026-03-07"),
        ("2026-03-08T05:00:00Z", "2026-03-08"),
        ("2026-03-09T03:59:59Z", "2026-03-08"),
        ("2026-03-08 02:30", "2026-03-08"),
        ("2026-11-01T04:00:00Z", "2026-11-01"),
        ("2026-11-02T04:59:59Z", "2026-11-01"),
        ("2026-11-01 01:30", "2026-11-01"),
    ],
)
@pytest.mark.parametrize("kind", ["text", "typed"])
def test_an_event_is_on_its_day_in_the_zone_of_the_monitor(tmp_path, moment, day, kind):
    spec = example_spec(tmp_path, log={"path": "log/*.parquet"})
    at = moment if kind == "text" else pd.Timestamp(moment)
    write_day(tmp_path, FIRST, frame=example_rows(FIRST, 1).assign(at=[at]))
    there = date.fromisoformat(day)
    reported, _ = ingest(tmp_path, spec, [there - timedelta(days=1), there, there + timedelta(days=1)])
    assert [d.accepted_rows for d in reported] == [0, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("unit", [pa.timestamp("ns"), pa.timestamp("ms", tz="UTC"), pa.timestamp("us", tz="Asia/Tokyo")])
def test_every_parquet_timestamp_keeps_its_instant(tmp_path, unit):
    noon = datetime(2026, 3, 2, 12)
    frame = pa.Table.from_pandas(example_rows(FIRST, 1).drop(columns="at")).append_column("at", pa.array([noon], unit))
    (tmp_path / "log").mkdir()
    pq.write_table(frame, tmp_path / f"log/{FIRST}.parquet")
    ingest(tmp_path, example_spec(tmp_path), [FIRST])
    with example_warehouse(tmp_path, example_spec(tmp_path)) as connection:
        stored = connection.execute("SELECT epoch(at) FROM example.inference_log".replace("at)", '"at")')).fetchone()
    # pyarrow takes a naive datetime as UTC for a type with a zone; without one it is New York's noon.
    expected = pd.Timestamp(noon, tz="UTC") if unit.tz else pd.Timestamp(noon, tz="America/New_York")
    assert stored == (expected.timestamp(),)


# --- sources -----------------------------------------------------------------------------------------------------------


def test_rows_of_a_glob_land_on_the_day_of_their_event_and_undated_ones_on_the_first_of_their_file(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/**/*.parquet"})
    mixed = pd.concat([example_rows(day, 4) for day in DAYS], ignore_index=True).astype({"at": "string"})
    mixed.loc[11, "at"] = "sometime"
    write_file(tmp_path / "log/a/b/mixed.parquet", mixed.sample(frac=1, random_state=1))
    undated = example_rows(FIRST, 2).assign(at="?")
    write_file(tmp_path / "log/undated.parquet", undated)
    reported, tables = ingest(tmp_path, spec, [spec.start_day, *DAYS])
    assert [(d.accepted_rows, d.quarantined_rows) for d in reported] == [(0, 2), (4, 1), (4, 0), (3, 0)]
    assert reasons(tables) == ["not a time: at is ?", "not a time: at is ?", "not a time: at is sometime"]


def test_several_files_of_one_day_are_its_rows(tmp_path):
    spec = example_spec(tmp_path, log={"path": "log/dt={day}/*.parquet"})
    frame = example_rows(FIRST, 10)
    write_file(tmp_path / f"log/dt={FIRST}/a.parquet", frame.iloc[:4])
    write_file(tmp_path / f"log/dt={FIRST}/b.parquet", frame.iloc[4:])
    assert ingest(tmp_path, spec, [FIRST])[0][0].accepted_rows == 10
    (tmp_path / f"log/dt={FIRST}/b.parquet").write_bytes(b"broken")
    reported, tables = ingest(tmp_path, spec, [FIRST])
    assert "cannot be read" in str(reported[0].unreadable)
    assert len(tables["inference_log"]) == 10


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["it's", "two words", "größe 数", "prod [eu]", "a*b", "key=value", 'say "x"', "{day}"])
@pytest.mark.parametrize("path", ["log/{day}.parquet", "log/*.csv"])
def test_a_data_folder_may_have_any_name(tmp_path, folder, path):
    home = tmp_path / folder
    home.mkdir()
    write_file(home / path.replace("*", "{day}").replace("{day}", str(FIRST)), example_rows(FIRST))
    assert ingest(home, example_spec(home, log={"path": path}), [FIRST])[0][0].accepted_rows == 20


def test_gzipped_csv_is_read(tmp_path):
    (tmp_path / "log").mkdir()
    with gzip.open(tmp_path / f"log/{FIRST}.csv.gz", "wt") as file:
        example_rows(FIRST).to_csv(file, index=False)
    assert ingest(tmp_path, example_spec(tmp_path, log={"path": "log/{day}.csv.gz"}), [FIRST])[0][0].accepted_rows == 20


@pytest.mark.parametrize("extension", ["parquet", "csv"])
def test_a_day_with_0_rows_is_a_day(tmp_path, extension):
    reported, tables = one_day(tmp_path, example_rows(FIRST).iloc[:0], log={"path": f"log/{{day}}.{extension}"})
    assert (reported.delivered_rows, reported.unreadable) == (0, None)
    assert len(tables["deliveries"]) == 1


def test_a_day_that_shrinks_to_0_rows_loses_its_rows(tmp_path):
    assert one_day(tmp_path, example_rows(FIRST))[0].accepted_rows == 20
    assert one_day(tmp_path, example_rows(FIRST).iloc[:0])[1]["inference_log"] == []


# --- columns and types -------------------------------------------------------------------------------------------------

ODD = ["it's", 'say "x"', "two words", "größe 数", "source", "reason", "original", "raw", "s", "f", "l", "filename", "file_day"]
ODD += ["source_file", "delivered", "judged", "rowid", "select", "value", "{value}", "asset"]


@pytest.mark.parametrize("extension", ["parquet", "csv"])
def test_a_column_may_have_any_name(tmp_path, extension):
    frame = example_rows(FIRST, 3).assign(**{name: [1.5, 2.5, 3.5] for name in ODD}).astype(dict.fromkeys(ODD, "object"))
    frame.loc[2, ODD] = "bad"
    frame[ODD] = frame[ODD].astype("string")
    overrides = {"features": {name: {"kind": "numeric"} for name in ODD}, "log": {"path": f"log/{{day}}.{extension}"}}
    reported, tables = one_day(tmp_path, frame, **overrides)
    assert (reported.accepted_rows, reported.quarantined_rows) == (2, 1)
    assert [row[3 : 3 + len(ODD)] for row in tables["inference_log"]] == [(1.5,) * len(ODD), (2.5,) * len(ODD)]
    assert json.loads(tables["quarantine"][0][4])['say "x"'] == "bad"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (pd.array([1, 2, None], "Int64"), [1, 2, None]),
        (np.array([1, 2, 255], "uint8"), [1, 2, 255]),
        ([True, False, None], [1, 0, None]),
        ([Decimal("1.25"), None, Decimal("-3.50")], [1.25, None, -3.5]),
        (["True", "false", " 7 "], [1, 0, 7]),
        ([None, None, None], [None, None, None]),
        (np.array([1.5, np.inf, -np.inf], "float32"), [1.5, float("inf"), float("-inf")]),
    ],
    ids=["integers", "bytes", "booleans", "decimals", "text", "all missing", "floats"],
)
def test_numbers_of_every_type_are_numbers(tmp_path, values, stored):
    reported, tables = one_day(tmp_path, example_rows(FIRST, 3).assign(amount=values))
    assert reported.quarantined_rows == 0
    assert [row[3] for row in tables["inference_log"]] == stored


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [date(2026, 3, 2), pd.Timestamp("2026-03-02"), b"\x01\xff", {"a": 1}, [1.0], "yes", "", "1 2"],
    ids=["date", "time", "bytes", "struct", "list", "yes", "blank", "two"],
)
def test_what_is_no_number_is_quarantined_row_by_row(tmp_path, value):
    reported, _ = one_day(tmp_path, example_rows(FIRST, 3).assign(amount=pd.Series([value, value, None], dtype="object")))
    assert (reported.accepted_rows, reported.reasons) == (1, {"not a number": 2})


def test_a_row_that_cannot_say_how_many_it_stands_for_is_quarantined(tmp_path):
    weights = [1.0, 10.0, 0.0, 2.5, None, -1.0, math.inf, -math.inf]
    reported, tables = one_day(tmp_path, example_rows(FIRST, 8).assign(stands_for=weights), sampling_weight="stands_for")
    assert (reported.accepted_rows, reported.reasons) == (4, {"not a weight": 4})
    assert reasons(tables) == [f"not a weight: stands_for is {shown}" for shown in ("-1.0", "-inf", "NULL", "inf")]
    assert sorted(row[-1] for row in tables["inference_log"]) == [0.0, 1.0, 2.5, 10.0]


def test_a_log_without_the_weight_it_declares_is_reported_so(tmp_path):
    reported, tables = one_day(tmp_path, example_rows(FIRST, 3), sampling_weight="stands_for")
    assert "'stands_for'" in reported.unreadable
    assert tables["inference_log"] == []


def test_an_event_time_that_is_a_number_is_quarantined_row_by_row(tmp_path):
    assert one_day(tmp_path, example_rows(FIRST, 3).assign(at=[1, 2, 3]))[0].reasons == {"not a time": 3}


@pytest.mark.slow
@pytest.mark.parametrize("codes", [pd.array([7, 8], "Int64"), np.array([7.0, 8.0]), np.array([7, 8], "float32"), ["7", "8"]])
def test_whole_numbers_have_one_text_whatever_type_pandas_gave_them(tmp_path, codes):
    _, tables = one_day(tmp_path, example_rows(FIRST, 2).assign(id=codes, country=codes))
    assert [(row[1], row[5]) for row in tables["inference_log"]] == [("7", "7"), ("8", "8")]
