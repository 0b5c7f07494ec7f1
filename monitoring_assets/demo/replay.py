"""A year of flights through the monitor: serve, monitor, tick the sensor, retrain when it says so; then summarise the outcome.

A week is served at a time, and then the retrain policy is asked. A live monitor is asked every day. A week's two runs over the
days and their labels take about 2 s of processor time, a retrain 5 s, and there are 44 weeks.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitoring_assets.demo.serving import World
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.orchestration.daily_assets import DAILY_ASSETS, LABEL_ASSETS
from monitoring_assets.orchestration.monitor_driver import MonitorDriver
from monitoring_assets.performance.labelled_rows import realised_metrics
from monitoring_assets.retraining.registry import Registry
from monitoring_assets.sql_text import days_held
from monitoring_assets.warehouse import Warehouse, table

DAYS_AT_ONCE = 7


@dataclass
class Replay:
    """The state of a replay. Everything it knows of progress is in the warehouse, so a stopped one goes on where it was.

    `serving` is the version that serves and its model, which stays loaded as in a real service.
    """

    spec: MonitorSpec
    driver: MonitorDriver
    warehouse: Warehouse
    registry: Registry
    serving: tuple[str, Any] | None = None

    def run(self, report: Callable[[int, str], None]) -> dict[str, Any]:
        """Play the days that are left; `report(days, what)` after every stretch. Returns the summary."""
        started = time.monotonic()
        world = World(self.spec)
        if self.registry.champion(self.spec.name) is None:
            report(0, "first champion, trained on January and February")
            world.write_reference()
            self.driver.materialise("reference_baseline")
            self.driver.tick()
        for stretch in self._stretches_left():
            self._play(world, stretch, report)
        seconds = time.monotonic() - started
        return summarise(self.spec, self.warehouse, world.static_scores(self.registry.load(self.spec.name, "1")), seconds)

    def days_done(self) -> int:
        newest = self._newest_day()
        return 0 if newest is None else (newest - self.spec.start_day).days + 1

    def _play(self, world: World, days: list[date], report: Callable[[int, str], None]) -> None:
        champion = self.registry.champion(self.spec.name)
        version = champion.version if champion else "1"
        if self.serving is None or self.serving[0] != version:
            self.serving = (version, self.registry.load(self.spec.name))
        world.serve(days, self.serving[1], version)
        delay = timedelta(days=self.spec.label.delay_days if self.spec.label else 0)
        due = [day - delay for day in days if day - delay >= self.spec.start_day]
        self.driver.run_days(DAILY_ASSETS, str(days[0]), str(days[-1]))
        if due:
            world.deliver_labels(due)
            self.driver.run_days(LABEL_ASSETS, str(due[0]), str(due[-1]))
        retrained = self.driver.tick()
        report(len(days), f"{days[-1]}: {self._last_verdict()}" if retrained else str(days[-1]))

    def _stretches_left(self) -> Iterator[list[date]]:
        newest = self._newest_day()
        first = self.spec.start_day if newest is None else newest + timedelta(days=1)
        days = days_between(first, self.spec.end_day or first)
        for start in range(0, len(days), DAYS_AT_ONCE):
            yield days[start : start + DAYS_AT_ONCE]

    def _newest_day(self) -> date | None:
        with self.warehouse.connect() as connection:
            found = connection.execute(
                "SELECT count(*) FROM duckdb_tables() WHERE schema_name = ? AND table_name = 'drift_scores'", [self.spec.name]
            ).fetchone()
            if not found or not found[0]:
                return None
            newest = connection.execute(f"SELECT max(day) FROM {table(self.spec, 'drift_scores')}").fetchone()
        return newest[0] if newest else None

    def _last_verdict(self) -> str:
        found = self.warehouse.query(
            f"SELECT verdict, candidate_version FROM {table(self.spec, 'retrain_decisions')} WHERE verdict IS NOT NULL "
            "ORDER BY day DESC, TRY_CAST(candidate_version AS INTEGER) DESC LIMIT 1"
        )
        return "candidate {candidate_version} {verdict}".format(**found.iloc[0]) if len(found) else "retrained"


def summarise(spec: MonitorSpec, warehouse: Warehouse, static: pd.DataFrame, seconds: float) -> dict[str, Any]:
    """What the loop did and what it was worth: retrains with reasons and verdicts, AUC of both models by month."""
    decisions = warehouse.query(
        f"SELECT day, reason, verdict, verdict_reason, candidate_version FROM {table(spec, 'retrain_decisions')} "
        "WHERE verdict IS NOT NULL ORDER BY TRY_CAST(candidate_version AS INTEGER)"
    )
    skipped = warehouse.query(
        f"SELECT count(*) AS n FROM {table(spec, 'retrain_decisions')} WHERE NOT retrain AND reason NOT LIKE 'nothing to do%'"
    )
    served = warehouse.query(
        f"SELECT p.day, l.label AS late, p.score FROM {table(spec, 'inference_log')} p "
        f"JOIN {table(spec, 'labels')} l ON l.day = p.day AND l.prediction_id = p.flight_id"
    )
    # The same flights for both: those whose truth the monitor has.
    static = static[static["day"].isin(set(served["day"].dt.date)) & static["late"].notna()]
    return {
        "days": int(warehouse.query(f"SELECT count(*) AS n FROM {days_held(spec, 'inference_log')}")["n"][0]),
        "replay_seconds": round(seconds, 1),
        "retrains": [
            {
                "day": None if pd.isna(row.day) else row.day.date().isoformat(),
                "reason": row.reason,
                "verdict": row.verdict,
                "verdict_reason": row.verdict_reason,
                "version": row.candidate_version,
            }
            for row in decisions.itertuples()
        ],
        "retrains_skipped": int(skipped["n"][0]),
        "auc": {"static": _auc_by_month(static), "monitored": _auc_by_month(served)},
    }


def _auc_by_month(rows: pd.DataFrame) -> dict[str, float]:
    months = pd.to_datetime(rows["day"]).dt.strftime("%Y-%m")
    scored = {"overall": rows} | {str(month): group for month, group in rows.groupby(months)}
    found = {
        name: realised_metrics(group["late"], group["score"], None, "classification")["auc"] for name, group in scored.items()
    }
    return {name: round(value, 4) for name, value in found.items() if np.isfinite(value)}


def save_summary(summary: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + "\n")
