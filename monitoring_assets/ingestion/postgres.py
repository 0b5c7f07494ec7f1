"""Rows of one day from PostgreSQL, by a query of the user's: bound parameters in, a stream of Arrow batches out.

The address of the database comes from an environment variable and is in no message. Nothing is written: the transaction is
read-only, and a query that is not a single SELECT is refused by the cursor it becomes.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from monitoring_assets.errors import SourceUnavailable, SourceUnreadable
from monitoring_assets.postgres_address import address_in, reason_of_refusal, refuse_missing_driver

if TYPE_CHECKING:
    import pyarrow as pa

# 1 M rows x 25 columns take 2.9 s with 10,000 and with 100,000 rows a batch, and 135 MB or 248 MB.
BATCH_ROWS = 10_000


class QueryFailed(Exception):
    """The database refused the query, or gave up on the rows of one day."""


@dataclass(frozen=True)
class Database:
    """An open connection. Days are days of `time_zone`, in which times without a zone are understood, too."""

    connection: Any
    time_zone: str

    @classmethod
    @contextmanager
    def opened(cls, uri_env: str, time_zone: str) -> "Iterator[Database]":
        """Connect to the database whose address the environment variable holds.

        Raises
        ------
        SourceUnreadable
            Where the variable or the driver is missing, the address is no PostgreSQL URI, or access is denied.
        SourceUnavailable
            Where no server answers.
        """
        try:
            from adbc_driver_postgresql import dbapi
        except ImportError:
            refuse_missing_driver("a query", SourceUnreadable)
        uri = address_in(uri_env, SourceUnreadable, "for another database give a `reader`")
        try:
            connection = dbapi.connect(uri)
        except dbapi.Error as error:
            raise _refusal(uri_env, uri, str(error)) from None
        try:
            yield cls(connection, time_zone)
        finally:
            connection.close()

    def rows_of(self, sql: str, day: date) -> "pa.RecordBatchReader":
        """The rows the query gives for a day, in batches: `$1` is its start, `$2` the start of the next day."""
        import pyarrow as pa

        zone = ZoneInfo(self.time_zone)
        bounds = [datetime(d.year, d.month, d.day, tzinfo=zone) for d in (day, day + timedelta(days=1))]
        self.connection.rollback()
        cursor = self.connection.cursor()
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL cursor_tuple_fraction = 1")  # all rows are wanted, not the first ones quickly
        cursor.execute("SELECT set_config('TimeZone', $1, true)", (self.time_zone,))
        cursor.fetchall()
        try:
            # A cursor of the server, because COPY, which ADBC streams by, takes no parameters and all else it holds in memory.
            cursor.execute(f"DECLARE monitored NO SCROLL CURSOR FOR {sql}", bounds)
            cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            first = self._fetch(cursor)
        except Exception as error:
            raise self._named_error(error) from None
        return pa.RecordBatchReader.from_batches(first.schema, self._batches(cursor, first))

    def _batches(self, cursor: Any, first: "pa.Table") -> "Iterator[pa.RecordBatch]":
        batch = first
        while batch.num_rows:
            yield from batch.to_batches()
            try:
                batch = self._fetch(cursor)
            except Exception as error:
                raise self._named_error(error) from None

    def _fetch(self, cursor: Any) -> "pa.Table":
        cursor.execute(f"FETCH {BATCH_ROWS} FROM monitored")
        return cursor.fetch_arrow_table()

    def _named_error(self, error: Exception) -> Exception:
        """PostgreSQL's message about a query, without the query; a transient error if the query may succeed later."""
        said = re.split(r"\n\s*\n|Query was:", str(error).replace("DECLARE monitored NO SCROLL CURSOR FOR ", ""))[0]
        said = re.sub(r"^.*?(ERROR|FATAL):\s*|\s*\.? SQLSTATE: \w+$", "", " ".join(said.split())).strip(" .")
        state = getattr(error, "sqlstate", None) or ""
        # Classes of SQLSTATE: connection, rollback, resources, operator's intervention, system.
        if state[:2] in {"08", "40", "53", "57", "58"} and state != "08P01":
            return SourceUnavailable(f"the database ended the query: {said} (SQLSTATE {state}). The run is retried.")
        return QueryFailed(f"the query failed: {said}" + (f" (SQLSTATE {state})" if state else ""))


def _refusal(uri_env: str, uri: str, said: str) -> Exception:
    """Why there is no connection, without any part of the address."""
    reason, is_final = reason_of_refusal(uri, said)
    where = f"the database of the environment variable {uri_env}"
    if is_final:
        return SourceUnreadable(f"{where} refuses the connection: {reason}. Correct the address, or the access it gives.")
    return SourceUnavailable(f"{where} does not answer: {reason}. The run is retried.")
