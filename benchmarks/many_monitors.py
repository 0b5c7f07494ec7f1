"""How long a code location of many monitors takes to load, and a tick of each of its sensors when nothing is new.

`.venv/bin/python -m benchmarks.many_monitors --monitors 1000`: a Dagster project with so many YAML files is written to a
temporary folder, each monitor with a log of 30 daily files and 20 features, and loaded as Dagster's code server loads it.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import yaml

FEATURES, DAYS = 20, 30
SENSORS = ("new_log_data", "nightly_days", "retrain_on_drift", "alert_on_severity")


def content(number: int) -> dict[str, Any]:
    name = f"monitor_{number:04}"
    return {
        "name": name,
        "id": "id",
        "event_time": "at",
        "start_day": "2026-01-01",
        "features": {f"feature_{place}": {"kind": "numeric"} for place in range(FEATURES)},
        "prediction": {"score": "score"},
        "label": {"column": "label", "delay_days": 3},
        "log": {"path": f"{name}/log/{{day}}.parquet"},
        "labels": {"path": f"{name}/labels/{{day}}.parquet"},
        "reference": {"path": "reference.parquet"},
        "alerts": [{"url_env": "ALERTS"}],
    }


def write_project(folder: Path, home: Path, monitors: int) -> None:
    (folder / "shop" / "defs").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "shop"\ncode_location_name = "shop"\n'
    )
    (folder / "shop" / "__init__.py").touch()
    (folder / "shop" / "defs" / "__init__.py").touch()
    place = folder / "shop" / "defs" / "models"
    place.mkdir()
    (place / "defs.yaml").write_text("type: monitoring_assets.components.MonitorFolder\n")
    for number in range(monitors):
        attributes = content(number)
        (place / f"{attributes['name']}.yaml").write_text(yaml.safe_dump(attributes, sort_keys=False))
        log = home / attributes["name"] / "log"
        log.mkdir(parents=True)
        for day in range(1, DAYS + 1):
            (log / f"2026-01-{day:02}.parquet").touch()


def measure(monitors: int) -> None:
    import dagster as dg
    from dagster._core.remote_representation.external_data import RepositorySnap

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        os.environ["MONITORING_ASSETS_HOME"] = home
        write_project(Path(folder), Path(home), monitors)
        sys.path.insert(0, folder)
        begun = time.perf_counter()
        definitions = dg.ComponentTree.for_project(Path(folder)).build_defs()
        repository = definitions.get_repository_def()
        RepositorySnap.from_def(repository)
        seconds = time.perf_counter() - begun
        print(f"{monitors} monitors: definitions {seconds:.1f} s, {1000 * seconds / monitors:.1f} ms each")
        with dg.DagsterInstance.local_temp(folder) as instance:
            for name in SENSORS:
                _tick_until_quiet(instance, repository, name)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _tick_until_quiet(instance: Any, repository: Any, name: str) -> None:
    import dagster as dg

    from monitoring_assets.orchestration.resources import MONITORING_HOME

    sensor, cursor, taken = repository.get_sensor_def(name), None, []
    for _ in range(12):
        begun = time.perf_counter()
        with dg.build_sensor_context(
            instance, cursor, repository_def=repository, resources={"monitoring_home": MONITORING_HOME}
        ) as context:
            cursor = sensor.evaluate_tick(context).cursor
        taken.append(time.perf_counter() - begun)
    print(f"{name:18} first ticks {', '.join(f'{seconds:.1f}' for seconds in taken[:4])} s; then {min(taken[-3:]):.2f} s")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--monitors", type=int, default=1000)
    measure(parser.parse_args().monitors)
