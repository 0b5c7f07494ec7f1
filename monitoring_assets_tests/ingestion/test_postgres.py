"""Laws of a query as a source, on a real PostgreSQL: the day's rows and no others, nothing written, no secret reported."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest

from monitoring_assets.errors import SourceUnavailable, SourceUnreadable
from monitoring_assets.warehouse_tables import TABLES
from monitoring_assets_tests import postgres_server
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    contents,
    example_spec,
    example_warehouse,
    write_day,
)
from monitoring_assets_tests.ingested_days import ingest_labels, ingest_log

pytestmark = [pytest.mark.slow, pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))]

DAYS = [FIRST, SECOND, THIRD]
SQL = 'SELECT * FROM predictions WHERE "at" >= $1 AND "at" < $2'
SOURCE = {"sql": SQL, "uri_env": "EXAMPLE_DB"}
CREATE = """
    CREATE TABLE predictions (
        id uuid, at timestamptz, amount numeric, items smallint, country varchar(9), score real, predicted boolean, model text,
        note jsonb
    );
    CREATE TABLE outcomes (id text, predicted_at timestamp, late int);
"""


@pytest.fixture(scope="module")
def address():
    with postgres_server.running() as address:
        yield address


@pytest.fixture
def database(address, monkeypatch):
    """A fresh pair of tables; gives a function that executes SQL, and sets the environment variable."""
    from adbc_driver_postgresql import dbapi

    monkeypatch.setenv("EXAMPLE_DB", address)
    with dbapi.connect(address, autocommit=True) as connection, connection.cursor() as cursor:

        def execute(sql, parameters=None):
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

        execute("DROP TABLE IF EXISTS predictions, outcomes")
        for statement in CREATE.split(";")[:2]:
            execute(statement)
        yield execute


INSERT = "INSERT INTO predictions VALUES (gen_random_uuid(), '{at}', {amount}, 2, 'US', 0.5, true, '1', '{{\"a\": 1}}')"


def ingest(home, days=DAYS, **overrides):
    spec = example_spec(home, **{"log": SOURCE} | overrides)
    with example_warehouse(home, spec) as connection:
        reported = ingest_log(connection, spec, days)
        return reported, contents(connection, spec, "inference_log", "quarantine", "deliveries")


def test_a_query_gives_what_parquet_gives(tmp_path, database, address):
    (tmp_path / "files").mkdir()
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi

    frames = [write_day(tmp_path / "files", day) for day in DAYS]
    frame = pd.concat(frames).assign(at=lambda f: f["at"].dt.tz_localize("America/New_York"))
    with dbapi.connect(address) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("copied", pa.Table.from_pandas(frame, preserve_index=False), mode="replace")
        connection.commit()
    reported, from_query = ingest(tmp_path, log=SOURCE | {"sql": SQL.replace("predictions", "copied")})
    assert [(d.accepted_rows, d.quarantined_rows) for d in reported] == [(20, 0)] * 3
    assert from_query["inference_log"] == ingest(tmp_path / "files", log={"path": "log/{day}.parquet"})[1]["inference_log"]


def test_every_common_type_of_a_column_is_read(tmp_path, database):
    database(INSERT.format(at="2026-03-02 12:00-05", amount="12.50"))
    database(INSERT.format(at="2026-03-02 12:00-05", amount="'NaN'"))
    (identifier,), *_ = database("SELECT id::text FROM predictions ORDER BY amount")
    reported, tables = ingest(tmp_path, [FIRST])
    assert reported[0].accepted_rows == 2
    row = next(row for row in tables["inference_log"] if row[1] == identifier)
    assert (row[3:]) == (12.5, 2.0, "US", 0.5, "true", "1")
    assert tables["deliveries"][0][list(TABLES["deliveries"]).index("other_columns")] == ["note"]


def test_a_day_is_a_day_of_the_zone_of_the_monitor_also_when_the_clocks_change(tmp_path, database):
    # On 2026-03-08 summer time begins in New York: the day has 23 hours.
    for at in ("2026-03-08 04:59:59+00", "2026-03-08 05:00+00", "2026-03-09 03:59:59+00", "2026-03-09 04:00+00"):
        database(INSERT.format(at=at, amount=1))
    days = [pd.Timestamp(f"2026-03-{day:02}").date() for day in (7, 8, 9)]
    reported, _ = ingest(tmp_path, days)
    assert [(d.accepted_rows, d.quarantined_rows) for d in reported] == [(1, 0), (2, 0), (1, 0)]


def test_times_without_a_zone_are_local_as_in_files(tmp_path, database):
    database(INSERT.format(at="2026-03-02 23:30", amount=1))  # 23:30 in UTC, 18:30 in New York
    local = "(SELECT id, at AT TIME ZONE 'UTC' AS at, amount, items, country, score, predicted, model FROM predictions) p"
    sql = SQL.replace("predictions", local)
    reported, tables = ingest(tmp_path, [FIRST], log=SOURCE | {"sql": sql})
    assert (reported[0].accepted_rows, tables["inference_log"][0][2].isoformat()[:16]) == (1, "2026-03-02T23:30")


def test_a_row_the_query_gives_for_another_day_is_quarantined_and_never_shows_the_address(tmp_path, database, address):
    database(INSERT.format(at="2026-03-02 12:00-05", amount=1))
    reported, tables = ingest(tmp_path, [SECOND], log=SOURCE | {"sql": "SELECT * FROM predictions WHERE $1 < $2"})
    assert reported[0].reasons == {"wrong day": 1}
    (row,) = tables["quarantine"]
    assert row[2] == f"query on EXAMPLE_DB ({SECOND})"
    assert json.loads(row[4])["country"] == "US"
    assert_nothing_of(address, str(tables))


def test_what_looks_like_sql_in_a_query_or_its_rows_is_never_executed(tmp_path, database):
    database(INSERT.format(at="2026-03-02 12:00-05", amount=1).replace("'US'", "'\"; DROP--'"))
    assert ingest(tmp_path, [FIRST])[1]["inference_log"][0][5] == '"; DROP--'
    for sql in (f"{SQL}; DROP TABLE predictions", "DELETE FROM predictions WHERE at >= $1 AND at < $2 RETURNING *",
                "WITH gone AS (DELETE FROM predictions RETURNING *) SELECT * FROM gone WHERE at >= $1 AND at < $2"):  # fmt: skip
        reported, _ = ingest(tmp_path, [FIRST], log=SOURCE | {"sql": sql})
        assert "the query failed" in str(reported[0].unreadable)
        assert database("SELECT count(*) FROM predictions") == [(1,)]
    writing = "SELECT setval('counter', 7), p.* FROM predictions p WHERE at >= $1 AND at < $2"
    database("CREATE SEQUENCE IF NOT EXISTS counter")
    reported, _ = ingest(tmp_path, [FIRST], log=SOURCE | {"sql": writing})
    assert "read-only transaction" in str(reported[0].unreadable)


@pytest.mark.parametrize("ending", ["", ";", " -- the day's rows"])
def test_a_query_may_end_as_queries_do(tmp_path, database, ending):
    database(INSERT.format(at="2026-03-02 12:00-05", amount=1))
    assert ingest(tmp_path, [FIRST], log=SOURCE | {"sql": SQL + ending})[0][0].accepted_rows == 1


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nothing FROM predictions WHERE at >= $1 AND at < $2", 'column "nothing" does not exist'),
        ("SELECT * FROM nowhere WHERE at >= $1 AND at < $2", 'relation "nowhere" does not exist'),
        ("SELECT id, at FROM predictions WHERE at >= $1 AND at < $2", "column 'amount', 'items', 'country'"),
        ("SELECT *, 1 / (amount - 1) FROM predictions WHERE at >= $1 AND at < $2", "division by zero (SQLSTATE 22012)"),
    ],
)
def test_a_query_that_fails_leaves_its_day_as_it_was_and_says_why(tmp_path, database, address, sql, reason):
    database(INSERT.format(at="2026-03-02 12:00-05", amount=1))
    before = ingest(tmp_path, [FIRST])[1]["inference_log"]
    reported, tables = ingest(tmp_path, [FIRST], log=SOURCE | {"sql": sql})
    assert reason in str(reported[0].unreadable)
    assert (len(before), tables["inference_log"]) == (1, before)
    assert_nothing_of(address, str(reported) + str(tables))


def test_a_query_that_fails_for_one_day_harms_no_other(tmp_path, database):
    for day in DAYS:
        database(INSERT.format(at=f"{day} 12:00-05", amount=day.day))
    sql = SQL.replace("*", "id, at, 1 / (amount - 3) AS amount, items, country, score, predicted, model")
    reported, _ = ingest(tmp_path, log=SOURCE | {"sql": sql})
    assert [(d.accepted_rows, d.unreadable is None) for d in reported] == [(1, True), (0, False), (1, True)]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda uri: "", SourceUnreadable, "EXAMPLE_DB is not set"),
        (lambda uri: "mysql://me:sesame7@host/db", SourceUnreadable, "EXAMPLE_DB does not hold a postgresql:// address"),
        (lambda uri: uri.replace("sesame7", "wrong7word"), SourceUnreadable, "password authentication failed"),
        (lambda uri: uri.replace("/postgres", "/nodatabase"), SourceUnreadable, "does not exist"),
        (lambda uri: uri + "?application_nme=sesame7", SourceUnreadable, "invalid URI query parameter"),
        (lambda uri: uri.replace(str(urlsplit(uri).port), "x7x7x"), SourceUnreadable, "invalid integer value"),
        (lambda uri: uri.replace(str(urlsplit(uri).port), "1"), SourceUnavailable, "Connection refused"),
        (lambda uri: uri.replace("127.0.0.1", "db.invalid"), SourceUnavailable, "could not translate host name"),
    ],
)  # fmt: skip
def test_a_database_that_cannot_be_reached_is_reported_without_its_address(tmp_path, address, monkeypatch, change, error, says):
    monkeypatch.setenv("EXAMPLE_DB", change(address))
    with pytest.raises(error) as failed:
        ingest(tmp_path, [FIRST])
    assert says in str(failed.value)
    assert "EXAMPLE_DB" in str(failed.value)
    assert failed.value.__suppress_context__ or failed.value.__context__ is None
    assert_nothing_of(change(address), str(failed.value))


def test_labels_come_from_a_query_too(tmp_path, database):
    database(INSERT.format(at="2026-03-02 12:00-05", amount=1))
    database("INSERT INTO outcomes SELECT id::text, timestamp '2026-03-02 12:00', 1 FROM predictions")
    labels = SOURCE | {"sql": "SELECT id, late FROM outcomes WHERE predicted_at >= $1 AND predicted_at < $2"}
    spec = example_spec(tmp_path, log=SOURCE, labels=labels)
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [FIRST])
        assert ingest_labels(connection, spec, spec.label, spec.labels, [FIRST, SECOND])[0].accepted_rows == 1


def test_a_big_day_is_streamed_in_bounded_memory(tmp_path, database):
    """A process of its own takes in 400,000 rows; all of them as Arrow would need 100 MB more than a quarter of them."""
    database(
        "INSERT INTO predictions SELECT gen_random_uuid(), timestamptz '2026-03-02 12:00-05', g, 2, repeat('x', 9), 0.5, true, "
        "repeat('y', 200) FROM generate_series(1, 400000) g"
    )
    peaks = []
    for limit in (100_000, 400_000):
        source = SOURCE | {"sql": f"{SQL} AND amount <= {limit}"}
        code = (
            "import sys; sys.path[:0] = " + repr(sys.path) + "\n"
            "from pathlib import Path\n"
            "from monitoring_assets_tests.ingestion.test_postgres import accepted\n"
            f"print(accepted(Path({str(tmp_path / str(limit))!r}), {source!r}))\n"
            # This process's own peak; `resource` would report at least that of the tests', which started it.
            "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
            "print(int(peak.split()[1]) // 1024)"
        )
        (tmp_path / str(limit)).mkdir()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        rows, peak = map(int, done.stdout.split())
        assert rows == limit
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 150, peaks
    assert peaks[1] < 700


def accepted(home: Path, source: dict[str, str]) -> int:
    spec = example_spec(home, log=source)
    with example_warehouse(home, spec) as connection:
        return ingest_log(connection, spec, [FIRST])[0].accepted_rows


def assert_nothing_of(address: str, reported: str) -> None:
    """No part of an address that could tell a stranger something."""
    split = urlsplit(address.replace("x7x7x", "1"))
    for part in ("sesame7", "wrong7word", "nodatabase", split.hostname or "127.0.0.1", split.netloc or "-", "monitor:"):
        assert part not in reported
