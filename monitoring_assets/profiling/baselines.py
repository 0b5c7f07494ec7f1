"""Baselines: what current days are compared with. Made from a reference's rows, or from profiles when a model is promoted.

A baseline is kept as its daily profiles, so its day-to-day variation stays known. It counts from `valid_from` on; a day is
always scored against the baseline that was in force on it, so scoring history again gives the same table.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.errors import BaselineMissing
from monitoring_assets.ingestion.reference import REFERENCE_ROWS, stage_reference
from monitoring_assets.monitor_spec import CONFIDENCE, MonitorSpec
from monitoring_assets.profiling.day_facts import copy_first_facts, write_day_facts
from monitoring_assets.profiling.grid import CategoryGrid, Grid, NumericGrid
from monitoring_assets.profiling.kernel import fit_grids, write_profiles
from monitoring_assets.profiling.refinement import refine_profiles
from monitoring_assets.profiling.sample import write_samples
from monitoring_assets.profiling.watched import watched_rows
from monitoring_assets.warehouse import quoted, table, transaction
from monitoring_assets.warehouse_tables import PROFILE_COLUMNS, tables_of


@dataclass(frozen=True)
class Baseline:
    """A row of the table `baselines`; see `warehouse_tables.TABLES` for the meaning of each field."""

    baseline_id: str
    sequence: int
    valid_from: date | None
    first_day: date
    last_day: date
    row_count: int
    model_version: str | None
    metric: str | None
    metric_value: float | None


def build_reference_baseline(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> Baseline:
    """Make the first baseline from the reference, in place of an earlier first one. It is in force from the beginning."""
    reference = stage_reference(connection, spec)
    columns = dict(spec.watched_columns)
    rows = watched_rows(spec, REFERENCE_ROWS)
    if not reference.has_prediction:
        columns, rows = {name: kind for name, kind in columns.items() if name in spec.features}, REFERENCE_ROWS
    _stage(connection, spec)
    with transaction(connection):
        grids = ensure_grids(connection, spec, rows, columns)
        write_profiles(connection, "staged_profiles", rows, columns, grids, spec.segments, spec.sampling_weight)
        refine_profiles(connection, spec, "staged_profiles", rows, columns)
        write_samples(connection, "staged_sample", REFERENCE_ROWS, spec.id, list(spec.features), spec.sampling_weight)
        baseline = _store(connection, spec, 0, date.min.replace(year=1970), None, None, None)
        write_day_facts(connection, spec, baseline.baseline_id, REFERENCE_ROWS)
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
    where the monitor has one. The features' profiles are
    those the training days already have; no raw row is read. It is not in force before `put_in_force`.
    """
    _stage(connection, spec)
    first, last = predictions["day"].min(), predictions["day"].max()
    columns, rows = dict.fromkeys(spec.prediction.watched, "numeric"), watched_rows(spec, "candidate_predictions")
    names = ", ".join(PROFILE_COLUMNS)
    connection.register("candidate_predictions", predictions)
    with transaction(connection):
        grids = ensure_grids(connection, spec, rows, columns)
        connection.execute(
            f"INSERT INTO staged_profiles BY NAME SELECT {names} FROM {table(spec, 'daily_profile')} "
            "WHERE day BETWEEN ? AND ? AND feature NOT IN (SELECT unnest(?::VARCHAR[]))",
            [first, last, list(columns)],
        )
        connection.execute(
            f"INSERT INTO staged_profiles BY NAME SELECT {names} FROM {table(spec, 'baseline_profiles')} "
            f"WHERE baseline_id = (SELECT baseline_id FROM {table(spec, 'baselines')} WHERE sequence = 0) "
            "AND day BETWEEN ? AND ? AND feature NOT IN (SELECT unnest(?::VARCHAR[])) "
            "AND day NOT IN (SELECT day FROM staged_profiles)",
            [first, last, list(columns)],
        )
        connection.execute(
            f"INSERT INTO staged_sample BY NAME FROM {table(spec, 'daily_sample')} WHERE day BETWEEN ? AND ?", [first, last]
        )
        connection.execute(
            f"INSERT INTO staged_sample BY NAME SELECT * EXCLUDE baseline_id FROM {table(spec, 'baseline_sample')} "
            f"WHERE baseline_id = (SELECT baseline_id FROM {table(spec, 'baselines')} WHERE sequence = 0) "
            "AND day BETWEEN ? AND ? AND day NOT IN (SELECT day FROM staged_sample)",
            [first, last],
        )
        write_profiles(connection, "staged_profiles", rows, columns, grids, spec.segments, spec.sampling_weight)
        refine_profiles(connection, spec, "staged_profiles", rows, columns)
        connection.unregister("candidate_predictions")
        # A retried run brings the baseline of the same version again: in place of its first try, never of one in force.
        earlier = _select(connection, spec, "model_version = ?", [model_version])
        if any(baseline.valid_from for baseline in earlier):
            return next(baseline for baseline in earlier if baseline.valid_from)
        newest = connection.execute(f"SELECT max(sequence) FROM {table(spec, 'baselines')}").fetchone()
        sequence = earlier[0].sequence if earlier else ((newest[0] if newest else None) or 0) + 1
        baseline = _store(connection, spec, sequence, None, model_version, metric, metric_value)
        rows = f"(SELECT * FROM {table(spec, 'inference_log')} WHERE day BETWEEN DATE '{first}' AND DATE '{last}')"
        write_day_facts(connection, spec, baseline.baseline_id, rows)
        copy_first_facts(connection, spec, baseline.baseline_id, first, last)
        return baseline


