"""Thresholds for two samples without days: what sampling alone does to a score, from shuffling the rows of both sides.

If both sides come from one population, which row lies on which side is chance. So the rows are pooled and dealt out again, many
times, and scored; that holds at any size, for heavy tails and for values seen once, where drawing from the reference's own
shares does not. Pooled counts are all it needs, no rows. Source: Good, Permutation, Parametric and Bootstrap Tests (2005),
chapter 3. Thresholds that know how days differ are in `calibration.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitoring_assets.drift import distances
from monitoring_assets.drift.calibration import _tail
from monitoring_assets.drift.distances import Array
from monitoring_assets.drift.scores import Comparison, resolution
from monitoring_assets.drift.thresholds import SCALES, CalibratedThreshold, to_effect

# The first few tell where noise is so far below the practical floor that the floor is the threshold; the others need all.
DRAWS = (200, 2_000)
# Draws times bins. A score of many bins is a sum of many parts, whose tail fewer draws tell.
CELLS = 600_000
# Of the floor, in effects: half of it in squares, which is what limits are estimated from.
FAR_BELOW = 0.7
# Draws that must lie beyond a limit for it to be counted. The shape of the tail is extrapolated, never below the second largest.
COUNTED = 5
# Effective rows beyond which noise falls with their square root, so fewer can be dealt.
MOST_ROWS = 10_000
# Bins a numeric column is joined into while it is shuffled.
BINS = 240


@dataclass(frozen=True)
class Deals:
    """Both sides after each shuffle: counts (D, K + 1), missing rows last; where numbers lie (K,); groups for js and its kin."""

    kind: str
    reference: Array
    current: Array
    positions: Array
    groups: int

    def scores(self, method: str) -> Array:
        """Scores (D,), as `scores.Comparison` would give them."""
        reference, current = self.reference[:, :-1], self.current[:, :-1]
        match method:
            case "ks" | "cramer_von_mises":
                return np.asarray(getattr(distances, method)(reference, current))
            case "wasserstein":
                return distances.wasserstein(reference, current, self.positions)
            case "missingness":
                sides = (np.column_stack([side[:, :-1].sum(axis=1), side[:, -1]]) for side in (self.reference, self.current))
                return distances.missingness(*sides)
            case "new_category":
                known = np.column_stack([reference, np.maximum(self.reference[:, -1], 1.0)])
                return distances.new_category(known, self.current)
            case "chi2":
                return distances.chi2(*self.grouped(10))[0]
        return np.asarray(getattr(distances, method)(*self.grouped(10 if method == "psi" else self.groups)))

    def grouped(self, groups: int) -> tuple[Array, Array]:
        """Both sides on groups of equal reference mass, or on the reference's categories and one for all others."""
        reference, current = self.reference[:, :-1], self.current[:, :-1]
        if self.kind == "categorical":
            known = reference > 0
            new = (current * ~known).sum(axis=1)
            parts = [reference, np.zeros(len(new))], [current * known, new]
        else:
            group = _quantile_groups(reference, groups)
            place = (np.arange(len(group))[:, None] * (groups + 2) + group).ravel()
            size = len(group) * (groups + 2)
            parts = tuple(  # type: ignore[assignment]
                [np.bincount(place, side.ravel(), size).reshape(-1, groups + 2)] for side in (reference, current)
            )
        sides = (np.column_stack([*part, side[:, -1]]) for part, side in zip(parts, (self.reference, self.current), strict=True))
        one, other = sides
        return one, other


