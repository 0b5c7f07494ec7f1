"""What is expected of one day, as expectations of Great Expectations: its names, its arguments, and whether the day meets them.

A rule that bears one day (`expectations.py`) becomes an expectation per severity once the day's rows are counted
(`measurement.py`): the noise of sampling so many rows is part of the arguments, so that the library comes to the same verdict
when it evaluates them on the day's rows. It is not imported here; `validation.py` is its home.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from monitoring_assets.measuring.ruled import ROW_KINDS
from monitoring_assets.monitor_spec import MonitorSpec, Severity
from monitoring_assets.quality.expectations import GX_NAMES, PANDAS_TYPES, Expectation, Kind
from monitoring_assets.quality.measurement import Measured, day_end

# Bounds are stored with so many decimals, rounded so that they allow rather more than less.
DECIMALS = 6


@dataclass(frozen=True)
class DayExpectation:
    """An expectation of Great Expectations by its name and arguments, how grave its failure is, and whether it holds."""

    type: str
    kwargs: dict[str, Any]
    severity: Severity
    success: bool


def expectations_of_days(measured: Sequence[Measured], spec: MonitorSpec, rate: float) -> list[list[DayExpectation]]:
    """For each measure the expectations that its rule is on that day, the mildest first; none for one that is nan.

    Chance alone breaks a rule that holds for the population at most at this rate.
    """
    tolerated = [
        (place, severity, share)
        for place, m in enumerate(measured)
        if m.expectation.kind in ROW_KINDS and not math.isnan(m.value)
        for severity, share in m.expectation.tolerance.levels
    ]
    rows = np.array([measured[place].rows for place, _, _ in tolerated], float)
    unexpected = np.array([measured[place].value for place, _, _ in tolerated], float)
    mostly = least_share(rows, np.array([share for _, _, share in tolerated], float), rate)
    with np.errstate(invalid="ignore"):  # no values, none of them unexpected: true of nothing, as the library has it
        holds = (rows == 0) | ((rows - unexpected) / rows >= mostly)
    made: list[list[DayExpectation]] = [[] for _ in measured]
    for (place, severity, _), least, success in zip(tolerated, mostly.tolist(), holds.tolist(), strict=True):
        made[place].append(_of_rows(measured[place].expectation, severity, least, success))
    for place, m in enumerate(measured):
        if m.expectation.kind not in ROW_KINDS and not math.isnan(m.value):
            made[place] = OF_THE_WHOLE[m.expectation.kind](m, spec, rate)
    return made


def least_share(rows: np.ndarray, tolerated: np.ndarray, rate: float) -> np.ndarray:
    """The argument `mostly`: the least share of expected values among so many, where a population with the tolerated share of
    unexpected ones shows fewer at most at this rate. It is one end of the exact binomial test (Clopper and Pearson, Biometrika
    26, 1934).

    >>> least_share(np.array([100, 1000, 1e6]), np.array([0.01, 0.01, 0.01]), 0.001).tolist()
    [0.95, 0.979, 0.989691]
    >>> least_share(np.array([100]), np.array([0.0]), 0.001).tolist()
    [1.0]
    """
    from scipy.stats import binom

    certain = (tolerated <= 0) | (tolerated >= 1) | (rows == 0)
    count = binom.isf(rate, np.where(certain, 1, rows), np.where(certain, 0.5, tolerated))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(certain, 1 - tolerated, (rows - count) / rows)
    return np.clip(np.floor(share * 10**DECIMALS + 1e-7) / 10**DECIMALS, 0.0, 1.0)


def _of_rows(e: Expectation, severity: Severity, mostly: float, success: bool) -> DayExpectation:
    given = {name: value for name, value in e.arguments.items() if value is not None}
    kwargs = {"column": e.column, **given} | ({"mostly": mostly} if mostly < 1 else {})
    return DayExpectation(GX_NAMES[e.kind], kwargs, severity, success)


def _of_type(m: Measured, spec: MonitorSpec, rate: float) -> list[DayExpectation]:
    kwargs = {"column": m.expectation.column, "type_": PANDAS_TYPES[m.expectation.arguments["type"]]}
    return [DayExpectation(GX_NAMES["of_type"], kwargs, "severe", success=m.value == 0)]


def _row_count(m: Measured, spec: MonitorSpec, rate: float) -> list[DayExpectation]:
    """A day without rows is severe; one with too few or too many is moderate: the model may still be right on it."""
    name, found = GX_NAMES["row_count"], []
    if m.day.weekday() in m.expectation.arguments["ranges"]:
        low, high = m.expectation.arguments["ranges"][m.day.weekday()]
        kwargs = {"min_value": math.ceil(low), "max_value": math.floor(high)}
        found.append(DayExpectation(name, kwargs, "moderate", low <= m.value <= high))
    return [*found, DayExpectation(name, {"min_value": 1}, "severe", m.value >= 1)]


def _prediction_varies(m: Measured, spec: MonitorSpec, rate: float) -> list[DayExpectation]:
    """Predictions are all the same by chance with probability share**n, where the commonest has that share and n is how many."""
    least = 2 if m.expectation.arguments["commonest"] ** m.rows < rate else 1
    kwargs = {"column": m.expectation.column, "min_value": least}
    return [DayExpectation(GX_NAMES["prediction_varies"], kwargs, "severe", m.value >= least)]


def _fresh(m: Measured, spec: MonitorSpec, rate: float) -> list[DayExpectation]:
    """Fewer rows than usual end earlier by chance."""
    arguments = m.expectation.arguments
    allowed = arguments["least"] + arguments["excess"] * max(1.0, arguments["rows"] / m.rows)
    end = day_end(m.day, spec)
    earliest = (end - timedelta(hours=allowed)).replace(microsecond=0)
    kwargs = {"column": m.expectation.column, "min_value": earliest.isoformat()}
    seconds = (end - earliest).total_seconds()
    return [DayExpectation(GX_NAMES["fresh"], kwargs, "moderate", round(m.value * 3600, DECIMALS) <= seconds)]


def _correlated(m: Measured, spec: MonitorSpec, rate: float) -> list[DayExpectation]:
    """Half of the reference's correlation must be left, were noise to its favour: by Fisher's z."""
    from scipy.stats import norm

    arguments = m.expectation.arguments
    noise = norm.isf(rate) * math.sqrt(1.0 / max(m.rows - 3, 1) + arguments["spread"] ** 2)
    least = math.floor(math.tanh(math.atanh(abs(arguments["median"]) / 2) - noise) * 10**DECIMALS) / 10**DECIMALS
    x, y = arguments["pair"]
    is_positive = arguments["median"] > 0
    kwargs = {"column_A": x, "column_B": y} | ({"min_value": least} if is_positive else {"max_value": -least})
    return [DayExpectation(GX_NAMES["correlated"], kwargs, "minor", (m.value if is_positive else -m.value) >= least)]


OF_THE_WHOLE: dict[Kind, Callable[[Measured, MonitorSpec, float], list[DayExpectation]]] = {
    "of_type": _of_type,
    "row_count": _row_count,
    "prediction_varies": _prediction_varies,
    "fresh": _fresh,
    "correlated": _correlated,
}
