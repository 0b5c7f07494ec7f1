"""What a run of one day asks of PostgreSQL when the database holds a year of history of many monitors.

`make demo ARGS=--no-ui` first, then `.venv/bin/python -m benchmarks.shared_history --monitors 50`. The demo's tables are copied
into a PostgreSQL server of its own on loopback, once for each monitor; of tables with a row per prediction the last days alone,
and of samples of baselines the one in force. Then each daily asset of one day is materialised for some of the monitors; database
time is the sum that pg_stat_statements has of the server's own times, planning included. With `--statements` the dearest
statements are shown.
"""

import argparse
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import dagster as dg

from monitoring_assets.components.code_location import load_monitor
from monitoring_assets.components.model_monitor import build_monitor
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.monitor_driver import MonitorDriver
from monitoring_assets.shared_warehouse.copying import copy_to_server
from monitoring_assets.shared_warehouse.server import VARIABLE, Session, address, session
from monitoring_assets_tests.postgres_server import running

SETTINGS = (
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.max=10000",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
)
DAY = "2013-12-15"
LAST_DAYS = "WHERE day >= DATE '2013-11-25'"
COPIED = dict.fromkeys(("inference_log", "labels", "daily_sample"), LAST_DAYS) | {
    "baseline_sample": "WHERE baseline_id = (SELECT baseline_id FROM flights.baselines "
    f"WHERE valid_from <= DATE '{DAY}' ORDER BY sequence DESC LIMIT 1)"
}


def main(monitors: int, measured: int, *, statements: bool) -> None:
    home = Path(os.environ.get("MONITORING_ASSETS_HOME") or "data").resolve()
    with tempfile.TemporaryDirectory() as folder, running(*SETTINGS) as uri, session(address(uri)) as server:
        copied = Path(folder) / "data"
        shutil.copytree(home, copied)
        os.environ |= {"MONITORING_ASSETS_HOME": str(copied), VARIABLE: uri}
        copy_to_server(copied / "warehouse.duckdb", uri, replace=False, report=lambda _: None)
        fill(server, monitors)
        server.run("CREATE EXTENSION pg_stat_statements")
        server.commit()
        ((days, size),) = server.rows(
            "SELECT count(DISTINCT day), pg_size_pretty(pg_database_size(current_database())) FROM flights.daily_profile"
        )
        server.rollback()
        print(f"{monitors} monitors, {monitors * days} monitor days, {size}", flush=True)
        spec, _ = load_monitor("flights")
        found: dict[str, list[tuple[float, float, int]]] = {}
        with dg.DagsterInstance.ephemeral() as instance:
            for number in range(measured + 1):
                clone = spec.model_copy(update={"name": name_of(number)})
                driver = MonitorDriver(build_monitor(clone), clone, instance)
                for asset in (*DAILY_ASSETS, *LABEL_ASSETS):
                    with asked_of(server, statements=statements and number == measured) as taken:
                        driver.run_days([asset], DAY, DAY)
                    if number:  # the first run of a process makes the tables ready
                        found.setdefault(asset, []).append(tuple(taken))
        for asset, runs in found.items():
            database, cpu, calls = (median(column) for column in zip(*runs, strict=True))
            print(f"{asset:14} {database:6.1f} ms of the database, {calls:.0f} statements, {1000 * cpu:.0f} ms of CPU of the run")


def name_of(number: int) -> str:
    return f"flights_{number:04}" if number else "flights"


def fill(server: Session, monitors: int) -> None:
    """The tables of the first monitor once more for each of the others, with their indexes, as autovacuum would leave them."""
    tables = [name for (name,) in server.rows("SELECT tablename::text FROM pg_tables WHERE schemaname = 'flights' ORDER BY 1")]
    for number in range(1, monitors):
        server.run(f"CREATE SCHEMA {name_of(number)}")
        for name in tables:
            server.run(f"CREATE TABLE {name_of(number)}.{name} (LIKE flights.{name} INCLUDING ALL)")
            server.run(f"INSERT INTO {name_of(number)}.{name} SELECT * FROM flights.{name} {COPIED.get(name, '')}")
        server.commit()
    server.run("ANALYZE")
    server.commit()


@contextmanager
def asked_of(server: Session, *, statements: bool) -> Iterator[list[float]]:
    """Milliseconds of the database, seconds of this process's CPU and statements that the block takes."""
    server.rows("SELECT pg_stat_statements_reset()")
    server.commit()
    taken: list[float] = []
    cpu = time.process_time()
    yield taken
    cpu = time.process_time() - cpu
    rows = server.rows(
        "SELECT total_exec_time + total_plan_time AS ms, calls, rows, query FROM pg_stat_statements "
        "WHERE query !~ 'pg_stat_statements' ORDER BY 1 DESC"
    )
    server.rollback()
    taken += [sum(ms for ms, *_ in rows), cpu, sum(calls for _, calls, *_ in rows)]
    if statements:
        print(f"--- {taken[0]:.1f} ms")
        for ms, calls, count, query in rows[:14]:
            print(f"{ms:8.2f} ms {calls:4} calls {count:7} rows  {' '.join(query.split())[:150]}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--monitors", type=int, default=50)
    parser.add_argument("--measured", type=int, default=5)
    parser.add_argument("--statements", action="store_true")
    given = parser.parse_args()
    main(given.monitors, given.measured, statements=given.statements)
