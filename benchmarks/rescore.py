"""What is done without raw rows: scoring a year again from stored profiles, and calibrating thresholds.

Run `python -m benchmarks.rescore FOLDER`; prints a line of JSON. The year is 365 days x 25 columns x windows of 1, 7 and 30 days
x every univariate method; its profiles are in DuckDB, as in the warehouse, and reading them counts. Thresholds are those of
the flights of January and February: 13 columns, 59 days, windows of 1 and 7 days.
"""

import json
import sys
from datetime import date, timedelta

import numpy as np

from benchmarks.false_alarms import JANUARY_AND_FEBRUARY, flights_spec
from benchmarks.flights import Days
from benchmarks.measurement import best_seconds, on_cpus
from benchmarks.synthetic import COLUMNS, connected, parts, scanned, synthetic_spec
from monitoring_assets.drift.calibration import calibrate
from monitoring_assets.drift.windows import score_days
from monitoring_assets.measuring.fitting import fit_grids
from monitoring_assets.measuring.histograms import read_histograms
from monitoring_assets.measuring.kernel import write_profiles
from monitoring_assets.monitor_spec import ALL_CATEGORICAL_METHODS, ALL_NUMERIC_METHODS

YEAR, WINDOWS, RUNS = 365, [1, 7, 30], 5
END_OF_REFERENCE = date(2026, 3, 1)


def rescore_seconds(folder: str) -> float:
    """A year's profiles are made of a million rows, dealt out to its days."""
    connection = connected()
    days = [date(2026, 1, 1) + timedelta(days=place) for place in range(YEAR)]
    rows = scanned(parts(folder, 1), f"DATE '2026-01-01' + (file_row_number % {YEAR})::INTEGER")
    grids = fit_grids(connection, f"(FROM {rows} WHERE day < '{END_OF_REFERENCE}')", COLUMNS)
    write_profiles(connection, "profiles", rows, COLUMNS, grids)
    spec = synthetic_spec(windows_days=WINDOWS, numeric_methods=ALL_NUMERIC_METHODS, categorical_methods=ALL_CATEGORICAL_METHODS)

    def rescore() -> None:
        reference = read_histograms(connection, "profiles", "day < ?", [END_OF_REFERENCE])
        score_days(spec, "benchmark", reference, read_histograms(connection, "profiles"), days)

    return best_seconds(rescore, RUNS)


def calibration_seconds() -> float:
    days = Days.of_flights().taken(np.arange(JANUARY_AND_FEBRUARY)).histograms()
    return best_seconds(lambda: calibrate(days, flights_spec((1, 7)), "benchmark"), 2)


if __name__ == "__main__":
    on_cpus()
    print(json.dumps({"rescore": rescore_seconds(sys.argv[1]), "calibrate": calibration_seconds()}))
