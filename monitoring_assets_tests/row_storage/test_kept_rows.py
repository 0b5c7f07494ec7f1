"""Laws of rows that are kept in files: every table is as with rows in the warehouse, and a day is its old rows or its new ones.

The files are in a folder, and in a server that speaks S3's protocol.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monitoring_assets.errors import ObjectGone, StorageRefused, StorageUnavailable, TransientError, WarehouseMismatch
from monitoring_assets.feature_changes import changes_so_far
from monitoring_assets.ingestion.delivery import store
from monitoring_assets.ingestion.prediction_log import staged_log
from monitoring_assets.ingestion.quarantine import Chosen, examples, refused
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.retention.costs import cost_report
from monitoring_assets.retention.forgetting import forget_rows
from monitoring_assets.row_storage.kept_rows import KeptRows, read_rows_of, remove_orphans, with_rows
from monitoring_assets.row_storage.row_files import RowFiles
from monitoring_assets.sql_text import table
from monitoring_assets.warehouse import Scope, ensure_tables
from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    contents,
    example_rows,
    example_spec,
    example_warehouse,
    warehouse_of,
    write_day,
    write_labels,
)
from monitoring_assets_tests.ingested_days import DAYS, ingest_labels, ingest_log
from monitoring_assets_tests.s3_server import BUCKET, ObjectStore

pytestmark = pytest.mark.slow  # Every law holds in a folder and on a server with S3's API.

TABLES = ("inference_log", "quarantine", "deliveries", "labels")


@pytest.fixture(params=["folder", "s3"])
def rows(request: pytest.FixtureRequest, object_store: ObjectStore, tmp_path: Path) -> dict[str, str]:
    """Where the rows are kept."""
    return {"path": "rows" if request.param == "folder" else f"s3://{BUCKET}/{tmp_path.name}"}


def files_of(spec: MonitorSpec) -> list[str]:
    return sorted(path for path, _ in RowFiles.of(spec)._present())


def write_days(home: Path, rows: int = 20) -> None:
    """Three days; of each, a row without an id, a label that is no label, and a label of nobody."""
    for day in DAYS:
        frame = example_rows(day, rows).assign(id=lambda f: f["id"].mask(f.index == 3))
        write_day(home, day, frame=frame)
        labels = write_labels(home, day, rows).astype({"late": float})
        labels.loc[5, "late"] = 7
        write_labels(home, day, frame=labels)


def filled(home: Path, **overrides: Any) -> tuple[MonitorSpec, dict[str, list[tuple[Any, ...]]]]:
    spec = example_spec(home, **overrides)
    with example_warehouse(home, spec) as connection:
        ingest_log(connection, spec, DAYS)
        ingest_labels(connection, spec, spec.label, spec.labels, DAYS)
    return spec, read(home, spec)


def read(home: Path, spec: MonitorSpec) -> dict[str, list[tuple[Any, ...]]]:
    with example_warehouse(home, spec) as connection:
        return contents(connection, spec, *TABLES)


def test_rows_kept_in_files_are_those_that_the_warehouse_would_hold(tmp_path, rows):
    write_days(tmp_path)
    _, expected = filled(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("log", "labels"):
        (other / name).symlink_to(tmp_path / name)
    spec, found = filled(other, rows=rows)
    assert repr(found).replace(str(other), str(tmp_path)) == repr(expected)
    assert all(len(found[name]) > 3 for name in TABLES)
    with example_warehouse(other, spec) as connection:
        assert connection.inner.execute("SELECT count(*) FROM example.inference_log").fetchall() == [(0,)]
        records = connection.execute("SELECT table_name, asset, day, row_count FROM example.row_files ORDER BY ALL").fetchall()
    assert [row for row in records if row[0] == "inference_log"] == [("inference_log", "inference_log", day, 19) for day in DAYS]
    assert len(files_of(spec)) == len(records) == 9


def test_a_day_that_is_ingested_again_has_one_file_and_its_new_rows(tmp_path, rows):
    write_days(tmp_path)
    spec, _ = filled(tmp_path, rows=rows)
    before = files_of(spec)
    write_day(tmp_path, SECOND, rows=7)
    with example_warehouse(tmp_path, spec) as connection:
        (reported,) = ingest_log(connection, spec, [SECOND])
        assert (reported.accepted_rows, reported.quarantined_rows) == (7, 0)
        (counted,) = connection.execute(f"SELECT count(*) FROM {table(spec, 'inference_log')} WHERE day = ?", [SECOND]).fetchall()
        assert counted == (7,)
    changed = set(before) ^ set(files_of(spec))
    assert sum(name.startswith(f"inference_log/day={SECOND}") for name in changed) == 2, "the old one went, the new one came"
    assert len(files_of(spec)) == len(before) - 1, "and no row of the log is refused any more"


def test_an_unreadable_day_keeps_its_file_and_notes_stay_with_the_account(tmp_path, rows):
    write_days(tmp_path)
    spec, before = filled(tmp_path, rows=rows)
    (tmp_path / f"log/{SECOND}.parquet").write_bytes(b"no Parquet")
    with example_warehouse(tmp_path, spec) as connection:
        (reported,) = ingest_log(connection, spec, [SECOND])
        assert "cannot be read" in str(reported.unreadable)
        after = contents(connection, spec, *TABLES)
        assert [row for row in after["quarantine"] if row[4]] == before["quarantine"]
        assert after["inference_log"] == before["inference_log"]
        found = refused(connection, spec, Chosen(day=SECOND, asset="inference_log"))
        assert sorted((each.rule, each.rows) for each in found) == [("missing id", 1), ("not read", 0)]
        assert len(examples(connection, spec, Chosen(asset="labels"), 10)) == 6


def _killed(home: str, rows: dict[str, str], environment: dict[str, str], before_it_commits: bool) -> None:
    os.environ.update(environment)
    spec, stored = example_spec(Path(home), rows=rows), RowFiles.add

    def stored_then_killed(self: RowFiles, files: Any) -> None:
        stored(self, files)
        if any("inference_log/day" in path for _, path in files):
            os.kill(os.getpid(), signal.SIGKILL)

    def killed(_: RowFiles, paths: Any) -> None:
        if paths:
            os.kill(os.getpid(), signal.SIGKILL)

    if before_it_commits:
        RowFiles.add = stored_then_killed  # type: ignore[method-assign]
    else:
        RowFiles.remove = killed  # type: ignore[method-assign]
    with example_warehouse(Path(home), spec) as connection:
        ingest_log(connection, spec, [SECOND])


@pytest.mark.slow
@pytest.mark.file_only
@pytest.mark.parametrize("before_it_commits", [True, False], ids=["before the commit", "after it"])
def test_killed_before_the_commit_the_old_day_is_whole_and_after_it_the_new_one(tmp_path, rows, object_store, before_it_commits):
    write_days(tmp_path)
    spec, before = filled(tmp_path, rows=rows)
    files = files_of(spec)
    write_day(tmp_path, SECOND, rows=7)
    process = multiprocessing.get_context("spawn").Process(
        target=_killed, args=(str(tmp_path), rows, object_store.environment, before_it_commits)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(files_of(spec)) == len(files) + 1, "the new file came"
    found = read(tmp_path, spec)
    if before_it_commits:
        assert found == before
    else:
        others = [row for row in before["inference_log"] if row[0] != SECOND]
        assert [row for row in found["inference_log"] if row[0] != SECOND] == others
        assert len(found["inference_log"]) == len(others) + 7
    with example_warehouse(tmp_path, spec) as connection:
        assert remove_orphans(connection) == 0, "somebody may be about to record it"
        left = 1 if before_it_commits else 2  # the new file; or the old ones, of the log and of what was refused of it
        assert remove_orphans(connection, older_than=-60) == left
    assert read(tmp_path, spec) == found
    if before_it_commits:
        assert files_of(spec) == files
    with example_warehouse(tmp_path, spec) as connection:
        assert ingest_log(connection, spec, [SECOND])[0].accepted_rows == 7


def test_what_fails_after_files_were_stored_leaves_neither_rows_nor_files(tmp_path, rows, monkeypatch):
    write_days(tmp_path)
    spec, before = filled(tmp_path, rows=rows)
    files = files_of(spec)
    write_day(tmp_path, SECOND, rows=7)
    monkeypatch.setattr("monitoring_assets.ingestion.delivery.note_read", _fail)
    with example_warehouse(tmp_path, spec) as connection, staged_log(spec, [SECOND]) as staged:
        with pytest.raises(RuntimeError, match="on purpose"):
            store(connection, spec, staged)
        assert contents(connection, spec, *TABLES) == before, "on the same connection"
    assert read(tmp_path, spec) == before
    assert files_of(spec) == files


def _fail(*_: object) -> None:
    raise RuntimeError("on purpose")


def test_a_store_that_refuses_or_does_not_answer_stores_nothing_and_is_named(tmp_path, object_store, monkeypatch):
    write_days(tmp_path)
    nowhere = example_spec(tmp_path, rows={"path": "s3://no-such-bucket/rows"})
    with example_warehouse(tmp_path, nowhere) as connection:
        with pytest.raises(StorageRefused, match=r"s3://no-such-bucket/rows/example/inference_log/.*NO_SUCH_BUCKET"):
            ingest_log(connection, nowhere, [FIRST])
        assert contents(connection, nowhere, "deliveries", "inference_log") == {"deliveries": [], "inference_log": []}
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(StorageUnavailable, match="NETWORK_CONNECTION"):
            ingest_log(connection, nowhere, [FIRST])
    file = tmp_path / "a file"
    file.touch()
    blocked = example_spec(tmp_path, name="blocked", rows={"path": "a file"})
    with (
        example_warehouse(tmp_path, blocked) as connection,
        pytest.raises(StorageRefused, match=r"Correct the folder `rows.path`"),
    ):
        ingest_log(connection, blocked, [FIRST])


def test_a_recorded_file_that_is_gone_is_named_and_transient(tmp_path, rows):
    write_days(tmp_path)
    spec, _ = filled(tmp_path, rows=rows)
    files = RowFiles.of(spec)
    lost = next(path for path in files_of(spec) if path.startswith(f"inference_log/day={SECOND}"))
    files.remove([lost])
    with pytest.raises(ObjectGone, match=f"{lost} is recorded, and not there: a later run has replaced it") as gone:
        read(tmp_path, spec)
    assert isinstance(gone.value, TransientError)
    with example_warehouse(tmp_path, spec) as connection:
        read_rows_of(connection, [FIRST])
        assert len(connection.execute(f"FROM {table(spec, 'inference_log')}").fetchall()) == 19, "other days are read"
        ingest_log(connection, spec, [SECOND])
    assert len(read(tmp_path, spec)["inference_log"]) == 57


def test_an_operation_fetches_the_days_it_declares_when_it_reads_them(tmp_path, object_store):
    write_days(tmp_path)
    spec, _ = filled(tmp_path, rows={"path": f"s3://{BUCKET}/{tmp_path.name}"})

    def fetched(do: Callable[[KeptRows], object], scope: Scope) -> int:
        object_store.requests.clear()
        with with_rows(warehouse_of(tmp_path), spec).connect(scope) as connection:
            do(connection)
        return sum(line.startswith("GET") for line in object_store.requests)

    log, of_second = table(spec, "inference_log"), Scope(spec.name, (), (SECOND,))
    assert fetched(lambda c: c.execute("SELECT * FROM example.deliveries").fetchall(), Scope(spec.name)) == 0
    assert fetched(lambda c: [c.execute(f"SELECT * FROM {log}").fetchall() for _ in range(3)], of_second) == 1
    assert fetched(lambda c: (c.include_rows(spec.name, [THIRD]), c.execute(f"SELECT * FROM {log}")), of_second) == 2
    assert fetched(lambda c: cost_report(c, spec), Scope(spec.name)) == 0, "records say how many rows there are"


def test_retention_deletes_files(tmp_path, rows):
    write_days(tmp_path)
    spec, before = filled(tmp_path, rows=rows, retain_days=2, retrain={"enabled": False}, drift={"multivariate_methods": []})
    with example_warehouse(tmp_path, spec) as connection:
        for name in ("daily_profile", "drift_scores"):
            connection.execute(f"INSERT INTO {table(spec, name)} BY NAME SELECT unnest(?::DATE[]) AS day", [DAYS])
        forgotten = forget_rows(connection, spec)
        assert forgotten.days == (FIRST,)
        assert forgotten.rows == sum(row[0] == FIRST for name in ("inference_log", "quarantine") for row in before[name])
        after = contents(connection, spec, *TABLES)
        assert after["inference_log"] == [row for row in before["inference_log"] if row[0] != FIRST]
        report = cost_report(connection, spec)
        assert report.raw_bytes_per_row > 0
    assert [path for path in files_of(spec) if f"day={FIRST}" in path] == []
    assert len(files_of(spec)) == 6


def test_days_stored_in_the_warehouse_are_still_read_and_move_to_files_when_they_are_ingested_again(tmp_path, rows):
    write_days(tmp_path)
    _, before = filled(tmp_path)
    spec = example_spec(tmp_path, rows=rows)
    assert read(tmp_path, spec) == before
    with example_warehouse(tmp_path, spec) as connection:
        ingest_log(connection, spec, [SECOND])
        assert contents(connection, spec, *TABLES) == before
        held = connection.inner.execute("SELECT DISTINCT day FROM example.inference_log ORDER BY day").fetchall()
        assert held == [(FIRST,), (THIRD,)]
    with pytest.raises(WarehouseMismatch, match="the rows of 1 days of example are in files"):
        read(tmp_path, example_spec(tmp_path))


def test_features_are_renamed_added_removed_and_change_their_kind_without_a_file_being_written(tmp_path, rows):
    write_days(tmp_path)
    spec, before = filled(tmp_path, rows=rows)
    files = files_of(spec)
    features = {
        "price": {"kind": "numeric", "renamed_from": "amount"},
        "items": {"kind": "categorical"},
        "colour": {"kind": "categorical"},
    }
    changed = example_spec(tmp_path, rows=rows, features=features)
    ids = [row[1] for row in before["inference_log"]]
    with example_warehouse(tmp_path, changed) as connection:
        assert len(changes_so_far(connection, changed)) == 4
        log = table(changed, "inference_log")
        found = connection.execute(f"SELECT id, price, items, items__numeric, colour, country FROM {log} ORDER BY ALL").fetchall()
    expected = sorted((row[1], row[3], None, row[4], None, row[5]) for row in before["inference_log"])
    assert (found, len(ids), files_of(spec)) == (expected, 57, files)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("https://host/rows", "in a folder or at an address that begins with s3://"),
        ("s3://me:hidden@bucket/rows", "may not hold a user or a password"),
        ("s3://bucket/{day}", "without patterns"),
        ("s3://bucket/*", "without patterns"),
    ],
)
def test_a_place_where_rows_cannot_be_is_refused(path, says):
    with pytest.raises(ValidationError, match=says) as wrong:
        example_spec(Path(), rows={"path": path})
    assert "hidden" not in str([error["msg"] for error in wrong.value.errors()])


def test_many_small_files_are_opened_once(tmp_path, rows, monkeypatch):
    monkeypatch.setattr("monitoring_assets.row_storage.kept_rows.MANY_FILES", 2)
    write_days(tmp_path)
    spec, found = filled(tmp_path, rows=rows)
    log = table(spec, "inference_log")
    with example_warehouse(tmp_path, spec) as connection:
        assert contents(connection, spec, *TABLES) == found
        explained = str(connection.execute(f"EXPLAIN SELECT * FROM {log}").fetchall())
        assert "READ_PARQUET" not in explained
        read_again = ingest_log(connection, spec, [SECOND])
        assert [d.accepted_rows for d in read_again] == [19]
        assert contents(connection, spec, *TABLES) == found


def test_an_empty_day_has_no_file(tmp_path, rows):
    write_day(tmp_path, FIRST, rows=0)
    spec = example_spec(tmp_path, rows=rows)
    with example_warehouse(tmp_path, spec) as connection:
        assert ensure_tables(connection, spec) == []
        assert ingest_log(connection, spec, [FIRST, FIRST + timedelta(days=1)])[0].delivered_rows == 0
        assert connection.execute(f"SELECT * FROM {table(spec, 'inference_log')}").fetchall() == []
    assert files_of(spec) == []
