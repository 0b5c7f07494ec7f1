"""Laws of a shared warehouse that cannot be had: each case has a name, says what to do, and tells nothing of the address."""

import sys
from pathlib import Path

import pytest

from monitoring_assets.chosen_warehouse import warehouse_in
from monitoring_assets.errors import CompactionFailed, WarehouseMismatch, WarehouseUnavailable, WarehouseUnusable
from monitoring_assets.retention.compaction import compact
from monitoring_assets.shared_warehouse.columns import checked_name, postgres_type
from monitoring_assets.shared_warehouse.server import VARIABLE, named
from monitoring_assets.warehouse import Warehouse
from monitoring_assets_tests.stores import Databases

SECRET = "sesame7"


def refusal(monkeypatch: pytest.MonkeyPatch, uri: str, expected: type[Exception], sql: str = "SELECT 1") -> str:
    monkeypatch.setenv(VARIABLE, uri)
    warehouse = warehouse_in(Path("."), patience_seconds=0.2)
    with pytest.raises(expected) as error, warehouse.connect() as connection:
        connection.execute(sql)
    said = str(error.value)
    for secret in (SECRET, "wrong-word", "no_such_database", "monitor:"):
        assert secret not in said
    return said


def test_without_the_variable_results_are_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, " ")
    assert warehouse_in(tmp_path) == Warehouse(tmp_path / "warehouse.duckdb", report=warehouse_in(tmp_path).report)


def test_another_kind_of_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not hold a postgresql:// address" in refusal(monkeypatch, "mysql://monitor:sesame7@host/db", WarehouseUnusable)


def test_a_missing_driver_is_named_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    said = refusal(monkeypatch, "postgresql://monitor:sesame7@127.0.0.1:1/db", WarehouseUnusable)
    assert "monitoring-assets[postgres]" in said


def test_a_server_that_is_down_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, "postgresql://monitor:sesame7@127.0.0.1:1/db", WarehouseUnavailable)
    assert "does not answer" in said
    assert "Start the server" in said


@pytest.mark.slow
@pytest.mark.long
def test_a_wrong_password_and_a_missing_database_are_permanent(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = databases.uri.replace(SECRET, "wrong-word")
    assert "authentication failed" in refusal(monkeypatch, wrong, WarehouseUnusable)
    missing = databases.uri.replace("/postgres", "/no_such_database")
    assert "does not exist" in refusal(monkeypatch, missing.replace("postgresql/", "postgresql:/"), WarehouseUnusable)


@pytest.mark.slow
@pytest.mark.long
def test_a_server_that_only_reads_is_named_when_something_is_to_be_stored(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{databases.uri}?options=-c%20default_transaction_read_only%3Don"
    said = refusal(monkeypatch, uri, WarehouseUnusable, "CREATE SCHEMA never; CREATE TABLE never.made (x INTEGER)")
    assert "only reads" in said


@pytest.mark.slow
@pytest.mark.long
def test_a_user_who_may_not_make_schemas_is_told_which_right_is_missing(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitoring_assets.shared_warehouse.server import address, session

    with session(address(databases.uri)) as server:
        server.run("CREATE USER guest PASSWORD 'sesame7'")
        server.commit()
    uri = databases.uri.replace("monitor:", "guest:")
    said = refusal(monkeypatch, uri, WarehouseUnusable, "CREATE SCHEMA never; CREATE TABLE never.made (x INTEGER)")
    assert "GRANT CREATE ON DATABASE" in said


class Failure(Exception):
    def __init__(self, said: str, sqlstate: str) -> None:
        super().__init__(said)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "kind", "remedy"),
    [
        ("53100", WarehouseUnusable, "disk is full"),
        ("53300", WarehouseUnavailable, "no connection left"),
        ("57P01", WarehouseUnavailable, "retried"),
        ("22021", WarehouseUnusable, "UTF8"),
    ],
)
def test_states_that_no_test_can_bring_about_have_names_too(state: str, kind: type[Exception], remedy: str) -> None:
    error = named(Failure("[libpq] ERROR:  something is wrong", state), "postgresql://monitor:sesame7@host/db")
    assert isinstance(error, kind)
    assert "something is wrong" in str(error)
    assert remedy in str(error)


def test_names_and_types_that_postgresql_has_no_place_for_are_refused_before_anything_is_made() -> None:
    with pytest.raises(WarehouseMismatch, match="at most 63 bytes"):
        checked_name("ü" * 32)
    with pytest.raises(WarehouseMismatch, match="HUGEINT"):
        postgres_type("HUGEINT")


def test_a_database_needs_no_compaction(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://monitor:sesame7@127.0.0.1:1/db")
    with pytest.raises(CompactionFailed, match="needs no compaction"):
        compact(warehouse_in(tmp_path))
