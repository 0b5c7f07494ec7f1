"""The rows that are profiled: those of a log or a reference, with the columns that are computed from others."""

from monitoring_assets.monitor_spec import CONFIDENCE, MonitorSpec
from monitoring_assets.warehouse import quoted


def watched_rows(spec: MonitorSpec, rows: str, *, with_confidence: bool = True) -> str:
    """A relation with every watched column: of a classifier's rows also how confident each prediction is, unless not asked for.

    A row stored before the monitor named its weight stands for itself; every later one has a weight, or is in quarantine.
    """
    columns = "*"
    if spec.sampling_weight:
        weight = quoted(spec.sampling_weight)
        columns = f"* REPLACE (coalesce({weight}, 1.0::DOUBLE) AS {weight})"
    if spec.prediction.score is not None and with_confidence:
        columns += f", {watched_sql(spec, CONFIDENCE)} AS {quoted(CONFIDENCE)}"
    return rows if columns == "*" else f"(SELECT {columns} FROM {rows})"


def watched_sql(spec: MonitorSpec, column: str) -> str:
    """A watched column as SQL over the log's columns."""
    score = quoted(read_for(spec, column))
    return f"greatest({score}, 1 - {score})" if column == CONFIDENCE else score


def read_for(spec: MonitorSpec, column: str) -> str:
    """The log's column from which a watched one comes."""
    return str(spec.prediction.score) if column == CONFIDENCE else column
