"""The prediction log of some days: from its source into `inference_log`, what breaks the contract into `quarantine`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import duckdb

from monitoring_assets.ingestion.contract import Rules
from monitoring_assets.ingestion.delivery import Delivery, store
from monitoring_assets.ingestion.staging import Contract, Staged, staged
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import quoted

# A row of weight 0 stands for none and changes nothing, but a row that cannot say what it stands for cannot be counted.
WEIGHT_RULE = ("{value} IS NULL OR NOT isfinite({value}) OR {value} < 0", "not a weight")


@contextmanager
def staged_log(spec: MonitorSpec, days: Sequence[date]) -> Iterator[Staged]:
    """What the log holds for these days, read before the warehouse is opened; `store` puts it there."""
    stored = {name: quoted(name) for name in spec.log_columns}
    contract = Contract("inference_log", spec.log_columns, spec.event_time, stored, weight_rules(spec))
    with staged(spec, contract, spec.log, days) as rows:
        yield rows


def ingest_log(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> list[Delivery]:
    """Replace these days of `inference_log` with what the source holds for them, and account for every row."""
    with staged_log(spec, days) as rows:
        return store(connection, spec, rows)


def weight_rules(spec: MonitorSpec) -> Rules:
    """What a row's weight must be: a finite number, 0 or above."""
    return {spec.sampling_weight: WEIGHT_RULE} if spec.sampling_weight else {}
