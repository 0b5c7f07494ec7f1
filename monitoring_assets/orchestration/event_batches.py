"""Storing the events of a run for less: its files held open, and many events in one transaction.

For every event Dagster's SQLite event log opens its files, builds its statements, commits and closes again: 18 ms for each result
of a check, and a run over 151 days has 2,100 of them, as many planned results and 1,500 materialisations, planned and made.
Dagster 1.13 can hand materialisations to its storage in batches, but with SQLite writes them one by one all the same. Here they
are written in one transaction, and so are the results of checks. No event waits for another piece of work: a batch is what is
reported in one go, and what is stored is the same. Other storages write as they always do.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Lock, RLock
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Results
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS

# Events in one transaction: long enough to be cheap, short enough that another run hardly waits.
EVENTS_TOGETHER = 250

PLANNED, EVALUATED = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, dg.DagsterEventType.ASSET_CHECK_EVALUATION
IN_BATCHES = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_OBSERVATION,
    PLANNED,
    EVALUATED,
}

_installing = Lock()


@contextmanager
def events_in_batches(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """While a run goes on in this process, what it reports in one go is stored in one transaction, and its files stay open:
    whoever closes an SQLite file as the last to have it open writes its journal back, and would after every event."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        yield
        return
    with _installing:
        batches = storage.__dict__.get("batches") or _Batches(instance, storage)
        batches.begin(run_id)
    try:
        yield
    finally:
        with _installing:
            batches.end(run_id)


