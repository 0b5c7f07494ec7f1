"""A small monitor, and the files it watches: what tests that need a log build theirs from.

Every writer returns the frame it wrote, so a test can change it and hand it back as `frame`. The rows of a day depend on the
day alone.
"""

import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.baselines.building import build_reference_baseline
from monitoring_assets.baselines.in_force import Baseline
from monitoring_assets.baselines.reference import stage_reference
from monitoring_assets.chosen_warehouse import warehouse_in
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.performance.reference_metric import metric_of_reference
from monitoring_assets.row_storage.kept_rows import with_rows
from monitoring_assets.sql_text import table
from monitoring_assets.warehouse import AnyWarehouse, ensure_tables

FIRST = date(2026, 3, 2)
SECOND, THIRD = date(2026, 3, 3), date(2026, 3, 4)

EXAMPLE: dict[str, Any] = {
    "name": "example",
    "id": "id",
    "event_time": "at",
    "time_zone": "America/New_York",
    "start_day": "2026-03-01",
    "features": {
        "amount": {"kind": "numeric"},
        "items": {"kind": "numeric"},
        "country": {"kind": "categorical"},
    },
    "prediction": {"score": "score", "class": "predicted", "model_version": "model"},
    "log": {"path": "log/{day}.parquet"},
    "label": {"column": "late", "delay_days": 1},
    "labels": {"path": "labels/{day}.parquet"},
    "reference": {"first_day": "2026-03-02", "last_day": "2026-03-04"},
}


def example_content(**overrides: Any) -> dict[str, Any]:
    """The YAML's content. An override replaces a top-level key, None takes it away."""
    return {key: value for key, value in (EXAMPLE | overrides).items() if value is not None}


def example_spec(home: Path, **overrides: Any) -> MonitorSpec:
    return MonitorSpec.model_validate(example_content(**overrides)).at_home(home)


def example_rows(day: date, rows: int = 20, shift: float = 0.0) -> pd.DataFrame:
    """A day of predictions: times are local and spread over the day, `shift` moves `amount` and the score."""
    random = np.random.default_rng(day.toordinal())
    score = np.clip(random.beta(2, 3, rows) + shift / 10, 0, 1).round(4)
    return pd.DataFrame(
        {
            "id": [f"{day}-{i:04d}" for i in range(rows)],
            "at": pd.Timestamp(day) + pd.to_timedelta(np.arange(rows) * (86_000 // max(rows, 1)), unit="s"),
            "amount": random.normal(50 + 10 * shift, 10, rows).round(3),
            "items": random.integers(1, 9, rows),
            "country": random.choice(["US", "DE", "JP"], rows),
            "score": score,
            "predicted": (score >= 0.5).astype(int).astype(str),
            "model": ["1"] * rows,
        }
    )


def write_day(
    home: Path, day: date, rows: int = 20, shift: float = 0.0, frame: pd.DataFrame | None = None, path: str = "log/{day}.parquet"
) -> pd.DataFrame:
    """The day's file of the log."""
    frame = example_rows(day, rows, shift) if frame is None else frame
    return write_file(home / path.format(day=day), frame)


def write_labels(
    home: Path, day: date, rows: int = 20, frame: pd.DataFrame | None = None, path: str = "labels/{day}.parquet"
) -> pd.DataFrame:
    """The labels of the day's predictions: 1 with the probability the score says."""
    if frame is None:
        predicted = example_rows(day, rows)
        outcome = np.random.default_rng(day.toordinal() + 1).random(rows) < predicted["score"]
        frame = pd.DataFrame({"id": predicted["id"], "late": outcome.astype(int)})
    return write_file(home / path.format(day=day), frame)


def learnable_labels(rows: pd.DataFrame, flipped: bool = False) -> pd.DataFrame:
    """Labels that `amount` tells, up to noise: late where it is above the median, or `flipped`, where it is below."""
    noise = np.random.default_rng(len(rows)).normal(0, 4, len(rows))
    late = rows["amount"] + noise > rows["amount"].median()
    return pd.DataFrame({"id": rows["id"], "late": (late != flipped).astype(int)})


def write_reference(
    home: Path, days: Iterable[date] = (FIRST, SECOND, THIRD), rows: int = 20, frame: pd.DataFrame | None = None
) -> pd.DataFrame:
    """`reference.parquet`: the predictions of these days with their labels, 1 with the probability the score says."""
    if frame is None:
        frame = pd.concat([example_rows(day, rows) for day in days], ignore_index=True)
        frame["late"] = (np.random.default_rng(rows).random(len(frame)) < frame["score"]).astype(int)
    return write_file(home / "reference.parquet", frame)


def write_file(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False, coerce_timestamps="us", allow_truncated_timestamps=True)
    else:
        frame.to_csv(path, index=False)
    return frame


def reference_baseline(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> Baseline:
    """The first baseline, made as the asset `reference_baseline` makes it."""
    reference = stage_reference(connection, spec)
    return build_reference_baseline(connection, spec, reference, metric_of_reference(connection, spec, reference))


def warehouse_of(home: Path) -> AnyWarehouse:
    """The home's warehouse, in the store that the test is about."""
    return warehouse_in(home)


def environment_at(home: Path) -> dict[str, str]:
    """The environment of a process that works on this home, in the store that the test is about."""
    results = getattr(warehouse_of(home), "uri", None) or ""
    return os.environ | {
        "MONITORING_ASSETS_HOME": str(home),
        "MONITORING_ASSETS_WAREHOUSE": results,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


@contextmanager
def example_warehouse(home: Path, spec: MonitorSpec) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the home's warehouse, in which the monitor's tables exist."""
    with with_rows(warehouse_in(home), spec).connect() as connection:
        ensure_tables(connection, spec)
        yield connection


def contents(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables, in an order that depends on nothing but the rows. NaN is text here, so that it equals itself."""
    return {
        name: [
            tuple("NaN" if isinstance(value, float) and math.isnan(value) else value for value in row)
            for row in connection.execute(f"SELECT * FROM {table(spec, name)} ORDER BY ALL").fetchall()
        ]
        for name in tables or ("inference_log", "quarantine", "deliveries", "labels")
    }


def rounded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row without the last bits of its numbers: a sum over many days may differ there from one over few, and nowhere else."""
    return tuple(float(f"{value:.12g}") if isinstance(value, float) else value for value in row)
