"""Laws of sources: whatever holds the same rows gives the same tables, and what cannot be read says why, day by day."""

import gzip
import json
from datetime import date

import duckdb
import fsspec
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitoring_assets.errors import SourceUnavailable, SourceUnreadable
from monitoring_assets.ingestion import staging
from monitoring_assets.ingestion.files import Layout
from monitoring_assets.ingestion.lines import csv_rows, text_lines
from monitoring_assets.ingestion.staging import reading_connection
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    contents,
    example_content,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
    write_file,
)
from monitoring_assets_tests.ingested_days import ingest_labels, ingest_log

DAYS = [FIRST, SECOND, THIRD]


def ingest(home, days=DAYS, **overrides):
    spec = example_spec(home, **overrides)
    with example_warehouse(home, spec) as connection:
        reported = ingest_log(connection, spec, days)
        tables = contents(connection, spec, "inference_log", "quarantine", "deliveries")
    for delivery in reported:
        assert delivery.accepted_rows == sum(row[0] == delivery.day for row in tables["inference_log"])
        assert delivery.quarantined_rows == sum(row[0] == delivery.day and row[4] is not None for row in tables["quarantine"])
    return reported, tables


@pytest.fixture(scope="module")
def from_parquet(tmp_path_factory, store):
    """What three days of the example log are in the warehouse."""
    home = tmp_path_factory.mktemp("parquet")
    for day in DAYS:
        write_day(home, day)
    return ingest(home)[1]["inference_log"]


def as_jsonl(frame: pd.DataFrame) -> str:
    return frame.assign(at=frame["at"].astype("string")).to_json(orient="records", lines=True)


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
    assert ingest(tmp_path, log={"path": path})[1]["inference_log"] == from_parquet


def jsonl_day(home, lines: list[str], **overrides):
    (home / "log").mkdir(exist_ok=True)
    (home / f"log/{FIRST}.jsonl").write_text("\n".join(lines))
    reported, tables = ingest(home, [FIRST], log={"path": "log/{day}.jsonl"}, **overrides)
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
    reported, tables = ingest(tmp_path, [FIRST], log={"path": "log/{day}.jsonl"})
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
    reported, tables = ingest(tmp_path, [FIRST], log={"path": f"log/{{day}}.{extension}"})
    assert (reported[0].accepted_rows, reported[0].reasons) == (place + 3, {"broken line": 1})
    (row,) = tables["quarantine"]
    assert row[3] == "broken line" + reason.removeprefix("1")
    assert json.loads(row[4]) == broken
    assert row[2].endswith(f"{FIRST}.{extension}")
    assert '2, "x"' in {row[1] for row in tables["inference_log"]}


def test_a_sound_row_is_the_same_whether_its_neighbours_are_broken_or_not(tmp_path):
    frame = example_rows(FIRST).assign(country=['a"b', "c,d", "e\nf", " g ", None, *["h"] * 15])
    write_day(tmp_path, FIRST, frame=frame, path="log/{day}.csv")
    alone = ingest(tmp_path, [FIRST], log={"path": "log/{day}.csv"})[1]["inference_log"]
    with (tmp_path / f"log/{FIRST}.csv").open("a") as file:
        file.write("broken\n")
    reported, tables = ingest(tmp_path, [FIRST], log={"path": "log/{day}.csv"})
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
    reported, _ = ingest(tmp_path, log={"path": "log/*.csv"})
    assert [(d.accepted_rows, d.quarantined_rows) for d in reported] == [(3, 0), (3, 1), (3, 0)]


def test_a_column_that_stands_twice_in_the_header_is_named(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / f"log/{FIRST}.csv").write_text("id,amount," + HEADER + "1,2," + ROW.format("1"))
    reported, _ = ingest(tmp_path, [FIRST], log={"path": "log/{day}.csv"})
    assert reported[0].unreadable == "column 'id', 'amount' is in the header more than once"


