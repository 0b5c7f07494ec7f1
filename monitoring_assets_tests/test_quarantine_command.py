"""Laws of `monitoring-assets quarantine`: it shows what was refused and why, and reads fixed days again as Dagster runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from monitoring_assets_tests.example_monitor import (
    FIRST,
    SECOND,
    THIRD,
    contents,
    environment_at,
    example_content,
    example_rows,
    example_spec,
    example_warehouse,
    write_day,
    write_labels,
    write_reference,
)
from monitoring_assets_tests.ingested_days import ingest_labels, ingest_log

pytestmark = pytest.mark.long

DAYS = [FIRST, SECOND, THIRD]
CONTENT = {"reference": {"path": "reference.parquet"}, "end_day": "2026-03-04"}
ROWS = 40


def content(rows: str | None) -> dict[str, object]:
    return CONTENT if rows is None else CONTENT | {"rows": {"path": rows}}


@pytest.fixture
def project(request, tmp_path):
    """A Dagster project of a user's, whose monitor has refused a row, a label, and a whole file."""
    settings = content(getattr(request, "param", None))
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "shop"\ncode_location_name = "shop"\n'
        'registry_modules = ["monitoring_assets.components"]\n'
    )
    folder = tmp_path / "shop/defs/example"
    folder.mkdir(parents=True)
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/defs/__init__.py").touch()
    declared = {"type": "monitoring_assets.components.ModelMonitor", "attributes": example_content(**settings)}
    (folder / "defs.yaml").write_text(yaml.safe_dump(declared))
    home = tmp_path / "data"
    write_reference(home, rows=ROWS)
    frame = example_rows(FIRST, ROWS).astype({"amount": "string"})
    frame.loc[0, "amount"] = "\x1b[31m"
    write_day(home, FIRST, frame=frame)
    (home / f"log/{SECOND}.parquet").write_bytes(b"PAR1 this is no Parquet file PAR1")
    write_day(home, THIRD, ROWS)
    for day in DAYS:
        write_labels(home, day, ROWS)
    spec = example_spec(home, **settings)
    with example_warehouse(home, spec) as connection:
        ingest_log(connection, spec, DAYS)
        ingest_labels(connection, spec, spec.label, spec.labels, DAYS)
    return tmp_path


def command(project: Path, *arguments: str, name: str = "quarantine") -> subprocess.CompletedProcess[str]:
    environment = environment_at(project / "data")
    environment.pop("DAGSTER_HOME", None)
    run = [sys.executable, "-W", "ignore", "-m", "monitoring_assets.cli", name, *arguments]
    return subprocess.run(run, cwd=project, env=environment, capture_output=True, text=True, timeout=240, check=False)


def own_instance(home: Path) -> str:
    """A Dagster home of the user's own in the data folder; returns what is in its `dagster.yaml`."""
    settings = "telemetry:\n  enabled: false\nretention:\n  sensor:\n    purge_after_days: 7\n"
    (home / "dagster_home").mkdir()
    (home / "dagster_home/dagster.yaml").write_text(settings)
    return settings


def test_what_was_refused_is_listed_with_reason_and_row(project):
    done = command(project, "example")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f"{FIRST} inference_log 1 not a number" in lines
    assert f"{SECOND} inference_log 0 not read" in lines
    assert f"{SECOND} labels {ROWS} unknown id" in lines
    assert "not a number: amount is \\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout
    few = command(project, "example", "--day", str(SECOND), "--asset", "labels", "--reason", "UNKNOWN", "--limit", "2")
    assert few.stdout.splitlines()[1] == f"{ROWS} rows of example in quarantine"
    assert few.stdout.count("has no prediction on") == 2


@pytest.mark.parametrize(("project", "rows"), [(None, None), ("rows", "rows")], indirect=["project"])
def test_fixed_days_are_read_again_with_all_that_depends_on_them(project, rows):
    home = project / "data"
    write_day(home, FIRST, ROWS)
    write_day(home, SECOND, ROWS)
    settings = own_instance(home)
    # The profile needs a baseline; that is no asset of a day.
    driver = (
        "from monitoring_assets.components.code_location import *\n"
        "from monitoring_assets.orchestration.instance import users_instance\n"
        "from monitoring_assets.orchestration.monitor_driver import MonitorDriver\n"
        "spec, definitions = load_monitor('example')\n"
        "with users_instance(Path('data').resolve()) as instance:\n"
        "    MonitorDriver(definitions, spec, instance).materialise('reference_baseline')"
    )
    environment = environment_at(home)
    subprocess.run([sys.executable, "-W", "ignore", "-c", driver], cwd=project, env=environment, check=True, timeout=240)
    done = command(project, "example", "--limit", "0", "--replay")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == [
        f"{FIRST} inference_log: 0 rows in quarantine (before: 1), {ROWS} accepted (before: {ROWS - 1})",
        f"{FIRST} labels: 0 rows in quarantine (before: 1), {ROWS} accepted (before: {ROWS - 1})",
        f"{SECOND} inference_log: 0 rows in quarantine (before: 0), {ROWS} accepted (before: 0)",
        f"{SECOND} labels: 0 rows in quarantine (before: {ROWS}), {ROWS} accepted (before: 0)",
    ]
    spec = example_spec(home, **content(rows))
    with example_warehouse(home, spec) as connection:
        assert contents(connection, spec, "quarantine")["quarantine"] == []
        for table in ("drift_scores", "performance"):
            days = connection.execute(f"SELECT DISTINCT day FROM example.{table} ORDER BY day").fetchall()
            assert [day for (day,) in days] == [FIRST, SECOND]
    assert (home / "dagster_home/dagster.yaml").read_text() == settings
    assert list((home / "dagster_home/history/runs").glob("*-*.db")), "the runs are where the user's UI looks"
    assert "nothing is in quarantine" in command(project, "example", "--replay").stdout


def test_without_any_dagster_home_nothing_is_run_and_the_remedy_is_named(project):
    done = command(project, "example", "--replay")
    assert done.returncode == 1
    assert "DagsterHomeMissing: DAGSTER_HOME is not set" in done.stderr
    assert "export DAGSTER_HOME=" in done.stderr
    assert not (project / "data/dagster_home").exists()


def test_what_is_still_broken_is_reported_and_a_name_that_is_unknown_is_answered_with_those_that_are(project):
    own_instance(project / "data")
    done = command(project, "example", "--replay", "--day", str(SECOND), "--asset", "inference_log")
    assert done.returncode == 0, done.stderr
    assert "SourceUnreadable: the log of example" in done.stdout
    assert f"{SECOND} inference_log: still not read: cannot be read" in done.stdout
    unknown = command(project, "exmple")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "MonitorUnknown: no monitor is called 'exmple'" in unknown.stderr
    assert unknown.stderr.strip().endswith("it declares: example")


@pytest.mark.parametrize("project", ["rows"], indirect=True)
def test_compact_removes_the_files_of_rows_that_a_killed_run_left(project):
    kept = sorted((project / "data/rows").rglob("*.parquet"))
    left = kept[0].with_name("left.parquet")
    left.write_bytes(b"half a file")
    os.utime(left, (0, 0))
    done = command(project, name="compact")
    assert done.returncode == 0, done.stderr
    assert "example: 1 files of rows that no day has were removed from rows" in done.stdout
    assert sorted((project / "data/rows").rglob("*.parquet")) == kept
