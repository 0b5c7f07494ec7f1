"""Laws of the shared warehouse, on a real PostgreSQL: what goes in comes back, a day is replaced whole or not at all, disjoint
days do not wait for each other, and nobody overwrites what he has not read."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring_assets.errors import WarehouseChanged, WarehouseLocked, WarehouseNewer, WarehouseUnavailable
from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse
from monitoring_assets.shared_warehouse.server import address, session
from monitoring_assets.warehouse import Scope, Warehouse, ensure_tables, newest_day, table, transaction
from monitoring_assets_tests.example_monitor import FIRST, SECOND, THIRD
from monitoring_assets_tests.stores import Databases
from monitoring_assets_tests.test_warehouse import labels, put_labels

pytestmark = [pytest.mark.slow, pytest.mark.long]


def stored(warehouse: PostgresWarehouse) -> list[tuple[date, float, int]]:
    with warehouse.connect() as connection:
        return labels(connection)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["\0", "\x1a", "\x1a0\0\x1a1", "", "NULL", "\\N"]
)
DOUBLES = st.none() | st.floats()
ROWS = st.tuples(
    DOUBLES,
    st.none() | TEXTS,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans(),
    st.none() | st.dates(),
    st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    st.none() | st.lists(DOUBLES, max_size=3),
    st.none() | st.lists(st.none() | TEXTS, max_size=3),
    st.none() | st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=3),
)
TYPES = ("DOUBLE", "VARCHAR", "BIGINT", "BOOLEAN", "DATE", "TIMESTAMPTZ", "DOUBLE[]", "VARCHAR[]", "INTEGER[]")


def as_text(value: object) -> object:
    """NaN equals nothing, and -0.0 equals 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value)
    return [as_text(each) for each in value] if isinstance(value, list) else value


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, min_size=1, max_size=20))
def test_every_value_comes_back_as_it_went(shared: PostgresWarehouse, rows: list[tuple[object, ...]]) -> None:
    with shared.connect() as connection, transaction(connection):
        columns = ", ".join(f"c{place} {kind}" for place, kind in enumerate(TYPES))
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA IF NOT EXISTS values_of_all_kinds")
        connection.execute("DROP TABLE IF EXISTS values_of_all_kinds.held")
        connection.execute(f"CREATE TABLE values_of_all_kinds.held (n INTEGER, {columns})")
        given_rows = [(place, *row) for place, row in enumerate(rows)]
        connection.executemany(f"INSERT INTO values_of_all_kinds.held VALUES ({', '.join('?' * (1 + len(TYPES)))})", given_rows)
    with shared.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute("SELECT * EXCLUDE (n) FROM values_of_all_kinds.held ORDER BY n").fetchall()
    assert [[as_text(value) for value in row] for row in found] == [[as_text(value) for value in row] for row in rows]


def test_an_operation_on_one_day_does_not_wait_for_one_on_another_and_each_monitor_has_its_own_days(warehouse, spec) -> None:
    with warehouse.connect(Scope("example", (FIRST,))) as first:
        put_labels(first, spec, FIRST, 2.0)
        begun = time.monotonic()
        with warehouse.connect(Scope("example", (SECOND, THIRD))) as second, warehouse.connect(Scope("other", (FIRST,))):
            put_labels(second, spec, SECOND, 3.0)
        assert time.monotonic() - begun < 10
        put_labels(first, spec, FIRST, 4.0)
    assert stored(warehouse) == [(FIRST, 4.0, 100), (SECOND, 3.0, 100), (THIRD, 1.0, 100)]


def test_an_operation_waits_for_another_on_the_same_day_and_says_who_holds_it(warehouse, spec) -> None:
    held = rf"days of example.* held by monitoring-assets-{os.getpid()}"
    with (
        warehouse.connect(Scope("example", (FIRST, SECOND))),
        pytest.raises(WarehouseLocked, match=held),
        warehouse.connect(Scope("example", (SECOND, THIRD))),
    ):
        pass
    with warehouse.connect(Scope("example", (SECOND,))) as connection:
        put_labels(connection, spec, SECOND, 5.0)


