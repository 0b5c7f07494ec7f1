"""The same predictions twice: in files that DuckDB reads, and in a lake of Parquet that Spark reads where it is."""

import shutil
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets_tests.example_monitor import example_rows, example_spec, write_file

# Small tasks, so that a day is divided among several.
SPARK = {
    "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.sql.shuffle.partitions": 2,
    "spark.sql.files.maxPartitionBytes": 40_000, "spark.sql.files.openCostInBytes": 1_000,
}  # fmt: skip
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java: apt-get install default-jre-headless")
SERVING = {"latency_ms": "took", "error": "failure"}
DAYS = [date(2026, 3, 5) + timedelta(days=number) for number in range(3)]


def lake_spec(home: Path, engine: Mapping[str, Any] | None = None, **overrides: Any) -> MonitorSpec:
    """The example monitor of a lake."""
    table, labels = f"parquet.`{home / 'lake'}`", f"parquet.`{home / 'lake_labels'}`"
    sources = {"engine": {"spark": engine or {"master": "local[2]", "config": SPARK}}, "log": {"table": table}}
    if overrides.get("labels", True):
        sources["labels"] = {"table": labels}
    return example_spec(home, **{**sources, **overrides})


def delivered_day(day: date, rows: int = 900, shift: float = 0.0) -> pd.DataFrame:
    """A day as it may be delivered: some rows are broken, some ids occur more than once, one column was not asked for."""
    frame = example_rows(day, rows, shift)
    random = np.random.default_rng(day.toordinal() + 7)
    frame["amount"] = frame["amount"].astype(str)
    frame.loc[random.random(rows) < 0.02, "amount"] = "few"
    frame.loc[random.random(rows) < 0.02, "country"] = None
    frame.loc[random.random(rows) < 0.01, "id"] = None
    frame.loc[random.random(rows) < 0.01, "at"] = pd.Timestamp(day) + pd.Timedelta(days=2)
    frame["took"] = random.lognormal(3, 1, rows).round(3)
    frame["failure"] = random.choice(["", "boom"], rows, p=[0.95, 0.05])
    frame["campaign"] = random.integers(0, 5, rows)
    again = frame.sample(rows // 50, random_state=1)
    changed = frame.sample(rows // 50, random_state=2).assign(items=lambda some: some["items"] + 1)
    return pd.concat([frame, again, changed], ignore_index=True).sample(frac=1, random_state=3)


def write_both(home: Path, day: date, frame: pd.DataFrame, name: str = "log", lake: str = "lake") -> None:
    """A day's file for DuckDB, and the same rows in several files of the lake's folder of the day."""
    write_file(home / name / f"{day}.parquet", frame)
    for place, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        write_file(home / lake / f"day={day}" / f"{place}.parquet", frame.iloc[part])


def write_days(home: Path, days: Iterable[date] = DAYS, **how: Any) -> None:
    for day in days:
        write_both(home, day, delivered_day(day, **how))
