"""Our profile against scanning and summing the same columns: time and peak memory, each in a fresh process.

Run: python benchmarks/kernel.py [million rows ...]     (1 and 5 unless told otherwise)
25 columns, 20 of normal numbers and 5 of strings with 3 to 2,000 categories, one day, Parquet in, grids ready from 100,000 rows.
The best of three runs counts, because the machine may be busy with something else; the peak is of all three.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring_assets.profiling.kernel import fit_grids, write_profiles
from monitoring_assets.warehouse import PROFILE_COLUMNS

THREADS, RUNS, REFERENCE_ROWS, MILLION = 2, 3, 100_000, 1_000_000
NUMERIC = [f"number_{place}" for place in range(20)]
CATEGORIES = {f"category_{count}": count for count in (3, 10, 50, 200, 2_000)}
COLUMNS = dict.fromkeys(NUMERIC, "numeric") | dict.fromkeys(CATEGORIES, "categorical")


def write_rows(path: Path, millions: int) -> None:
    """A Parquet file of so many million rows, written a million at a time."""
    random, writer = np.random.default_rng(0), None
    for _ in range(millions):
        columns = {name: pa.array(random.normal(place, 1 + place / 5, MILLION)) for place, name in enumerate(NUMERIC)}
        for name, count in CATEGORIES.items():
            names = pa.array([f"value {code}" for code in range(count)])
            columns[name] = names.take(pa.array(random.integers(0, count, MILLION)))
        batch = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_table(batch, row_group_size=122_880)
    if writer:
        writer.close()


def measure(what: str, path: str) -> dict[str, float]:
    """Seconds and peak MB of one kind of work, in this process."""
    connection = duckdb.connect()
    connection.execute(f"SET threads = {THREADS}")
    connection.execute("SET enable_progress_bar = false")
    rows = f"(SELECT DATE '2026-01-01' AS day, * FROM read_parquet('{path}'))"
    if what == "scan":
        sums = [f"sum({name})" for name in NUMERIC] + [f"sum(length({name}))" for name in CATEGORIES]
        work = lambda: connection.execute(f"SELECT {', '.join(sums)} FROM {rows}").fetchall()  # noqa: E731
    else:
        declared = ", ".join(f"{name} {kind}" for name, (kind, _) in PROFILE_COLUMNS.items())
        connection.execute(f"CREATE TABLE profiles ({declared})")
        grids = fit_grids(connection, f"(FROM {rows} LIMIT {REFERENCE_ROWS})", COLUMNS)
        work = lambda: write_profiles(connection, "profiles", rows, COLUMNS, grids)  # noqa: E731
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "peak_mb": peak_mb()}


def peak_mb() -> float:
    """This process's own peak; `resource` would report at least the parent's, which has written the file."""
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def measured_apart(what: str, path: Path) -> dict[str, float]:
    """The same in a fresh process, so that one measurement does not warm or fill another."""
    command = [sys.executable, __file__, "--measure", what, str(path)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main(millions: list[int]) -> None:
    print(f"{'rows':>6}  {'scan and sum':>22}  {'profile':>22}  {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for count in millions:
            path = Path(folder) / f"{count}.parquet"
            write_rows(path, count)
            scan, ours = measured_apart("scan", path), measured_apart("profile", path)
            times = [f"{found['seconds']:.3f} s, {found['peak_mb']:.0f} MB" for found in (scan, ours)]
            print(f"{count:>4} M  {times[0]:>22}  {times[1]:>22}  {ours['seconds'] / scan['seconds']:>6.2f}", flush=True)
            path.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:4])))
    else:
        main([int(argument) for argument in sys.argv[1:]] or [1, 5])
