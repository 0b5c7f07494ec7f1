"""Dagster's SQLite event log with its connections kept open.

Dagster 1.13 builds a new SQLAlchemy engine for every event, and waits for the disk on each. Here engines are kept, with SQLite's
`synchronous = NORMAL`, which in WAL mode can lose the last events at a power cut but never damages the file. What is stored is
the same; either class reads the other's files. What a run reports in one go is one batch (`orchestration/event_batches.py`).
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as db
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS

from monitoring_assets.demo.instance.ended_partitions import count_back_from_the_end

# Runs whose files stay open; each is one file, and a run that has ended is rarely written again.
OPEN_FILES = 8


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """Named by `event_log_storage` in `dagster.yaml`, with `base_dir` as its configuration. Every process of the instance loads
    it, so it is also where the instance's webserver gets its one change to Dagster."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        count_back_from_the_end()
        # Dagster's own names its class here, and would make that one.
        return cls(inst_data=inst_data, **config_value)

    def _engine(self, shard: str) -> db.engine.Engine:
        engines: OrderedDict[str, db.engine.Engine] = self.__dict__.setdefault("_engines", OrderedDict())
        if shard not in engines:
            engine = db.create_engine(
                self.conn_string_for_shard(shard),
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            db.event.listen(engine, "connect", _relax_synchronous)
            engines[shard] = engine
            if len(engines) > OPEN_FILES:
                engines.popitem(last=False)[1].dispose()
        engines.move_to_end(shard)
        return engines[shard]

    def _initdb(self, engine: db.engine.Engine, for_index_shard: bool = False) -> None:
        """Dagster takes a fifth of a second to make the file of a run: it makes the first, and the next are empty copies."""
        file = str(engine.url.database)
        if for_index_shard or file == self.path_for_shard(INDEX_SHARD_NAME) or Path(file).exists():
            super()._initdb(engine, for_index_shard)
        elif "_new_run" not in self.__dict__:
            super()._initdb(engine)
            self._new_run = sqlite3.connect(":memory:", check_same_thread=False)
            with closing(sqlite3.connect(file)) as made:
                made.backup(self._new_run)
        else:
            with closing(sqlite3.connect(file)) as made:
                self._new_run.backup(made)
                made.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Any]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection


def _relax_synchronous(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
