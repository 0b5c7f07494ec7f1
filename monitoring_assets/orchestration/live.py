"""The Dagster instance and the code location of this deployment, and the demo's: made, loaded, served."""

import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import dagster as dg

from monitoring_assets.components.model_monitor import ModelMonitor
from monitoring_assets.errors import MonitorUnknown
from monitoring_assets.monitor_spec import MonitorSpec

ROOT = Path(__file__).parents[2]


@contextmanager
def demo_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance in `dagster_home` of the data folder, made on first use."""
    os.environ["DAGSTER_HOME"] = str(configured_home(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


@contextmanager
def instance_at(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of `DAGSTER_HOME`, or where that is not set the one in the data folder."""
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            yield instance
    else:
        with demo_instance(home) as instance:
            yield instance


def configured_home(home: Path) -> Path:
    """`dagster_home` of the data folder, with a `dagster.yaml` that says where it lies now: a data folder may be moved."""
    dagster_home = home / "dagster_home"
    dagster_home.mkdir(parents=True, exist_ok=True)
    template = files("monitoring_assets.demo").joinpath("dagster.yaml").read_text()
    (dagster_home / "dagster.yaml").write_text(template.replace("{home}", str(dagster_home)))
    return dagster_home


def load_monitor(name: str) -> tuple[MonitorSpec, dg.Definitions]:
    """A monitor of the Dagster project in the working directory, else of this one: its spec, and the definitions of all.

    Raises
    ------
    MonitorUnknown
        When the project's `defs` folder declares no monitor of that name.
    """
    root = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if _is_dagster_project(folder)), ROOT)
    sys.path.insert(0, str(root))
    tree = dg.ComponentTree.for_project(root)
    specs = {monitor.spec.name: monitor.spec for monitor in tree.get_all_components(of_type=ModelMonitor)}
    if name not in specs:
        known = ", ".join(sorted(specs)) or "none"
        raise MonitorUnknown(f"no monitor is called {name!r} in the Dagster project {root}; it declares: {known}")
    if root == ROOT:
        from monitoring_assets.definitions import defs

        return specs[name], defs
    return specs[name], tree.build_defs()


def _is_dagster_project(folder: Path) -> bool:
    file = folder / "pyproject.toml"
    return file.exists() and "project" in tomllib.loads(file.read_text()).get("tool", {}).get("dg", {})


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