@contextmanager
def stored_together(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """What a run of `events_in_batches` reports inside is stored when the block ends, also where it ends with an error."""
    batches = instance.event_log_storage.__dict__.get("batches")
    if batches is None:
        yield
        return
    batches.collected[run_id] = []
    try:
        yield
    finally:
        batches.store_event_batch(batches.collected.pop(run_id))


class _Batches:
    """What an SQLite event log does otherwise while runs go on in this process; the log holds it as its `batches`."""

    def __init__(self, instance: dg.DagsterInstance, storage: SqliteEventLogStorage) -> None:
        self.instance, self.storage = instance, storage
        self.runs: list[str] = []
        self.collected: dict[str, list[EventLogEntry]] = {}
        self.engines: dict[str, db.Engine] = {}
        self.using_files = RLock()

    def begin(self, run_id: str) -> None:
        self.runs.append(run_id)
        if len(self.runs) > 1:
            return
        self.instance._get_event_batch_size = lambda: EVENTS_TOGETHER  # type: ignore[method-assign]
        self.connect_alone, self.store_alone = self.storage._connect, self.storage.store_event
        self.storage.__dict__ |= {
            "batches": self,
            "_connect": self.connect,
            "store_event": self.store_event,
            "store_event_batch": self.store_event_batch,
        }

    def end(self, run_id: str) -> None:
        self.runs.remove(run_id)
        if run_id not in self.runs and run_id in self.engines:
            self.engines.pop(run_id).dispose()
        if self.runs:
            return
        del self.instance._get_event_batch_size
        for name in ("batches", "_connect", "store_event", "store_event_batch"):
            del self.storage.__dict__[name]
        for engine in self.engines.values():
            engine.dispose()

    def connect(self, shard: str) -> AbstractContextManager[Any]:
        is_held = shard == INDEX_SHARD_NAME or shard in self.runs
        return self.connect_held(shard) if is_held else self.connect_alone(shard)

    @contextmanager
    def connect_held(self, shard: str) -> Iterator[Any]:
        with self.using_files:
            if shard not in self.engines:
                with self.connect_alone(shard):  # makes the file where it is new
                    pass
                waits = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
                self.engines[shard] = db.create_engine(self.storage.conn_string_for_shard(shard), connect_args=waits)
            with self.engines[shard].begin() as connection:
                yield connection

    def store_event(self, event: EventLogEntry) -> None:
        together = self.collected.get(event.run_id)
        if together is None or not _goes_in_batches(event):
            self.store_alone(event)
            return
        together.append(event)
        if len(together) == EVENTS_TOGETHER:
            self.collected[event.run_id] = []
            self.store_event_batch(together)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        run_ids = {event.run_id for event in events}
        if len(run_ids) != 1 or not run_ids <= set(self.runs) or not all(map(_goes_in_batches, events)):
            for event in events:
                self.store_alone(event)
            return
        (run_id,) = run_ids
        rows = [self.storage._event_to_row(event) for event in events]
        # As in Dagster a run's own file comes first: nothing is in the index that is not in the run.
        with self.connect(INDEX_SHARD_NAME) as index, self.connect(run_id) as run:
            run.execute(Events.insert(), rows)
            inserted = index.execute(Events.insert().returning(Events.c.id, sort_by_parameter_order=True), rows)
            stored = [(event, int(row[0])) for event, row in zip(events, inserted, strict=True)]
            _index_assets(self.storage, index, [found for found in stored if found[0].dagster_event_type in ASSET_EVENTS])
            _index_results(index, run_id, stored, rows)


def _goes_in_batches(event: EventLogEntry) -> bool:
    return event.is_dagster_event and event.dagster_event_type in IN_BATCHES


# Events with the numbers they have in the index.
Stored = list[tuple[EventLogEntry, int]]


def _index_assets(storage: SqliteEventLogStorage, index: db.Connection, stored: Stored) -> None:
    if not stored:
        return
    storage._store_asset_event_tags(index, [event for event, _ in stored], [number for _, number in stored])
    # An asset has one row, in which nothing stays but what its last event of each type wrote.
    last = {(event.get_dagster_event().asset_key, event.dagster_event_type): (event, number) for event, number in stored}
    for event, number in sorted(last.values(), key=lambda found: found[1]):
        storage._store_asset_event(index, event, number)


def _index_results(index: db.Connection, run_id: str, stored: Stored, rows: list[dict[str, Any]]) -> None:
    """A row for each check and partition of a run: without a result when it is planned, which the result then replaces."""
    found = {key: values for event, row in zip(stored, rows, strict=True) for key, values in _results(*event, row).items()}
    if not found:
        return
    assets = {asset for asset, _, _ in found}
    identity = [Results.c.asset_key, Results.c.check_name, Results.c.partition]
    of_run = db.select(Results.c.id, *identity).where(Results.c.run_id == run_id, Results.c.asset_key.in_(assets))
    known = {(row[1], row[2], row[3]): row[0] for row in index.execute(of_run)}
    names = [column.name for column in identity]
    new = [dict(zip(names, key, strict=True)) | {"run_id": run_id} | found[key] for key in found if key not in known]
    replaced = [{"known_id": known[key]} | found[key] for key in found if key in known]
    if new:
        index.execute(Results.insert(), new)
    if replaced:
        index.execute(Results.update().where(Results.c.id == db.bindparam("known_id")), replaced)


def _results(event: EventLogEntry, number: int, row: dict[str, Any]) -> dict[tuple[str, str, str | None], dict[str, Any]]:
    """What an event says of results, by asset, check and partition."""
    if event.dagster_event_type not in (PLANNED, EVALUATED):
        return {}
    said: Any = event.get_dagster_event().event_specific_data
    if event.dagster_event_type == PLANNED:
        partitions = said.partitions_subset.get_partition_keys() if said.partitions_subset else [None]
        status, target = "PLANNED", None
    else:
        partitions, target = [said.partition], said.target_materialization_data
        status = "SUCCEEDED" if said.passed else "FAILED"
    values = {
        "execution_status": status,
        "evaluation_event": row["event"],
        "evaluation_event_timestamp": row["timestamp"],
        "evaluation_event_storage_id": number,
        "materialization_event_storage_id": target.storage_id if target else None,
    }
    return dict.fromkeys(((said.asset_key.to_string(), said.check_name, partition) for partition in partitions), values)
