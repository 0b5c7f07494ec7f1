"""What a log or labels deliver for some days, read before the warehouse is opened and ready to be stored: the rows where the
warehouse keeps them (`delivery.py`), their account where they stay in a lake (`lake_delivery.py`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date

import duckdb

from monitoring_assets.ingestion.delivery import Delivery, store
from monitoring_assets.ingestion.labels import staged_labels, store_labels
from monitoring_assets.ingestion.prediction_log import staged_log
from monitoring_assets.measuring.measure import Tables
from monitoring_assets.monitor_spec import MonitorSpec


@dataclass(frozen=True)
class ReadDays:
    """`store` replaces the days on a connection to the warehouse. `tables` are what was measured of rows that are not kept."""

    seconds: float
    store: Callable[[duckdb.DuckDBPyConnection], list[Delivery]]
    tables: Tables | None = None


@contextmanager
def read_log(spec: MonitorSpec, days: Sequence[date]) -> Iterator[ReadDays]:
    """What the log holds for these days."""
    if spec.is_in_lake:
        from monitoring_assets.engines.lake_delivery import measured_log, store_account

        found = measured_log(spec, days)
        yield ReadDays(found.seconds, lambda connection: store_account(connection, spec, found), found.tables)
    else:
        with staged_log(spec, days) as rows:
            yield ReadDays(rows.seconds, lambda connection: store(connection, spec, rows))


@contextmanager
def read_labels(
    spec: MonitorSpec, days: Sequence[date], connect: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
) -> Iterator[ReadDays]:
    """What the labels' source holds for these days. Those of a lake are judged against the predictions there, of which the
    warehouse, for which it connects, has the account."""
    if spec.label is None or spec.labels is None:
        raise ValueError(f"{spec.name} has no labels")
    if spec.is_in_lake:
        from monitoring_assets.engines.lake_delivery import measured_labels, store_account

        found = measured_labels(spec, days, connect)
        yield ReadDays(found.seconds, lambda connection: store_account(connection, spec, found), found.tables)
    else:
        with staged_labels(spec, spec.label, spec.labels, days) as rows:
            yield ReadDays(rows.seconds, lambda connection: store_labels(connection, spec, rows))
