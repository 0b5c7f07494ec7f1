"""How far the metrics of a window may lie from those of all rows like its labelled ones: 95 % intervals, in closed form.

Rows count as independent draws; where days share a shock (a storm, a campaign) metrics of days differ by more. Weighted rows
count as their effective rows (Kish 1965). The metrics themselves are in `metrics.py`.
"""

import math
from typing import NamedTuple

import numpy as np

from monitoring_assets.performance.score_histogram import ScoreHistogram

# The normal quantile of a 95 % interval.
Z = 1.959963984540054


class Interval(NamedTuple):
    """The ends of a 95 % interval; nan where there is none."""

    lower: float = math.nan
    upper: float = math.nan


UNKNOWN = Interval()
# Of what is still a number as a power of e.
_LARGEST_EXPONENT = 700.0


def of_share(share: float, rows: float) -> Interval:
    """Of a share of so many rows. Wilson 1927.

    Examples
    --------
    >>> [round(end, 4) for end in of_share(0.9, 10)]
    [0.5958, 0.9821]
    """
    if not rows > 0:
        return UNKNOWN
    middle, half = share + Z**2 / (2 * rows), Z * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    lower, upper = (min(max((middle + side * half) / (1 + Z**2 / rows), 0.0), 1.0) for side in (-1, 1))
    return Interval(lower, upper)


def of_mean(mean: float, mean_square: float, rows: float) -> Interval:
    """Of the mean of what has this mean square, with Student's quantile.

    Examples
    --------
    >>> [round(end, 3) for end in of_mean(2.0, 5.0, 17)]
    [1.47, 2.53]
    """
    half = _half(mean, mean_square, rows)
    return UNKNOWN if math.isnan(half) else Interval(mean - half, mean + half)


def of_positive_mean(mean: float, mean_square: float, rows: float) -> Interval:
    """The same of what is never negative, on the logarithm: the interval stays above 0 and allows for a long right tail.

    Examples
    --------
    >>> [round(end, 3) for end in of_positive_mean(2.0, 5.0, 17)]
    [1.534, 2.607]
    """
    half = _half(mean, mean_square, rows)
    if math.isnan(half) or not mean > 0:
        return UNKNOWN
    factor = math.exp(min(half / mean, _LARGEST_EXPONENT))
    return Interval(mean / factor, mean * factor)


def of_root(interval: Interval) -> Interval:
    """Of the root of a mean, from that of the mean."""
    return Interval(math.sqrt(interval.lower), math.sqrt(interval.upper))


def of_auc(scores: ScoreHistogram, auc: float, effective: float) -> Interval:
    """Of an AUC, by DeLong's variance on the logit (DeLong, DeLong, Clarke-Pearson 1988). Where that variance is 0, since all
    pairs are won or all are lost, the score interval of Newcombe (2006, method 5). `effective`: effective rows per weight.
    """
    ones, zeros = _by_score(scores)
    rows_of_ones, rows_of_zeros = (float(each.sum()) * effective for each in (ones, zeros))
    if min(rows_of_ones, rows_of_zeros) <= 1:
        return UNKNOWN
    # For each score the share of the other label's rows that it wins against, ties half.
    wins_of_ones = (np.cumsum(zeros) - zeros / 2) / zeros.sum()
    wins_of_zeros = 1 - (np.cumsum(ones) - ones / 2) / ones.sum()
    variance = _variance(wins_of_ones, ones) / (rows_of_ones - 1) + _variance(wins_of_zeros, zeros) / (rows_of_zeros - 1)
    if variance > 0 and 0 < auc < 1:
        return _on_logit(auc, math.sqrt(variance))
    return _newcombe(auc, rows_of_ones, rows_of_zeros)


def of_average_precision(scores: ScoreHistogram, value: float, effective: float) -> Interval:
    """Of an average precision, on the logit (Boyd, Eng, Page 2013), its variance by how much each row moves it (delta method)."""
    ones, zeros = (each[::-1] for each in _by_score(scores))
    if not (0 < value < 1 and ones.sum() * effective > 1):
        return UNKNOWN
    true, false = np.cumsum(ones), np.cumsum(zeros)
    chosen = true + false
    # One more row is chosen at its own score and at every lower one: there a 1 adds to the precision, a 0 takes from it.
    adds, takes = (np.cumsum((ones * each / chosen**2)[::-1])[::-1] for each in (false, true))
    moves_of_ones, moves_of_zeros = true / chosen - value + adds, -takes
    variance = float((ones * moves_of_ones**2 + zeros * moves_of_zeros**2).sum()) / float(ones.sum()) ** 2 / effective
    return _on_logit(value, math.sqrt(variance))


def _by_score(scores: ScoreHistogram) -> tuple[np.ndarray, np.ndarray]:
    """The weights of ones and of zeros at each score, in rising order; a cell counts as its middle."""
    middles, place = np.unique(scores.middles, return_inverse=True)
    return np.bincount(place, scores.ones, len(middles)), np.bincount(place, scores.zeros, len(middles))


def _half(mean: float, mean_square: float, rows: float) -> float:
    from scipy.special import stdtrit

    if not (rows > 1 and math.isfinite(mean) and math.isfinite(mean_square)):
        return math.nan
    return float(stdtrit(rows - 1, 0.975)) * math.sqrt(max(mean_square - mean**2, 0.0) / (rows - 1))


def _variance(values: np.ndarray, weights: np.ndarray) -> float:
    mean = np.average(values, weights=weights)
    return float(np.average((values - mean) ** 2, weights=weights))


def _on_logit(value: float, deviation: float) -> Interval:
    logit, half = math.log(value / (1 - value)), Z * deviation / (value * (1 - value))
    return Interval(*(1 / (1 + math.exp(min(-logit - side * half, _LARGEST_EXPONENT))) for side in (-1, 1)))


def _newcombe(auc: float, ones: float, zeros: float) -> Interval:
    from scipy.optimize import brentq

    def beyond(x: float) -> float:
        inner = 1 + ((ones + zeros) / 2 - 1) * ((1 - x) / (2 - x) + x / (1 + x))
        return (auc - x) ** 2 - Z**2 * x * (1 - x) * inner / (ones * zeros)

    tiny = 1e-12
    lower = 0.0 if auc <= tiny else float(brentq(beyond, tiny, auc - tiny))
    upper = 1.0 if auc >= 1 - tiny else float(brentq(beyond, auc + tiny, 1 - tiny))
    return Interval(lower, upper)
