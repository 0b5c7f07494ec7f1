"""Laws of the warehouse: declared tables, a day replaced whole or not at all, one process at a time."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pytest

from monitoring_assets.errors import TransientError, WarehouseLocked, WarehouseMismatch, WarehouseUnusable
from monitoring_assets.warehouse import (
    LOCK_PATIENCE_SECONDS,
    Warehouse,
    ensure_tables,
    longest_pause,
    quoted,
    replace_days,
    table,
    transaction,
)
from monitoring_assets.warehouse_tables import tables_of
from monitoring_assets_tests.example_monitor import FIRST, SECOND, example_spec, example_warehouse

ODD_NAMES = ["it's", 'say "x"', "two words", "größe μ 数", "select", "a;b--c", "rowid", "{x}", "%s", "?", "$1", "value", "n"]


def columns_of(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], tuple[str, str]]:
    rows = connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE schema_name = 'example'"
    ).fetchall()
    return {(name, column): (kind, comment) for name, column, kind, comment in rows}


def declared_columns(spec) -> set[tuple[str, str]]:
    return {(name, column) for name, columns in tables_of(spec).items() for column in columns}


def put_labels(connection: duckdb.DuckDBPyConnection, spec, day: date, label: float) -> None:
    rows = f"SELECT DATE '{day}' AS day, i::VARCHAR AS prediction_id, {label}::DOUBLE AS label FROM range(100) r(i)"
    with transaction(connection):
        replace_days(connection, table(spec, "labels"), [day], rows)


def labels(connection: duckdb.DuckDBPyConnection) -> list[tuple[date, float, int]]:
    return connection.execute("SELECT day, label, count(*) FROM example.labels GROUP BY ALL ORDER BY ALL").fetchall()


def in_another_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    setup = (
        "import os, sys, time\nfrom datetime import date\nfrom pathlib import Path\n"
        "from monitoring_assets.warehouse import *\nfrom monitoring_assets_tests.example_monitor import *\n"
        "from monitoring_assets_tests.test_warehouse import put_labels\n"
        "home = Path(sys.argv[1])\nspec = example_spec(home)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", setup + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def test_tables_are_made_once_with_every_column_declared_and_explained(tmp_path):
    spec = example_spec(tmp_path)
    with example_warehouse(tmp_path, spec) as connection:
        columns = columns_of(connection)
        assert set(columns) == declared_columns(spec)
        assert [name for name, (_, comment) in columns.items() if not comment] == []
        put_labels(connection, spec, FIRST, 1.0)
        ensure_tables(connection, spec)
        assert columns_of(connection) == columns
        assert labels(connection) == [(FIRST, 1.0, 100)]


def test_a_feature_the_spec_gains_becomes_an_explained_column_and_one_it_loses_keeps_its_values(tmp_path):
    fewer = example_spec(tmp_path, features={"amount": {"kind": "numeric"}})
    more = example_spec(tmp_path)
    with example_warehouse(tmp_path, fewer) as connection:
        connection.execute("INSERT INTO example.inference_log (day, id, amount) VALUES ('2026-03-02', 'a', 1.5)")
        ensure_tables(connection, more)
        assert set(columns_of(connection)) == declared_columns(more)
        assert columns_of(connection)["inference_log", "country"] == ("VARCHAR", "column 'country' of the log")
        ensure_tables(connection, fewer)
        assert connection.execute("SELECT amount, country FROM example.inference_log").fetchall() == [(1.5, None)]


def test_a_column_that_is_no_feature_and_changes_its_type_is_refused_by_name(tmp_path):
    with example_warehouse(tmp_path, example_spec(tmp_path)) as connection:
        other = example_spec(tmp_path, prediction={"value": "predicted"})
        with pytest.raises(WarehouseMismatch, match=r"'predicted' of example.inference_log holds VARCHAR.* declares DOUBLE"):
            ensure_tables(connection, other)


def test_a_comment_that_is_missing_is_made_up_for(tmp_path):
    spec = example_spec(tmp_path)
    with example_warehouse(tmp_path, spec) as connection:
        columns = columns_of(connection)
        connection.execute("COMMENT ON COLUMN example.labels.label IS NULL")
        ensure_tables(connection, spec)
        assert columns_of(connection) == columns


@pytest.mark.file_only
def test_a_file_named_like_the_monitor_is_refused(tmp_path):
    with (
        Warehouse(tmp_path / "example.duckdb").connect() as connection,
        pytest.raises(WarehouseMismatch, match="name of the warehouse file"),
    ):
        ensure_tables(connection, example_spec(tmp_path))


def test_any_name_of_a_column_is_safe(tmp_path):
    spec = example_spec(tmp_path, features={name: {"kind": "numeric"} for name in ODD_NAMES})
    with example_warehouse(tmp_path, spec) as connection:
        values = ", ".join(f"{i} AS {quoted(name)}" for i, name in enumerate(ODD_NAMES))
        with transaction(connection):
            replace_days(connection, table(spec, "inference_log"), [FIRST], f"SELECT DATE '{FIRST}' AS day, {values}")
        selected = ", ".join(map(quoted, ODD_NAMES))
        found = connection.execute(f"SELECT {selected} FROM {table(spec, 'inference_log')}").fetchall()
        assert found == [tuple(map(float, range(len(ODD_NAMES))))]


def test_replacing_a_day_leaves_the_other_days(tmp_path):
    spec = example_spec(tmp_path)
    with example_warehouse(tmp_path, spec) as connection:
        put_labels(connection, spec, FIRST, 1.0)
        put_labels(connection, spec, SECOND, 2.0)
        put_labels(connection, spec, FIRST, 3.0)
        assert labels(connection) == [(FIRST, 3.0, 100), (SECOND, 2.0, 100)]


def _delete_and_be_interrupted(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("DELETE FROM example.labels")
    raise KeyboardInterrupt


def test_a_transaction_that_fails_leaves_the_old_day_and_tells_the_first_error(tmp_path):
    spec = example_spec(tmp_path)
    with example_warehouse(tmp_path, spec) as connection:
        put_labels(connection, spec, FIRST, 1.0)
        wrong = f"SELECT DATE '{FIRST}' AS day, 'x' AS prediction_id, 'text' AS label"
        with pytest.raises(duckdb.ConversionException, match="text"), transaction(connection):
            replace_days(connection, table(spec, "labels"), [FIRST], wrong)
        with pytest.raises(KeyboardInterrupt), transaction(connection):
            _delete_and_be_interrupted(connection)
        assert labels(connection) == [(FIRST, 1.0, 100)]
        put_labels(connection, spec, FIRST, 2.0)
        assert labels(connection) == [(FIRST, 2.0, 100)]


@pytest.mark.slow
@pytest.mark.file_only
@pytest.mark.parametrize("moment", ["between DELETE and INSERT", "before COMMIT"])
def test_a_process_killed_while_it_replaces_a_day_leaves_the_old_day(tmp_path, moment):
    spec = example_spec(tmp_path)
    with example_warehouse(tmp_path, spec) as connection:
        put_labels(connection, spec, FIRST, 1.0)
    insert = (
        ""
        if moment == "between DELETE and INSERT"
        else "c.execute(\"INSERT INTO example.labels VALUES ('2026-03-02', 'x', 9)\")\n    "
    )
    process = in_another_process(
        "with example_warehouse(home, spec) as c:\n    c.execute('BEGIN')\n    c.execute('DELETE FROM example.labels')\n    "
        f"{insert}print('ready', flush=True)\n    sys.stdin.read()",
        tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with example_warehouse(tmp_path, spec) as connection:
        assert labels(connection) == [(FIRST, 1.0, 100)]


@pytest.mark.slow
@pytest.mark.file_only
def test_processes_that_write_different_days_wait_for_each_other_and_all_succeed(tmp_path):
    spec = example_spec(tmp_path)
    days = [FIRST, SECOND]
    write = (
        "for turn in range(3):\n    with example_warehouse(home, spec) as c:\n        "
        "put_labels(c, spec, date.fromisoformat(sys.argv[2]), turn)\n        time.sleep(0.05)"
    )
    processes = [in_another_process(write, tmp_path, day) for day in days]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    with example_warehouse(tmp_path, spec) as connection:
        assert labels(connection) == [(day, 2.0, 100) for day in days]


def waits_for_a_file(processes: int, turns: int, held: float, dice: random.Random) -> list[float]:
    """How long each of these processes waits each time, when it tries again 0.05 s after it let the file go."""
    free, waits = 0.0, []
    tries = [(dice.random(), process, 0, 0.0) for process in range(processes)]
    left = [turns] * processes
    while tries:
        tries.sort()
        now, process, tried, waited = tries.pop(0)
        if now < free:
            pause = dice.uniform(0, longest_pause(tried + 1, waited))
            tries.append((now + pause, process, tried + 1, waited + pause))
            continue
        waits.append(waited)
        free = now + dice.uniform(0.5, 1.5) * held
        left[process] -= 1
        if left[process]:
            tries.append((free + 0.05, process, 0, 0.0))
    return waits


@pytest.mark.file_only
def test_of_eight_processes_that_take_the_file_again_and_again_hardly_one_loses_its_patience():
    dice = random.Random(1)
    waits = [wait for _ in range(30) for wait in waits_for_a_file(8, 9, 3.0, dice)]
    assert len(waits) == 30 * 8 * 9
    assert np.mean(np.array(waits) > LOCK_PATIENCE_SECONDS) < 0.01  # 0.08 with pauses that only grow, to 1 s


@pytest.mark.slow
@pytest.mark.file_only
def test_a_file_held_past_the_patience_is_a_transient_error_with_file_and_remedy(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    hold = "with Warehouse(home / 'warehouse.duckdb').connect():\n    print('ready', flush=True)\n    sys.stdin.read()"
    process = in_another_process(hold, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        started = time.perf_counter()
        with pytest.raises(WarehouseLocked, match="Close the program") as held, Warehouse(path, patience_seconds=0.3).connect():
            pass
        assert 0.2 < time.perf_counter() - started < 3
        assert str(path) in str(held.value)
        assert f"PID {process.pid}" in str(held.value)
        assert isinstance(held.value, TransientError)
    finally:
        process.communicate("")
    with Warehouse(path, patience_seconds=5).connect() as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.file_only
def test_a_file_that_is_no_warehouse_is_not_called_locked(tmp_path):
    path = tmp_path / "locked block" / "warehouse.duckdb"
    path.parent.mkdir()
    path.write_bytes(os.urandom(20_000))
    with pytest.raises(WarehouseUnusable, match="not a valid DuckDB database"), Warehouse(path, patience_seconds=30).connect():
        pass


@pytest.mark.file_only
def test_a_warehouse_closes_its_connection_also_when_the_work_fails(tmp_path):
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with pytest.raises(duckdb.ParserException), warehouse.connect() as connection:
        connection.execute("SELEKT 1")
    with pytest.raises(duckdb.ConnectionException):
        connection.execute("SELECT 1")


@pytest.mark.file_only
def test_making_a_warehouse_touches_nothing(tmp_path):
    Warehouse(tmp_path / "folder" / "warehouse.duckdb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.file_only
def test_a_query_comes_back_as_a_frame(tmp_path):
    assert Warehouse(tmp_path / "w.duckdb").query("SELECT ? AS x", [3])["x"].to_list() == [3]


@pytest.mark.file_only
def test_findings_of_an_earlier_version_are_upgraded_in_place(tmp_path):
    spec = example_spec(tmp_path)
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        connection.execute("CREATE SCHEMA example")
        connection.execute(
            "CREATE TABLE example.quality AS SELECT DATE '2026-03-02' AS day, 'in_set' AS kind, 'expect' AS expectation, "
            "'c' AS column_name, 'minor' AS severity, 0.25::DOUBLE AS observed, 'one of' AS expected, "
            "5::BIGINT AS unexpected_count, 0.25::DOUBLE AS unexpected_share, ['x'] AS samples, 'b' AS baseline_id"
        )
        for _ in range(2):
            ensure_tables(connection, spec)
        assert {column for name, column in columns_of(connection) if name == "quality"} == set(tables_of(spec)["quality"])
        reported = connection.execute("SELECT success, unexpected_percent, partial_unexpected_list, kwargs FROM example.quality")
        assert reported.fetchall() == [(False, 25.0, ["x"], None)]
