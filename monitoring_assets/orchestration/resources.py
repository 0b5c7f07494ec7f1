"""The one Dagster resource: where everything of this deployment lies, and how errors of the pure code reach Dagster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import duckdb

from monitoring_assets.chosen_warehouse import warehouse_in
from monitoring_assets.errors import PermanentError, TransientError, WarehouseLocked
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.orchestration.event_batches import events_in_batches
from monitoring_assets.row_storage.kept_rows import with_rows
from monitoring_assets.warehouse import LOCK_PATIENCE_SECONDS, AnyWarehouse, Scope, Warehouse

# Warehouses, and the specs whose tables are known to be in them.
_READY: set[tuple[object, ...]] = set()


class MonitoringHome(dg.ConfigurableResource):
    """The data folder: warehouse, MLflow store, and what relative paths of sources start at.

    Without `path` it is `MONITORING_ASSETS_HOME`, or `data` in the working directory. `patience_seconds` is how long a run waits
    for a warehouse that another process holds.
    """

    path: str | None = None
    patience_seconds: float = LOCK_PATIENCE_SECONDS

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["MonitoringHome"]:
        """While a run goes on in this process, its events are stored in batches."""
        if context.run is None or context.instance is None:  # a sensor's, or a test's
            yield self
        else:
            with events_in_batches(context.instance, context.run.run_id):
                yield self

    @property
    def folder(self) -> Path:
        return Path(self.path or os.environ.get("MONITORING_ASSETS_HOME") or "data").resolve()

    def warehouse_of(self, spec: MonitorSpec) -> AnyWarehouse:
        """Where the monitor's results are."""
        results = warehouse_in(self.folder, self.patience_seconds, dg.get_dagster_logger().warning, spec.name)
        return with_rows(results, self.located(spec))

    def has_warehouse(self, spec: MonitorSpec) -> bool:
        """Whether there may be results of the monitor: where there is not even a file there are none, and who asks makes none."""
        warehouse = self.warehouse_of(spec)
        return not isinstance(warehouse, Warehouse) or warehouse.path.exists()

    def located(self, spec: MonitorSpec) -> MonitorSpec:
        """The spec with relative paths starting at this folder."""
        return spec.at_home(self.folder)

    def with_patience(self, seconds: float) -> "MonitoringHome":
        """The same home for a caller who cannot wait longer than that."""
        return MonitoringHome(path=self.path, patience_seconds=min(seconds, self.patience_seconds))

    @contextmanager
    def connect(self, spec: MonitorSpec, scope: Scope | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A short connection to the warehouse, in which the monitor's tables exist; `scope` is what is done on it."""
        warehouse = self.warehouse_of(spec)
        with warehouse.connect(scope or Scope(spec.name)) as connection:
            # Once per process and warehouse: the check takes longer than most queries that follow.
            if (*warehouse.identity(connection, spec.name), spec.model_dump_json()) not in _READY:
                for change in warehouse.make_ready(connection, spec):
                    dg.get_dagster_logger().warning(f"{spec.name}: {change}")
                _READY.add((*warehouse.identity(connection, spec.name), spec.model_dump_json()))
            yield connection


# How often Dagster retries after a transient error, and after how many seconds.
RETRIES, RETRY_AFTER_SECONDS = 3, 5

# Shared by every monitor: Dagster merges definitions only if they hold the very same resource.
MONITORING_HOME = MonitoringHome()


@contextmanager
def errors_for_dagster() -> Iterator[None]:
    """A transient error is retried a few times. A permanent one fails at once with its message, and so does a warehouse that was
    held for all of `patience_seconds`: the wait was the retry."""
    try:
        yield
    except WarehouseLocked as error:
        raise dg.Failure(description=f"{type(error).__name__}: {error}", allow_retries=False) from error
    except TransientError as error:
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=RETRY_AFTER_SECONDS) from error
    except PermanentError as error:
        raise dg.Failure(description=f"{type(error).__name__}: {error}", allow_retries=False) from error