# --- columns that come and go, days outside ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("is_glob", [False, True])
def test_a_new_column_is_reported_on_the_day_it_comes_and_is_known_from_then_on(tmp_path, extension, is_glob):
    for day, columns in zip(DAYS, [["note"], ["note", "channel"], ["channel"]], strict=True):
        frame = example_rows(day, 3).assign(**dict.fromkeys(columns, "x"))
        if extension == "jsonl":
            (tmp_path / "log").mkdir(exist_ok=True)
            (tmp_path / f"log/{day}.jsonl").write_text(as_jsonl(frame))
        else:
            write_day(tmp_path, day, frame=frame, path=f"log/{{day}}.{extension}")
    path = f"log/*.{extension}" if is_glob else f"log/{{day}}.{extension}"
    reported, tables = ingest(tmp_path, log={"path": path})
    assert [d.new_columns for d in reported] == [(), ("channel",), ()]
    assert [row[-1] for row in tables["deliveries"]] == [["note"], ["channel", "note"], ["channel"]]
    assert ingest(tmp_path, [SECOND], log={"path": path})[0][0].new_columns == ("channel",)


@pytest.mark.parametrize("end", [None, str(THIRD)])
def test_a_row_dated_outside_the_days_of_the_monitor_is_quarantined_with_its_file(tmp_path, end):
    frame = example_rows(SECOND, 4).astype({"at": "string"})
    frame.loc[0, "at"], frame.loc[1, "at"] = "1999-01-01", "2226-01-01"
    write_day(tmp_path, SECOND, frame=frame)
    write_day(tmp_path, FIRST, frame=example_rows(FIRST, 2).assign(at="epoch"))
    reported, tables = ingest(tmp_path, [date(2026, 3, 1), *DAYS], log={"path": "log/*.parquet"}, end_day=end)
    assert [(d.accepted_rows, d.quarantined_rows) for d in reported] == [(0, 2), (0, 0), (2, 2), (0, 0)]
    assert sorted({row[3] for row in tables["quarantine"]}) == [
        "outside the monitor's days: at is on 1969-12-31",
        "outside the monitor's days: at is on 1999-01-01",
        "outside the monitor's days: at is on 2226-01-01",
    ]


# --- partitions in the path ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("path", ["log/dt={day}/country=*/*", "log/**/*"])
def test_columns_that_stand_in_the_path_are_columns(tmp_path, from_parquet, extension, path):
    for day in DAYS:
        for country, of_country in example_rows(day).groupby("country"):
            file = tmp_path / f"log/dt={day}/country={country}/part.{extension}"
            file.parent.mkdir(parents=True)
            rows = of_country.drop(columns="country")
            if extension == "jsonl":
                file.write_text(as_jsonl(rows))
            else:
                write_file(file, rows)
    assert ingest(tmp_path, log={"path": f"{path}.{extension}"})[1]["inference_log"] == from_parquet


def test_a_value_in_the_path_is_decoded_and_hides_no_column_of_the_file(tmp_path):
    write_file(tmp_path / "log/country=S%C3%A3o%20Tom%C3%A9/model=9/a.parquet", example_rows(FIRST, 1).drop(columns="country"))
    write_file(
        tmp_path / "log/country=__HIVE_DEFAULT_PARTITION__/b.parquet", example_rows(FIRST, 2).iloc[1:].drop(columns="country")
    )
    _, tables = ingest(tmp_path, [FIRST], log={"path": "log/**/*.parquet"})
    assert [(row[5], row[8]) for row in tables["inference_log"]] == [("São Tomé", "1"), (None, "1")]


# --- addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["s3://bucket/log/{day}.parquet", "https://host.invalid/{day}.csv", "s3://bucket/*.jsonl"])
def test_an_address_without_the_extension_says_how_to_get_it_and_fetches_nothing(tmp_path, path):
    reported, _ = ingest(tmp_path, [FIRST], log={"path": path})
    assert "extension httpfs, which is not installed here" in str(reported[0].unreadable)
    assert "INSTALL httpfs" in str(reported[0].unreadable)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["log/{day}.csv", "log/*.csv.gz", "log/{day}.jsonl", "log/*.parquet", "log/{day}/*.parquet"])
