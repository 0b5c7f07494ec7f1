"""Measures everything, side by side, and prints one table with the targets beside it.

`make bench`, or `make bench ARGS=--quick`. Nothing is measured in this process; what is timed is timed alone, one after another.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.false_alarms import CONTENDERS
from benchmarks.measurement import CPUS, apart
from benchmarks.picture import plot
from benchmarks.report import NOTES, OTHERS, Row, alarm_rows, speed_rows, stored_rows, table, write_json
from benchmarks.speed import REFERENCE, WARM_UP
from benchmarks.synthetic import MILLION, parts, write_rows

RESULTS, DOCS = Path("benchmarks/results"), Path("docs")
# Runs of each contender: more of the fast ones, whose best is what counts; Evidently takes two minutes for 5 M rows.
RUNS = {"scan": 7, "ours": 7, "nannyml": 3, "evidently": 1}
SIZES = {"scan": (1, 5, 20), "ours": (1, 5, 20), "nannyml": (1, 5), "evidently": (1, 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 M rows only, fewer days; about 3 minutes")
    parser.add_argument("--json", type=Path, default=RESULTS / "benchmark.json", help="results (%(default)s)")
    parser.add_argument("--plot", type=Path, default=RESULTS / "benchmark.png", help="picture (%(default)s)")
    parser.add_argument("--docs", action="store_true", help="write both into docs/, which the README quotes")
    arguments = parser.parse_args()
    if arguments.docs:
        arguments.json, arguments.plot = DOCS / "benchmark.json", DOCS / "benchmark.png"
    needs = "3 minutes, 3 GB of memory" if arguments.quick else "10 minutes, 7 GB of memory and 4 GB of disk"
    print(f"This takes about {needs}, and is only as good as the machine is quiet.", flush=True)
    rows = measured(arguments.quick)
    notes = (*NOTES, "--quick judges so few days that a share says little.") if arguments.quick else NOTES
    print(f"\n{table(rows)}\n\n" + "\n".join(notes))
    write_json(rows, machine(), arguments.json)
    plot(rows, arguments.plot)
    print(f"\nWritten: {arguments.json}, {arguments.plot}")


def measured(quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed = [(who, size) for who, sizes in SIZES.items() for size in sizes if size == 1 or not quick]
        with progress(f"writing {max(size for _, size in timed)} M rows"):
            write_files(folder, max(size for _, size in timed))
        speeds: dict[tuple[str, int], dict[str, Any]] = {}
        for who, size in sorted(timed, key=lambda each: each[1]):
            with progress(f"{OTHERS.get(who, who)}, {size} M rows"):
                try:
                    (speeds[who, size],) = apart("benchmarks.speed", who, folder, size, RUNS[who])
                except RuntimeError as error:
                    # A peer that runs out of memory leaves its cells empty; ours or the scan must not fail.
                    if who in ("ours", "scan"):
                        raise
                    print(f"failed: {error} ... ", end="")
        with progress("scoring a year again, calibrating"):
            (stored,) = apart("benchmarks.rescore", folder)
    return speed_rows(speeds) + stored_rows(stored) + alarm_rows(alarms(quick))


def write_files(folder: Path, millions: int) -> None:
    write_rows(folder / REFERENCE, 100_000, seed=0)
    write_rows(folder / WARM_UP, 10_000, seed=1)
    for place, file in enumerate(parts(folder, millions)):
        write_rows(Path(file), MILLION, seed=2 + place)


def alarms(quick: bool) -> list[dict[str, Any]]:
    """Not timed, so contenders share the machine; the slowest come first."""
    options = ["--quick"] if quick else []
    shares = []
    with ThreadPoolExecutor(CPUS) as pool, progress("false alarms and power on flights"):
        work = {pool.submit(apart, "benchmarks.false_alarms", name, *options): name for name in CONTENDERS}
        for done in as_completed(work):
            shares += done.result()
            print(f"{OTHERS.get(work[done], work[done])} ... ", end="", flush=True)
    return shares


@contextmanager
def progress(what: str) -> Iterator[None]:
    start = time.monotonic()
    print(f"{what} ... ", end="", flush=True)
    yield
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def machine() -> dict[str, object]:
    names = ("duckdb", "numpy", "pandas", "scipy", "nannyml", "evidently")
    return {
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cores_used": CPUS,
        "cores": os.cpu_count(),
    } | {name: version(name) for name in names}


if __name__ == "__main__":
    main()
