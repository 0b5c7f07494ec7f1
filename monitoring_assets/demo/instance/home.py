"""The demo's own Dagster home: made, kept up to date where it lies, served. A user's is none of its business."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import dagster as dg

from monitoring_assets.components.code_location import ROOT
from monitoring_assets.errors import PermanentError

# The demo's folder for Dagster within the data folder, and the file in it that says so.
DEMO_HOME, DEMO_MARK = "demo_dagster_home", "made_by_the_demo"


@contextmanager
def demo_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The demo's own instance in the data folder, made on first use."""
    os.environ["DAGSTER_HOME"] = str(demo_dagster_home(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


def demo_dagster_home(home: Path) -> Path:
    """The demo's folder for Dagster, with a `dagster.yaml` that says where it lies now: a data folder may be moved.

    Raises
    ------
    PermanentError
        When a folder of that name exists and the demo has not made it.
    """
    dagster_home = home / DEMO_HOME
    mark = dagster_home / DEMO_MARK
    if dagster_home.exists() and not mark.exists():
        raise PermanentError(
            f"{dagster_home} exists, and without the file {DEMO_MARK} it is not the demo's to write to. "
            "Move it, or set MONITORING_ASSETS_HOME to another folder for the demo."
        )
    dagster_home.mkdir(parents=True, exist_ok=True)
    mark.write_text("`monitoring-assets demo` made this folder: it rewrites dagster.yaml, and --fresh deletes everything.\n")
    template = files("monitoring_assets.demo.instance").joinpath("dagster.yaml").read_text()
    (dagster_home / "dagster.yaml").write_text(template.replace("{home}", str(dagster_home)))
    return dagster_home


def serve_command(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """`dagster dev` on loopback for this code location, and its environment."""
    workspace = ROOT / "workspace.yaml"
    location = ["-w", str(workspace)] if workspace.exists() else ["-m", "monitoring_assets.definitions"]
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", *location, "-h", "127.0.0.1", "-p", str(port)]
    environment = os.environ | {
        "DAGSTER_HOME": str(demo_dagster_home(home)),
        "MONITORING_ASSETS_HOME": str(home),
        "PYTHONWARNINGS": "ignore",
    }
    return command, environment
