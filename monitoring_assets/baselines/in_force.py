"""The baseline in force on a day: a promotion puts a baseline in force, a refusal discards it.

A baseline counts from `valid_from` on. A day is always scored against the baseline in force on that day, so scoring history
again gives the same table. `building.py` makes baselines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.errors import BaselineMissing
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import table, transaction


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


def put_in_force(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, model_version: str, valid_from: date) -> Baseline:
    """Put the baseline of a promoted model in force from a day on. Repeating it changes nothing.

    Raises
    ------
    BaselineMissing
        When no baseline was made with the model.
    """
    found = select_baselines(connection, spec, "model_version = ?", [model_version])
    if not found:
        raise BaselineMissing(f"model version {model_version} of {spec.name} has no baseline; retrain to make one")
    if found[0].valid_from is None:
        connection.execute(
            f"UPDATE {table(spec, 'baselines')} SET valid_from = ? WHERE sequence = ?", [valid_from, found[0].sequence]
        )
    return select_baselines(connection, spec, "sequence = ?", [found[0].sequence])[0]


def discard_candidate_baseline(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, model_version: str) -> None:
    """Delete the baseline of a refused candidate."""
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
    """Each baseline with the days on which it is in force: of those valid on a day, the latest made.

    Raises
    ------
    BaselineMissing
        When there is none at all, or none that goes back to one of the days.
    """
    valid = select_baselines(connection, spec, "valid_from IS NOT NULL", [])
    if not valid:
        raise BaselineMissing(
            f"{spec.name} has no reference baseline yet. "
            f"Materialise the asset {spec.name}/reference_baseline, then run this again."
        )
    judged: dict[int, tuple[Baseline, list[date]]] = {}
    for day in days:
        current = next((b for b in valid if b.valid_from and b.valid_from <= day), None)
        if current is None:
            raise BaselineMissing(
                f"no baseline of {spec.name} was in force on {day}, the earliest is from {valid[-1].valid_from}. "
                f"Materialise the asset {spec.name}/reference_baseline, then run this again."
            )
        judged.setdefault(current.sequence, (current, []))[1].append(day)
    return list(judged.values())


def select_baselines(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, where: str, parameters: list[object]
) -> list[Baseline]:
    columns = ", ".join(Baseline.__dataclass_fields__)
    rows = connection.execute(
        f"SELECT {columns} FROM {table(spec, 'baselines')} WHERE {where} ORDER BY sequence DESC", parameters
    ).fetchall()
    return [Baseline(*row) for row in rows]
