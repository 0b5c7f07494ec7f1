"""Storing the events of a run for less: its files held open, and many events in one transaction.

Dagster's SQLite event log opens its files, commits and closes them again for every event: 18 ms for each result of a check, and
a run over 151 days has 1,800 of them. Dagster 1.13 writes batches of materialisations only, and with SQLite not even those. Here
the storage keeps its own ways of writing, and only its connections stay open for the length of a block. Any other storage writes
as it always does. This is for a few hundred events at a time: meanwhile no other run can write to the event log.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME


@contextmanager
def files_held_open(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Whoever closes an SQLite file as the last to have it open writes its journal back: not after every event of the run."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        yield
        return
    with ExitStack() as files:
        for shard in (run_id, INDEX_SHARD_NAME):
            connection = sqlite3.connect(storage.path_for_shard(shard), check_same_thread=False)
            files.callback(connection.close)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()  # without a query the file is not open
        yield


@contextmanager
def stored_together(instance: dg.DagsterInstance) -> Iterator[None]:
    """What this thread logs inside is stored when the block ends, all of it or, after an error, nothing."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        yield
        return
    connect_alone, writer = storage._connect, threading.get_ident()
    with ExitStack() as files:
        open_files: dict[str, Any] = {}

        @contextmanager
        def connect_once(file: str) -> Iterator[Any]:
            if file not in open_files:
                with connect_alone(file):  # makes the file where it is new
                    pass
                engine = db.create_engine(storage.conn_string_for_shard(file), connect_args={"timeout": 60})
                files.callback(engine.dispose)
                open_files[file] = files.enter_context(engine.begin())
            yield open_files[file]

        def connect(shard: str) -> AbstractContextManager[Any]:
            return connect_once(shard) if threading.get_ident() == writer else connect_alone(shard)

        storage._connect = connect  # type: ignore[assignment, method-assign]
        # Asked anew for every result of a check.
        storage.has_table = cache(storage.has_table)  # type: ignore[method-assign]
        try:
            yield
        finally:
            del storage._connect, storage.has_table
