"""Laws of copying a warehouse: there and back it is equal, and nothing is overwritten unasked."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitoring_assets.cli import app
from monitoring_assets.shared_warehouse.postgres_warehouse import PostgresWarehouse
from monitoring_assets.warehouse import Warehouse, ensure_tables
from monitoring_assets_tests.example_monitor import FIRST, SECOND, contents, example_spec
from monitoring_assets_tests.stores import Databases
from monitoring_assets_tests.test_warehouse import columns_of, labels, put_labels

pytestmark = [pytest.mark.slow, pytest.mark.long]
ODD_ROWS = "(DATE '2026-03-02', 'x' || chr(0) || chr(26), 'NaN'::DOUBLE), (NULL, NULL, 'inf'::DOUBLE)"


def copied(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["warehouse", "copy", *arguments])
    return result.exit_code, result.output


def test_a_warehouse_that_went_to_postgresql_and_back_is_equal_and_an_occupied_target_is_left_alone(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, file, back = databases.address_of(tmp_path / "home"), tmp_path / "w.duckdb", tmp_path / "back.duckdb"
    monkeypatch.setenv("THE_DATABASE", uri)
    spec = example_spec(tmp_path)
    with Warehouse(file).connect() as connection:
        ensure_tables(connection, spec)
        put_labels(connection, spec, FIRST, 1.0)
        connection.execute(f"INSERT INTO example.labels VALUES {ODD_ROWS}")
        connection.execute(
            "INSERT INTO example.daily_profile (day, counts, categories) VALUES "
            "(DATE '2026-03-02', [1.5, NULL, 'inf'::DOUBLE], ['a', NULL, '']), (DATE '2026-03-03', [], NULL)"
        )
        names = tuple(name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall())
        before, columns = contents(connection, spec, *names), columns_of(connection)
    code, said = copied(str(file), "THE_DATABASE")
    assert (code, "example.labels: 102 rows" in said) == (0, True), said
    code, said = copied("THE_DATABASE", str(back))
    assert code == 0, said
    with Warehouse(back).connect() as connection:
        assert contents(connection, spec, *names) == before
        assert columns_of(connection) == columns
    with PostgresWarehouse(uri=uri).connect() as connection:
        put_labels(connection, spec, SECOND, 2.0)
    for arguments in ([str(file), "THE_DATABASE"], ["THE_DATABASE", str(file)]):
        code, said = copied(*arguments)
        assert code == 1
        assert "holds rows already" in said
    with Warehouse(file).connect() as connection:
        assert contents(connection, spec, *names) == before
    assert copied("THE_DATABASE", str(file), "--replace")[0] == 0
    with Warehouse(file).connect() as connection:
        assert (SECOND, 2.0, 100) in labels(connection)
    assert copied(str(back), "THE_DATABASE", "--replace")[0] == 0
    with PostgresWarehouse(uri=uri).connect() as connection:
        assert contents(connection, spec, *names) == before


@pytest.mark.parametrize(
    "ends", [("no.duckdb", "no_such_variable"), ("postgresql://127.0.0.1:1/a", "postgresql://127.0.0.1:1/b")]
)
def test_ends_that_are_not_a_file_and_a_database_are_refused(ends: tuple[str, str]) -> None:
    code, said = copied(*ends)
    assert code == 1
    assert "one end must be a DuckDB file" in said
