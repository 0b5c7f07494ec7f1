"""What a call of `PredictionLogger.log` costs its caller: 4 threads, 10,000 calls a second in all, 10 features, real segments.

`.venv/bin/python benchmarks/prediction_logger.py [SECONDS] [ROUNDS]`. Each thread calls at its own fixed times, whether or not
the call before was slow. Beside every call an empty one is measured in the same breath, which shows what the machine itself does.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from monitoring_assets.prediction_logging.prediction_logger import PredictionLogger

THREADS, CALLS_A_SECOND, TARGET_US = 4, 10_000, 100
FEATURES = {f"number_{place}": float(place) + 0.5 for place in range(8)} | {"country": "DE", "channel": "web"}
COLUMNS = {name: "categorical" if isinstance(value, str) else "numeric" for name, value in FEATURES.items()}


def empty(features: dict[str, object], score: float) -> None:
    """What is measured beside `log`."""


def caller(log: object, seconds: float, found: list[np.ndarray]) -> None:
    """Calls at fixed times, and what each took, in ns: the empty call and the logger's."""
    calls = int(seconds * CALLS_A_SECOND / THREADS)
    taken, clock, due = np.zeros((2, calls), np.int64), time.perf_counter_ns, time.perf_counter()
    for place in range(calls):
        due += THREADS / CALLS_A_SECOND
        wait = due - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        before = clock()
        empty(FEATURES, 0.7)
        between = clock()
        log(FEATURES, 0.7)  # type: ignore[operator]
        taken[:, place] = between - before, clock() - between
    found.append(taken)


def measure(folder: Path, seconds: float) -> None:
    found: list[np.ndarray] = []
    started = time.perf_counter()
    with PredictionLogger(folder, COLUMNS, flush_seconds=1) as logger:
        threads = [threading.Thread(target=caller, args=(logger.log, seconds, found)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lasted = time.perf_counter() - started
    taken = np.concatenate(found, axis=1) / 1e3
    kept = ds.dataset(folder, format="parquet").count_rows()
    shown = []
    for name, values in zip(("empty call", "log"), taken, strict=True):
        p50, p99, p999 = np.percentile(values, [50, 99, 99.9])
        shown.append(f"{name}: p50 {p50:.1f}, p99 {p99:.1f}, p99.9 {p999:.1f} µs")
    print(
        f"{taken.shape[1] / lasted:.0f} calls a second; {'; '.join(shown)} (target: p99 <= {TARGET_US} µs); "
        f"{kept} of {taken.shape[1]} rows on disk, {logger.stats.dropped} dropped",
        flush=True,
    )


def main(seconds: float = 10, rounds: int = 3) -> None:
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), seconds)


if __name__ == "__main__":
    main(*(float(argument) if place == 0 else int(argument) for place, argument in enumerate(sys.argv[1:])))
