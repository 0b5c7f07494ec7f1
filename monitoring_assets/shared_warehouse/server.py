"""Sessions with the PostgreSQL server: opened, used again, their errors given names. No part of the address is in a message."""

import atexit
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from monitoring_assets.errors import (
    MonitoringError,
    WarehouseChanged,
    WarehouseLocked,
    WarehouseMismatch,
    WarehouseUnavailable,
    WarehouseUnusable,
)
from monitoring_assets.postgres_address import address_in, reason_of_refusal, refuse_missing_driver

if TYPE_CHECKING:
    import pyarrow as pa

VARIABLE = "MONITORING_ASSETS_WAREHOUSE"
THE_DATABASE = f"the database of the environment variable {VARIABLE}"
CONNECT_SECONDS = 10
# Sessions kept open between operations, by address and process: opening one takes longer than most operations use it.
KEPT_OPEN = 2
# The types of our columns are built in. Asked for others, the driver reads the columns of all tables when it connects.
DRIVER = {"adbc.postgresql.type_resolver_mode": "builtin"}
_IDLE: dict[tuple[int, str], list["Session"]] = {}
_IDLE_LOCK = threading.Lock()

# SQLSTATE, or its class, of what is no error of ours -> class, and what to do.
NAMED: dict[str, tuple[type[MonitoringError], str]] = {
    "25006": (WarehouseUnusable, "It only reads: it is a standby, or set to be read-only. Name the primary, or allow writing."),
    "42501": (
        WarehouseUnusable,
        "Its user needs CREATE on the database, and all rights on the monitors' schemas: GRANT CREATE ON DATABASE … TO …",
    ),
    "53100": (WarehouseUnusable, "Its disk is full, and nothing was stored. Free some space there, then run this again."),
    "53200": (WarehouseUnavailable, "It is out of memory, or of locks (max_locks_per_transaction). The run is retried."),
    "53300": (WarehouseUnavailable, "It has no connection left (max_connections). The run is retried."),
    "22021": (WarehouseUnusable, "It cannot hold every text. Make it with ENCODING 'UTF8'."),
    "22P05": (WarehouseUnusable, "It cannot hold every text. Make it with ENCODING 'UTF8'."),
    "55P03": (WarehouseLocked, "Another process holds what is needed."),
    "40": (WarehouseChanged, "Another process changed the same at the same time. Nothing was stored; the run is retried."),
    "08": (WarehouseUnavailable, "Nothing was stored since the last commit; the run is retried."),
    "57": (WarehouseUnavailable, "Nothing was stored since the last commit; the run is retried."),
    "58": (WarehouseUnavailable, "Nothing was stored since the last commit; the run is retried."),
}
# What libpq says, without any SQLSTATE, when the server went away.
WENT_AWAY = (
    "server closed the connection",
    "no connection to the server",
    "connection not open",
    "terminating connection",
    "SSL SYSCALL",
    "could not receive data",
    "could not send data",
    "Connection refused",
    "is starting up",
    "is shutting down",
)


@dataclass
class Session:
    """One connection, in transactions: the first statement begins one."""

    connection: Any
    uri: str

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._named(), self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return [tuple(row) for row in cursor.fetchall()]

    def run(self, sql: str) -> None:
        with self._named(), self.connection.cursor() as cursor:
            cursor.execute(sql)

    def arrow(self, sql: str) -> "pa.Table":
        """All rows of a query; without parameters they come by COPY, in binary."""
        with self._named(), self.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()

    @contextmanager
    def stream(self, sql: str) -> "Iterator[pa.RecordBatchReader]":
        """The rows of a query, as they come."""
        with self._named(), self.connection.cursor() as cursor:
            cursor.execute(sql)
            yield cursor.fetch_record_batch()

    def append(self, schema: str, name: str, rows: "pa.Table | pa.RecordBatchReader") -> None:
        with self._named(), self.connection.cursor() as cursor:
            cursor.adbc_ingest(name, rows, mode="append", db_schema_name=schema)

    def commit(self) -> None:
        with self._named():
            self.connection.commit()

    def rollback(self) -> None:
        with self._named():
            self.connection.rollback()

    def close(self) -> None:
        with suppress(Exception):
            self.connection.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        from adbc_driver_manager import Error

        try:
            yield
        except Error as error:
            raise named(error, self.uri) from None


