"""Reading what a source holds for some days into a file of this machine, before the warehouse is opened.

The warehouse stays free while a slow source is read. Each row is judged on its own here; `delivery.py` judges rows against
what is stored, stores them and accounts for them.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from monitoring_assets.ingestion.arrivals import bounds_of
from monitoring_assets.ingestion.contract import Rules, create_judged
from monitoring_assets.ingestion.present_files import ArrivedFile, files_of_days
from monitoring_assets.ingestion.sources import Reading, Unreadable, find_readings, prepare, without_damaged
from monitoring_assets.monitor_spec import MonitorSpec, Source
from monitoring_assets.sql_text import literal, on_days, quoted

# Temporary views: the rows as the source holds them, and as they were staged.
SOURCE_ROWS, STAGED_ROWS = "source_rows", "staged_rows"

# What reading a day, and then storing it, may hold in memory; the rest goes to disk.
MEMORY_LIMIT = "450MB"
# Rows a writer holds in memory at once; DuckDB's 122,880 of them take 100 MB more where rows are wide.
ROW_GROUP_ROWS = 20_480


@dataclass(frozen=True)
class Contract:
    """What a source must deliver for an asset, and how it is stored.

    `types`: column -> wanted type. `stored`: column of the asset's table -> SQL over the typed columns. `rules` judge single
    values; `judged` is a query over `STAGED_ROWS` that judges them against what the warehouse holds, None where nothing does.
    """

    asset: str
    types: Mapping[str, str]
    event_time: str | None
    stored: Mapping[str, str]
    rules: Rules = field(default_factory=dict)
    judged: str | None = None


@dataclass(frozen=True)
class Counted:
    """What a source holds for one day: rows, sound ones, ids among those, and the files."""

    delivered: int
    sound: int
    distinct: int
    sources: list[str]


@dataclass(frozen=True)
class Staged:
    """What a source held for these days when it was read.

    `rows` is a Parquet file: `day`, the typed columns, `__reason` (NULL for a row that is sound on its own), `__source`, and
    `__original` of those rows that may end in quarantine. `files` are the files as they were before the reading; `counted` is
    None where rows must still be judged against the warehouse.
    """

    contract: Contract
    source: Source
    days: Sequence[date]
    rows: Path
    files: Sequence[ArrivedFile]
    readings: Sequence[Reading]
    unreadable: Sequence[Unreadable]
    counted: Mapping[date, Counted] | None
    seconds: float

    @property
    def relation(self) -> str:
        return _scan(self.rows)


@contextmanager
def staged(spec: MonitorSpec, contract: Contract, source: Source, days: Sequence[date]) -> Iterator[Staged]:
    """Read what a source holds for these days. The file is gone afterwards.

    It lies where the system keeps temporary files (`TMPDIR`), and so does what exceeds `MEMORY_LIMIT` meanwhile.
    """
    with TemporaryDirectory(prefix="monitoring-assets-") as folder:
        yield _read(spec, contract, source, days, Path(folder))


def reading_connection(folder: Path) -> duckdb.DuckDBPyConnection:
    """A separate connection for reading sources; what exceeds its memory goes to the folder."""
    connection = duckdb.connect(config={"temp_directory": str(folder / "spilled")})
    connection.execute("SET enable_progress_bar = false")
    return connection


def _read(spec: MonitorSpec, contract: Contract, source: Source, days: Sequence[date], folder: Path) -> Staged:
    begun = time.perf_counter()
    with reading_connection(folder) as connection, bounded_memory(connection):
        prepare(connection, spec)
        files = files_of_days(connection, spec, source, days)
        readings, unreadable = find_readings(connection, spec, source, days, contract.types, folder)
        try:
            rows, counted = _write(connection, spec, contract, days, readings, folder)
        except duckdb.Error:
            sound, damaged = without_damaged(connection, readings)
            if sound == readings:
                raise
            readings, unreadable = sound, [*unreadable, *damaged]
            rows, counted = _write(connection, spec, contract, days, readings, folder)
    seconds = time.perf_counter() - begun
    return Staged(contract, source, days, rows, files, readings, unreadable, counted, seconds)


def _write(
    connection: duckdb.DuckDBPyConnection,
    spec: MonitorSpec,
    contract: Contract,
    days: Sequence[date],
    readings: Sequence[Reading],
    folder: Path,
) -> tuple[Path, Mapping[date, Counted] | None]:
    """Write the rows, with the originals of those that may be quarantined. Repeated ids show only in the count, so a day that
    has some is written twice."""
    bounds = bounds_of(spec, days)
    create_judged(connection, SOURCE_ROWS, readings, contract.types, spec.id, contract.event_time, days, bounds, contract.rules)
    rows = folder / "rows.parquet"
    if contract.judged is not None:
        _copy(connection, rows, "true")
        return rows, None
    _copy(connection, rows, "__reason IS NOT NULL")
    counted = count(connection, spec, readings, _scan(rows))
    repeating = [day for day, of_day in counted.items() if of_day.sound > of_day.distinct]
    if repeating:
        key, with_repeats = quoted(spec.id), folder / "rows-with-repeats.parquet"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE repeated_ids AS SELECT day, {key} FROM {_scan(rows)} "
            f"WHERE __reason IS NULL AND {on_days(repeating)} GROUP BY ALL HAVING count(*) > 1"
        )
        _copy(connection, with_repeats, f"__reason IS NOT NULL OR (day, {key}) IN (FROM repeated_ids)")
        rows, counted = with_repeats, count(connection, spec, readings, _scan(with_repeats))
    return rows, counted


def _copy(connection: duckdb.DuckDBPyConnection, rows: Path, keeps_original: str) -> None:
    connection.execute(
        f"COPY (SELECT * REPLACE (CASE WHEN {keeps_original} THEN __original END AS __original) FROM {SOURCE_ROWS}) "
        f"TO {literal(str(rows))} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
    )


def _scan(rows: Path) -> str:
    return f"read_parquet({literal(str(rows))}, hive_partitioning = false)"


def count(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, readings: Sequence[Reading], rows: str
) -> dict[date, Counted]:
    """What a relation of judged rows holds per day. Ids are compared by hash: a later, exact step finds which are repeated."""
    sources = "list(DISTINCT __source ORDER BY __source)" if any(None in r.files.values() for r in readings) else "NULL"
    found = connection.execute(
        f"SELECT day, count(*), count(*) FILTER (__reason IS NULL), "
        f"count(DISTINCT hash({quoted(spec.id)})) FILTER (__reason IS NULL), {sources} FROM {rows} GROUP BY day"
    ).fetchall()
    of_day: dict[date, list[str]] = {}
    for reading in readings:
        for file, day in reading.files.items():
            if day is not None:
                of_day.setdefault(day, []).append(file)
    return {day: Counted(total, sound, distinct, files or of_day.get(day, [])) for day, total, sound, distinct, files in found}


@contextmanager
def bounded_memory(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    try:
        yield
    finally:
        connection.execute("RESET memory_limit")