def test_an_address_is_read_by_duckdb_alone(tmp_path, from_parquet, path, monkeypatch):
    """Without a network: a file system in memory, which DuckDB takes from fsspec as it takes s3 from httpfs."""
    remote = fsspec.filesystem("memory")
    for day in DAYS:
        name = path.replace("{day}", str(day)).replace("*", str(day))
        if "jsonl" in name:
            local = tmp_path / name
            local.parent.mkdir(exist_ok=True)
            local.write_text(as_jsonl(example_rows(day)))
        else:
            write_file(tmp_path / name, example_rows(day))
        remote.pipe_file(f"/{tmp_path.name}/{name}", (tmp_path / name).read_bytes())
    spec = example_spec(tmp_path, log={"path": f"memory://{tmp_path.name}/{path}"})

    def connected(folder):
        connection = reading_connection(folder)
        connection.register_filesystem(remote)
        return connection

    monkeypatch.setattr(staging, "reading_connection", connected)
    with example_warehouse(tmp_path, spec) as connection:
        assert [d.unreadable for d in ingest_log(connection, spec, DAYS)] == [None] * 3
        assert contents(connection, spec, "inference_log")["inference_log"] == from_parquet
        remote.rm(f"/{tmp_path.name}", recursive=True)
        reported = ingest_log(connection, spec, DAYS)
        assert all("cannot be read" in str(d.unreadable) and d.accepted_rows == 20 for d in reported)


# --- functions -----------------------------------------------------------------------------------------------------------

HERE = __name__


def read_arrow(day, options):
    return pa.Table.from_pandas(example_rows(day), preserve_index=False)


def read_batches(day, options):
    table = read_arrow(day, options)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7))


def read_batch(day, options):
    return read_arrow(day, options).to_batches()[0]


def read_frame(day, options):
    return example_rows(day)


def read_path(day, options):
    return f"{options['folder']}/{day}.csv"


def read_paths(day, options):
    return [read_path(day, options)]


@pytest.mark.slow
@pytest.mark.parametrize("reader", [read_arrow, read_batches, read_batch, read_frame, read_path, read_paths])
def test_a_function_may_give_a_day_in_any_of_these_forms(tmp_path, from_parquet, reader):
    for day in DAYS:
        write_day(tmp_path, day, path="elsewhere/{day}.csv")
    log = {"reader": f"{HERE}.{reader.__name__}", "options": {"folder": str(tmp_path / "elsewhere")}}
    assert ingest(tmp_path, log=log)[1]["inference_log"] == from_parquet


def read_with_faults(day, options):
    frame = example_rows(day, 3).astype({"amount": "object"})
    frame["at"] = [frame["at"][0], frame["at"][1], pd.Timestamp("2026-07-01")]
    frame.loc[0, "amount"] = "many"
    return frame


def test_a_row_of_a_function_that_breaks_the_contract_is_quarantined_with_the_name_of_the_function_and_the_day(tmp_path):
    reported, tables = ingest(tmp_path, [FIRST], log={"reader": f"{HERE}.read_with_faults"})
    assert (reported[0].accepted_rows, reported[0].reasons) == (1, {"not a number": 1, "wrong day": 1})
    assert {row[2] for row in tables["quarantine"]} == {f"{HERE}.read_with_faults ({FIRST})"}


class ServiceDown(SourceUnavailable):
    """What a reader raises that should be tried again."""


def read_badly(day, options):
    match options.get("how"):
        case "raises":
            raise KeyError("no topic")
        case "streams":
            table = read_arrow(day, options)

            def batches():
                yield from table.to_batches()
                raise OSError("the connection was reset")

            return pa.RecordBatchReader.from_batches(table.schema, batches())
        case "lacks":
            return example_rows(day).drop(columns=["amount", "score"])
        case "number":
            return 7
        case "series":
            return example_rows(day)["id"]
        case "path":
            return "/etc/passwd"
        case "absent file":
            return "/nowhere/{day}.parquet"
        case "later":
            raise ServiceDown("the broker does not answer")
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raises", "cannot be read: KeyError: 'no topic' (test_sources.py, line "),
        ("streams", "cannot be read: OSError: the connection was reset (test_sources.py, line "),
        ("lacks", "column 'amount', 'score' is not in the result; it has 'id', 'at'"),
        ("number", "cannot be read: TypeError: expected an Arrow table"),
        ("series", "cannot be read: TypeError: expected a pandas DataFrame, found a Series"),
        ("path", "cannot be read: ValueError: the path '/etc/passwd' ends in none of .parquet"),
        ("absent file", "no file at /nowhere/"),
        (None, "nothing has come yet"),
    ],
)
def test_a_function_that_fails_leaves_its_day_as_it_was_and_says_why(tmp_path, how, reason):
    before = ingest(tmp_path, [FIRST], log={"reader": f"{HERE}.read_frame"})[1]["inference_log"]
    reported, tables = ingest(tmp_path, [FIRST], log={"reader": f"{HERE}.read_badly", "options": {"how": how}})
    assert str(reported[0].unreadable).startswith(reason)
    assert tables["inference_log"] == before


