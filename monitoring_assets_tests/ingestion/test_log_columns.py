"""Laws of the log's columns and files: a day is a day of the monitor's zone, whatever the types, names and files."""

import gzip
import json
import math
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring_assets_tests.example_monitor import (
    FIRST,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
    write_file,
)
from monitoring_assets_tests.ingested_days import DAYS, ingest, one_day, reasons

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
    weights = [1.0, 10.0, 0.0, 2.5, None, -1.0, math.inf, -math.inf, 2e9]
    reported, tables = one_day(tmp_path, example_rows(FIRST, 9).assign(stands_for=weights), sampling_weight="stands_for")
    assert (reported.accepted_rows, reported.reasons) == (4, {"not a weight": 5})
    refused = ("-1.0", "-inf", "2000000000.0", "NULL", "inf")
    assert reasons(tables) == [f"not a weight: stands_for is {shown}" for shown in refused]
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
