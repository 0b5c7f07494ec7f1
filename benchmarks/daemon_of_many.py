"""Many monitors under a real Dagster daemon: a new file for each every two minutes, for some minutes.

`.venv/bin/python -m benchmarks.daemon_of_many --monitors 200 --minutes 10 --postgres`: a project with so many YAML files in a
temporary folder, a baseline and a warehouse file each, and Dagster's daemon as a process of its own; its history is in SQLite, or
in a PostgreSQL server of the benchmark's own. Each file is a day of 200 rows and three features. Then it reports how many of the
days were scored and how long after their files came, how long ticks took, and the daemon's memory over time.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import yaml

from monitoring_assets.baselines.building import build_reference_baseline
from monitoring_assets.baselines.reference import stage_reference
from monitoring_assets.chosen_warehouse import FILE_PER_MONITOR, SETTING
from monitoring_assets.drift.daily_scores import ensure_thresholds
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.resources import MonitoringHome
from monitoring_assets.performance.reference_metric import metric_of_reference
from monitoring_assets_tests import postgres_server
from monitoring_assets_tests.example_monitor import FIRST, example_content, example_rows, write_file, write_reference

EVERY_SECONDS, ROWS, LEFT_SECONDS = 120, 200, 180
START = FIRST + timedelta(days=7)
INSTANCE = {
    "telemetry": {"enabled": False},
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    },
    "concurrency": {"runs": {"max_concurrent_runs": 2}},
    "sensors": {"use_threads": True, "num_workers": 4},
    "run_monitoring": {"enabled": True},
}


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--monitors", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--postgres", action="store_true", help="Dagster's history in PostgreSQL")
    parser.add_argument("--one-file", action="store_true", help="one warehouse file for all monitors")
    given = parser.parse_args()
    os.environ[SETTING] = "" if given.one_file else FILE_PER_MONITOR
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["MONITORING_ASSETS_HOME"] = str(folder / "data")
        os.environ["DAGSTER_HOME"] = str(folder / "dagster_home")
        storage = stack.enter_context(postgres_server.running()) if given.postgres else None
        specs = prepare(folder, given.monitors, storage)
        instance = stack.enter_context(dg.DagsterInstance.get())
        with daemon(folder) as processes:
            came = deliver(folder / "data", specs, given.minutes, processes)
            report(instance, came)
            for name, pid in processes.items():
                own, of_children = processor_of(pid)
                print(f"{name}: {own:.0f} s of the processor, and {of_children:.0f} s in processes that have ended")


def prepare(folder: Path, monitors: int, storage: str | None) -> list[MonitorSpec]:
    """The project, the instance, and every monitor's baseline."""
    home, models = folder / "data", folder / "shop" / "defs" / "models"
    models.mkdir(parents=True)
    (folder / "dagster_home").mkdir()
    instance = INSTANCE | ({"storage": {"postgres": {"postgres_url": storage.replace("://", "+psycopg2://")}}} if storage else {})
    (folder / "dagster_home" / "dagster.yaml").write_text(yaml.safe_dump(instance))
    (folder / "pyproject.toml").write_text('[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "shop"\n')
    (folder / "shop" / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\n"
        "defs = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    for package in (folder / "shop", folder / "shop" / "defs"):
        (package / "__init__.py").touch()
    (models / "defs.yaml").write_text("type: monitoring_assets.components.MonitorFolder\n")
    write_reference(home, rows=ROWS)
    resource, specs, begun = MonitoringHome(), [], time.process_time()
    for number in range(monitors):
        name = f"monitor_{number:04}"
        log = {"path": f"{name}/{{day}}.parquet", "settle_seconds": 0}
        content = example_content(
            name=name,
            time_zone="UTC",
            start_day=str(START),
            end_day=str(date.today() + timedelta(days=1)),  # with a last day there are no nights, which would ask for yesterday
            log=log,
            label=None,
            labels=None,
            reference={"path": "reference.parquet"},
        )
        (models / f"{name}.yaml").write_text(yaml.safe_dump(content))
        (home / name).mkdir()
        spec = MonitorSpec.model_validate(content).at_home(home)
        with resource.connect(spec) as connection:
            rows = stage_reference(connection, spec)
            baseline = build_reference_baseline(connection, spec, rows, metric_of_reference(connection, spec, rows))
        ensure_thresholds(lambda spec=spec: resource.connect(spec), spec, baseline)  # type: ignore[misc]
        specs.append(spec)
    print(f"{monitors} baselines: {time.process_time() - begun:.0f} s of the processor", flush=True)
    return specs


@contextmanager
def daemon(folder: Path) -> Iterator[dict[str, int]]:
    """A code server and Dagster's daemon, by name. Without a server of its own the daemon would load all definitions anew
    every minute."""
    environment = os.environ | {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}", "PYTHONWARNINGS": "ignore"}
    socket = folder / "code_server"
    (folder / "workspace.yaml").write_text(
        yaml.safe_dump({"load_from": [{"grpc_server": {"socket": str(socket), "location_name": "shop"}}]})
    )
    commands = {
        "code server": ["dagster", "code-server", "start", "-m", "shop.definitions", "--socket", str(socket)],
        "daemon": ["dagster-daemon", "run", "-w", "workspace.yaml"],
    }
    with (folder / "log").open("wb") as log:
        started = {
            name: subprocess.Popen(
                [str(Path(sys.executable).with_name(program)), *arguments],
                cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )
            for name, (program, *arguments) in commands.items()
        }  # fmt: skip
        try:
            yield {name: process.pid for name, process in started.items()}
        finally:
            for process in started.values():
                os.killpg(process.pid, signal.SIGTERM)
            for process in started.values():
                process.wait(60)
                with suppress(ProcessLookupError):  # runs that go on, and the server that waits for them
                    os.killpg(process.pid, signal.SIGKILL)


def deliver(home: Path, specs: list[MonitorSpec], minutes: float, processes: dict[str, int]) -> dict[tuple[str, date], float]:
    """When each file came: each monitor has one every two minutes, all of them evenly spread. Then it waits for what is left."""
    came: dict[tuple[str, date], float] = {}
    frames = {START + timedelta(days=number): example_rows(START + timedelta(days=number), ROWS) for number in range(60)}
    begun, until = time.time(), time.time() + 60 * minutes
    due = [begun + EVERY_SECONDS * place / len(specs) for place in range(len(specs))]
    days = [START] * len(specs)
    noted = 0.0
    while time.time() < until + LEFT_SECONDS:
        for place, spec in enumerate(specs):
            if due[place] < min(time.time(), until):
                target = home / spec.name / f"{days[place]}.parquet"
                write_file(target.with_name(f".{target.name}.parquet"), frames[days[place]])
                os.replace(target.with_name(f".{target.name}.parquet"), target)
                came[spec.name, days[place]] = time.time()
                due[place], days[place] = due[place] + EVERY_SECONDS, days[place] + timedelta(days=1)
        if time.time() - noted > 30:
            noted = time.time()
            shown = ", ".join(f"{name} {size:.0f} MB" for name, size in memory_of(processes))
            print(f"{noted - begun:4.0f} s: {len(came)} files; {shown}", flush=True)
        time.sleep(0.5)
    return came


def memory_of(processes: dict[str, int]) -> list[tuple[str, float]]:
    """Megabytes of the daemon, of the code server, and of the runs."""
    parents = _parents()
    found = dict.fromkeys((*processes, "runs"), 0.0)
    for name, pid in processes.items():
        for child in [pid, *_descendants(pid, parents)]:
            with suppress(OSError, IndexError):
                size = float(Path(f"/proc/{child}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
                is_run = "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()
                found["runs" if is_run else name] += size
    return list(found.items())


def processor_of(pid: int) -> tuple[float, float]:
    """Seconds of the processor that a process and all it started have taken: those that live, and those that have ended."""
    parents = _parents()
    own = ended = 0
    for child in [pid, *_descendants(pid, parents)]:
        with suppress(OSError):
            times = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:15]
            own, ended = own + int(times[0]) + int(times[1]), ended + int(times[2]) + int(times[3])
    return own / os.sysconf("SC_CLK_TCK"), ended / os.sysconf("SC_CLK_TCK")


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def _descendants(pid: int, parents: dict[int, int]) -> list[int]:
    children = [child for child, parent in parents.items() if parent == pid]
    return children + [grandchild for child in children for grandchild in _descendants(child, parents)]


def report(instance: dg.DagsterInstance, came: dict[tuple[str, date], float]) -> None:
    waited, missing = [], 0
    for name in sorted({name for name, _ in came}):
        records = instance.fetch_materializations(dg.AssetKey([name, "drift_scores"]), limit=1000).records
        scored = {record.partition_key: record.timestamp for record in reversed(records)}
        for day in (day for of, day in came if of == name):
            if str(day) in scored:
                waited.append(scored[str(day)] - came[name, day])
            else:
                missing += 1
    print(f"{len(came)} files came, {len(waited)} were scored, {missing} were not")
    if waited:
        print(f"from file to score: median {statistics.median(waited):.0f} s, longest {max(waited):.0f} s")
    runs = instance.get_runs()
    failed = [run for run in runs if run.status == dg.DagsterRunStatus.FAILURE]
    print(f"{len(runs)} runs, {len(failed)} failed")
    for state in instance.all_instigator_state():
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        seconds = sorted(tick.end_timestamp - tick.timestamp for tick in ticks if tick.end_timestamp)
        if seconds:
            print(f"{state.name}: {len(seconds)} ticks, median {statistics.median(seconds):.1f} s, longest {seconds[-1]:.1f} s")


if __name__ == "__main__":
    main()
