"""The costs of monitoring: seconds, rows and bytes per day and asset in the table `costs`, and the report made from them.

Showing costs in Dagster is not done here. Bytes in the file are estimates: DuckDB compresses columns of many days together, so
a table's blocks are shared out over its rows.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.object_storage import is_object
from monitoring_assets.retention.forgetting import RAW_TABLES, first_day_kept
from monitoring_assets.sql_text import ROWS_ELSEWHERE, days_held, on_days, stored_table
from monitoring_assets.warehouse import replace_days, table, transaction
from monitoring_assets.warehouse_tables import tables_of

# Assets whose source delivers files.
DELIVERED = ("inference_log", "labels")
PROFILE_TABLE = "daily_profile"
# Tables that an asset fills beside its own; their bytes are part of its cost.
FILLED_BESIDE = {
    "inference_log": ("serving",),
    "daily_profile": ("daily_sample",),
    "drift_scores": ("drift_verdicts",),
    "performance": ("performance_counts",),
}
# What the report shows as an example, where the monitor keeps raw rows for ever.
EXAMPLE_RETAIN_DAYS = (30, 90, 365)


@dataclass(frozen=True)
class DayCost:
    """What one day of an asset cost; see `costs` in `warehouse_tables.TABLES` for the meaning of each field."""

    day: date
    seconds: float
    source_bytes: int | None
    stored_rows: int
    stored_bytes: int | None


@contextmanager
def measured_cost(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str, days: Sequence[date], seconds_before: float = 0.0
) -> Iterator[list[DayCost]]:
    """Time the block, and when it succeeds replace the rows of these days in `costs`.

    `seconds_before` were spent on these days before, without the warehouse. Yields a list that is empty inside and holds the
    days' costs afterwards. `asset` is also the name of its table; what it fills beside that counts in bytes, not in rows.
    """
    found: list[DayCost] = []
    begun = time.perf_counter()
    yield found
    if not days:
        return
    seconds = (seconds_before + time.perf_counter() - begun) / len(days)
    delivered = _source_bytes(connection, spec, asset, days)
    per_row = _estimated_bytes_per_row(connection, spec, asset)
    rows = dict(connection.execute(f"FROM {days_held(spec, asset, on_days(days))}").fetchall())
    for day in days:
        stored = rows.get(day, 0)
        found.append(DayCost(day, seconds, delivered.get(day), stored, None if per_row is None else round(stored * per_row)))
    columns = "? AS day, ? AS asset, ? AS seconds, ? AS run_days, ? AS source_bytes, ? AS stored_rows, ? AS stored_bytes"
    with transaction(connection):
        target = table(spec, "costs")
        replace_days(connection, target, days, f"FROM {target} LIMIT 0", f"asset = '{asset}'")
        connection.executemany(
            f"INSERT INTO {target} BY NAME SELECT {columns}",
            [(c.day, asset, c.seconds, len(days), c.source_bytes, c.stored_rows, c.stored_bytes) for c in found],
        )


def _estimated_bytes_per_row(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str) -> float | None:
    """The newest measurement. Measuring reads the layout of the whole table, so it is repeated only when the rows have
    doubled."""
    filled = (asset, *FILLED_BESIDE.get(asset, ()))
    if spec.rows is not None and asset in ROWS_ELSEWHERE:
        sizes, counted = bytes_per_row(connection, spec, filled), {name: _rows_held(connection, spec, name) for name in filled}
        return sum(counted[name] * (sizes[name] or 0.0) for name in filled) / counted[asset] if counted[asset] else None
    if hasattr(connection, "stored_sizes"):  # a server knows at once
        held = connection.stored_sizes(spec.name, filled)
        return sum(size for size, _ in held.values()) / held[asset][1] if held[asset][1] else None
    ((rows, rows_before, per_row),) = connection.execute(
        f"SELECT (SELECT count(*) FROM {table(spec, asset)}), sum(stored_rows), "
        f"arg_max(stored_bytes / stored_rows, day) FILTER (stored_bytes > 0) FROM {table(spec, 'costs')} WHERE asset = ?",
        [asset],
    ).fetchall()
    if per_row is None or rows.bit_length() > int(rows_before).bit_length():
        sizes = bytes_per_row(connection, spec, filled)
        counted = {name: _rows_held(connection, spec, name) for name in filled}
        return sum(counted[name] * (sizes[name] or 0.0) for name in filled) / rows if rows else None
    return float(per_row)


def _rows_held(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, name: str) -> int:
    if spec.rows is None or name not in ROWS_ELSEWHERE:
        return int(connection.execute(f"SELECT count(*) FROM {table(spec, name)}").fetchall()[0][0])
    ((rows,),) = connection.execute(f"SELECT coalesce(sum(row_count), 0) FROM {days_held(spec, name)}").fetchall()
    return int(rows)


def _source_bytes(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, asset: str, days: Sequence[date]) -> dict[date, int]:
    """Size of the files that a day was delivered in; a file of several days counts for each with an equal share."""
    if asset not in DELIVERED:
        return {}
    files = connection.execute(
        f"WITH listed AS (SELECT day, unnest(sources) AS file FROM {table(spec, 'deliveries')} WHERE asset = ?) "
        "SELECT day, file, count(*) OVER (PARTITION BY file) FROM listed "
        "QUALIFY day IN (SELECT unnest(?::DATE[]))",
        [asset, list(days)],
    ).fetchall()
    watched = f"SELECT DISTINCT path, size_bytes FROM {table(spec, 'arrivals')} WHERE asset = ? AND is_read"
    sizes = dict(connection.execute(watched, [asset]).fetchall()) if any(is_object(file) for _, file, _ in files) else {}
    shares: dict[date, float] = {}
    for day, file, of_days in files:
        with suppress(OSError, KeyError):  # it is at another address, or was removed after it was read
            size = sizes[file] if is_object(file) else Path(file).stat().st_size
            shares[day] = shares.get(day, 0.0) + size / of_days
    return {day: round(share) for day, share in shares.items()}


def bytes_per_row(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, names: Sequence[str]) -> dict[str, float | None]:
    """Bytes per row of each table in the file: the blocks that hold the table, over its rows; None for an empty table.

    Rows deleted since the file was last compacted still take their blocks, so the rows that are left look larger. In a shared
    warehouse it is what the server says a table and its indexes take.
    """
    if spec.rows is not None and not set(names).isdisjoint(ROWS_ELSEWHERE):
        others = [name for name in names if name not in ROWS_ELSEWHERE]
        record = f"SELECT table_name, sum(size_bytes) / sum(row_count) FROM {table(spec, 'row_files')} GROUP BY table_name"
        in_files = dict.fromkeys(names) | dict(connection.execute(record).fetchall())
        return in_files | bytes_per_row(connection, spec, others)
    if hasattr(connection, "stored_sizes"):
        return {name: size / rows if rows else None for name, (size, rows) in connection.stored_sizes(spec.name, names).items()}
    with suppress(duckdb.TransactionException):  # rows another transaction writes are not in the file yet; they come next time
        connection.execute("CHECKPOINT")
    ((block_size,),) = connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()
    found: dict[str, float | None] = {}
    for name in names:
        of = table(spec, name)
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {of}").fetchall()  # a shared warehouse has what was named before
        ((blocks,),) = connection.execute(
            "SELECT count(DISTINCT block) FROM (SELECT unnest(list_append(additional_block_ids, block_id)) AS block "
            "FROM pragma_storage_info(?)) WHERE block >= 0",
            [of],
        ).fetchall()
        found[name] = blocks * block_size / rows if rows else None
    return found


@dataclass(frozen=True)
class MonthCost:
    """A calendar month: rows in the log, bytes of its files, bytes the warehouse holds of it now, and seconds spent."""

    month: str
    rows: int
    source_bytes: int
    raw_bytes: int
    profile_bytes: int
    result_bytes: int
    seconds: float


@dataclass(frozen=True)
class Freed:
    """What would be deleted if raw rows were kept for so many days."""

    retain_days: int
    days: int
    bytes: int


@dataclass(frozen=True)
class CostReport:
    """`requests` are those the logged rows stand for, NULL without `sampling_weight`; `forgotten_days` have no raw rows left;
    `other_bytes` is what belongs to no month: baselines, thresholds, grids, and what else has no day of the log."""

    months: list[MonthCost]
    requests: float | None
    logged_rows: int
    forgotten_days: int
    freed: list[Freed] = field(default_factory=list)
    other_bytes: int = 0

    @property
    def raw_bytes_per_row(self) -> float:
        raw, rows = sum(m.raw_bytes for m in self.months), sum(m.rows for m in self.months)
        return raw / rows if rows else 0.0


def cost_report(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> CostReport:
    """What a monitor costs by month, what sampling saves, and what retention would free."""
    tables = tables_of(spec)
    sizes = bytes_per_row(connection, spec, list(tables))
    by_month: dict[str, dict[str, float]] = {}
    other = 0.0
    for name, columns in tables.items():
        of = "raw" if name in RAW_TABLES else "profile" if name == PROFILE_TABLE else "result"
        month = "strftime(day, '%Y-%m')" if "day" in columns and not name.startswith("baseline") else "NULL"
        counted = f"SELECT {month} AS month, count(*) FROM {stored_table(spec, name)} GROUP BY month"
        if name in ROWS_ELSEWHERE:
            counted = f"SELECT {month} AS month, sum(row_count)::BIGINT FROM {days_held(spec, name)} GROUP BY month"
        for named, rows in connection.execute(counted).fetchall():
            size = rows * (sizes[name] or 0.0)
            if named is None:
                other += size
            else:
                sums = by_month.setdefault(named, {})
                sums[of] = sums.get(of, 0.0) + size
    for sql in (
        f"SELECT strftime(day, '%Y-%m'), 'rows', sum(accepted_rows) FROM {table(spec, 'deliveries')} "
        "WHERE asset = 'inference_log' GROUP BY ALL",
        f"SELECT strftime(day, '%Y-%m'), 'seconds', sum(seconds) FROM {table(spec, 'costs')} GROUP BY ALL",
        f"SELECT strftime(day, '%Y-%m'), 'source', sum(source_bytes) FROM {table(spec, 'costs')} GROUP BY ALL",
    ):
        for month, of, value in connection.execute(sql).fetchall():
            by_month.setdefault(month, {})[of] = float(value or 0)
    months = [_month(month, sums) for month, sums in sorted(by_month.items())]
    forgotten = f"SELECT count(*) FROM {table(spec, 'deliveries')} WHERE asset = 'inference_log' AND forgotten"
    ((gone,),) = connection.execute(forgotten).fetchall()
    return CostReport(months, *_sampled(connection, spec), gone, list(_freed(connection, spec, sizes)), round(other))


def _month(month: str, sums: dict[str, float]) -> MonthCost:
    rows, source, raw, profile, result = (round(sums.get(of, 0)) for of in ("rows", "source", "raw", "profile", "result"))
    return MonthCost(month, rows, source, raw, profile, result, sums.get("seconds", 0.0))


def _sampled(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec) -> tuple[float | None, int]:
    """Requests that the profiled rows stand for, and the rows; from profiles, which outlive the rows."""
    ((requests, rows),) = connection.execute(
        "SELECT sum(null_count + nan_count + infinite_count + coalesce(list_sum(counts), 0)), "
        f"coalesce(sum(row_count), 0)::BIGINT FROM {table(spec, PROFILE_TABLE)} WHERE segment IS NULL AND feature = ?",
        [next(iter(spec.features))],
    ).fetchall()
    return (requests if spec.sampling_weight else None), rows


def _freed(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, sizes: dict[str, float | None]) -> Iterator[Freed]:
    wanted = [days for days in EXAMPLE_RETAIN_DAYS if days >= spec.minimum_retain_days] or [spec.minimum_retain_days]
    for retain in [spec.retain_days] if spec.retain_days else wanted:
        first = first_day_kept(connection, spec, retain)
        counts = [
            (
                name,
                *connection.execute(
                    f"SELECT coalesce(sum(row_count), 0), count(*) FROM {days_held(spec, name)} WHERE day < ?", [first]
                ).fetchall()[0],
            )
            for name in RAW_TABLES
        ]
        size = sum(rows * (sizes[name] or 0.0) for name, rows, _ in counts)
        yield Freed(retain, max(days for _, _, days in counts), round(size))
