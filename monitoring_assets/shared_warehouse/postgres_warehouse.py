"""The shared warehouse as the rest of the package sees it: connections like those of the DuckDB file."""

import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from monitoring_assets.errors import WarehouseChanged, WarehouseUnavailable
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.shared_warehouse.locks import REPORTED_EVERY_SECONDS, hold_days
from monitoring_assets.shared_warehouse.server import Session, address, session
from monitoring_assets.shared_warehouse.unit_of_work import UnitOfWork
from monitoring_assets.shared_warehouse.write_back import store_changes
from monitoring_assets.warehouse import EVERYTHING, LOCK_PATIENCE_SECONDS, Scope, ensure_tables

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
LONGEST_PAUSE_SECONDS = 2.0
# How often tables are made when other processes make them at the same time.
TRIES = 5


@dataclass(frozen=True)
class PostgresWarehouse:
    """The database at `uri`, or that `MONITORING_ASSETS_WAREHOUSE` names. Creating the object touches nothing.

    An operation waits up to `patience_seconds` for a server that does not answer, and as long again for days that others hold;
    `report` is given a line every ten seconds meanwhile.
    """

    patience_seconds: float = LOCK_PATIENCE_SECONDS
    report: Callable[[str], None] = _LOG.warning
    uri: str | None = None

    @contextmanager
    def connect(self, scope: Scope = EVERYTHING) -> Iterator[UnitOfWork]:
        """A connection in memory whose tables are the database's; what is committed on it is committed there.

        Raises
        ------
        WarehouseLocked
            When days of the scope are still held by others after `patience_seconds`.
        WarehouseUnavailable
            When the server does not answer, or goes away.
        WarehouseUnusable
            When it refuses for good, or cannot be a warehouse.
        """
        uri = address(self.uri)
        with ExitStack() as stack, duckdb.connect() as connection:
            snapshot = self._patiently_opened(stack, uri)
            writers: list[Session] = []

            def writer() -> Session:
                if not writers:
                    writers.append(stack.enter_context(session(uri)))
                return writers[0]

            if scope.days:
                hold_days(writer(), scope.monitor, scope.days, self.patience_seconds, self.report)
            connection.execute("SET enable_progress_bar = false")
            connection.execute(f"SET temp_directory = '{tempfile.gettempdir()}/monitoring_assets_spilled'")
            yield UnitOfWork(
                duck=connection,
                snapshot=snapshot,
                writer=writer,
                scope=scope,
                patience_seconds=self.patience_seconds,
                store=store_changes,
            )

    def identity(self, connection: UnitOfWork, monitor: str) -> tuple[object, ...]:
        """What tells the monitor's schema from any other, also from one that took its place."""
        return address(self.uri), connection.monitors().get(monitor)

    def make_ready(self, connection: UnitOfWork, spec: MonitorSpec) -> list[str]:
        """Make the monitor's tables, or bring them up to date, as `ensure_tables` says; other processes may be about the same."""
        for again in range(TRIES):
            try:
                with self.connect(Scope(spec.name)) as whole:
                    changes = ensure_tables(whole, spec)
                break
            except WarehouseChanged:
                if again == TRIES - 1:
                    raise
        connection.see_newest()
        return changes

    def query(self, sql: str, parameters: Sequence[object] = ()) -> "pd.DataFrame":
        """The result of one query as a frame."""
        with self.connect() as connection:
            found: pd.DataFrame = connection.execute(sql, parameters).df()
            return found

    def _patiently_opened(self, stack: ExitStack, uri: str) -> Session:
        begun, reported, pause = time.monotonic(), 0, 0.05
        while True:
            try:
                return stack.enter_context(session(uri))
            except WarehouseUnavailable as error:
                waited = time.monotonic() - begun
                if waited + pause > self.patience_seconds:
                    raise WarehouseUnavailable(f"{error} Waited {waited:.0f} s. Start the server, and run this again.") from None
                if waited // REPORTED_EVERY_SECONDS > reported:
                    reported = int(waited // REPORTED_EVERY_SECONDS)
                    self.report(f"{error} Waited {waited:.0f} of at most {self.patience_seconds:g} s")
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