def shuffled_thresholds(
    pair: Comparison, methods: Sequence[str], rate: float, rows: tuple[float, float], generator: np.random.Generator
) -> dict[str, CalibratedThreshold]:
    """Thresholds that a score of two samples of one population exceeds at most at `rate`, and never below a practical effect.

    Parameters
    ----------
    pair
        The two sides on common bins, one current day.
    rate
        Share of quiet comparisons that may alarm, per method: the whole comparison's rate ÷ its scores (Bonferroni).
    rows
        Independent rows of the reference and of the current side: with weights, Kish's (Σw)² / Σw².
    """
    effective = rows[0] * rows[1] / (rows[0] + rows[1])
    scale = min(1.0, MOST_ROWS / effective)
    counts = np.append(pair.reference + pair.current[0], pair.reference_missing + pair.current_missing[0])
    counts, positions = _joined(counts, pair.positions[0]) if pair.kind == "numeric" else (counts, pair.positions[0])
    taken = max(round(rows[0] * scale), 1)
    pool = _whole(counts, taken + max(round(rows[1] * scale), 1))
    dealt = taken * (pool.sum() - taken) / pool.sum()
    limits: dict[str, float] = {}
    for draws in (DRAWS[0], int(np.clip(CELLS // len(pool), *DRAWS))):
        reference = generator.multivariate_hypergeometric(pool, taken, draws, method="marginals")
        groups = int(resolution(pair.row_counts[0], pair.row_counts[1])[0])
        deals = Deals(pair.kind, reference.astype(float), (pool - reference).astype(float), positions, groups)
        for method in methods:
            squares = np.nan_to_num(to_effect(method, np.nan_to_num(deals.scores(method)), dealt)) ** 2
            limits[method] = float(np.sqrt(_limit(squares, rate)))
        floors = {method: float(to_effect(method, np.array(SCALES[method].practical[0]))) for method in methods}
        if all(limits[method] * np.sqrt(dealt / effective) < FAR_BELOW * floors[method] for method in methods):
            break
    return {
        method: CalibratedThreshold(method, rows[0], np.array([dealt]), np.array([limit]), 0.0)
        for method, limit in limits.items()
    }


def _limit(squares: Array, rate: float) -> float:
    """The squared effect exceeded at `rate`: counted where enough draws lie beyond, else from the shape of the tail."""
    is_counted = rate * len(squares) >= COUNTED
    return float(np.quantile(squares, 1 - rate, method="higher")) if is_counted else _tail(squares, rate)


def _joined(counts: Array, positions: Array) -> tuple[Array, Array]:
    """Counts (K + 1,) on at most about `BINS` bins of equal mass; each lies where its rows do on average."""
    held = np.flatnonzero(counts[:-1])
    mass, place = counts[held], positions[held]
    if len(held) > BINS:
        group = np.floor((np.cumsum(mass) - mass) / mass.sum() * BINS)
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        total = np.add.reduceat(mass, starts)
        place = np.add.reduceat(mass / np.repeat(total, np.diff([*starts, len(mass)])) * place, starts)
        mass = total
    if len(mass) == 0:
        mass, place = np.zeros(1), np.zeros(1)
    return np.append(mass, counts[-1]), place


def _whole(counts: Array, total: int) -> Array:
    """Whole rows in the same shares, `total` in all: the largest remainders are rounded up."""
    exact = counts / counts.sum() * total
    whole = np.floor(exact).astype(np.int64)
    short = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:short]] += 1
    return whole


def _quantile_groups(reference: Array, groups: int) -> Array:
    """For each row of counts (D, K) what `scores.quantile_groups` gives, numbered 0 to groups + 1."""
    total = np.maximum(reference.sum(axis=1, keepdims=True), 1)
    middle = np.cumsum(reference, axis=1) - reference / 2
    group = np.floor(middle / total * groups + 1e-9).astype(int).clip(0, groups - 1) + 1
    held, index = reference > 0, np.arange(reference.shape[1])
    first, last = held.argmax(axis=1)[:, None], len(index) - 1 - held[:, ::-1].argmax(axis=1)[:, None]
    for edge, beyond, alone in ((first, index < first, 0), (last, index > last, groups + 1)):
        of_edge = np.take_along_axis(group, edge, axis=1)
        is_alone = ((group == of_edge) & held).sum(axis=1, keepdims=True) == 1
        group = np.where(beyond, np.where(is_alone, alone, of_edge), group)
    return group
