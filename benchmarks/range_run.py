"""How long a range run over all daily assets and checks takes on Dagster's default SQLite storage, and where the time goes.

151 days of a log of about 100 rows a day and 26 columns with late labels, as one run: `.venv/bin/python benchmarks/range_run.py`.
`--profile FILE` also writes a cProfile of the run.
"""

import argparse
import cProfile
import os
import tempfile
import time
import warnings
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

REFERENCE_DAYS, DAYS = 56, 151
NUMERIC, CATEGORICAL = 19, 5  # with the score and the class 26 columns
START = date(2026, 1, 1)
FIRST = START + timedelta(days=REFERENCE_DAYS)
LAST = FIRST + timedelta(days=DAYS - 1)
# Nothing but what keeps it off the network: storages, launcher and coordinator are Dagster's defaults.
DAGSTER_YAML = "telemetry:\n  enabled: false\n"


def content() -> dict[str, Any]:
    features = {f"number_{i}": {"kind": "numeric"} for i in range(NUMERIC)}
    features |= {f"category_{i}": {"kind": "categorical"} for i in range(CATEGORICAL)}
    return {
        "name": "bookings",
        "id": "id",
        "event_time": "at",
        "time_zone": "Europe/Amsterdam",
        "start_day": str(FIRST),
        "end_day": str(LAST),
        "features": features,
        "prediction": {"score": "score", "class": "predicted", "model_version": "model"},
        "log": {"path": "log/{day}.parquet"},
        "label": {"column": "cancelled", "delay_days": 1},
        "labels": {"path": "labels/{day}.parquet"},
        "reference": {"path": "reference.parquet"},
    }


def rows_of(day: date) -> pd.DataFrame:
    """Bookings of a day: weekdays differ in number, a few values are missing, and the last third of the days has moved."""
    random = np.random.default_rng(day.toordinal())
    rows = int(random.integers(80, 121))
    moved = 0.6 if (day - FIRST).days > DAYS * 2 // 3 else 0.0
    score = random.beta(2, 3, rows)
    seconds = np.sort(random.uniform(0, 86_000, rows))
    columns: dict[str, Any] = {
        "id": [f"{day}-{i}" for i in range(rows)],
        "at": pd.Timestamp(day) + pd.to_timedelta(seconds.round(), unit="s"),
    }
    for i in range(NUMERIC):
        values = random.gamma(2 + i % 3, 10, rows) if i % 2 else random.normal(50 + moved * 10 * (i % 4 == 0), 10, rows)
        columns[f"number_{i}"] = np.where(random.random(rows) < 0.01, np.nan, values.round(2))
    for i in range(CATEGORICAL):
        columns[f"category_{i}"] = random.choice([f"value {j}" for j in range(3 + 4 * i)], rows)
    columns |= {"score": score, "predicted": (score >= 0.5).astype(int).astype(str), "model": "1"}
    return pd.DataFrame(columns)


def labels_of(rows: pd.DataFrame) -> pd.DataFrame:
    happened = np.random.default_rng(len(rows)).random(len(rows)) < rows["score"]
    return pd.DataFrame({"id": rows["id"], "cancelled": happened.astype(int)})


def write_logs(home: Path) -> None:
    (home / "log").mkdir(parents=True)
    (home / "labels").mkdir()
    reference = [rows_of(START + timedelta(days=i)) for i in range(REFERENCE_DAYS)]
    _write(pd.concat([rows.merge(labels_of(rows), on="id") for rows in reference]), home / "reference.parquet")
    for i in range(DAYS):
        day = FIRST + timedelta(days=i)
        rows = rows_of(day)
        _write(rows, home / f"log/{day}.parquet")
        _write(labels_of(rows), home / f"labels/{day}.parquet")


def _write(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)


def run(home: Path, profile: Path | None) -> None:
    import dagster as dg

    from monitoring_assets.components.model_monitor import build_monitor
    from monitoring_assets.monitor_spec import MonitorSpec
    from monitoring_assets.orchestration.monitor_driver import MonitorDriver

    spec = MonitorSpec.model_validate(content()).at_home(home)
    with dg.DagsterInstance.get() as instance:
        driver = MonitorDriver(build_monitor(spec), spec, instance)
        print(f"reference_baseline: {_timed(lambda: driver.materialise('reference_baseline'))}", flush=True)
        profiler = cProfile.Profile(time.process_time)  # of this process alone, whatever else the machine does

        def backfill() -> None:
            if profile:
                profiler.enable()
            driver.backfill(str(FIRST), str(LAST))
            profiler.disable()

        print(f"{DAYS} days, all daily assets and checks: {_timed(backfill)}")
        if profile:
            profiler.dump_stats(profile)
        (newest, *_) = instance.get_run_records(limit=1)
        for step in sorted(instance.get_run_step_stats(newest.dagster_run.run_id), key=lambda step: step.start_time or 0):
            print(f"  {step.step_key:40} {(step.end_time or 0) - (step.start_time or 0):6.2f} s")
        events = instance.event_log_storage.get_logs_for_run(newest.dagster_run.run_id)
        results = sum(
            event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION for event in events if event.is_dagster_event
        )
        print(f"  {len(events)} events, {results} of them check results")


def _timed(work: Any) -> str:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return f"{time.perf_counter() - wall:.1f} s, {time.process_time() - processor:.1f} s of processor time"


def main() -> None:
    warnings.filterwarnings("ignore")
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--profile", type=Path)
    profile = arguments.parse_args().profile
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "data"
        write_logs(home)
        dagster_home = home / "dagster_home"
        dagster_home.mkdir()
        (dagster_home / "dagster.yaml").write_text(DAGSTER_YAML)
        os.environ |= {"MONITORING_ASSETS_HOME": str(home), "DAGSTER_HOME": str(dagster_home)}
        run(home, profile)


if __name__ == "__main__":
    main()
