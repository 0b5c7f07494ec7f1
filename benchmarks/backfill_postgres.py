"""The demo's 306 days backfilled in one run, into the DuckDB file and into PostgreSQL, and whether both hold the same afterwards.
With PostgreSQL a second time where Dagster's history is in PostgreSQL too.

`make demo ARGS=--no-ui` first, then `.venv/bin/python -m benchmarks.backfill_postgres`. Works on copies of the data folder,
and on a PostgreSQL server of its own on loopback. Seconds come with this process's CPU time, for busy machines.
"""

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from benchmarks.backfill import backfill, backfill_on
from monitoring_assets.chosen_warehouse import warehouse_in
from monitoring_assets.shared_warehouse.copying import copy_to_file, copy_to_server
from monitoring_assets.shared_warehouse.server import VARIABLE, address, session
from monitoring_assets.warehouse import AnyWarehouse, Warehouse
from monitoring_assets_tests.example_monitor import rounded
from monitoring_assets_tests.postgres_server import running

# Seconds and bytes differ from run to run.
NOT_COMPARED = ("costs",)


def main() -> None:
    warnings.filterwarnings("ignore")
    home = Path(os.environ.get("MONITORING_ASSETS_HOME") or "data").resolve()
    with tempfile.TemporaryDirectory() as folder, running() as uri:
        homes = {name: Path(folder) / name for name in ("file", "postgres")}
        for copied in homes.values():
            shutil.copytree(home, copied)
        started = time.monotonic()
        copy_to_server(homes["postgres"] / "warehouse.duckdb", uri, replace=False, report=lambda _: None)
        print(f"copied into PostgreSQL: {time.monotonic() - started:.1f} s", flush=True)
        for name in ("file", "postgres"):
            os.environ |= {"MONITORING_ASSETS_HOME": str(homes[name]), VARIABLE: uri if name == "postgres" else ""}
            with measured(name):
                backfill(homes[name])
        with dagster_on(uri, Path(folder) / "dagster_home") as instance, measured("postgres, Dagster's history too"):
            backfill_on(instance)
        back = Path(folder) / "back.duckdb"
        copy_to_file(uri, back, replace=False, report=lambda _: None)
        os.environ[VARIABLE] = ""
        compare(warehouse_in(homes["file"]), Warehouse(back))


@contextmanager
def measured(name: str) -> Iterator[None]:
    started, cpu = time.monotonic(), time.process_time()
    yield
    taken = f"{time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} s of CPU"
    print(f"{name}, backfill of 306 days: {taken}", flush=True)


@contextmanager
def dagster_on(uri: str, home: Path) -> Iterator[dg.DagsterInstance]:
    """An instance whose history is in a database of the same server."""
    with session(address(uri)) as server:
        server.connection.adbc_connection.set_autocommit(True)
        server.run("CREATE DATABASE dagster")
        server.connection.adbc_connection.set_autocommit(False)
    home.mkdir()
    url = uri.replace("postgresql://", "postgresql+psycopg2://").rpartition("/")[0] + "/dagster"
    (home / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\nstorage: {{postgres: {{postgres_url: '{url}'}}}}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def compare(file: AnyWarehouse, back: AnyWarehouse) -> None:
    different = []
    with file.connect() as here, back.connect() as there:
        names = [name for (name,) in here.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        for name in names:
            if name in NOT_COMPARED:
                continue
            ours, theirs = (
                sorted(shown(row) for row in connection.execute(f"SELECT * FROM flights.{name}").fetchall())
                for connection in (here, there)
            )
            if ours != theirs:
                different.append(f"{name} ({len(set(ours) ^ set(theirs))} rows)")
    print(f"tables that differ: {', '.join(different) or 'none'} of {len(names)}", flush=True)


def shown(row: tuple[object, ...]) -> str:
    """A row with its numbers to twelve digits; files are at the same place in both homes."""
    return repr(rounded(row)).replace("/postgres/", "/file/")


if __name__ == "__main__":
    main()
