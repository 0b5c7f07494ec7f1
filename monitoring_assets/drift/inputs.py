"""What scoring days takes from the warehouse, read in one short connection, so that all computing is done without one.

Which segments are judged is decided here too: those that are large in the reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.baselines.in_force import Baseline, baselines_in_force
from monitoring_assets.drift.multivariate_scores import Samples, read_samples
from monitoring_assets.measuring.histograms import Histogram, Key, read_histograms
from monitoring_assets.measuring.model_versions import segments_of_version
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse import literal, table
from monitoring_assets.warehouse_reads import state_of_days


@dataclass(frozen=True)
class Inputs:
    """All that scoring `days` against one baseline needs. `thresholds` are rows of the table, empty where they are still to be
    calibrated; `left_out` names per day the segments of its rows that are not judged. `own_version` is the model whose
    predictions alone are scored, None where all are."""

    baseline: Baseline
    days: list[date]
    reference: Mapping[Key, Histogram]
    current: Mapping[Key, Histogram]
    samples: Samples | None
    thresholds: pd.DataFrame
    left_out: Mapping[date, list[str]]
    own_version: str | None = None


def read_days(
    connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline: Baseline, days: Sequence[date], thresholds: pd.DataFrame
) -> Inputs:
    """Read what scoring these days against one baseline needs; without days, what calibrating its thresholds needs."""
    segments = judged_segments(connection, spec, baseline.baseline_id)
    within = "(segment IS NULL OR segment IN (SELECT unnest(?::VARCHAR[])))"
    reference = read_histograms(
        connection, table(spec, "baseline_profiles"), f"baseline_id = ? AND {within}", [baseline.baseline_id, segments]
    )
    current, left_out = {}, {}
    if days:
        span = [min(days) - timedelta(days=spec.drift.days_back), max(days)]
        profiles = table(spec, "daily_profile")
        is_prediction = "feature IN (SELECT unnest(?::VARCHAR[]))"
        predicted = [spec.prediction.watched]
        where = f"day BETWEEN ? AND ? AND {within} AND NOT {is_prediction}"
        current = read_histograms(connection, profiles, where, [*span, segments, *predicted])
        # What another model predicted, the model's predecessor or one that serves beside it, says nothing about the model.
        span = [max(span[0], baseline.valid_from or span[0]), span[1]]
        own = _predictions(spec, baseline, segments, *span)
        current |= read_histograms(connection, own, f"{within} AND {is_prediction}", [segments, *predicted])
        left_out = dict(
            connection.execute(
                f"SELECT day, list(DISTINCT segment ORDER BY segment) FROM {profiles} WHERE day IN (SELECT unnest(?::DATE[])) "
                "AND segment IS NOT NULL AND segment NOT IN (SELECT unnest(?::VARCHAR[])) "
                "AND feature IN (SELECT unnest(?::VARCHAR[])) GROUP BY day",
                [list(days), segments, list(spec.features)],
            ).fetchall()
        )
    samples = read_samples(connection, spec, baseline.baseline_id, days)
    version = baseline.model_version if spec.prediction.model_version else None
    return Inputs(baseline, list(days), reference, _with_all_columns(spec, current), samples, thresholds, left_out, version)


def _predictions(spec: MonitorSpec, baseline: Baseline, segments: Sequence[str], first: date, last: date) -> str:
    """The profiles of a span of days, in which the predictions are those of the baseline's model, on days of which the log names
    versions. Of a model trained elsewhere they are all there are."""
    days = f"(SELECT * FROM {table(spec, 'daily_profile')} WHERE day BETWEEN DATE '{first}' AND DATE '{last}')"
    version = spec.prediction.model_version
    if version is None or baseline.model_version is None:
        return days
    parts = ", ".join(
        f"({literal(part)}, {'NULL' if of is None else literal(of)})"
        for part, of in segments_of_version(spec, baseline.model_version, segments).items()
    )
    named = f"SELECT day FROM {days} WHERE starts_with(segment, {literal(f'{version}=')}) AND segment <> {literal(f'{version}=')}"
    return (
        f"(SELECT * FROM {days} WHERE day NOT IN ({named}) UNION ALL "
        f"SELECT p.* REPLACE (part.of::VARCHAR AS segment) FROM {days} p JOIN (VALUES {parts}) part(name, of) "
        f"ON p.segment = part.name WHERE day IN ({named}))"
    )


def judged_segments(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, baseline_id: str) -> list[str]:
    """The largest values of each segment column in the reference, as 'column=value'."""
    sizes = connection.execute(
        f"SELECT segment, max(row_count) FROM (SELECT segment, feature, sum(row_count) AS row_count "
        f"FROM {table(spec, 'baseline_profiles')} WHERE baseline_id = ? AND segment IS NOT NULL GROUP BY ALL) "
        "GROUP BY segment ORDER BY 2 DESC, segment",
        [baseline_id],
    ).fetchall()
    found: list[str] = []
    for column in spec.segments:
        found += [segment for segment, _ in sizes if segment.startswith(f"{column}=")][: spec.drift.segment_values]
    return found


def fingerprint(connection: duckdb.DuckDBPyConnection, spec: MonitorSpec, days: Sequence[date]) -> tuple[object, ...]:
    """Changes whenever what scoring these days reads does: the baselines in force on them, or the profiles of their windows."""
    in_force = [(baseline.baseline_id, judged) for baseline, judged in baselines_in_force(connection, spec, days)]
    first = min(days) - timedelta(days=spec.drift.days_back)
    return (in_force, state_of_days(connection, spec, "daily_profile", first, max(days)))


def _with_all_columns(spec: MonitorSpec, current: Mapping[Key, Histogram]) -> dict[Key, Histogram]:
    """Every watched column of the whole, so that a day without any profile is reported too."""
    empty = {(None, column): _no_days(kind) for column, kind in spec.watched_columns.items()}
    return {key: current.get(key, histogram) for key, histogram in empty.items()} | dict(current)


def _no_days(kind: str) -> Histogram:
    nothing = np.zeros(0)
    support = np.zeros(0, float if kind == "numeric" else object)
    return Histogram(
        kind, [], support, counts=np.zeros((0, 0)), missing=nothing, minimum=nothing, maximum=nothing, is_exact=True
    )  # fmt: skip
