"""The Dagster project that the command line works for: its monitors and their definitions."""

import sys
import tomllib
from pathlib import Path

import dagster as dg

from monitoring_assets.components.model_monitor import monitors_in
from monitoring_assets.errors import MonitorUnknown
from monitoring_assets.monitor_spec import MonitorSpec

ROOT = Path(__file__).parents[2]


def load_monitor(name: str) -> tuple[MonitorSpec, dg.Definitions]:
    """A monitor of the Dagster project in the working directory, else of this one: its spec, and the definitions of all.

    Raises
    ------
    MonitorUnknown
        When the project's `defs` folder declares no monitor of that name.
    """
    root, tree = _project()
    specs = {spec.name: spec for spec in monitors_in(tree)}
    if name not in specs:
        known = ", ".join(sorted(specs)) or "none"
        raise MonitorUnknown(f"no monitor is called {name!r} in the Dagster project {root}; it declares: {known}")
    if root == ROOT:
        from monitoring_assets.definitions import defs

        return specs[name], defs
    return specs[name], tree.build_defs()


def load_specs() -> list[MonitorSpec]:
    """All monitors of that project."""
    return monitors_in(_project()[1])


def _project() -> tuple[Path, dg.ComponentTree]:
    root = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if _is_dagster_project(folder)), ROOT)
    sys.path.insert(0, str(root))
    return root, dg.ComponentTree.for_project(root)


def _is_dagster_project(folder: Path) -> bool:
    file = folder / "pyproject.toml"
    return file.exists() and "project" in tomllib.loads(file.read_text()).get("tool", {}).get("dg", {})
