"""The labels of some days: from their source into `labels`, what breaks the contract into `quarantine`.

A label belongs to the day of its prediction. It has no effect before that prediction is in `inference_log`: a label for an
unknown id is quarantined, and accepted when the day is materialised again. A day whose predictions were deleted
(`retain_days`) accepts no further labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

import duckdb

from monitoring_assets.ingestion.delivery import Delivery, store
from monitoring_assets.ingestion.sources import Unreadable
from monitoring_assets.ingestion.staging import STAGED_ROWS, Contract, Staged, staged
from monitoring_assets.measuring.labelled import segments_of
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
    contract = label_contract(spec, label, source)
    judged = known_ids_sql(spec, STAGED_ROWS, table(spec, "inference_log"))
    with staged(spec, replace(contract, judged=judged), source, days) as rows:
        yield rows


def label_contract(spec: MonitorSpec, label: Label, source: Source) -> Contract:
    """What a source of labels must deliver; that an id is known is `known_ids_sql`."""
    types = {spec.id: "VARCHAR", label.column: spec.label_type}
    if source.event_time:
        types[source.event_time] = "TIMESTAMPTZ"
    return Contract("labels", types, source.event_time, stored_label(spec), {label.column: RULES[spec.task]})


def stored_label(spec: MonitorSpec) -> dict[str, str]:
    """Column of `labels` -> SQL over a typed row of the source."""
    value = quoted(spec.label.column if spec.label else "")
    return {"prediction_id": quoted(spec.id), "label": f"CASE WHEN NOT isnan({value}) THEN {value} END"}


def known_ids_sql(spec: MonitorSpec, labels: str, log: str) -> str:
    """Judged rows of a source, judged against the predictions of a log: SQL."""
    key = quoted(spec.id)
    return (
        "SELECT __row.* REPLACE (CASE WHEN __row.__reason IS NOT NULL OR l.day IS NOT NULL THEN __row.__reason "
        f"ELSE 'unknown id: ' || __row.{key} || ' has no prediction on ' || __row.day END AS __reason) FROM {labels} __row "
        f"LEFT JOIN {log} l ON l.day = __row.day AND l.{key} = __row.{key}"
    )


def store_labels(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, rows: Staged) -> list[Delivery]:
    """Replace the days of `labels` with what was staged of them; a label without a stored prediction is quarantined."""
    gone = forgotten_days(connection, spec, rows.days)
    return store(connection, spec, rows, [Unreadable("", day, why_forgotten(spec), is_absent=True) for day in gone])


def labelled_log(spec: MonitorSpec, columns: Sequence[str], log: str | None = None, labels: str | None = None) -> str:
    """SQL of the log's rows `p`: `day`, these columns, `__weight` (the rows it stands for), `__label` (NULL where unknown).

    Log and labels are the warehouse's tables unless given.
    """
    weight = f"coalesce(p.{quoted(spec.sampling_weight)}, 1.0)" if spec.sampling_weight else "1.0::DOUBLE"
    log, labels = log or table(spec, "inference_log"), labels or table(spec, "labels")
    return (
        f"SELECT p.day, {', '.join(columns)}, {weight} AS __weight, l.label AS __label FROM {log} p "
        f"LEFT JOIN {labels} l ON l.day = p.day AND l.prediction_id = p.{quoted(spec.id)}"
    )


def measured_columns(spec: MonitorSpec) -> list[str]:
    """What performance is measured from, of the log's rows `p`: the prediction, its class and model, the segments."""
    predicted, version = spec.prediction.predicted_class, spec.prediction.model_version
    return [
        f"p.{quoted(spec.prediction.column)} AS __score",
        f"p.{quoted(predicted)} AS __predicted" if predicted else "NULL AS __predicted",
        f"p.{quoted(version)} AS __version" if version else "NULL::VARCHAR AS __version",
        *(f"p.{quoted(name)}" for name in segments_of(spec)),
    ]
