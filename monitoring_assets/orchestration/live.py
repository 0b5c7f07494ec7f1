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
from monitoring_assets.errors import DagsterHomeMissing, MonitorUnknown, PermanentError
from monitoring_assets.monitor_spec import MonitorSpec

ROOT = Path(__file__).parents[2]
# The demo's folder for Dagster within the data folder, and the file in it that says so.
DEMO_HOME, DEMO_MARK = "demo_dagster_home", "made_by_the_demo"


@contextmanager
def users_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of `DAGSTER_HOME`, or where that is not set the one in `dagster_home` of the data folder, as it is.

    Raises
    ------
    DagsterHomeMissing
        When there is neither. None is made: runs in a new one would not show where the user looks for them.
    """
    if not os.environ.get("DAGSTER_HOME"):
        found = home / "dagster_home"
        if not found.is_dir():
            raise DagsterHomeMissing(
                f"DAGSTER_HOME is not set, and there is no {found}; these runs would show in no Dagster UI. "
                "Set it to the folder that your `dagster dev` uses: export DAGSTER_HOME=..."
            )
        os.environ["DAGSTER_HOME"] = str(found)
    with dg.DagsterInstance.get() as instance:
        yield instance


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
        "DAGSTER_HOME": str(demo_dagster_home(home)),
        "MONITORING_ASSETS_HOME": str(home),
        "PYTHONWARNINGS": "ignore",
    }
    return command, environment
