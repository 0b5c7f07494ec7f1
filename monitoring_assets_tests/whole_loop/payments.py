"""Somebody's own Dagster project with one monitor, `payments`, and the world it watches: quiet days, then one that drifts.

The project merely has this package installed, as a user's would; its model serves what it has learnt.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import yaml

from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.retraining.registry import Registry
from monitoring_assets.retraining.training import predict
from monitoring_assets_tests.example_monitor import write_file

MODULE = "shop.definitions"
ROWS = 300
REFERENCE_DAYS = days_between(date(2025, 3, 1), date(2025, 3, 10))
QUIET_DAYS = days_between(date(2025, 3, 11), date(2025, 3, 20))
DRIFTED_DAY = date(2025, 3, 21)

DEFS_YAML = """
type: monitoring_assets.components.ModelMonitor
attributes:
  name: payments
  owners: ["team:shop"]
  id: id
  event_time: at
  start_day: 2025-03-11
  end_day: {end_day}
  log: { path: "log/{day}.parquet" }
  features:
    amount: { kind: numeric }
    items: { kind: numeric }
    country: { kind: categorical }
  prediction: { score: score, class: predicted, model_version: model }
  label: { column: fraud, delay_days: 1 }
  labels: { path: "labels/{day}.parquet" }
  reference: { path: reference.parquet }
  drift: { windows_days: [1] }
  retrain:
    drift_window_days: 1
    gate_days: 4
    minimum_training_rows: 500
    minimum_gate_rows: 500
    minimum_improvement: {minimum_improvement}
"""

FILES = {
    "pyproject.toml": """
        [tool.dg]
        directory_type = "project"
        [tool.dg.project]
        root_module = "shop"
        code_location_name = "shop.definitions"
    """,
    "shop/__init__.py": "",
    "shop/defs/__init__.py": "",
    "shop/definitions.py": """
        from pathlib import Path

        import dagster as dg

        defs = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    """,
}


def write_project(folder: Path, end_day: date = date(2025, 3, 24), minimum_improvement: float = 0.0) -> MonitorSpec:
    """The project's files. Returns what its monitor watches."""
    defs_yaml = DEFS_YAML.replace("{end_day}", str(end_day)).replace("{minimum_improvement}", str(minimum_improvement))
    for name, content in (FILES | {"shop/defs/payments/defs.yaml": defs_yaml}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(content))
    return MonitorSpec.model_validate(yaml.safe_load(defs_yaml)["attributes"])


def write_reference(spec: MonitorSpec) -> None:
    frame = pd.concat([_rows(day) for day in REFERENCE_DAYS], ignore_index=True)
    write_file(Path(spec.resolve(str(spec.reference.path))), frame)


def serve(spec: MonitorSpec, registry: Registry, days: Sequence[date], shift: float = 0.0) -> None:
    """Log these days as the champion scores them."""
    champion = registry.champion(spec.name)
    assert champion is not None
    model = registry.load(spec.name)
    for day in days:
        rows = _rows(day, shift).drop(columns="fraud")
        rows["score"] = predict(model, rows[list(spec.features)], spec.task)
        rows["predicted"] = (rows["score"] >= 0.5).astype(int).astype(str)
        rows["model"] = champion.version
        write_file(Path(spec.resolve(spec.log.path, day)), rows)


def deliver_labels(spec: MonitorSpec, days: Sequence[date]) -> None:
    assert spec.labels is not None
    for day in days:
        write_file(Path(spec.resolve(spec.labels.path, day)), _rows(day)[["id", "fraud"]])


def _rows(day: date, shift: float = 0.0) -> pd.DataFrame:
    """Payments of a day with their truth: large amounts are fraud more often. `shift` moves the amounts."""
    random = np.random.default_rng(day.toordinal())
    amount = random.normal(50 + 10 * shift, 10, ROWS)
    return pd.DataFrame(
        {
            "id": [f"{day}-{i:04d}" for i in range(ROWS)],
            "at": pd.Timestamp(day) + pd.to_timedelta(np.arange(ROWS) * 280, unit="s"),
            "amount": amount.round(3),
            "items": random.integers(1, 9, ROWS),
            "country": random.choice(["US", "DE", "JP"], ROWS),
            "fraud": (random.random(ROWS) < 1 / (1 + np.exp((55 - amount) / 5))).astype(int),
        }
    )


def newest_due(spec: MonitorSpec, days: Sequence[date]) -> list[date]:
    """Days whose labels are in when the last of these is over."""
    delay = timedelta(days=spec.label.delay_days if spec.label else 0)
    return [day for day in days if day + delay <= days[-1]]
