"""What was found, day by day: what was measured is set against what is expected, and Great Expectations judges it.

All days and rules are one table, judged in one pass a severity, so a year costs hardly more than a day. What is expected is
declared in `expectations.py`; counting is `measurement.py`'s. Storing findings or reporting them is the caller's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pandas as pd

from monitoring_assets.monitor_spec import MonitorSpec, Severity
from monitoring_assets.quality.expectations import GX_NAMES, Kind, ReferenceFacts, expectations_of, volume_in_words
from monitoring_assets.quality.facts import fisher_z
from monitoring_assets.quality.measurement import ROW_KINDS, Measured, measure
from monitoring_assets.quality.validation import Rule, rows_breaking

LEVELS: tuple[Severity, ...] = ("minor", "moderate", "severe")


@dataclass(frozen=True)
class Finding:
    """How one expectation fared on one day; see `quality` in `warehouse_tables.TABLES` for the meaning of each field."""

    day: date
    check: Kind
    column: str | None
    severity: Severity
    observed: float
    unexpected_count: int
    unexpected_share: float
    samples: list[str]
    expected: str
    expectation: str


def evaluate_days(
    connection: duckdb.DuckDBPyConnection, rows: str, days: Sequence[date], spec: MonitorSpec, facts: ReferenceFacts
) -> list[Finding]:
    """Findings of every day, the good ones too, ordered by day as `days` has them.

    `rows` is a table or parenthesised query with `day` and `spec.log_columns`; its rows of other days are left alone. A day's
    findings are the same whether it is evaluated alone or with others. A day without rows has `row_count` and `of_type`
    findings only: shares of no rows are undefined.
    """
    expectations = expectations_of(spec, facts)
    # Over all rules a sound day is found fault with at this rate; the rules of types are never broken by chance.
    rate = spec.quality.false_alarm_rate / max(sum(e.kind != "of_type" for e in expectations), 1)
    listed = ", ".join(f"DATE '{day}'" for day in days) or "NULL"
    measured = list(measure(connection, f"(SELECT * FROM {rows} WHERE day IN ({listed}))", spec, expectations, days))
    severities = _severities(measured, rate)
    return [_finding(found, severity) for found, severity in zip(measured, severities, strict=True)]


def _severities(measured: Sequence[Measured], rate: float) -> list[Severity]:
    """The gravest level whose limit each measure exceeds."""
    excess = _excess(measured, rate)
    limits = [(m.expectation.tolerance.minor, m.expectation.tolerance.moderate, m.expectation.tolerance.severe) for m in measured]
    table = pd.DataFrame(np.array(limits, float).reshape(-1, 3), columns=list(LEVELS)).assign(excess=excess)
    # An empty day's volume is severe, any other unusual volume is not.
    is_volume = np.array([m.expectation.kind == "row_count" and m.rows > 0 for m in measured], bool)
    table.loc[is_volume, "severe"] = np.nan
    severities: list[Severity] = ["ok"] * len(measured)
    rules = [
        Rule(
            "ExpectColumnPairValuesAToBeGreaterThanB",
            (level, "excess"),
            {"column_A": level, "column_B": "excess", "or_equal": True, "ignore_row_if": "either_value_is_missing"},
        )
        for level in LEVELS
    ]
    for level, broken in zip(LEVELS, rows_breaking(rules, table), strict=True):
        for place in broken.tolist():
            severities[place] = level
    return severities


def _excess(measured: Sequence[Measured], rate: float) -> np.ndarray:
    """What is compared with the limits: the share of rows that noise cannot explain, or how far a measure is out of bounds."""
    counted = np.array([m.expectation.kind in ROW_KINDS for m in measured], bool)
    values, rows = np.array([m.value for m in measured], float), np.array([m.rows for m in measured], float)
    excess = np.zeros(len(measured))
    excess[counted] = share_at_least(values[counted], rows[counted], rate)
    for place in np.flatnonzero(~counted).tolist():
        excess[place] = EXCESS[measured[place].expectation.kind](measured[place], rate)
    return excess


def share_at_least(count: np.ndarray, rows: np.ndarray, rate: float) -> np.ndarray:
    """The lower end of the exact binomial confidence interval: a true share below it gives such a count at most at that rate
    (Clopper and Pearson, Biometrika 26, 1934).

    >>> share_at_least(np.array([0, 1, 20]), np.array([100, 100, 1000]), 0.001).round(4).tolist()
    [0.0, 0.0, 0.009]
    """
    from scipy.stats import beta

    bound = beta.ppf(rate, np.maximum(count, 1), np.maximum(rows - count + 1, 1))
    return np.where(count > 0, bound, 0.0)


def _volume_excess(found: Measured, rate: float) -> float:
    low, high = found.expectation.arguments["ranges"].get(found.day.weekday(), (1.0, math.inf))
    return max(low - found.value, found.value - high)


def _constant_excess(found: Measured, rate: float) -> float:
    """Whether predictions are constant that would not be by chance: n times the commonest has probability share**n."""
    return float(found.value > 0 and found.expectation.arguments["commonest"] ** found.rows < rate)


def _hours_excess(found: Measured, rate: float) -> float:
    """Hours beyond what is usual. Fewer rows than usual end earlier by chance."""
    arguments = found.expectation.arguments
    return found.value - arguments["least"] - arguments["excess"] * max(1.0, arguments["rows"] / found.rows)


def _correlation_excess(found: Measured, rate: float) -> float:
    """How far the correlation, were noise in its favour, is below half the reference's."""
    from scipy.stats import norm

    arguments = found.expectation.arguments
    sign = math.copysign(1.0, arguments["median"])
    noise = norm.isf(rate) * math.sqrt(1.0 / max(found.rows - 3, 1) + arguments["spread"] ** 2)
    return abs(arguments["median"]) / 2 - math.tanh(float(fisher_z(sign * found.value)) + noise)


EXCESS: dict[Kind, Callable[[Measured, float], float]] = {
    "row_count": _volume_excess,
    "of_type": lambda found, rate: found.value,
    "prediction_varies": _constant_excess,
    "fresh": _hours_excess,
    "correlated": _correlation_excess,
}


def _finding(found: Measured, severity: Severity) -> Finding:
    e = found.expectation
    expected = e.expected
    if e.kind == "row_count":
        expected = volume_in_words(*e.arguments["ranges"].get(found.day.weekday(), (1.0, None)))
    if e.kind in ROW_KINDS:
        count, share = int(found.value), found.value / found.rows
        observed = share
    else:
        broken = severity != "ok"
        count, share, observed = int(broken), float(broken), found.value
        if e.kind == "of_type" and broken:
            count = found.rows
    samples = list(found.samples) if count else []
    return Finding(
        found.day, e.kind, e.column, severity, observed, count, share, samples, expected, GX_NAMES[e.kind]
    )  # fmt: skip
