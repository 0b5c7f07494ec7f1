"""The demo's Dagster home is the demo's alone: it writes there, and nowhere a user may have written."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from monitoring_assets.demo.instance.home import DEMO_HOME, DEMO_MARK, demo_dagster_home, demo_instance
from monitoring_assets.demo.show import run_demo
from monitoring_assets.errors import PermanentError

USERS = "# mine\ntelemetry:\n  enabled: false\n"


def test_a_users_instance_in_the_same_data_folder_keeps_its_settings_and_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "dagster_home"
    users.mkdir()
    (users / "dagster.yaml").write_text(USERS)
    monkeypatch.setenv("DAGSTER_HOME", str(users))
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("a", partition="2026-03-02"))
    with demo_instance(tmp_path) as instance:
        assert instance.fetch_materializations(dg.AssetKey("a"), limit=1).records == []
    assert (users / "dagster.yaml").read_text() == USERS
    monkeypatch.setenv("DAGSTER_HOME", str(users))
    with dg.DagsterInstance.get() as instance:
        assert [record.partition_key for record in instance.fetch_materializations(dg.AssetKey("a"), limit=9).records] == [
            "2026-03-02"
        ]


def test_a_folder_the_demo_did_not_make_is_neither_written_to_nor_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITORING_ASSETS_HOME", str(tmp_path))
    (tmp_path / DEMO_HOME).mkdir()
    (tmp_path / DEMO_HOME / "dagster.yaml").write_text(USERS)
    for fresh in (False, True):
        with pytest.raises(PermanentError, match=DEMO_MARK):
            run_demo(serve_ui=False, summary_path=None, fresh=fresh, port=0)
    assert [path.read_text() for path in (tmp_path / DEMO_HOME).iterdir()] == [USERS]


def test_a_moved_data_folder_has_its_settings_made_anew(tmp_path: Path) -> None:
    demo_dagster_home(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    settings = (demo_dagster_home(tmp_path / "after") / "dagster.yaml").read_text()
    assert str(tmp_path / "after") in settings
    assert str(tmp_path / "before") not in settings


def test_a_home_made_by_an_earlier_demo_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = "module: monitoring_assets.orchestration.event_storage\n  class: PooledSqliteEventLogStorage"
    settings = f"event_log_storage:\n  {named}\n  config:\n    base_dir: {tmp_path}/history\n"
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n" + settings)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("a"))
        assert len(instance.fetch_materializations(dg.AssetKey("a"), limit=9).records) == 1


def test_the_file_of_a_later_run_is_made_as_dagster_makes_the_first(tmp_path: Path) -> None:
    with demo_instance(tmp_path) as instance:
        for run_id in ("first", "second"):
            instance.report_engine_event("begun", job_name="any", run_id=run_id)
        runs = Path(instance.root_directory) / "history"
        assert [event.message for event in instance.all_logs("second")] == ["begun"]

    def made(run_id: str) -> list[list[tuple[Any, ...]]]:
        with closing(sqlite3.connect(runs / f"{run_id}.db")) as file:
            asked = ("SELECT name, sql FROM sqlite_master ORDER BY 1", "SELECT * FROM alembic_version", "PRAGMA journal_mode")
            return [file.execute(query).fetchall() for query in asked]

    assert made("first") == made("second")
    assert made("second")[2] == [("wal",)]
