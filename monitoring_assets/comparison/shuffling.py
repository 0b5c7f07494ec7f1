"""Thresholds for two samples without days: what sampling alone does to a score, from shuffling the rows of both sides.

If both sides come from one population, which row lies on which side is chance. So the rows are pooled and dealt out again, many
times, and scored; that holds at any size, for heavy tails and for values seen once, where drawing from the reference's own
shares does not. Pooled counts are all it needs, no rows. Source: Good, Permutation, Parametric and Bootstrap Tests (2005),
chapter 3. Thresholds that know how days differ are in `calibration.py`.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from monitoring_assets.drift.calibration import tail
from monitoring_assets.drift.distances import Array
from monitoring_assets.drift.scores import Comparison
from monitoring_assets.drift.thresholds import SCALES, CalibratedThreshold, to_effect

# Draws, and how near to its limit an effect may come for so many to do (or the limit to the practical floor, which then is the
# threshold). 200 give a limit within 5 to 15 % (25 % for the Wasserstein distance of a log-normal), 600 within 3 to 9 %. More are
# dealt where that could change the verdict. Beyond so many effective rows noise is a fraction of the floor and fewer do first.
STAGES, FEW_DRAWS, MANY_ROWS = ((200, 0.7), (600, 0.8), (2_000, 1.0)), 50, 30_000
# Draws times bins. A score of many bins is a sum of many parts, whose tail fewer draws tell.
CELLS = 600_000
# An effect this many times its limit is severe, however few the draws.
FAR_BEYOND = 3.0
# Draws that must lie beyond a limit for it to be counted. The shape of the tail is extrapolated, never below the second largest.
COUNTED = 5
# Effective rows beyond which noise falls with their square root, so fewer can be dealt. Rare categories need more of them.
MOST_ROWS = {"numeric": 4_000, "categorical": 10_000}
# Bins a numeric column is joined into while it is shuffled.
BINS = 240
# Draws times rows up to which a shuffle is of rows, the same for every column, and beyond which of each column's bins.
SHARED = 10_000_000


def shuffled_thresholds(pair: Comparison, scores: Mapping[str, float], rate: float) -> dict[str, CalibratedThreshold]:
    """Thresholds that a score of two samples of one population exceeds at most at `rate`, and never below a practical effect.

    Parameters
    ----------
    pair
        One reference and one current day on common bins.
    scores
        Their scores by method. A threshold that is not close to its score is less precise.
    rate
        Share of quiet comparisons that may alarm, per method: the whole comparison's rate ÷ its scores (Bonferroni).
    """
    rows = [float(side[0]) for side in pair.effective_rows]
    effective = rows[0] * rows[1] / (rows[0] + rows[1])
    scale = min(1.0, MOST_ROWS[pair.kind] / effective)
    judged, positions = _joined(pair) if pair.kind == "numeric" else (pair, pair.positions[0])
    counts = np.append(judged.reference[0] + judged.current[0], pair.reference_missing[0] + pair.current_missing[0])
    taken = max(round(rows[0] * scale), 1)
    pool = _whole(counts, taken + max(round(rows[1] * scale), 1))
    dealt = taken * (pool.sum() - taken) / pool.sum()
    effects = {method: float(to_effect(method, judged.scores(method)[0], effective)) for method in scores}
    floors = {method: float(to_effect(method, np.array(SCALES[method].practical[0]))) for method in scores}
    limits: dict[str, float] = {}
    most = max(CELLS // len(pool), STAGES[0][0])
    for draws, near in ((FEW_DRAWS, STAGES[0][1]), *STAGES[1:]) if effective > MANY_ROWS else STAGES:
        reference = _deals(pool, taken, min(draws, most))
        deals = _dealt(pair, positions, reference.astype(float), (pool - reference).astype(float))
        for method in scores:
            squares = np.nan_to_num(to_effect(method, np.nan_to_num(deals.scores(method)), dealt)) ** 2
            limits[method] = float(np.sqrt(_limit(squares, rate)))
        beyond = np.sqrt(dealt / effective)
        if draws >= most or all(_is_clear(effects[m], limits[m] * beyond, floors[m], near) for m in scores):
            break
    # Limits are of scores on the joined bins, in which a lone value far out counts for less: now on the scale of the score.
    own = {method: float(to_effect(method, np.array(score), effective)) for method, score in scores.items()}
    scales = {m: own[m] / effects[m] if own[m] > 0 and effects[m] > 0 else 1.0 for m in scores}
    return {m: CalibratedThreshold(m, np.array([dealt]), np.array([limits[m] * scales[m]]), 0.0) for m in scores}


def _is_clear(effect: float, limit: float, floor: float, near: float) -> bool:
    """Whether a limit from few draws is good enough for the severity of an effect."""
    return limit < near * floor or effect < near * max(limit, floor) or effect > FAR_BEYOND * limit


def _deals(pool: Array, taken: int, draws: int) -> Array:
    """Pooled rows dealt out at random, `taken` of them to the reference: its counts (draws, K)."""
    total = int(pool.sum())
    if draws * total > SHARED:
        generator = np.random.default_rng((taken, total, draws))
        return generator.multivariate_hypergeometric(pool, taken, draws, method="marginals")
    return np.diff(np.take(_shuffles(taken, total, draws), np.append(0, np.cumsum(pool)), axis=1), axis=1)


@lru_cache(maxsize=4)
def _shuffles(taken: int, total: int, draws: int) -> Array:
    """How many of the first 0, 1, 2 ... `total` rows are the reference's (draws, total + 1), in whatever order rows stand: so the
    same shuffles serve every column. The rate is shared out by Bonferroni, which asks for no independence."""
    generator = np.random.default_rng((taken, total, draws))
    chosen = np.argpartition(generator.random((draws, total), dtype=np.float32), taken - 1, axis=1)[:, :taken]
    is_reference = np.zeros((draws, total + 1), np.int8)
    np.put_along_axis(is_reference, chosen + 1, 1, axis=1)
    return np.cumsum(is_reference, axis=1, dtype=np.int16 if taken < 1 << 15 else np.int32)


def _dealt(pair: Comparison, positions: Array, reference: Array, current: Array) -> Comparison:
    """Both sides after each shuffle: counts (D, K + 1) with the missing rows last, and where numbers lie (K,)."""
    support = pair.support if pair.kind == "categorical" else positions
    rows = (np.full(len(current), pair.effective_rows[0][0]), np.full(len(current), pair.effective_rows[1][0]))
    widths, positions = np.zeros((1, len(support))), np.broadcast_to(positions, (len(current), len(positions)))
    sides = (reference[:, :-1], current[:, :-1], reference[:, -1], current[:, -1])
    return Comparison(pair.kind, support, widths, positions, *sides, rows)


def _limit(squares: Array, rate: float) -> float:
    """The squared effect exceeded at `rate`: counted where enough draws lie beyond, else from the shape of the tail."""
    is_counted = rate * len(squares) >= COUNTED
    return float(np.quantile(squares, 1 - rate, method="higher")) if is_counted else tail(squares, rate)


def _joined(pair: Comparison) -> tuple[Comparison, Array]:
    """Both sides on at most about `BINS` bins of equal mass, and where these lie: each where its rows do on average."""
    counts, positions = pair.reference[0] + pair.current[0], pair.positions[0]
    held = np.flatnonzero(counts)
    if len(held) == 0:
        return pair, positions
    mass, place = counts[held], positions[held]
    starts = np.arange(len(held))
    if len(held) > BINS:
        starts = np.flatnonzero(np.diff(np.floor((np.cumsum(mass) - mass) / mass.sum() * BINS), prepend=-1))
        total = np.add.reduceat(mass, starts)
        place = np.add.reduceat(mass / np.repeat(total, np.diff([*starts, len(mass)])) * place, starts)
    sides = [
        np.append(np.add.reduceat(side[0][held], starts), missing[0])[None]
        for side, missing in ((pair.reference, pair.reference_missing), (pair.current, pair.current_missing))
    ]
    return _dealt(pair, place, *sides), place


def _whole(counts: Array, total: int) -> Array:
    """Whole rows in the same shares, `total` in all: the largest remainders are rounded up."""
    exact = counts / counts.sum() * total
    whole = np.floor(exact).astype(np.int64)
    short = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:short]] += 1
    return whole
