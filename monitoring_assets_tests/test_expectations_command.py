"""Laws of `monitoring-assets expectations`: what a monitor expects of a day, in the form Great Expectations reads and runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitoring_assets_tests.example_monitor import FIRST, THIRD
from monitoring_assets_tests.test_quarantine_command import project  # noqa: F401


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MONITORING_ASSETS_HOME": str(folder / "data"), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("DAGSTER_HOME", None)
    run = [sys.executable, "-W", "ignore", "-m", "monitoring_assets.cli", "expectations", *arguments]
    return subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.long
def test_a_days_suite_is_written_and_run_by_great_expectations(project: Path) -> None:  # noqa: F811
    import great_expectations as gx

    written = command(project, "example", "--day", str(FIRST), "--output", "suite.json")
    assert (written.returncode, written.stdout) == (0, ""), written.stderr
    suite = gx.ExpectationSuite(**json.loads((project / "suite.json").read_text()))
    assert (suite.name, suite.meta["day"]) == ("example", str(FIRST))
    ran = command(project, "example", "--run", str(THIRD))
    assert ran.returncode == 0, ran.stderr
    *lines, last = ran.stdout.splitlines()
    assert all(line.startswith("holds") for line in lines)
    assert last == f"{len(lines)} of {len(lines)} expectations hold"
    missing = command(project, "example", "--run", "2026-03-20")
    assert missing.returncode == 1
    assert "no row of 2026-03-20 is stored" in missing.stderr
