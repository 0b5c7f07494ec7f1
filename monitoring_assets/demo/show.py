"""What a person sees of the demo: progress, the story, the way into the UI. The replay itself is in `replay.py`."""

import json
import os
import shutil
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from monitoring_assets.demo.instance.home import DEMO_HOME, demo_dagster_home, demo_instance, serve_command
from monitoring_assets.demo.replay import Replay, save_summary
from monitoring_assets.errors import PermanentError
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.monitor_driver import MonitorDriver
from monitoring_assets.retraining.registry import Registry
from monitoring_assets.warehouse import Warehouse

MONITOR = "flights"
MADE_BY_DEMO = ("warehouse.duckdb", "warehouse.duckdb.wal", "mlflow.db", "mlflow_artifacts", DEMO_HOME, MONITOR)
console = Console()


def run_demo(*, serve_ui: bool, summary_path: Path | None, fresh: bool, port: int) -> None:
    """Play what is left of the year, tell the story, serve the UI."""
    warnings.filterwarnings("ignore")
    home = Path(os.environ.get("MONITORING_ASSETS_HOME") or "data").resolve()
    os.environ["MONITORING_ASSETS_HOME"] = str(home)
    for elsewhere in ("MONITORING_ASSETS_WAREHOUSE", "MLFLOW_TRACKING_URI"):
        os.environ.pop(elsewhere, None)  # the demo's results and models are its own, in its data folder
    if serve_ui:
        _require_free(port)
    if fresh or _is_of_an_earlier_version(home):
        _forget(home)
    summary = _finished(home) or _play(home)
    _print_story(summary)
    if summary_path is not None:
        save_summary(summary, summary_path)
        console.print(f"Summary written to {summary_path}")
    if serve_ui:
        _serve(home, port)


def _play(home: Path) -> dict[str, Any]:
    with demo_instance(home) as instance:
        spec, definitions = _monitor(home)
        warehouse = Warehouse(home / "warehouse.duckdb")
        replay = Replay(spec, MonitorDriver(definitions, spec, instance), warehouse, Registry(home))
        done = replay.days_done()
        total = (spec.end_day - spec.start_day).days + 1 if spec.end_day else 0
        if done:
            console.print(f"Going on after {done} of {total} days (ARGS=--fresh starts again).")
        else:
            console.print(f"Starting clean in {home}: {total} days of 2013.")
        columns = [
            TextColumn("[bold]Replay"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        ]
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("reading the flights", total=total, completed=done)
            summary = replay.run(lambda days, what: progress.update(task, advance=days, description=what))
    save_summary(summary, home / MONITOR / "summary.json")
    return summary


def _monitor(home: Path) -> tuple[MonitorSpec, Any]:
    from monitoring_assets.components.code_location import load_monitor

    spec, definitions = load_monitor(MONITOR)
    return spec.at_home(home), definitions


def _finished(home: Path) -> dict[str, Any] | None:
    path = home / MONITOR / "summary.json"
    if not path.exists():
        return None
    console.print(f"The year is already replayed in {home}. ARGS=--fresh starts again.")
    return dict(json.loads(path.read_text()))


def _is_of_an_earlier_version(home: Path) -> bool:
    """Whether the runs of what is replayed are in `dagster_home`, which is the user's now."""
    return (home / MONITOR).exists() and not (home / DEMO_HOME).exists()


def _forget(home: Path) -> None:
    """Remove what a demo made, unless other monitors live there too."""
    warehouse = Warehouse(home / "warehouse.duckdb")
    if warehouse.path.exists():
        found = warehouse.query("SELECT DISTINCT schema_name AS name FROM duckdb_tables() WHERE NOT internal")["name"]
        others = sorted(set(found) - {MONITOR, "main"})
        if others:
            raise PermanentError(
                f"{home} also holds the monitor(s) {', '.join(others)}, which a fresh demo would delete. "
                "Set MONITORING_ASSETS_HOME to another folder for the demo."
            )
    demo_dagster_home(home)  # raises where it is not the demo's to delete
    for name in MADE_BY_DEMO:
        path = home / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _print_story(summary: dict[str, Any]) -> None:
    retrains = Table(title="Retrains", title_justify="left")
    for heading in ("evidence of", "why", "verdict", "measured"):
        retrains.add_column(heading, overflow="fold")
    for retrain in summary["retrains"]:
        colour = "green" if retrain["verdict"] == "promoted" else "yellow"
        retrains.add_row(
            retrain["day"] or "start", retrain["reason"], f"[{colour}]{retrain['verdict']}", retrain["verdict_reason"]
        )
    console.print(retrains)
    months = Table(title="AUC, the first model kept for ever against the monitored one", title_justify="left")
    for heading in ("", "static", "monitored", "difference"):
        months.add_column(heading, justify="right")
    static, monitored = summary["auc"]["static"], summary["auc"]["monitored"]
    for month in [*sorted(set(monitored) - {"overall"}), "overall"]:
        gain = monitored[month] - static[month]
        months.add_row(
            month, f"{static[month]:.3f}", f"{monitored[month]:.3f}", f"[{'green' if gain >= 0 else 'red'}]{gain:+.3f}"
        )
    console.print(months)
    console.print(
        f"{summary['days']} days in {summary['replay_seconds']:.0f} s; "
        f"{summary['retrains_skipped']} more retrains were asked for by the data and not made (cooldown, too few labels)."
    )


def _require_free(port: int) -> None:
    """Found before the replay, not after it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PermanentError(
                f"the UI needs port {port} of 127.0.0.1, which cannot be had ({error.strerror}); perhaps another Dagster UI is "
                f'running. Choose another: make demo ARGS="--port {port + 1}", or --no-ui.'
            ) from None


def _serve(home: Path, port: int) -> None:
    console.print(
        f"\n[bold]Open http://127.0.0.1:{port}[/] (ready in about 20 s; Ctrl-C ends it)\n"
        f"  1. Catalog > {MONITOR}: the lineage from the log to the champion.\n"
        "  2. drift_scores > Partitions: pick a day of May, see what moved. > Overview > Metadata > Plots: every score by day.\n"
        "  3. inference_log > Checks: data quality per day.\n"
        f"  4. Automation > retrain_on_drift: every decision with its reason.\n"
    )
    sys.stdout.flush()
    command, environment = serve_command(home, port)
    # A script's background job ignores Ctrl-C, and `dagster dev` would then ignore every request to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.execvpe(command[0], command, environment)  # noqa: S606 - our own interpreter, in this process' place
