"""Making baselines: from a reference's rows, or from profiles and cross-validated predictions when a model is retrained.

A baseline is stored as daily profiles, so its day-to-day variation stays known. `in_force.py` says which one counts on a day.
"""

import hashlib
from collections.abc import Mapping
from datetime import date

import duckdb
import pandas as pd

from monitoring_assets.baselines.day_facts import copy_first_facts, write_day_facts
from monitoring_assets.baselines.in_force import Baseline, select_baselines
from monitoring_assets.baselines.reference import ReferenceRows
from monitoring_assets.engines.day_rows import Rows, StoredRows, logged_rows
from monitoring_assets.measuring.measure import Wanted
from monitoring_assets.monitor_spec import MonitorSpec, days_between
from monitoring_assets.profiling.refinement import refine_profiles
from monitoring_assets.profiling.stored_grids import ensure_grids
from monitoring_assets.row_storage.kept_rows import read_rows_of
from monitoring_assets.warehouse import quoted, table, transaction
from monitoring_assets.warehouse_tables import PROFILE_COLUMNS, tables_of


def build_reference_baseline(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, reference: ReferenceRows, metric: tuple[str, float] | None = None
) -> Baseline:
    """Make the first baseline from the staged reference, in place of an earlier first one. It is in force from the beginning.

    `metric` is the name and value of how good the reference's own predictions were, where that is known.
    """
    # Of a feature without a value there is nothing to learn, not even that it is usually missing.
    columns = {name: kind for name, kind in spec.watched_columns.items() if name not in reference.without_values}
    if not reference.has_prediction:
        columns = {name: kind for name, kind in columns.items() if name in spec.features}
    _stage(connection, spec)
    with transaction(connection):
        _profile(connection, spec, reference.rows, columns, sample=True)
        baseline = _store(connection, spec, 0, date.min.replace(year=1970), None, *(metric or (None, None)))
        write_day_facts(connection, spec, baseline.baseline_id, reference.rows)
        return baseline


def build_candidate_baseline(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    predictions: pd.DataFrame,
    model_version: str,
    metric: str,
    metric_value: float,
) -> Baseline:
    """Make the baseline a candidate would bring: the profiles of its training days, and of its cross-validated predictions.

    `predictions` holds one row per training row: `day`, the prediction column, the segment columns, the sampling weight
    where the monitor has one. The features' profiles are those the training days already have; no raw row is read. It is not
    in force before `put_in_force`.
    """
    _stage(connection, spec)
    first, last = predictions["day"].min(), predictions["day"].max()
    columns = dict.fromkeys(spec.prediction.watched, "numeric")
    names = ", ".join(PROFILE_COLUMNS)
    # Only features the monitor declares now; the tables also keep those it no longer asks for.
    sampled = ", ".join(quoted(column) for column in tables_of(spec)["daily_sample"])
    connection.register("candidate_predictions", predictions)
    with transaction(connection):
        connection.execute(
            f"INSERT INTO staged_profiles BY NAME SELECT {names} FROM {table(spec, 'daily_profile')} "
            "WHERE day BETWEEN ? AND ? AND feature IN (SELECT unnest(?::VARCHAR[]))",
            [first, last, list(spec.features)],
        )
        connection.execute(
            f"INSERT INTO staged_profiles BY NAME SELECT {names} FROM {table(spec, 'baseline_profiles')} "
            f"WHERE baseline_id = (SELECT baseline_id FROM {table(spec, 'baselines')} WHERE sequence = 0) "
            "AND day BETWEEN ? AND ? AND feature IN (SELECT unnest(?::VARCHAR[])) "
            "AND day NOT IN (SELECT day FROM staged_profiles)",
            [first, last, list(spec.features)],
        )
        connection.execute(
            f"INSERT INTO staged_sample BY NAME SELECT {sampled} FROM {table(spec, 'daily_sample')} WHERE day BETWEEN ? AND ?",
            [first, last],
        )
        connection.execute(
            f"INSERT INTO staged_sample BY NAME SELECT {sampled} FROM {table(spec, 'baseline_sample')} "
            f"WHERE baseline_id = (SELECT baseline_id FROM {table(spec, 'baselines')} WHERE sequence = 0) "
            "AND day BETWEEN ? AND ? AND day NOT IN (SELECT day FROM staged_sample)",
            [first, last],
        )
        _profile(connection, spec, StoredRows(spec, "candidate_predictions"), columns)
        connection.unregister("candidate_predictions")
        # A retried run makes the baseline of the same version again. It replaces the first try, but never one in force.
        earlier = select_baselines(connection, spec, "model_version = ?", [model_version])
        if any(baseline.valid_from for baseline in earlier):
            return next(baseline for baseline in earlier if baseline.valid_from)
        newest = connection.execute(f"SELECT max(sequence) FROM {table(spec, 'baselines')}").fetchone()
        sequence = earlier[0].sequence if earlier else ((newest[0] if newest else None) or 0) + 1
        baseline = _store(connection, spec, sequence, None, model_version, metric, metric_value)
        read_rows_of(connection, days_between(first, last))
        write_day_facts(connection, spec, baseline.baseline_id, logged_rows(connection, spec, days_between(first, last)))
        copy_first_facts(connection, spec, baseline.baseline_id, first, last)
        return baseline