def test_a_transient_error_of_a_function_reaches_the_caller_who_tries_again(tmp_path):
    with pytest.raises(ServiceDown):
        ingest(tmp_path, [FIRST], log={"reader": f"{HERE}.read_badly", "options": {"how": "later"}})


@pytest.mark.parametrize(
    ("path", "says"),
    [("test_nowhere", "has no 'test_nowhere'"), ("HERE", "holds a str")],
)
def test_a_function_that_cannot_be_had_is_named_with_the_remedy(tmp_path, path, says):
    with pytest.raises(SourceUnreadable, match="must name a function \\(day, options\\)") as failed:
        ingest(tmp_path, [FIRST], log={"reader": f"{HERE}.{path}"})
    assert says in str(failed.value)


def test_a_reader_whose_module_is_missing_is_named_when_the_monitor_is_loaded(tmp_path):
    with pytest.raises(ValueError, match=r"log[.]reader\n.*'nowhere_at_all[.]read'"):
        example_spec(tmp_path, log={"reader": "nowhere_at_all.read"})
    with pytest.raises(ValueError, match=r"looking for module .* failed: ModuleNotFoundError"):
        example_spec(tmp_path, log={"reader": f"{HERE}.nowhere.read"})


def read_labels(day, options):
    return pd.DataFrame({"id": example_rows(day)["id"], "late": 1})


def test_labels_may_come_from_a_function(tmp_path):
    write_day(tmp_path, FIRST)
    spec = example_spec(tmp_path, labels={"reader": f"{HERE}.read_labels"})
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST])
        assert ingest_labels(connection, spec, spec.label, spec.labels, [FIRST])[0].accepted_rows == 20


def test_an_empty_result_is_a_day_without_rows_and_takes_away_what_the_day_had(tmp_path):
    log = {"reader": f"{HERE}.read_some", "options": {"rows": 3}}
    assert ingest(tmp_path, [FIRST], log=log)[0][0].accepted_rows == 3
    reported, tables = ingest(tmp_path, [FIRST], log=log | {"options": {"rows": 0}})
    assert (reported[0].delivered_rows, reported[0].unreadable, tables["inference_log"]) == (0, None, [])


def read_some(day, options):
    return example_rows(day, options["rows"])


# --- what the YAML may say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ({}, "give one of `path`, `sql` and `reader`, found none"),
        ({"asset": "team/predictions"}, "that tells where the asset's data lies, found none"),
        ({"path": "a.csv", "reader": "json.loads"}, "found path and reader"),
        ({"sql": "SELECT $1, $2"}, "`sql` and `uri_env`"),
        ({"sql": "SELECT 1", "uri_env": "DB"}, "sql needs $1 and $2"),
        ({"sql": "SELECT $1, $2", "uri_env": "postgresql://me:hidden@host/db"}, "never the address itself"),
        ({"path": "a.csv", "options": {"a": 1}}, "`options` are for a `reader`"),
        ({"reader": "nowhere_at_all.read"}, "no module 'nowhere_at_all' is installed"),
        ({"path": "s3://me:hidden@host/a.csv"}, "may not hold a user or a password"),
        ({"path": "a.csv", "asset": "a//b"}, "pattern"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_what_is_allowed(log, says):
    with pytest.raises(ValidationError) as refused:
        example_spec(None, **example_content(log=log))
    reported = "\n".join(error["msg"] for error in refused.value.errors())
    assert says in reported
    assert "hidden" not in reported
