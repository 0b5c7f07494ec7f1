"""What Dagster shows beside an asset or a day: schemas, tables, numbers. Rendering only; nothing is computed here."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets.chosen_warehouse import warehouse_file, warehouse_kind
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse_tables import tables_of
from monitoring_assets.wording import listed

if TYPE_CHECKING:
    from monitoring_assets.drift.verdicts import DriftVerdict

# Smaller numbers are scores and shares, shown with five digits; larger ones are counts and sums, shown whole.
READ_DIGITS_BELOW = 1000
# Segments that are not judged, by name; of more than that the number is given.
SEGMENTS_NAMED = 50


# On the asset every monitor has, `reference_baseline`: what its YAML declares.
MONITOR_METADATA = "monitoring_assets/monitor"
# On every asset of a monitor: what the sensors may ask runs for.
ASSET_TAG = {"monitoring_assets/part_of_a_monitor": "true"}


def declared_monitor(spec: MonitorSpec) -> dict[str, dg.MetadataValue]:
    """A monitor's settings as metadata: the sensors of the code location read them, and people in the UI."""
    return {MONITOR_METADATA: dg.MetadataValue.json(spec.model_dump(mode="json", by_alias=True, exclude_defaults=True))}


def table_metadata(spec: MonitorSpec, table: str) -> dict[str, Any]:
    """The asset's table in the warehouse: its address, its name and its columns."""
    store = "postgresql:///" if warehouse_kind() == "postgres" else f"duckdb:///{warehouse_file(spec.name)}"
    return {
        "dagster/uri": f"{store}#{spec.name}.{table}",
        "dagster/table_name": f"warehouse.{spec.name}.{table}",
        "dagster/column_schema": _schema(tuple(tables_of(spec)[table].items())),
    }


@lru_cache(maxsize=1000)
def _schema(columns: tuple[tuple[str, tuple[str, str]], ...]) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name, type=kind, description=meaning) for name, (kind, meaning) in columns])


def as_table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a Dagster table; numpy scalars become Python's own, which Dagster insists on."""
    return dg.MetadataValue.table([dg.TableRecord({name: plain(value) for name, value in row.items()}) for row in rows])


def as_list(sentences: Sequence[str]) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in sentences))


def plain(value: Any) -> Any:
    """A value as a plain Python scalar: text, finite number, truth or None, for JSON has no infinity. A fraction keeps as many
    digits as a person reads.

    >>> import numpy as np
    >>> plain(np.float32(0.5)), plain(float("nan")), plain(float("inf")), plain(np.int64(3)), plain(0.6361281675089206)
    (0.5, None, None, 3, 0.63613)
    """
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, float) and 0 < abs(value) < READ_DIGITS_BELOW:
        return float(f"{value:.5g}")
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def numbers(values: Mapping[str, Any]) -> dict[str, dg.MetadataValue]:
    """Numeric metadata, which the UI plots over days; undefined values are left out."""
    shown = {name: plain(value) for name, value in values.items()}
    return {name: dg.MetadataValue.float(float(value)) for name, value in shown.items() if value is not None}


def segments_left_out(spec: MonitorSpec, segments: Sequence[str]) -> str:
    """Which segments are not judged, and why."""
    names = listed(segments, SEGMENTS_NAMED)
    return f"{names}: only the {spec.drift.segment_values} largest values of each column in the reference are judged"


def verdict_metadata(verdict: "DriftVerdict") -> dict[str, Any]:
    """A day's verdict on drift, the same beside its scores and beside its check. `severity` is that of all rows."""
    shown: dict[str, Any] = {"severity": verdict.severity or "not judged"}
    shown |= numbers({"drifted_columns": len(verdict.drifted_columns), "judged_columns": verdict.judged_columns})
    if verdict.moved:
        shown["moved"] = as_table(verdict.moved)
    if verdict.segment_moves:
        shown["segment_severity"] = verdict.segment_severity
        shown["moved_in_segments"] = as_table(verdict.segment_moves)
    if verdict.unjudged:
        shown["not_judged"] = as_table([{"what": what, "why": why} for what, why in verdict.unjudged.items()])
    return shown
