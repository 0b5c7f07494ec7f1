"""Laws of reading and deleting part of a shared table: nothing else is loaded, and what is not loaded stays as it is."""

import time
from datetime import date, timedelta

import pyarrow as pa
import pytest

from monitoring_assets.errors import WarehouseChanged
from monitoring_assets.shared_warehouse import known_baselines
from monitoring_assets.shared_warehouse.server import Session, address, session
from monitoring_assets.warehouse import Scope, replace_days, table, transaction
from monitoring_assets.warehouse_reads import days_with_rows, delete_days, include_all, smallest_rows, state_of_days
from monitoring_assets_tests.example_monitor import FIRST, SECOND, THIRD
from monitoring_assets_tests.test_warehouse import labels, put_labels

pytestmark = [pytest.mark.slow, pytest.mark.long]
NOTHING = Scope("example", rows=())


def loaded(connection, name: str) -> int:
    """Rows that are in memory, whatever the server has."""
    tables = connection.duck.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'example'").fetchall()
    return len(connection.duck.execute(f"SELECT day FROM example.{name}").fetchall()) if (name,) in tables else 0


def test_the_days_of_a_table_are_known_without_its_rows_and_with_what_is_new_here(warehouse, spec) -> None:
    with warehouse.connect(Scope("example", rows=(SECOND,))) as connection:
        assert days_with_rows(connection, spec, "labels") == [FIRST, SECOND, THIRD]
        assert days_with_rows(connection, spec, "labels", f"day < DATE '{THIRD}'") == [FIRST, SECOND]
        assert days_with_rows(connection, spec, "labels", "label > 1") == []
        assert loaded(connection, "labels") == 0
        new = THIRD + timedelta(days=9)
        put_labels(connection, spec, new, 2.0)
        assert days_with_rows(connection, spec, "labels") == [FIRST, SECOND, THIRD, new]


@pytest.mark.parametrize("scope", [NOTHING, Scope("example", rows=(SECOND,)), Scope("example")])
def test_days_are_deleted_whether_they_are_loaded_or_not_and_no_other_is_touched(warehouse, spec, scope) -> None:
    with warehouse.connect(scope) as connection:
        with transaction(connection):
            assert delete_days(connection, spec, "labels", [FIRST, SECOND]) == 200
        assert loaded(connection, "labels") == (0 if scope.rows is not None else 100)
    with warehouse.connect() as connection:
        assert labels(connection) == [(THIRD, 1.0, 100)]


def test_days_that_another_operation_has_changed_since_are_not_deleted(warehouse, spec) -> None:
    with warehouse.connect(NOTHING) as first:
        assert days_with_rows(first, spec, "labels") == [FIRST, SECOND, THIRD]
        with warehouse.connect() as second:
            put_labels(second, spec, FIRST, 5.0)
        with pytest.raises(WarehouseChanged), transaction(first):
            delete_days(first, spec, "labels", [FIRST])
    with warehouse.connect() as connection:
        assert labels(connection)[0] == (FIRST, 5.0, 100)


def put_profiles(connection, spec, day: date, rows: int) -> None:
    columns = f"DATE '{day}' AS day, i::VARCHAR AS feature, {rows}::BIGINT AS row_count"
    replace_days(connection, table(spec, "daily_profile"), [day], f"SELECT {columns} FROM range(3) r(i)")


def test_what_a_scope_leaves_out_can_be_had_later_and_what_was_changed_before_stays_changed(warehouse, spec) -> None:
    profiles = table(spec, "daily_profile")
    counted = f"SELECT day, max(row_count) FROM {profiles} GROUP BY day ORDER BY day"
    with warehouse.connect() as connection, transaction(connection):
        for day in (FIRST, SECOND, THIRD):
            put_profiles(connection, spec, day, 1)
    with warehouse.connect(Scope("example", (SECOND,), (SECOND,), SECOND, SECOND)) as connection, transaction(connection):
        put_profiles(connection, spec, SECOND, 2)
        assert loaded(connection, "daily_profile") == 3
        for _ in range(2):
            include_all(connection, spec, "daily_profile")
        assert connection.execute(counted).fetchall() == [(FIRST, 1), (SECOND, 2), (THIRD, 1)]
        connection.execute(f"UPDATE {profiles} SET row_count = 7 WHERE day = DATE '{THIRD}'")
    with warehouse.connect() as connection:
        assert connection.execute(counted).fetchall() == [(FIRST, 1), (SECOND, 2), (THIRD, 7)]


