"""How long eight processes on eight days wait for each other: the DuckDB file, which one has at a time, and PostgreSQL.

`.venv/bin/python -m benchmarks.days_at_once`. Each process replaces a day of its own some times, and works for a while on it with
the warehouse open, as assets do. Waiting is what a turn takes beyond that work and beyond what it takes one process alone.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from monitoring_assets.chosen_warehouse import warehouse_in
from monitoring_assets.shared_warehouse.server import VARIABLE
from monitoring_assets.warehouse import Scope, ensure_tables, replace_days, table, transaction
from monitoring_assets_tests.example_monitor import example_spec
from monitoring_assets_tests.postgres_server import running

PROCESSES, TURNS, WORK_SECONDS, ROWS = 8, 3, 1.0, 1_000
FIRST = date(2026, 3, 2)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running() as uri:
        means = {}
        for name, address in (("file", ""), ("postgres", uri)):
            home, environment = Path(folder) / name, os.environ | {VARIABLE: address}
            home.mkdir()
            os.environ[VARIABLE] = address
            with warehouse_in(home).connect() as connection:
                ensure_tables(connection, example_spec(home))
            alone = statistics.median(turns_of(1, home, environment))
            together = turns_of(PROCESSES, home, environment)
            waits = [max(0.0, seconds - alone) for seconds in together]
            means[name] = statistics.mean(waits)
            print(
                f"{name}: a turn takes {alone:.2f} s alone; of {PROCESSES} processes each waits {means[name]:.2f} s a turn, "
                f"at most {max(waits):.2f} s",
                flush=True,
            )
        print(f"waiting for the file / for PostgreSQL: {means['file'] / max(means['postgres'], 1e-3):.1f}")


def turns_of(processes: int, home: Path, environment: dict[str, str]) -> list[float]:
    """How long each turn of each of so many processes took, which start together."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.days_at_once", str(home)]
    started = [
        subprocess.Popen([*command, str(number)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()  # it has imported everything
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [float(line) for process in started for line in process.communicate()[0].splitlines()]


def take_turns(home: Path, number: int) -> None:
    spec, day = example_spec(home), FIRST + timedelta(days=number)
    rows = f"SELECT DATE '{day}' AS day, i::VARCHAR AS prediction_id, random() AS label FROM range({ROWS}) r(i)"
    warehouse = warehouse_in(home, 600.0, lambda _: None)
    with warehouse.connect():
        pass
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(TURNS):
        begun = time.perf_counter()
        with warehouse.connect(Scope(spec.name, (day,), (day,))) as connection:
            with transaction(connection):
                replace_days(connection, table(spec, "labels"), [day], rows)
            time.sleep(WORK_SECONDS)
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        take_turns(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
