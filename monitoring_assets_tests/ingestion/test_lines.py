"""Laws of JSON lines and CSV: they give what Parquet gives, and a broken line costs no other."""

import gzip
import json

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.ingestion.files import Layout
from monitoring_assets.ingestion.lines import csv_rows, text_lines
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    example_rows,
    write_day,
)
from monitoring_assets_tests.ingested_days import DAYS, as_jsonl, ingest_example

# --- JSON lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["log/{day}.jsonl", "log/{day}.ndjson.gz", "log/{day}/*.jsonl", "log/**/*.ndjson", "log/*.jsonl.gz"]
)
def test_json_lines_give_what_parquet_gives(tmp_path, from_parquet, path):
    for day in DAYS:
        file = tmp_path / path.replace("{day}", str(day)).replace("**/*", f"a/{day}").replace("*", str(day))
        file.parent.mkdir(parents=True, exist_ok=True)
        content = as_jsonl(example_rows(day)).encode()
        file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    assert ingest_example(tmp_path, log={"path": path})[1]["inference_log"] == from_parquet


def jsonl_day(home, lines: list[str], **overrides):
    (home / "log").mkdir(exist_ok=True)
    (home / f"log/{FIRST}.jsonl").write_text("\n".join(lines))
    reported, tables = ingest_example(home, [FIRST], log={"path": "log/{day}.jsonl"}, **overrides)
    return reported[0], tables


def line(**values) -> str:
    row = {"id": "1", "at": "2026-03-02 10:00", "amount": 1, "items": 2, "country": "US"}
    return json.dumps(row | {"score": 0.5, "predicted": "1", "model": "1"} | values)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ['{"id": "2"', "hello", "[1, 2]", '"text"', "7", "{'id': 1}", '{"id": 1} x', "=1+1", "\x01{"])
def test_a_broken_line_of_json_is_quarantined_with_its_text_and_the_others_count(tmp_path, broken):
    reported, tables = jsonl_day(tmp_path, [line(), broken, "", line(id="3"), "  "])
    assert (reported.accepted_rows, reported.reasons) == (2, {"broken line": 1})
    assert json.loads(tables["quarantine"][0][4]) == broken


def test_a_row_of_json_that_breaks_the_contract_is_quarantined_as_it_was_delivered(tmp_path):
    given = line(amount="a lot", note={"a": [1, None]})
    _, tables = jsonl_day(tmp_path, [line(id="0"), given])
    assert [(row[3], row[4]) for row in tables["quarantine"]] == [("not a number: amount is a lot", given)]


def test_values_of_json_are_what_they_would_be_in_parquet(tmp_path):
    values = [
        {"id": 7, "amount": 1e3, "country": True, "model": 2.5},
        {"id": 8.0, "amount": "12.5", "country": 7.0, "model": "1.0"},
        {"id": "9", "amount": None, "country": None, "model": 12345678901234567},
        {"id": "x", "amount": float("nan"), "country": {"a": 1}},
    ]
    reported, tables = jsonl_day(tmp_path, [line(**value) for value in values])
    stored = [(row[1], row[3], row[5], row[8]) for row in tables["inference_log"]]
    assert reported.quarantined_rows == 0
    assert stored == [
        ("7", 1000.0, "true", "2.5"),
        ("8", 12.5, "7", "1.0"),
        ("9", None, None, "12345678901234567"),
        ("x", "NaN", '{"a":1}', "1"),
    ]


def test_a_key_that_some_lines_leave_out_is_missing_there_and_one_that_all_leave_out_is_an_error(tmp_path):
    without = json.loads(line(id="2"))
    del without["amount"]
    reported, tables = jsonl_day(tmp_path, [line(), json.dumps(without)])
    assert [row[3] for row in tables["inference_log"]] == [1.0, None]
    reported, _ = jsonl_day(tmp_path, [json.dumps(without)])
    assert "column 'amount' is not in the file; it has 'at', 'country'" in str(reported.unreadable)
    assert reported.accepted_rows == 2  # the day keeps what it had


@pytest.mark.slow
def test_a_long_line_and_one_that_is_not_utf8_cost_no_other_line(tmp_path):
    (tmp_path / "log").mkdir()
    text = "x" * 10_000_000
    raw = [line().encode(), line(id="2", note=text).encode(), b'{"id": "\xff"}', line(id="3", country=text).encode()]
    (tmp_path / f"log/{FIRST}.jsonl").write_bytes(b"\r\n".join(raw))
    reported, tables = ingest_example(tmp_path, [FIRST], log={"path": "log/{day}.jsonl"})
    assert (reported[0].accepted_rows, reported[0].reasons) == (3, {"broken line": 1})
    assert [row[3] for row in tables["quarantine"]] == ["broken line: not UTF-8"]
    assert json.loads(tables["quarantine"][0][4]) == '{"id": "\\xff"}'