def named(error: Exception, uri: str) -> MonitoringError:
    """An error of the driver or the server under its name, without statement and address."""
    state, whole = getattr(error, "sqlstate", None) or "", str(error)
    said = re.split(r"\n\s*\n|Query was:", whole)[0]
    said = re.sub(r"^.*?(ERROR|FATAL):\s*|\s*\.? SQLSTATE: \w+$", "", " ".join(said.split())).strip(" .")
    # What stands in quotes may be part of the address only where a connection failed.
    kind, remedy = NAMED.get(state) or NAMED.get(state[:2]) or (None, "")
    if kind is None and (not state or state.startswith("00")) and any(text in whole for text in WENT_AWAY):
        kind, remedy = NAMED["08"]
        said = reason_of_refusal(uri, said)[0]
    if kind is None:
        return WarehouseMismatch(
            f"{THE_DATABASE} refuses what is asked of it: {said}" + (f" (SQLSTATE {state})" if state else "")
        )
    return kind(f"{THE_DATABASE} says: {said}. {remedy}")


def address(uri: str | None = None) -> str:
    """The address of the shared warehouse, unless given what the environment says, with what every connection is to have."""
    uri = uri or address_in(VARIABLE, WarehouseUnusable, "without it, results are kept in a DuckDB file")
    with suppress(ValueError):
        given = parse_qs(urlsplit(uri).query)
        ours = {"connect_timeout": CONNECT_SECONDS, "application_name": f"monitoring-assets-{os.getpid()}"}
        added = "&".join(f"{name}={value}" for name, value in ours.items() if name not in given)
        return f"{uri}{'&' if given else '' if uri.endswith('?') else '?'}{added}" if added else uri
    return uri


@contextmanager
def session(uri: str) -> Iterator[Session]:
    """A session, in no transaction and holding nothing; kept for the next one where nothing went wrong.

    Raises
    ------
    WarehouseUnusable
        Where the driver is missing, or the server refuses for good.
    WarehouseUnavailable
        Where no server answers.
    """
    opened = _idle(uri) or _opened(uri)
    try:
        yield opened
        opened.rollback()
        opened.rows("SELECT pg_advisory_unlock_all()")
        opened.rollback()
    except BaseException:
        opened.close()
        raise
    with _IDLE_LOCK:
        if not _IDLE:
            atexit.register(close_idle)
        kept = _IDLE.setdefault((os.getpid(), uri), [])
        if len(kept) < KEPT_OPEN:
            kept.append(opened)
            return
    opened.close()


def close_idle() -> None:
    """Close the sessions that this process keeps for its next operation. A forked one has none: its parent's are in use."""
    with _IDLE_LOCK:
        kept = [each for key in list(_IDLE) if key[0] == os.getpid() for each in _IDLE.pop(key)]
    for each in kept:
        each.close()


def _idle(uri: str) -> Session | None:
    """A session that was kept and still answers."""
    while True:
        with _IDLE_LOCK:
            kept = _IDLE.get((os.getpid(), uri))
            found = kept.pop() if kept else None
        if found is None:
            return None
        try:
            found.rows("SELECT 1")
            found.rollback()
        except MonitoringError:  # the server was restarted meanwhile
            found.close()
        else:
            return found


def _opened(uri: str) -> Session:
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        refuse_missing_driver("a shared warehouse", WarehouseUnusable)
    try:
        return Session(dbapi.connect(uri, db_kwargs=DRIVER), uri)
    except dbapi.Error as error:
        reason, is_final = reason_of_refusal(uri, str(error))
        if is_final:
            raise WarehouseUnusable(
                f"{THE_DATABASE} refuses the connection: {reason}. Correct the address, or the access it gives."
            ) from None
        raise WarehouseUnavailable(f"{THE_DATABASE} does not answer: {reason}.") from None
