"""Time and peak memory of judging one day against a reference that is ready, each contender in a fresh process of its own.

A contender prepares its reference and judges a small day first (imports, first calls); neither is timed. Then it gets
the day's Parquet files, and has to read them and say which columns drifted. All run on the same cores, and DuckDB is
set to that number.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from benchmarks.measurement import best_seconds, on_cpus, peak_mb
from benchmarks.synthetic import CATEGORIES, COLUMNS, NUMERIC, connected, parts, scanned, synthetic_spec

REFERENCE, WARM_UP, REFERENCE_DAYS = "reference.parquet", "warm_up.parquet", 20
Judge = Callable[[list[str]], object]


@dataclass(frozen=True)
class Measured:
    """The best seconds of the runs; the process's peak is of all that it did."""

    seconds: float
    peak_mb: float


def ours(folder: Path) -> Judge:
    """Profile the files, compare with the reference's profile, judge by calibrated thresholds: the columns that drifted."""
    from monitoring_assets.drift.calibration import calibrate
    from monitoring_assets.drift.thresholds import read_thresholds
    from monitoring_assets.drift.windows import score_days
    from monitoring_assets.measuring.fitting import fit_grids
    from monitoring_assets.measuring.histograms import read_histograms
    from monitoring_assets.measuring.kernel import write_profiles

    connection, spec = connected(), synthetic_spec(calibrated=True, windows_days=[1])
    rows = scanned([str(folder / REFERENCE)], f"DATE '2025-12-01' + (file_row_number % {REFERENCE_DAYS})::INTEGER")
    grids = fit_grids(connection, rows, COLUMNS)
    write_profiles(connection, "profiles", rows, COLUMNS, grids)
    reference = read_histograms(connection, "profiles")
    thresholds = read_thresholds(calibrate(reference, spec, "benchmark"))

    def judge(files: list[str]) -> set[str]:
        connection.execute("TRUNCATE profiles")
        write_profiles(connection, "profiles", scanned(files), COLUMNS, grids)
        current = read_histograms(connection, "profiles")
        scores = score_days(spec, "benchmark", reference, current, [date(2026, 1, 1)], thresholds)
        return set(scores["feature"][scores["severity"] != "ok"])

    return judge


def scan(folder: Path) -> Judge:
    """The least that anything can do: read the columns and add them up."""
    connection = connected()
    sums = ", ".join([f"sum({name})" for name in NUMERIC] + [f"sum(length({name}))" for name in CATEGORIES])
    return lambda files: connection.execute(f"SELECT {sums} FROM {scanned(files)}").fetchall()


def evidently(folder: Path) -> Judge:
    import pandas as pd

    from benchmarks.peers.evidently import comparer

    drifted = comparer(pd.read_parquet(folder / REFERENCE), COLUMNS, "psi")
    return lambda files: drifted(pd.read_parquet(files))


def nannyml(folder: Path) -> Judge:
    import pandas as pd

    from benchmarks.peers.nannyml import comparer

    compared = comparer(pd.read_parquet(folder / REFERENCE), list(COLUMNS), "kolmogorov_smirnov", "chi2")
    return lambda files: compared(pd.read_parquet(files))


def measure(contender: str, folder: Path, millions: int, runs: int) -> Measured:
    """In this process."""
    prepare = {"ours": ours, "scan": scan, "evidently": evidently, "nannyml": nannyml}[contender]
    judge = prepare(folder)
    judge([str(folder / WARM_UP)])
    return Measured(best_seconds(lambda: judge(parts(folder, millions)), runs), peak_mb())


def main() -> None:
    """Run `python -m benchmarks.speed CONTENDER FOLDER MILLIONS RUNS`; prints a line of JSON."""
    contender, folder, millions, runs = sys.argv[1:]
    on_cpus()
    print(json.dumps(asdict(measure(contender, Path(folder), int(millions), int(runs)))))


if __name__ == "__main__":
    main()
