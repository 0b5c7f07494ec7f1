"""What runs inside a Spark executor: Arrow batches into a DuckDB in memory, judged by the contract, measured, small tables out.

An executor needs this package with DuckDB, pyarrow, NumPy, pydantic and tenacity, of the driver's versions, and no other.
Nothing of Spark is imported here; asking Spark is `lake.py`'s.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version

import duckdb
import numpy as np
import pyarrow as pa

from monitoring_assets.ingestion.contract import Rules, create_judged
from monitoring_assets.ingestion.files import SOURCE_FILE, Layout
from monitoring_assets.ingestion.labels import known_ids_sql, labelled_log, measured_columns, stored_label
from monitoring_assets.ingestion.sources import Reading, prepare
from monitoring_assets.measuring.delivered import REPEATED_ID, delivered
from monitoring_assets.measuring.labelled import segments_of
from monitoring_assets.measuring.measure import Tables, Wanted, measure, merge
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.sql_text import literal, quoted

# Rows that are measured at once, and tables of how many such batches are added up at once.
ROWS_AT_ONCE, BATCHES_AT_ONCE = 250_000, 16
PACKED = "content binary"
UNLIKE = "monitoring-assets: this executor is unlike the driver: "
# The views and tables of a batch: as it arrived, judged, and the identities left out of it.
ARRIVED, DELIVERED, JUDGED, LEFT_OUT = "arrived_rows", "delivered_rows", "judged_rows", "left_out"


def versions() -> dict[str, str]:
    """What must be the same in the driver and in every executor, for results to be the same."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in ("duckdb", "pyarrow", "monitoring-assets"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass(frozen=True)