# --- CSV, line by line ---------------------------------------------------------------------------------------------------

HEADER = "id,at,amount,items,country,score,predicted,model\n"
ROW = "{},2026-03-02 10:00,1,1,US,0.5,1,1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("2,2026-03-02 10:00", "1: 2 value(s), 8 expected"),
        (ROW.format("2,3").strip(), "1: 9 value(s), 8 expected"),
        (ROW.format('"open').strip(), "1: a quote does not end"),
        (ROW.format('"a"b').strip(), "1: quotes inside a quoted value must be doubled"),
        ("   ", "1: 1 value(s), 8 expected"),
        ("; DROP TABLE x", "1: 1 value(s), 8 expected"),
    ],
)
@pytest.mark.parametrize("place", [0, 3, 30_000])
@pytest.mark.parametrize("extension", ["csv", "csv.gz"])
def test_a_broken_line_of_csv_is_quarantined_with_its_text_and_the_others_count(tmp_path, broken, reason, place, extension):
    rows = [ROW.format(f'"{i}, ""x"""' if i == 2 else i) for i in range(place + 3)]
    rows.insert(place, broken + "\n")
    (tmp_path / "log").mkdir()
    content = (HEADER + "".join(rows)).encode()
    (tmp_path / f"log/{FIRST}.{extension}").write_bytes(gzip.compress(content) if extension == "csv.gz" else content)
    reported, tables = ingest_example(tmp_path, [FIRST], log={"path": f"log/{{day}}.{extension}"})
    assert (reported[0].accepted_rows, reported[0].reasons) == (place + 3, {"broken line": 1})
    (row,) = tables["quarantine"]
    assert row[3] == "broken line" + reason.removeprefix("1")
    assert json.loads(row[4]) == broken
    assert row[2].endswith(f"{FIRST}.{extension}")
    assert '2, "x"' in {row[1] for row in tables["inference_log"]}


def test_a_sound_row_is_the_same_whether_its_neighbours_are_broken_or_not(tmp_path):
    frame = example_rows(FIRST).assign(country=['a"b', "c,d", "e\nf", " g ", None, *["h"] * 15])
    write_day(tmp_path, FIRST, frame=frame, path="log/{day}.csv")
    alone = ingest_example(tmp_path, [FIRST], log={"path": "log/{day}.csv"})[1]["inference_log"]
    with (tmp_path / f"log/{FIRST}.csv").open("a") as file:
        file.write("broken\n")
    reported, tables = ingest_example(tmp_path, [FIRST], log={"path": "log/{day}.csv"})
    assert reported[0].reasons == {"broken line": 1}
    assert tables["inference_log"] == alone


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(cells=st.lists(st.sampled_from(['"', '""', ",", "a b", "a", "b", '",', "'", "#"]), min_size=1, max_size=9))
def test_a_line_is_the_row_that_duckdb_reads(shared_folder, cells):
    path = shared_folder / "one.csv"
    path.write_text("x,y\n" + "".join(cells) + "\n")
    scan = Layout("csv", (("x", "VARCHAR"), ("y", "VARCHAR")), ",").scan([str(path)])
    try:
        expected = [list(row) for row in duckdb.execute(f"SELECT x, y FROM {scan}").fetchall()]
    except duckdb.Error:
        expected = [None]
    assert [values for values, _, _ in csv_rows(text_lines(str(path)), ",", 2)] == expected


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lines")


def test_a_broken_line_of_a_glob_follows_the_first_day_of_its_file(tmp_path):
    for day in DAYS:
        write_day(tmp_path, day, rows=3, path="log/{day}.csv")
    with (tmp_path / f"log/{SECOND}.csv").open("a") as file:
        file.write("broken\n")
    reported, _ = ingest_example(tmp_path, log={"path": "log/*.csv"})
    assert [(d.accepted_rows, d.quarantined_rows) for d in reported] == [(3, 0), (3, 1), (3, 0)]


def test_a_column_that_stands_twice_in_the_header_is_named(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / f"log/{FIRST}.csv").write_text("id,amount," + HEADER + "1,2," + ROW.format("1"))
    reported, _ = ingest_example(tmp_path, [FIRST], log={"path": "log/{day}.csv"})
    assert reported[0].unreadable == "column 'id', 'amount' is in the header more than once"
