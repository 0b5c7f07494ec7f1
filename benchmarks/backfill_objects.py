"""The demo's 306 days backfilled in one run, with their rows in the DuckDB file, in a folder and in an object store.

`make demo ARGS=--no-ui` first, then `.venv/bin/python -m benchmarks.backfill_objects`. Works on copies of the data folder, and on
an S3 server of its own on loopback, in another process. Seconds come with this process's CPU time, for busy machines.
"""

import multiprocessing
import os
import shutil
import tempfile
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from monitoring_assets.chosen_warehouse import warehouse_in
from monitoring_assets.components.code_location import load_monitor
from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.demo.instance.home import demo_instance
from monitoring_assets.monitor_spec import MonitorSpec, Rows
from monitoring_assets.orchestration.monitor_driver import MonitorDriver
from monitoring_assets.row_storage.kept_rows import with_rows
from monitoring_assets.sql_text import table
from monitoring_assets.warehouse_tables import tables_of
from monitoring_assets_tests import s3_server

# Seconds and bytes differ from run to run, and where files are is said by one table alone.
NOT_COMPARED = ("costs", "row_files", "feature_changes")


def main() -> None:
    warnings.filterwarnings("ignore")
    home = Path(os.environ.get("MONITORING_ASSETS_HOME") or "data").resolve()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,))
    server.start()
    os.environ |= here.recv()
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain = load_monitor("flights")[0]
            places = {"the file": None, "a folder": "rows", "S3": f"s3://{s3_server.BUCKET}/monitoring"}
            found = {}
            for name, path in places.items():
                copied = Path(folder) / "data"
                shutil.copytree(home, copied)
                os.environ["MONITORING_ASSETS_HOME"] = str(copied)
                spec = plain.model_copy(update={"rows": Rows(path=path) if path else None})
                print(f"rows in {name}, backfill of 306 days: {backfill(copied, spec)}", flush=True)
                found[name] = digests(copied, spec)
                shutil.rmtree(copied)
            for name in ("a folder", "S3"):
                different = [key for key, value in found["the file"].items() if found[name][key] != value]
                print(f"{name}: tables that differ: {', '.join(different) or 'none'} of {len(found[name])}", flush=True)
    finally:
        here.send("stop")
        server.join(10)


def backfill(home: Path, spec: MonitorSpec) -> str:
    started, cpu = time.monotonic(), time.process_time()
    with demo_instance(home) as instance:
        MonitorDriver(build_monitor(spec), spec, instance).backfill(str(spec.start_day), str(spec.end_day))
    return f"{time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} s of CPU"


def digests(home: Path, spec: MonitorSpec) -> dict[str, object]:
    """A content hash per table, whatever the order of rows."""
    located = spec.at_home(home)
    with with_rows(warehouse_in(home), located).connect() as connection:
        return {
            name: connection.execute(f"SELECT coalesce(bit_xor(hash(t)), 0), count(*) FROM {table(located, name)} t").fetchall()[
                0
            ]
            for name in tables_of(located)
            if name not in NOT_COMPARED
        }


def _serve(parent: Connection) -> None:
    with s3_server.running() as server:
        parent.send(server.environment)
        parent.recv()


if __name__ == "__main__":
    main()
