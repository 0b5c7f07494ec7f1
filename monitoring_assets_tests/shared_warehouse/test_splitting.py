"""Laws of splitting one file into a file per monitor: the same tables, rows and comments, and what was interrupted goes on."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitoring_assets.chosen_warehouse import FILE_PER_MONITOR, SETTING, warehouse_in
from monitoring_assets.cli import app
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import Scope, ensure_tables
from monitoring_assets_tests.example_monitor import example_content

NAMES = ("churn", "fraud")


def written(home: Path, name: str) -> list[tuple[Any, ...]]:
    """What a monitor's warehouse holds: its columns with their comments, and the rows of two tables."""
    with warehouse_in(home, monitor=name).connect(Scope(name)) as connection:
        return [
            *connection.execute(
                "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE schema_name = ? ORDER BY ALL",
                [name],
            ).fetchall(),
            *connection.execute(f"FROM {name}.inference_log").fetchall(),
            *connection.execute(f"FROM {name}.serving").fetchall(),
        ]


def test_every_monitor_has_its_tables_rows_and_comments_in_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITORING_ASSETS_HOME", str(tmp_path))
    for name in NAMES:
        with warehouse_in(tmp_path).connect() as connection:
            ensure_tables(connection, MonitorSpec.model_validate(example_content(name=name)))
            rows = f"SELECT DATE '2026-03-02' AS day, '{name}' || i AS id FROM range(3) r(i)"
            connection.execute(f"INSERT INTO {name}.inference_log BY NAME {rows}")
    before = {name: written(tmp_path, name) for name in NAMES}
    command = ["warehouse", "split"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    monkeypatch.setenv(SETTING, FILE_PER_MONITOR)
    assert {name: written(tmp_path, name) for name in NAMES} == before

    (tmp_path / "warehouses" / "fraud" / "warehouse.duckdb").unlink()
    (tmp_path / "warehouses" / "fraud" / "warehouse.duckdb.copying").write_bytes(b"half")
    assert "churn/warehouse.duckdb is there already" in CliRunner().invoke(app, command).output
    assert written(tmp_path, "fraud") == before["fraud"]
    assert not list(tmp_path.rglob("*.copying"))


def test_without_a_file_there_is_nothing_to_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITORING_ASSETS_HOME", str(tmp_path))
    assert "CopyRefused: there is no file" in CliRunner().invoke(app, ["warehouse", "split"]).stderr