def test_the_same_day_twice_at_once_ends_as_one_of_them_in_all_tables(warehouse, spec) -> None:
    patient = PostgresWarehouse(60, uri=warehouse.uri)

    def replace(label: float) -> None:
        for _ in range(3):
            with patient.connect(Scope("example", (FIRST,))) as connection, transaction(connection):
                for name in ("labels", "serving"):
                    connection.execute(f"DELETE FROM {table(spec, name)} WHERE day = DATE '{FIRST}'")
                connection.execute(f"INSERT INTO {table(spec, 'labels')} VALUES (DATE '{FIRST}', 'x', {label})")
                connection.execute(f"INSERT INTO {table(spec, 'serving')} (day, requests) VALUES (DATE '{FIRST}', {label})")

    threads = [threading.Thread(target=replace, args=(label,)) for label in (7.0, 8.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with patient.connect() as connection:
        told = connection.execute(
            f"SELECT (SELECT list(label) FROM {table(spec, 'labels')} WHERE day = DATE '{FIRST}'), "
            f"(SELECT list(requests) FROM {table(spec, 'serving')})"
        ).fetchall()
    assert told in ([([7.0], [7.0])], [([8.0], [8.0])])


def test_what_another_operation_has_changed_since_it_was_read_is_not_overwritten(warehouse, spec) -> None:
    grid = f"INSERT INTO {table(spec, 'profile_grids')} (feature) VALUES"
    with warehouse.connect() as connection:
        connection.execute(f"FROM {table(spec, 'profile_grids')}")
        with warehouse.connect() as other:
            other.execute(f"{grid} ('amount')")
            put_labels(other, spec, THIRD, 9.0)
        with pytest.raises(WarehouseChanged, match=r"example\.profile_grids"):
            connection.execute(f"{grid} ('items')")
    with warehouse.connect() as connection:
        connection.execute(f"FROM {table(spec, 'labels')}")
        with warehouse.connect(Scope("example", (SECOND,))) as other:
            put_labels(other, spec, SECOND, 9.0)
        with pytest.raises(WarehouseChanged, match=r"example\.labels"):
            put_labels(connection, spec, SECOND, 3.0)
        put_labels(connection, spec, FIRST, 3.0)  # a day nobody has touched
        assert connection.execute(f"SELECT feature FROM {table(spec, 'profile_grids')}").fetchall() == [("amount",)]
    assert stored(warehouse) == [(FIRST, 3.0, 100), (SECOND, 9.0, 100), (THIRD, 9.0, 100)]


def test_profiles_counted_on_grids_that_another_operation_refined_meanwhile_are_not_stored(warehouse, spec) -> None:
    with warehouse.connect(Scope("example", (FIRST,))) as connection:
        connection.execute(f"FROM {table(spec, 'profile_grids')}")
        with warehouse.connect() as other:
            other.execute(f"INSERT INTO {table(spec, 'profile_grids')} (feature) VALUES ('amount')")
        with pytest.raises(WarehouseChanged, match=r"example\.profile_grids"):
            connection.execute(f"INSERT INTO {table(spec, 'daily_profile')} (day) VALUES (DATE '{FIRST}')")


def test_all_that_an_operation_reads_is_of_one_moment(warehouse, spec) -> None:
    with warehouse.connect() as connection:
        connection.execute(f"FROM {table(spec, 'baselines')}")
        with warehouse.connect() as other:
            put_labels(other, spec, FIRST, 6.0)
        assert labels(connection)[0] == (FIRST, 1.0, 100)
    assert stored(warehouse)[0] == (FIRST, 6.0, 100)


def test_only_the_rows_of_the_declared_days_are_loaded_and_the_others_stay_stored(warehouse, spec) -> None:
    with warehouse.connect(Scope("example", (SECOND,), rows=(SECOND,))) as connection:
        assert labels(connection) == [(SECOND, 1.0, 100)]
        put_labels(connection, spec, SECOND, 2.0)
        connection.include_rows("example", [FIRST])
        assert labels(connection) == [(FIRST, 1.0, 100), (SECOND, 2.0, 100)]
    assert stored(warehouse) == [(FIRST, 1.0, 100), (SECOND, 2.0, 100), (THIRD, 1.0, 100)]


def test_of_several_baselines_only_the_one_asked_for_is_loaded_until_something_else_is_asked(warehouse, spec) -> None:
    facts = table(spec, "baseline_facts")
    with warehouse.connect() as connection, transaction(connection):
        connection.execute(f"DELETE FROM {facts}")
        connection.execute(f"INSERT INTO {facts} (baseline_id, value) VALUES ('a', 1), ('b', 2), ('c', 3), (NULL, 4)")
    with warehouse.connect() as connection:
        assert connection.execute(f"SELECT value FROM {facts} WHERE baseline_id = ?", ["b"]).fetchall() == [(2.0,)]
        assert connection.duck.execute(f"SELECT count(*) FROM {facts}").fetchall() == [(1,)]
        assert connection.sql(f"SELECT value FROM {facts} WHERE baseline_id = ?", params=["a"]).fetchall() == [(1.0,)]
        assert connection.execute(f"SELECT list(value ORDER BY value) FROM {facts}").fetchall() == [([1.0, 2.0, 3.0, 4.0],)]
    with warehouse.connect() as connection:
        connection.execute(f"SELECT value FROM {facts} WHERE baseline_id = ?", ["b"])
        connection.execute(f"UPDATE {facts} SET value = value + 1")
    assert warehouse.query(f"SELECT sum(value) AS total FROM {facts}")["total"].to_list() == [14.0]


def test_the_newest_day_is_known_without_its_rows(warehouse, spec) -> None:
    with warehouse.connect() as connection, transaction(connection):
        connection.execute(f"INSERT INTO {table(spec, 'inference_log')} (day) VALUES (DATE '{SECOND}')")
    with warehouse.connect(Scope("example", (THIRD,), rows=(THIRD,))) as connection:
        assert newest_day(connection, spec) == SECOND
        with transaction(connection):
            connection.execute(f"INSERT INTO {table(spec, 'inference_log')} (day) VALUES (DATE '{THIRD}')")
        assert newest_day(connection, spec) == THIRD
    with warehouse.connect() as connection:
        connection.execute(f"DELETE FROM {table(spec, 'inference_log')}")
        assert newest_day(connection, spec) is None


def test_an_operation_killed_while_it_writes_leaves_the_old_days_and_holds_nothing(warehouse, spec) -> None:
    code = (
        "import sys, time\nfrom datetime import date\nfrom pathlib import Path\n"
        "from monitoring_assets.shared_warehouse.server import Session\n"
        "from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse\n"
        "from monitoring_assets.warehouse import Scope, transaction, table\n"
        "from monitoring_assets_tests.example_monitor import FIRST, SECOND, example_spec\n"
        "from monitoring_assets_tests.test_warehouse import put_labels\n"
        "def wait(self):\n    print('written', flush=True)\n    time.sleep(60)\n"
        "Session.commit = wait\nspec = example_spec(Path('.'))\n"
        "with PostgresWarehouse().connect(Scope('example', (FIRST, SECOND))) as c:\n    with transaction(c):\n"
        "        c.execute('DELETE FROM example.labels')\n"
        "        c.execute(\"INSERT INTO example.serving (day) VALUES ('2026-03-02')\")\n"
    )
    with warehouse.connect() as connection:
        connection.execute("DELETE FROM example.serving")
    environment = os.environ | {"MONITORING_ASSETS_WAREHOUSE": str(warehouse.uri)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with PostgresWarehouse(20, uri=warehouse.uri).connect(Scope("example", (FIRST, SECOND))) as connection:
        assert labels(connection) == [(day, 1.0, 100) for day in (FIRST, SECOND, THIRD)]
        assert connection.execute("SELECT * FROM example.serving").fetchall() == []


def test_a_server_that_ends_a_session_is_a_transient_error_and_the_next_operation_works(warehouse, spec) -> None:
    def delete_while_all_sessions_end() -> None:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        with (
            session(address(warehouse.uri)) as other,
            warehouse.connect() as connection,
            transaction(connection),
        ):
            connection.execute(f"DELETE FROM {table(spec, 'labels')}")
            other.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")

    with pytest.raises(WarehouseUnavailable, match="retried"):
        delete_while_all_sessions_end()
    assert stored(warehouse) == [(day, 1.0, 100) for day in (FIRST, SECOND, THIRD)]


def test_several_processes_may_make_the_tables_at_the_same_time(databases: Databases, spec, tmp_path) -> None:
    warehouse = databases.warehouse_in(tmp_path, 60)
    failures: list[BaseException] = []

    def make() -> None:
        try:
            with warehouse.connect() as connection:
                warehouse.make_ready(connection, spec)
                assert connection.execute("SELECT count(*) FROM example.labels").fetchall() == [(0,)]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert warehouse.query("SELECT count(*) AS n FROM example.warehouse_version")["n"].to_list() == [1]


@pytest.mark.parametrize("kept_in", ["file", "postgres"])
def test_a_warehouse_of_a_newer_version_is_refused_with_the_remedy(databases: Databases, spec, tmp_path, kept_in) -> None:
    warehouse = databases.warehouse_in(tmp_path, 5) if kept_in == "postgres" else Warehouse(tmp_path / "w.duckdb")
    with warehouse.connect() as connection:
        ensure_tables(connection, spec)
        connection.execute("UPDATE example.warehouse_version SET version = 99")
        with pytest.raises(WarehouseNewer, match=r"version 99.*Upgrade monitoring-assets"):
            ensure_tables(connection, spec)
        connection.execute("DELETE FROM example.warehouse_version")
        ensure_tables(connection, spec)
        assert connection.execute("SELECT version FROM example.warehouse_version").fetchall() == [(1,)]