def put_in_force(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, model_version: str, valid_from: date) -> Baseline:
    """Let the baseline of a promoted model count from a day on. Repeating it changes nothing.

    Raises
    ------
    BaselineMissing
        When the model brought no baseline.
    """
    found = _select(connection, spec, "model_version = ?", [model_version])
    if not found:
        raise BaselineMissing(f"model version {model_version} of {spec.name} has no baseline; retrain to make one")
    if found[0].valid_from is None:
        connection.execute(
            f"UPDATE {table(spec, 'baselines')} SET valid_from = ? WHERE sequence = ?", [valid_from, found[0].sequence]
        )
    return _select(connection, spec, "sequence = ?", [found[0].sequence])[0]


def discard_candidate_baseline(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, model_version: str) -> None:
    """Forget the baseline of a refused candidate."""
    with transaction(connection):
        where = f"(SELECT baseline_id FROM {table(spec, 'baselines')} WHERE model_version = ? AND valid_from IS NULL)"
        for name in ("baseline_profiles", "baseline_sample", "baseline_facts"):
            connection.execute(f"DELETE FROM {table(spec, name)} WHERE baseline_id IN {where}", [model_version])
        connection.execute(
            f"DELETE FROM {table(spec, 'baselines')} WHERE model_version = ? AND valid_from IS NULL", [model_version]
        )


def baselines_in_force(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]
) -> list[tuple[Baseline, list[date]]]:
    """Each baseline with the days it judges: of those valid on a day, the latest made.

    Raises
    ------
    BaselineMissing
        When there is none at all, or none that goes back to one of the days.
    """
    valid = _select(connection, spec, "valid_from IS NOT NULL", [])
    if not valid:
        raise BaselineMissing(
            f"{spec.name} has no reference baseline yet. Materialise the asset {spec.name}/reference_baseline, then this again."
        )
    judged: dict[int, tuple[Baseline, list[date]]] = {}
    for day in days:
        current = next((b for b in valid if b.valid_from and b.valid_from <= day), None)
        if current is None:
            raise BaselineMissing(
                f"no baseline of {spec.name} was in force on {day}, the earliest is from {valid[-1].valid_from}. "
                f"Materialise the asset {spec.name}/reference_baseline, then this again."
            )
        judged.setdefault(current.sequence, (current, []))[1].append(day)
    return list(judged.values())


def ensure_grids(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: str, columns: dict[str, str]) -> dict[str, Grid]:
    """The monitor's grids; columns that have none get one now, for good, from the rows of a relation.

    A probability's range is known, so the grid of a score needs no rows and is the same for every model.
    """
    grids_table = table(spec, "profile_grids")
    grids: dict[str, Grid] = {}
    for name, lowers, uppers, scales, atoms, starts, categories in connection.execute(
        f"SELECT feature, lowers, uppers, scales, atoms, starts, categories FROM {grids_table} WHERE bin_lower IS NULL"
    ).fetchall():
        if categories is None:
            grids[name] = NumericGrid.stored(lowers, uppers, scales, atoms, starts)
        else:
            grids[name] = CategoryGrid(tuple(categories))
    missing = {name: kind for name, kind in columns.items() if name not in grids}
    made: dict[str, Grid] = {}
    for name, lowest in ((spec.prediction.score, 0.0), (CONFIDENCE, 0.5)):
        if name in missing:
            del missing[name]
            edges = np.linspace(lowest, 1.0, 1 + (1 << 13))
            made[name] = NumericGrid.fitted(edges, np.ones(len(edges)))
    made |= fit_grids(connection, rows, missing)
    for name, grid in made.items():
        values = [*grid.fields, None] if isinstance(grid, NumericGrid) else [None] * 5 + [list(grid.known)]
        connection.execute(f"INSERT INTO {grids_table} VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)", [name, *values])
    return grids | made


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
    return _select(connection, spec, "sequence = ?", [sequence])[0]


def _select(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, where: str, parameters: list[object]) -> list[Baseline]:
    columns = ", ".join(Baseline.__dataclass_fields__)
    rows = connection.execute(
        f"SELECT {columns} FROM {table(spec, 'baselines')} WHERE {where} ORDER BY sequence DESC", parameters
    ).fetchall()
    return [Baseline(*row) for row in rows]
