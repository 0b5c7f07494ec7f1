"""The simulated world of the demo: a service that scores each day's flights, and a truth that arrives three days later.

It writes files and nothing else, as a real service would; the monitor reads them like anybody's log.
"""

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from monitoring_assets.demo.flights import FEATURES, load_flights
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.retraining.training import predict

# The positive class of a service that would warn a quarter of all passengers, about as many as do arrive late.
CLASS_CUT = 0.3


class World:
    """A year of flights. `reference_ends` is the last day before the service starts."""

    def __init__(self, spec: MonitorSpec) -> None:
        self.spec = spec
        self.flights = load_flights()
        self.flights["day"] = self.flights["scheduled_departure"].dt.date

    def write_reference(self) -> None:
        """Everything before the service started: features and truth, no predictions."""
        before = self.flights[self.flights["day"] < self.spec.start_day]
        _write(before.drop(columns="day"), Path(self.spec.resolve(str(self.spec.reference.path))))

    def serve(self, days: Sequence[date], model: Any, model_version: str) -> None:
        """Score these days' flights with one model, and log them."""
        rows = self.flights[self.flights["day"].isin(set(days))].copy()
        rows["score"] = predict(model, rows[list(FEATURES)], "classification")
        rows["predicted_class"] = (rows["score"] >= CLASS_CUT).astype(int).astype(str)
        rows["model_version"] = model_version
        for day, of_day in rows.groupby("day"):
            _write(of_day.drop(columns=["day", "late"]), Path(self.spec.resolve(str(self.spec.log.path), day)))

    def deliver_labels(self, days: Sequence[date]) -> None:
        """The truth of these days. A flight that never arrived has none."""
        rows = self.flights[self.flights["day"].isin(set(days)) & self.flights["late"].notna()]
        for day, of_day in rows.groupby("day"):
            if self.spec.labels is not None:
                _write(of_day[["flight_id", "late"]], Path(self.spec.resolve(str(self.spec.labels.path), day)))

    def static_scores(self, model: Any) -> pd.DataFrame:
        """What one never-changing model says of every served flight: `day`, `late`, `score`."""
        rows = self.flights[self.flights["day"] >= self.spec.start_day]
        return rows[["day", "late"]].assign(score=predict(model, rows[list(FEATURES)], "classification"))


def _write(rows: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    rows.to_parquet(unfinished, index=False)
    os.replace(unfinished, path)
