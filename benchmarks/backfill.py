"""How long a range backfill of the demo's 306 days takes as one run, and whether it leaves the warehouse as it was.

`make demo ARGS=--no-ui` first, then `.venv/bin/python benchmarks/backfill.py`. Works on a copy of the data folder.
"""

import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from dagster import DagsterInstance

TABLES = (
    "inference_log",
    "quarantine",
    "deliveries",
    "labels",
    "daily_profile",
    "quality",
    "drift_scores",
    "performance",
    "baselines",
)


def main() -> None:
    warnings.filterwarnings("ignore")
    home = Path(os.environ.get("MONITORING_ASSETS_HOME") or "data").resolve()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "data"
        shutil.copytree(home, copy)
        os.environ["MONITORING_ASSETS_HOME"] = str(copy)
        before = digests(copy)
        for attempt in ("first", "second"):
            started = time.monotonic()
            backfill(copy)
            seconds, after = time.monotonic() - started, digests(copy)
            changed = [name for name in TABLES if after[name] != before[name]]
            outcome = f"changed: {', '.join(changed)}" if changed else "every table as it was"
            print(f"{attempt} backfill of 306 days x 5 assets, 12 checks: {seconds:.1f} s; {outcome}", flush=True)
            before = after


def backfill(home: Path) -> None:
    from monitoring_assets.demo.instance.home import demo_instance

    with demo_instance(home) as instance:
        backfill_on(instance)


def backfill_on(instance: "DagsterInstance") -> None:
    from monitoring_assets.components.code_location import load_monitor
    from monitoring_assets.orchestration.monitor_driver import MonitorDriver

    spec, definitions = load_monitor("flights")
    MonitorDriver(definitions, spec, instance).backfill(str(spec.start_day), str(spec.end_day))


def digests(home: Path) -> dict[str, int]:
    """A content hash per table, whatever the order of rows."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        return {
            name: connection.execute(f"SELECT coalesce(bit_xor(hash(t)), 0), count(*) FROM flights.{name} t").fetchall()[0]
            for name in TABLES
        }


if __name__ == "__main__":
    main()