def test_the_state_of_days_changes_with_their_rows_and_with_no_others(warehouse, spec) -> None:
    def state() -> object:
        with warehouse.connect() as connection:
            return state_of_days(connection, spec, "labels", FIRST, SECOND)

    before = state()
    with warehouse.connect() as connection:
        put_labels(connection, spec, THIRD, 2.0)
    assert state() == before
    with warehouse.connect() as connection:
        put_labels(connection, spec, SECOND, 2.0)
    assert state() != before


def put_baseline(connection, spec, name: str, offset: int) -> None:
    for of, column in (("baseline_profiles", "row_count"), ("baseline_sample", "sample_key")):
        connection.execute(f"DELETE FROM {table(spec, of)} WHERE baseline_id = ?", [name])
        values = f"SELECT ?::VARCHAR AS baseline_id, i + {offset} AS {column} FROM range(50) r(i)"
        connection.execute(f"INSERT INTO {table(spec, of)} BY NAME {values}", [name])


def test_of_a_baselines_sample_only_the_smallest_keys_are_loaded_and_all_is_read_again_when_it_was_made_anew(
    warehouse, spec, databases
) -> None:
    def smallest() -> list[tuple[float]]:
        with warehouse.connect() as connection, transaction(connection):
            rows = smallest_rows(connection, spec, "baseline_sample", "a", "sample_key", 3)
            found = connection.execute(f"SELECT sample_key FROM {rows} ORDER BY 1").fetchall()
            assert loaded(connection, "baseline_sample") == 0
            sizes = connection.execute(
                f"SELECT max(row_count) FROM {table(spec, 'baseline_profiles')} WHERE baseline_id = ?", ["a"]
            )
            assert sizes.fetchall() == [(found[0][0] + 49,)]
            return found

    for offset in (0, 100):
        with warehouse.connect() as connection, transaction(connection):
            put_baseline(connection, spec, "a", offset)
            put_baseline(connection, spec, "b", -1000)
        for _ in range(2):
            assert smallest() == [(offset,), (offset + 1.0,), (offset + 2.0,)]


def test_baselines_that_a_process_knows_take_bounded_memory(monkeypatch) -> None:
    monkeypatch.setattr(known_baselines, "KEPT_BYTES", 4000)
    for place in range(9):
        rows = pa.table({"x": list(range(100))})
        known_baselines.known_or_loaded(("", "", ("m", "t"), str(place), ""), 1, lambda rows=rows: rows)
    assert sum(rows.nbytes for _, rows in known_baselines._KNOWN.values()) <= 4000


def test_a_session_does_not_read_the_columns_of_all_tables_when_it_opens(databases) -> None:
    read = "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint FROM pg_stat_sys_tables WHERE relname = 'pg_attribute'"
    with session(address(databases.uri)) as server:
        for number in range(40):
            columns = ", ".join(f"c{place} integer" for place in range(200))
            server.run(f"CREATE TABLE IF NOT EXISTS public.wide_{number} ({columns})")
        server.commit()
        before = newest_count(server, read)
        for number in range(3):
            with session(address(databases.uri) + f"&application_name=opened_{number}"):
                pass
        assert newest_count(server, read) - before < 3 * 8000


def newest_count(server: Session, sql: str) -> int:
    """A statistic of the server, after what other sessions did has arrived in it."""
    time.sleep(1.2)
    server.rollback()
    server.rows("SELECT pg_stat_clear_snapshot()")
    ((count,),) = server.rows(sql)
    return int(count)
