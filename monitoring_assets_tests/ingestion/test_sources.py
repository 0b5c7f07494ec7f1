"""Laws of sources: whatever holds the same rows gives the same tables, and what cannot be read says why, day by day."""

from datetime import date

import fsspec
import pytest
from pydantic import ValidationError

from monitoring_assets.ingestion import staging
from monitoring_assets.ingestion.staging import reading_connection
from monitoring_assets.warehouse_tables import TABLES
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
from monitoring_assets_tests.ingested_days import DAYS, as_jsonl, ingest_example, ingest_log

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
    reported, tables = ingest_example(tmp_path, log={"path": path})
    assert [d.new_columns for d in reported] == [(), ("channel",), ()]
    place = list(TABLES["deliveries"]).index("other_columns")
    assert [row[place] for row in tables["deliveries"]] == [["note"], ["channel", "note"], ["channel"]]
    assert ingest_example(tmp_path, [SECOND], log={"path": path})[0][0].new_columns == ("channel",)


@pytest.mark.parametrize("end", [None, str(THIRD)])
def test_a_row_dated_outside_the_days_of_the_monitor_is_quarantined_with_its_file(tmp_path, end):
    frame = example_rows(SECOND, 4).astype({"at": "string"})
    frame.loc[0, "at"], frame.loc[1, "at"] = "1999-01-01", "2226-01-01"
    write_day(tmp_path, SECOND, frame=frame)
    write_day(tmp_path, FIRST, frame=example_rows(FIRST, 2).assign(at="epoch"))
    reported, tables = ingest_example(tmp_path, [date(2026, 3, 1), *DAYS], log={"path": "log/*.parquet"}, end_day=end)
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
    assert ingest_example(tmp_path, log={"path": f"{path}.{extension}"})[1]["inference_log"] == from_parquet


def test_a_value_in_the_path_is_decoded_and_hides_no_column_of_the_file(tmp_path):
    write_file(tmp_path / "log/country=S%C3%A3o%20Tom%C3%A9/model=9/a.parquet", example_rows(FIRST, 1).drop(columns="country"))
    write_file(
        tmp_path / "log/country=__HIVE_DEFAULT_PARTITION__/b.parquet", example_rows(FIRST, 2).iloc[1:].drop(columns="country")
    )
    _, tables = ingest_example(tmp_path, [FIRST], log={"path": "log/**/*.parquet"})
    assert [(row[5], row[8]) for row in tables["inference_log"]] == [("São Tomé", "1"), (None, "1")]


# --- addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["https://host.invalid/{day}.csv", "r2://bucket/*.jsonl"])
def test_an_address_without_the_extension_says_how_to_get_it_and_fetches_nothing(tmp_path, path):
    reported, _ = ingest_example(tmp_path, [FIRST], log={"path": path})
    assert "extension httpfs, which is not installed here" in str(reported[0].unreadable)
    assert "INSTALL httpfs" in str(reported[0].unreadable)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["log/{day}.csv", "log/*.csv.gz", "log/{day}.jsonl", "log/*.parquet", "log/{day}/*.parquet"])
def test_an_address_is_read_by_duckdb_alone(tmp_path, from_parquet, path, monkeypatch):
    """Without a network: a file system in memory, which DuckDB takes from fsspec as it takes https from httpfs."""
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


# --- what the YAML may say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ({}, "give one of `path`, `sql`, `reader` and `table`, found none"),
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