class Lake:
    """How the rows of a table are read: what the contract asks of them, and which days.

    `left_out` are the identities (`identity_sql`) of rows that are measured elsewhere. `driver` are the driver's `versions`.
    """

    spec: MonitorSpec
    source: str
    day_column: str
    types: Mapping[str, str]
    event_time: str | None
    rules: Rules
    days: tuple[date, ...]
    left_out: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    driver: Mapping[str, str] = field(default_factory=versions)

    @property
    def files(self) -> dict[str, date | None]:
        """By the name that rows of a day have as their source, the day."""
        return {self.source_of(day): day for day in self.days}

    def source_of(self, day: date) -> str:
        return f"{self.source} ({day})"

    @property
    def identity_sql(self) -> str:
        """SQL over typed rows that is the same for rows that may be one row delivered twice."""
        return f"hash(day, {quoted(self.spec.id)})"

    def judge(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> None:
        """Make the view `DELIVERED`: these rows, each judged on its own (`create_judged`)."""
        is_asked_for = self.day_column in self.types
        connection.register(ARRIVED, rows)
        columns = "*" if is_asked_for else f"* EXCLUDE ({quoted(self.day_column)})"
        name = f"{literal(self.source + ' (')} || {quoted(self.day_column)}::DATE || ')'"
        by_day = f"SELECT {columns}, {name} AS {SOURCE_FILE} FROM {ARRIVED}"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW arrived_by_day AS {by_day}")
        described = connection.execute("DESCRIBE SELECT * FROM arrived_by_day").fetchall()
        columns_found = tuple((row[0], row[1]) for row in described if row[0] != SOURCE_FILE)
        reading = Reading(Layout("arrow", columns_found, table="arrived_by_day"), self.files, {})
        id_, at = self.spec.id, self.event_time
        create_judged(connection, DELIVERED, [reading], self.types, id_, at, self.days, None, self.rules)


@contextmanager
def connected(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in this executor's memory, with one thread: Spark runs as many tasks as there are cores."""
    here = versions()
    unlike = [f"{name} {here[name]}, the driver has {wanted}" for name, wanted in lake.driver.items() if here[name] != wanted]
    if unlike:
        raise RuntimeError(UNLIKE + "; ".join(unlike))
    with duckdb.connect(config={"threads": 1}) as connection:
        prepare(connection, lake.spec)
        connection.register(LEFT_OUT, pa.table({"identity": lake.left_out}))
        yield connection


def measured_batches(lake: Lake, wanted: Wanted, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A task: the tables of all its rows, packed as one row."""
    with connected(lake) as connection:
        found = added(connection, lake, wanted, (measured(connection, lake, wanted, rows) for rows in gathered(batches)))
    if found:
        yield packed(found)


def added_tasks(lake: Lake, wanted: Wanted, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A reducing task: the tables of several tasks as those of all their rows."""
    with connected(lake) as connection:
        found = added(connection, lake, wanted, (tables for batch in batches for tables in unpacked(batch)))
    if found:
        yield packed(found)


def added(connection: duckdb.DuckDBPyConnection, lake: Lake, wanted: Wanted, parts: Iterable[Tables]) -> Tables:
    """The tables of all rows, from those of batches, of which few are held at once."""
    held: list[Tables] = []
    for tables in parts:
        held.append(tables)
        if len(held) == BATCHES_AT_ONCE:
            held = [merge(connection, held, lake.spec, wanted)]
    return merge(connection, held, lake.spec, wanted) if held else {}


def measured(connection: duckdb.DuckDBPyConnection, lake: Lake, wanted: Wanted, rows: pa.Table) -> Tables:
    """The tables of one batch, without the rows that are left out."""
    lake.judge(connection, rows)
    within = f"({lake.identity_sql} NOT IN (FROM {LEFT_OUT}) OR __reason IS NOT NULL)" if len(lake.left_out) else "true"
    if wanted.delivered is not None:
        columns = "* REPLACE (CASE WHEN __reason IS NOT NULL THEN __original END AS __original)"
    else:
        columns, within = "* EXCLUDE (__reason, __source, __original)", f"__reason IS NULL AND {within}"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {JUDGED} AS SELECT {columns} FROM {DELIVERED} WHERE {within}")
    connection.unregister(ARRIVED)
    return measure(connection, JUDGED, lake.spec, wanted)


def left_out_rows(lake: Lake, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A task: its sound rows that the others leave out, judged and with all they were delivered with."""
    yield from _selected(lake, batches, "*", f"__reason IS NULL AND {lake.identity_sql} IN (FROM {LEFT_OUT})")


def accepted_rows(
    lake: Lake, columns: Sequence[str], condition: str, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """A task: `day` and some columns of the accepted rows that meet a condition."""
    within = f"__reason IS NULL AND {lake.identity_sql} NOT IN (FROM {LEFT_OUT}) AND ({condition})"
    yield from _selected(lake, batches, ", ".join(["day", *columns]), within)


def _selected(lake: Lake, batches: Iterable[pa.RecordBatch], columns: str, condition: str) -> Iterator[pa.RecordBatch]:
    with connected(lake) as connection:
        for rows in gathered(batches):
            lake.judge(connection, rows)
            found = connection.sql(f"SELECT {columns} FROM {DELIVERED} WHERE {condition}").to_arrow_table()
            if found.num_rows:
                yield packed({"rows": found})


def columns_joined(spec: MonitorSpec) -> list[str]:
    """The log's columns that performance is measured from."""
    p = spec.prediction
    names = [spec.id, p.column, p.predicted_class, p.model_version, spec.sampling_weight, *segments_of(spec)]
    return list(dict.fromkeys(name for name in names if name))


def bucketed(
    lake: Lake, side: str, columns: Sequence[str], buckets: int, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """A task: its rows, of the log the accepted ones, divided among buckets so that rows of one day and id share one."""
    within = f"__reason IS NULL AND {lake.identity_sql} NOT IN (FROM {LEFT_OUT})" if side == "log" else "true"
    listed = ", ".join(columns if "*" in columns else ["day", *columns])
    with connected(lake) as connection:
        for rows in gathered(batches):
            lake.judge(connection, rows)
            bucket = f"({lake.identity_sql} % {buckets})::INTEGER AS __bucket"
            found = connection.sql(
                f"SELECT {bucket}, {listed} FROM {DELIVERED} WHERE {within} ORDER BY __bucket"
            ).to_arrow_table()
            numbers = found["__bucket"].to_numpy()
            for number in np.unique(numbers):
                first, end = np.searchsorted(numbers, [number, number + 1])
                part = _stream(found.slice(first, end - first).drop_columns("__bucket"))
                yield pa.record_batch({"bucket": pa.array([number], pa.int32()), "side": [side], "content": [part]})


@dataclass(frozen=True)
class Joining:
    """What is asked of predictions and their labels: tables, or rows, of which the `columns` of so large a `share` is drawn, the
    same every time."""

    wanted: Wanted
    columns: tuple[str, ...] = ()
    share: float = 1.0

    def columns_read(self, spec: MonitorSpec) -> list[str]:
        return list(dict.fromkeys([*columns_joined(spec), *self.columns]))


def joined(
    lake: Lake, asked: Joining, buckets: int, resolved: pa.Table, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """A task: the labels of its buckets judged against the predictions, and both measured. `resolved` are the accepted
    predictions whose id occurred more than once; each belongs to one bucket."""
    sides: dict[str, list[pa.Table]] = {"log": [], "labels": []}
    mine: set[int] = set()
    for batch in batches:
        mine |= set(batch["bucket"].to_pylist())
        for side, content in zip(batch["side"].to_pylist(), batch["content"], strict=True):
            sides[side].append(_table(content))
    if not mine:
        return
    with connected(lake) as connection:
        connection.register("resolved_predictions", resolved)
        own = connection.sql(
            f"FROM resolved_predictions WHERE {lake.identity_sql} % {buckets} IN ({', '.join(map(str, sorted(mine)))})"
        ).to_arrow_table()
        yield packed(joined_part(connection, lake, asked, own, sides["log"], sides["labels"]))


def joined_part(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    asked: Joining,
    resolved: pa.Table,
    log: Sequence[pa.Table],
    labels: Sequence[pa.Table],
) -> Tables:
    """The tables of some predictions and of the delivered labels of the same ids."""
    spec, wanted = lake.spec, asked.wanted
    kept = resolved.select(["day", *asked.columns_read(spec)])
    connection.register("predictions", pa.concat_tables([kept, *(part.cast(kept.schema) for part in log)]))
    lake.judge(connection, pa.table({name: pa.array([], pa.string()) for name in {*lake.types, lake.day_column}}))
    empty = connection.sql(f"FROM {DELIVERED}").to_arrow_table()
    connection.register("delivered_labels", pa.concat_tables([empty, *(part.cast(empty.schema) for part in labels)]))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE known_labels AS {known_ids_sql(spec, 'delivered_labels', 'predictions')}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE judged_labels AS {first_of_each_id('known_labels', spec.id)}")
    found = delivered(connection, "judged_labels", wanted.delivered) if wanted.delivered is not None else {}
    stored = ", ".join(f"{sql} AS {name}" for name, sql in stored_label(spec).items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE accepted_labels AS SELECT day, {stored} FROM judged_labels WHERE __reason IS NULL"
    )
    if asked.columns:
        columns = ", ".join(f"p.{quoted(name)}" for name in asked.columns)
        drawn = "true" if asked.share >= 1 else f"hash(p.day, l.prediction_id) < {int(asked.share * 2**64)}"
        found["rows"] = connection.sql(
            f"SELECT p.day, {columns}, l.prediction_id AS __id, l.label AS __label FROM predictions p JOIN accepted_labels l "
            f"ON l.day = p.day AND l.prediction_id = p.{quoted(spec.id)} WHERE l.label IS NOT NULL AND {drawn}"
        ).to_arrow_table()
    if wanted.labelled:
        rows = f"({labelled_log(spec, measured_columns(spec), 'predictions', 'accepted_labels')})"
        found |= measure(connection, rows, spec, Wanted(labelled=True))
    return found


def first_of_each_id(rows: str, identifier: str) -> str:
    """Rows judged against each other, as SQL: as in the warehouse, of sound rows with one id the first by content counts."""
    key = quoted(identifier)
    place = f"row_number() OVER (PARTITION BY day, {key}, __reason IS NULL ORDER BY __source, __original)"
    repeated = f"CASE WHEN __reason IS NULL AND {place} > 1 THEN '{REPEATED_ID}: ' || {key} ELSE __reason END"
    return f"SELECT * REPLACE ({repeated} AS __reason) FROM {rows}"


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of about `ROWS_AT_ONCE`."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if held and rows + batch.num_rows > ROWS_AT_ONCE:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
        held.append(batch)
        rows += batch.num_rows
    if rows:
        yield pa.Table.from_batches(held)


def packed(tables: Tables) -> pa.RecordBatch:
    """Tables as one row that Spark carries: each as an Arrow stream, under its name."""
    named = {"name": pa.array(list(tables)), "content": pa.array([_stream(table) for table in tables.values()], pa.binary())}
    return pa.record_batch({"content": pa.array([_stream(pa.table(named))], pa.binary())})


def unpacked(rows: pa.RecordBatch | pa.Table) -> Iterator[Tables]:
    """The sets of tables in rows that `packed` made."""
    for content in rows["content"]:
        named = _table(content)
        yield {name: _table(each) for name, each in zip(named["name"].to_pylist(), named["content"], strict=True)}


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _table(content: pa.Scalar) -> pa.Table:
    with pa.ipc.open_stream(content.as_buffer()) as stream:
        return stream.read_all()
