"""The rows of the first reference, from its own file or from a range of the log, as a temporary table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from monitoring_assets.engines.day_rows import Rows, StoredRows, logged_rows
from monitoring_assets.errors import BaselineMissing, SourceUnreadable
from monitoring_assets.ingestion.contract import create_judged
from monitoring_assets.ingestion.files import error_text
from monitoring_assets.ingestion.labels import RULES
from monitoring_assets.ingestion.prediction_log import weight_rules
from monitoring_assets.ingestion.sources import find_readings, prepare
from monitoring_assets.measuring.measure import Wanted
from monitoring_assets.measuring.ruled import PlainRule
from monitoring_assets.monitor_spec import MonitorSpec, Source, days_between
from monitoring_assets.retention.forgetting import forgotten_days
from monitoring_assets.row_storage.kept_rows import read_rows_of
from monitoring_assets.sql_text import days_accepted
from monitoring_assets.warehouse import include_rows, quoted, table

REFERENCE_ROWS = "reference_rows"


@dataclass(frozen=True)
class ReferenceRows:
    """What the reference's `rows` hold, and unless they lie in a lake the temporary table `reference_rows`: `day`, the features,
    the sampling weight where the monitor has one, and where they exist the prediction column and the label (under their own
    names). `broken_rows` of a reference file broke the contract and are left out. `without_values` are features the monitor was
    given after its first baseline was made, and of which the reference has no value."""

    first_day: date
    last_day: date
    row_count: int
    broken_rows: int
    has_prediction: bool
    has_label: bool
    rows: Rows
    without_values: tuple[str, ...] = ()


def stage_reference(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> ReferenceRows:
    """Fill `reference_rows`.

    Raises
    ------
    SourceUnreadable
        When the reference file is absent, damaged or lacks a column, but for a feature that was added since the first baseline.
    BaselineMissing
        When the reference holds no rows.
    """
    added = _features_added(connection, spec)
    if spec.is_in_lake and spec.reference.path is None:
        return _range_of_lake(connection, spec, added)
    if spec.reference.path:
        with TemporaryDirectory(prefix="monitoring-assets-") as folder:
            broken = _stage_file(connection, spec, added, Path(folder))
    else:
        broken = _stage_range(connection, spec)
    columns = [row[0] for row in connection.execute(f"DESCRIBE {REFERENCE_ROWS}").fetchall()]
    found = connection.execute(f"SELECT min(day), max(day), count(*) FROM {REFERENCE_ROWS}").fetchone()
    if found is None or not found[2]:
        raise _without_rows(spec, broken)
    has_label = spec.label is not None and spec.label.column in columns
    counts = connection.execute(
        "SELECT " + ", ".join(["0", *(f"count({quoted(name)})" for name in added)]) + f" FROM {REFERENCE_ROWS}"
    )
    empty = tuple(name for name, count in zip(added, counts.fetchall()[0][1:], strict=True) if not count)
    rows = StoredRows(spec, REFERENCE_ROWS)
    return ReferenceRows(found[0], found[1], found[2], broken, spec.prediction.column in columns, has_label, rows, empty)


def _features_added(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> list[str]:
    """The features that the first baseline does not hold; none while there is no baseline."""
    held = connection.execute(
        f"SELECT DISTINCT feature FROM {table(spec, 'baseline_profiles')} "
        f"WHERE baseline_id IN (SELECT baseline_id FROM {table(spec, 'baselines')} WHERE sequence = 0)"
    ).fetchall()
    return [name for name in spec.features if (name,) not in held] if held else []


def _stage_file(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, added: Sequence[str], folder: Path) -> int:
    needed = [spec.id, spec.event_time, *(name for name in spec.features if name not in added)]
    wanted = [*needed, *added, spec.prediction.column, spec.sampling_weight]
    types = {name: kind for name, kind in spec.log_columns.items() if name in wanted}
    if spec.label is not None:
        types[spec.label.column] = spec.label_type
    # A reference may lack predictions, weights (each row then stands for itself) and labels, which the log may not.
    optional = [name for name in types if name not in needed]
    prepare(connection, spec)
    readings, unreadable = find_readings(connection, spec, Source(path=str(spec.reference.path)), [], types, folder, optional)
    if unreadable:
        found = f"the reference of {spec.name}, {unreadable[0].file}: {unreadable[0].reason}"
        raise SourceUnreadable(f"{found}. Correct the file or `reference.path`.")
    present = {name: kind for name, kind in types.items() if all(name in reading.columns for reading in readings)}
    key, columns = quoted(spec.id), [quoted(name) for name in present]
    if spec.sampling_weight and spec.sampling_weight not in present:
        columns.append(f"1.0::DOUBLE AS {quoted(spec.sampling_weight)}")
    columns += [f"NULL::{spec.log_columns[name]} AS {quoted(name)}" for name in added if name not in present]
    rules = {**weight_rules(spec), **({spec.label.column: RULES[spec.task]} if spec.label else {})}
    rules = {name: rule for name, rule in rules.items() if name in present}
    try:
        create_judged(connection, "judged_reference", readings, present, spec.id, spec.event_time, None, None, rules)
        # As in the log, the first by content counts among rows with the same id and day.
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {REFERENCE_ROWS} AS SELECT day, {', '.join(columns)} "
            "FROM judged_reference WHERE __reason IS NULL "
            f"QUALIFY row_number() OVER (PARTITION BY day, {key} ORDER BY __source, __original) = 1 ORDER BY day, {key}"
        )
        counted = connection.execute("SELECT count(*) FROM judged_reference").fetchone()
    except duckdb.Error as error:
        files = ", ".join(file for reading in readings for file in reading.files)
        raise SourceUnreadable(
            f"the reference of {spec.name}, {files}, cannot be read: {error_text(error)}. Correct the file."
        ) from None
    kept = connection.execute(f"SELECT count(*) FROM {REFERENCE_ROWS}").fetchone()
    return (counted[0] if counted else 0) - (kept[0] if kept else 0)


def _without_rows(spec: MonitorSpec, broken: int) -> BaselineMissing:
    where = spec.resolve(spec.reference.path) if spec.reference.path else _range_text(spec)
    remedy = "" if spec.reference.path else f" Materialise {spec.name}/inference_log for those days first."
    return BaselineMissing(f"the reference of {spec.name} ({where}) holds no usable rows, of {broken} delivered.{remedy}")


def _range_of_lake(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, added: Sequence[str]) -> ReferenceRows:
    """A range of a log in a lake, whose rows stay there."""
    days = connection.execute(
        f"SELECT day, row_count FROM {days_accepted(spec)} WHERE day BETWEEN ? AND ? ORDER BY day",
        [spec.reference.first_day, spec.reference.last_day],
    ).fetchall()
    if not days:
        raise _without_rows(spec, 0)
    rows = logged_rows(connection, spec, [day for day, _ in days])
    total, empty = sum(count for _, count in days), dict.fromkeys(added, 0)
    if added:
        missing = {place: PlainRule("not_null", name) for place, name in enumerate(added)}
        for row in rows.tables(connection, Wanted(rules=missing))["ruled"].to_pylist():
            empty = {name: empty[name] + row[f"m{place}"] for place, name in enumerate(added)}
    without = tuple(name for name, count in empty.items() if count == total)
    return ReferenceRows(days[0][0], days[-1][0], total, 0, True, spec.label is not None, rows, without)


def _stage_range(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> int:
    first, last = spec.reference.first_day, spec.reference.last_day
    if first and last:
        read_rows_of(connection, days_between(first, last))
    gone = forgotten_days(connection, spec, days_between(first, last)) if first and last else set()
    if gone:
        raise BaselineMissing(
            f"the reference of {spec.name} ({_range_text(spec)}) cannot be made again: the raw rows of {len(gone)} of its days, "
            f"the first {min(gone)}, were deleted, as `retain_days` says. The stored baseline stays in force; materialise "
            f"{spec.name}/inference_log of those days first, if their source still has them."
        )
    label = f", l.label AS {quoted(spec.label.column)}" if spec.label else ""
    include_rows(connection, spec, days_between(first, last) if first and last else [])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {REFERENCE_ROWS} AS SELECT p.*{label} FROM {table(spec, 'inference_log')} p "
        f"LEFT JOIN {table(spec, 'labels')} l ON l.day = p.day AND l.prediction_id = p.{quoted(spec.id)} "
        "WHERE p.day BETWEEN ? AND ?",
        [spec.reference.first_day, spec.reference.last_day],
    )
    return 0


def _range_text(spec: MonitorSpec) -> str:
    first, last = spec.reference.first_day, spec.reference.last_day
    if first is None or last is None:
        return "no range"
    return f"{first} to {last}, {len(days_between(first, last))} days of the log"
