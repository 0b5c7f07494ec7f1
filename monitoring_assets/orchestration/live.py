"""The demo's Dagster instance and code location: made, loaded, served."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import dagster as dg

from monitoring_assets.components.model_monitor import ModelMonitor
from monitoring_assets.monitor_spec import MonitorSpec

ROOT = Path(__file__).parents[2]


@contextmanager
def demo_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance in `dagster_home` of the data folder, made on first use."""
    os.environ["DAGSTER_HOME"] = str(configured_home(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


def configured_home(home: Path) -> Path:
    """`dagster_home` of the data folder, with a `dagster.yaml` that says where it lies now: a data folder may be moved."""
    dagster_home = home / "dagster_home"
    dagster_home.mkdir(parents=True, exist_ok=True)
    template = files("monitoring_assets.demo").joinpath("dagster.yaml").read_text()
    (dagster_home / "dagster.yaml").write_text(template.replace("{home}", str(dagster_home)))
    return dagster_home


def load_monitor(name: str) -> tuple[MonitorSpec, dg.Definitions]:
    """A monitor of this code location: its spec, and the definitions of all."""
    tree = dg.ComponentTree.for_project(ROOT)
    spec = next(monitor.spec for monitor in tree.get_all_components(of_type=ModelMonitor) if monitor.spec.name == name)
    from monitoring_assets.definitions import defs

    return spec, defs


def serve_command(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """`dagster dev` on loopback for this code location, and its environment."""
    workspace = ROOT / "workspace.yaml"
    location = ["-w", str(workspace)] if workspace.exists() else ["-m", "monitoring_assets.definitions"]
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", *location, "-h", "127.0.0.1", "-p", str(port)]
    environment = os.environ | {
        "DAGSTER_HOME": str(configured_home(home)),
        "MONITORING_ASSETS_HOME": str(home),
        "PYTHONWARNINGS": "ignore",
    }
    return command, environment
