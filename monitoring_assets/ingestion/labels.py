"""The labels of some days: from their source into `labels`, what breaks the contract into `quarantine`.

A label belongs to the day of its prediction. It has no effect before that prediction is in `inference_log`: a label for an
unknown id is quarantined, and accepted when the day is materialised again. A day whose predictions were deleted
(`retain_days`) accepts no further labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import duckdb

from monitoring_assets.ingestion.delivery import Delivery, store
from monitoring_assets.ingestion.sources import Unreadable
from monitoring_assets.ingestion.staging import STAGED_ROWS, Contract, Staged, staged
from monitoring_assets.monitor_spec import Label, MonitorSpec, Source
from monitoring_assets.retention.forgetting import forgotten_days, why_forgotten
from monitoring_assets.warehouse import quoted, table

# NaN is how some writers spell a missing label, so it is stored as one.
RULES = {
    "classification": ("{value} NOT IN (0, 1) AND NOT isnan({value})", "not 0 or 1"),
    "regression": ("isinf({value})", "not finite"),
}


@contextmanager
def staged_labels(spec: MonitorSpec, label: Label, source: Source, days: Sequence[date]) -> Iterator[Staged]:
    """What the source holds for these days, read before the warehouse is opened."""
    types = {spec.id: "VARCHAR", label.column: spec.label_type}
    if source.event_time:
        types[source.event_time] = "TIMESTAMPTZ"
    key, value = quoted(spec.id), quoted(label.column)
    contract = Contract(
        "labels",
        types,
        source.event_time,
        stored={"prediction_id": key, "label": f"CASE WHEN NOT isnan({value}) THEN {value} END"},
        rules={label.column: RULES[spec.task]},
        judged=f"SELECT __row.* REPLACE (CASE WHEN __row.__reason IS NOT NULL OR l.day IS NOT NULL THEN __row.__reason "
        f"ELSE 'unknown id: ' || __row.{key} || ' has no prediction on ' || __row.day END AS __reason) FROM {STAGED_ROWS} __row "
        f"LEFT JOIN {table(spec, 'inference_log')} l ON l.day = __row.day AND l.{key} = __row.{key}",
    )
    with staged(spec, contract, source, days) as rows:
        yield rows


def store_labels(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: Staged) -> list[Delivery]:
    """Replace the days of `labels` with what was staged of them; a label without a stored prediction is quarantined."""
    gone = forgotten_days(connection, spec, rows.days)
    return store(connection, spec, rows, [Unreadable("", day, why_forgotten(spec), is_absent=True) for day in gone])


def labelled_log(spec: MonitorSpec, columns: Sequence[str]) -> str:
    """SQL of the log's rows `p`: `day`, these columns, `__weight` (the rows it stands for), `__label` (NULL where unknown)."""
    weight = f"coalesce(p.{quoted(spec.sampling_weight)}, 1.0)" if spec.sampling_weight else "1.0::DOUBLE"
    return (
        f"SELECT p.day, {', '.join(columns)}, {weight} AS __weight, l.label AS __label FROM {table(spec, 'inference_log')} p "
        f"LEFT JOIN {table(spec, 'labels')} l ON l.day = p.day AND l.prediction_id = p.{quoted(spec.id)}"
    )