def _profile(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: Rows, columns: Mapping[str, str], sample: bool = False
) -> None:
    """Profile rows, and sample them, into the staged tables."""
    grids = ensure_grids(connection, spec, rows, columns)
    found = rows.tables(connection, Wanted({name: grids[name] for name in columns}, sample=sample))
    for name, target in (("profile", "staged_profiles"), ("sample", "staged_sample")):
        if name in found:
            connection.register("measured", found[name])
            connection.execute(f"INSERT INTO {target} BY NAME FROM measured")
            connection.unregister("measured")
    refine_profiles(connection, spec, "staged_profiles", rows, columns)


def _stage(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> None:
    """Empty temporary tables for a baseline's profiles and its sample of rows."""
    for name, columns in (("staged_profiles", PROFILE_COLUMNS), ("staged_sample", tables_of(spec)["daily_sample"])):
        declared = ", ".join(f"{quoted(column)} {kind}" for column, (kind, _) in columns.items())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({declared})")


def _store(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    sequence: int,
    valid_from: date | None,
    model_version: str | None,
    metric: str | None,
    metric_value: float | None,
) -> Baseline:
    """Move the staged profiles, and sample, into the warehouse under the digest of the profiles. Call it inside a transaction."""
    digest = hashlib.sha256(f"{model_version}".encode())
    for row in connection.execute("SELECT * FROM staged_profiles ORDER BY segment, feature, day").fetchall():
        digest.update(repr(row).encode())
    baseline_id = digest.hexdigest()[:16]
    baselines = table(spec, "baselines")
    parts = {table(spec, "baseline_profiles"): "staged_profiles", table(spec, "baseline_sample"): "staged_sample"}
    for kept in (*parts, table(spec, "baseline_facts")):
        where = f"baseline_id IN (SELECT baseline_id FROM {baselines} WHERE sequence = ?)"
        connection.execute(f"DELETE FROM {kept} WHERE {where}", [sequence])
    connection.execute(f"DELETE FROM {baselines} WHERE sequence = ?", [sequence])
    for kept, staged in parts.items():
        connection.execute(f"INSERT INTO {kept} BY NAME SELECT ?::VARCHAR AS baseline_id, * FROM {staged}", [baseline_id])
    connection.execute(
        f"INSERT INTO {baselines} BY NAME SELECT ?::VARCHAR AS baseline_id, ?::INTEGER AS sequence, ?::DATE AS valid_from, "
        "min(day) AS first_day, max(day) AS last_day, coalesce(sum(row_count) FILTER (feature = ?), 0)::BIGINT AS row_count, "
        "?::VARCHAR AS model_version, ?::VARCHAR AS metric, ?::DOUBLE AS metric_value FROM staged_profiles WHERE segment IS NULL",
        [baseline_id, sequence, valid_from, next(iter(spec.features)), model_version, metric, metric_value],
    )
    return select_baselines(connection, spec, "sequence = ?", [sequence])[0]
