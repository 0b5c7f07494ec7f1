"""The thresholds of a baseline under the monitor's settings: reading them, calibrating those that are missing, storing them.

Calibration takes seconds per dozen columns and never happens with the warehouse open. How it is done is in `calibration.py`
and `multivariate_thresholds.py`.
"""

import hashlib
import json

import duckdb
import pandas as pd

from monitoring_assets.drift.calibration import calibrate
from monitoring_assets.drift.inputs import Inputs
from monitoring_assets.drift.multivariate_scores import calibrate_samples
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import table

# Raise it when calibration gives other thresholds for the same baseline and settings: stored ones are then calibrated anew.
EDITION = 3


def settings_digest(spec: MonitorSpec) -> str:
    """Identifies all settings that thresholds depend on, so that those of other settings are never applied."""
    settings = (EDITION, spec.drift.model_dump(mode="json"), spec.watched_columns, spec.segments)
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]


def calibrated(spec: MonitorSpec, inputs: Inputs) -> pd.DataFrame:
    """The thresholds that the settings ask for, as rows of the table `thresholds`; empty where none can be estimated."""
    baseline_id = inputs.baseline.baseline_id
    parts = [calibrate(inputs.reference, spec, baseline_id)] if spec.drift.calibrated else []
    if inputs.samples is not None:
        parts.append(calibrate_samples(spec, baseline_id, inputs.samples))
    found = [part for part in parts if len(part)]
    return pd.concat(found, ignore_index=True).assign(settings_digest=settings_digest(spec)) if found else pd.DataFrame()


def stored_thresholds(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str) -> pd.DataFrame:
    """The baseline's thresholds for the monitor's present settings; empty where it has none yet."""
    return connection.execute(
        f"SELECT * FROM {table(spec, 'thresholds')} WHERE baseline_id = ? AND settings_digest = ?",
        [baseline_id, settings_digest(spec)],
    ).df()


def store_thresholds(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str, found: pd.DataFrame) -> None:
    """Put these thresholds in the place of all the baseline has, whatever settings those were for."""
    target = table(spec, "thresholds")
    connection.execute(f"DELETE FROM {target} WHERE baseline_id = ?", [baseline_id])
    if len(found):
        connection.register("calibrated", found)
        connection.execute(f"INSERT INTO {target} BY NAME SELECT * FROM calibrated")
        connection.unregister("calibrated")
