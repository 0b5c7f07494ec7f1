"""Scores of days against references, from histograms alone: the bins each method needs, and what binning can hide.

The formulas are in `distances.py`, the cuts in `thresholds.py`; which window is compared with which reference is in `windows.py`.

A score of a profile's own bins (ks, wasserstein, cramer_von_mises) has a bound on its distance from the same score of the raw
rows. psi, chi2, js, hellinger, kl, tv and linf are defined on groups of those bins; they are exact there, and their bound is 0.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import get_args

import numpy as np

from monitoring_assets.drift import distances
from monitoring_assets.measuring.histograms import Histogram, named
from monitoring_assets.measuring.kernel import BUCKET_PREFIX
from monitoring_assets.monitor_spec import Method

# Rows of the smaller side from which js, hellinger, kl, tv and linf are taken over so many groups of equal reference mass: about
# the cube root. Noise adds (groups - 1) / 8 * (1/n + 1/m) to a squared Hellinger distance, so 100 groups at 1 M rows add 2e-5 and
# at 100 rows would add 0.25, ten groups 0.02. Deciles lose 3 to 4 % of the distance of two normals, 100 groups less than 0.5 %.
GROUPS = ((1_000_000, 100), (125_000, 50), (8_000, 20), (0, 10))


def score_histograms(method: str, reference: Histogram, window: Histogram) -> np.ndarray:
    """Scores (D,) of one method, unjudged; nan where undefined."""
    return Comparison.of(reference, window).scores(method)


def resolution(reference_rows: np.ndarray | float, current_rows: np.ndarray) -> np.ndarray:
    """How many groups of bins js, hellinger, kl, tv and linf are taken over (D,): see `GROUPS`.

    Examples
    --------
    >>> resolution(100_000, np.array([100, 920, 50_000, 5_000_000])).tolist()
    [10, 10, 20, 20]
    """
    smaller = np.minimum(reference_rows, current_rows)
    return np.select([smaller >= rows for rows, _ in GROUPS], [groups for _, groups in GROUPS], GROUPS[-1][1])


@dataclass(frozen=True)
class Comparison:
    """References and current days on the same bins: `reference` (R, K), where R is 1, or D when each day has its own; `current`
    (D, K); `support` (K,) the bins' lower edges or the categories; the missing rows. `positions` (D, K) is where a bin's mass is
    taken to lie and `widths` (D, K) its width, 0 where it is a single value: by day, for an open bin ends where the values of
    that day and its reference end. `effective_rows` (R,) and (D,)."""

    kind: str
    support: np.ndarray
    widths: np.ndarray
    positions: np.ndarray
    reference: np.ndarray
    current: np.ndarray
    reference_missing: np.ndarray
    current_missing: np.ndarray
    effective_rows: tuple[np.ndarray, np.ndarray]
    _grouped: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def of(cls, reference: Histogram, window: Histogram) -> "Comparison":
        """Lay references, one or one a day, and current days out on common bins.

        Weighted rows are counted as their effective rows: chi2, and the half row of an empty bin in psi and kl, then know how
        much was really seen. Other scores are of shares alone.
        """
        reference, window = reference.effective(), window.effective()
        if window.kind == "categorical" and not (reference.is_exact and window.is_exact):
            crowded = [side for side in (reference, window) if not side.is_exact]
            known = set().union(*(named(side.support) for side in crowded))
            reference, window = reference.bucketed(known), window.bucketed(known)
        support = np.union1d(reference.support, window.support)
        sides = [reference.on(support), window.on(support)]
        widths = positions = np.zeros((len(window.days), len(support)))
        if window.kind == "numeric" and len(support):
            upper = np.full(len(support), -np.inf)
            for side in (reference, window):
                place = np.searchsorted(support, side.support)
                upper[place] = np.maximum(upper[place], side.upper)
            # Bins of different grids can overlap: what overlaps is one bin.
            starts = np.flatnonzero(
                np.append(True, support[1:] >= np.maximum.accumulate(np.fmax(upper, np.nextafter(support, np.inf)))[:-1])
            )
            if len(starts) < len(support):
                support, upper = support[starts], np.maximum.reduceat(upper, starts)
                sides = [np.add.reduceat(counts, starts, axis=-1) for counts in sides]
            low = np.fmin(reference.minimum, window.minimum)[:, None]
            high = np.fmax(reference.maximum, window.maximum)[:, None]
            lower, upper = np.clip(support, low, high), np.clip(upper, low, high)
            widths, positions = upper - lower, lower / 2 + upper / 2
        return cls(
            window.kind, support, widths, positions, sides[0], sides[1], reference.missing, window.missing,
            (reference.effective_rows, window.effective_rows),
        )  # fmt: skip

    def apply(self, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores, p-values and error bounds (D,) of one method."""
        scores, p_values, bounds = self._scored(method)
        match method:
            case "ks":
                bounds, p_values = self._ks_bound(), distances.ks_p_value(scores, self._present_rows())
            case "wasserstein":
                bounds = self._wasserstein_bound(scores)
            case "cramer_von_mises":
                bounds = self._cramer_bound()
        return scores, p_values, bounds

    def scores(self, method: str) -> np.ndarray:
        """Scores (D,) of one method, in half the time of `apply`."""
        return self._scored(method)[0]

    def _scored(self, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores, and of p-values and error bounds those that come with them."""
        reference, current, days = self.reference, self.current, len(self.current)
        p_values, bounds = np.full(days, np.nan), np.zeros(days)
        match method:
            case "psi":
                scores = distances.psi(*self.grouped(10))
            case "chi2":
                scores, p_values = distances.chi2(*self.grouped(10))
            case "ks":
                scores = distances.ks(reference, current, self.gaps)
            case "wasserstein":
                scores = distances.wasserstein(reference, current, self.positions, self.gaps)
            case "cramer_von_mises":
                scores = distances.cramer_von_mises(reference, current, self.gaps)
            case "missingness":
                sides = ((reference, self.reference_missing), (current, self.current_missing))
                scores = distances.missingness(*(np.column_stack([side.sum(axis=-1), missing]) for side, missing in sides))
            case "new_category":
                known = np.column_stack([reference, np.maximum(self.reference_missing, 1.0)])
                rows_of_day = np.column_stack([current, self.current_missing])
                # A bucket the reference fills may hold new categories too.
                shared = np.array([str(name).startswith(BUCKET_PREFIX) for name in self.support], bool) & (reference > 0)
                scores = distances.new_category(known, rows_of_day)
                bounds = (distances.shares(rows_of_day)[:, :-1] * shared).sum(axis=-1)
            case "js" | "hellinger" | "kl" | "tv" | "linf":
                scores, groups = np.full(days, np.nan), resolution(*self.effective_rows)
                for count in np.unique(groups):
                    chosen = groups == count
                    ref, cur = self.grouped(int(count))
                    scores[chosen] = getattr(distances, method)(ref if len(ref) == 1 else ref[chosen], cur[chosen])
            case _:
                raise ValueError(f"unknown method {method!r}; known: {', '.join(get_args(Method))}")
        return scores, p_values, bounds

    def grouped(self, groups: int) -> tuple[np.ndarray, np.ndarray]:
        """Both sides (R, G) and (D, G) on groups of equal reference mass, or on categories; missing rows are the last group.

        Where each day has a reference of its own, so it has groups; those that one day lacks are empty on both sides.
        """
        if groups not in self._grouped:
            sides = (self.reference, self.current)
            added = _by_category(*sides) if self.kind == "categorical" else _by_quantile(*sides, groups)
            self._grouped[groups] = (
                np.column_stack([added[0], self.reference_missing]),
                np.column_stack([added[1], self.current_missing]),
            )
        return self._grouped[groups]

    def _present_rows(self) -> np.ndarray:
        """Effective rows n m / (n + m) that have a value (D,)."""
        sides = zip(
            self.effective_rows, (self.reference, self.current), (self.reference_missing, self.current_missing), strict=True
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            present, other = (rows * counts.sum(axis=-1) / (counts.sum(axis=-1) + missing) for rows, counts, missing in sides)
            return np.nan_to_num(present * other / (present + other))

    @cached_property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the references (R, K) and of the days (D, K); 0 where a side has no rows."""
        return np.nan_to_num(distances.shares(self.reference)), np.nan_to_num(distances.shares(self.current))

    @cached_property
    def gaps(self) -> np.ndarray:
        """G − F, the gap of the distribution functions, after each bin (D, K)."""
        return distances.gaps_between(self.reference, self.current)

    def _ks_bound(self) -> np.ndarray:
        """The score is the largest gap on bin edges. Inside a bin of shares p and q the gap lies between the one after it less q
        and the one after it plus p."""
        if not self.widths.any():
            return np.zeros(len(self.current))
        (p, q), wide = self.shares, self.widths > 0
        least, most = (self.gaps - q).min(axis=-1, where=wide, initial=0.0), (self.gaps + p).max(axis=-1, where=wide, initial=0.0)
        return np.maximum(np.maximum(-least, most) - np.abs(self.gaps).max(axis=-1, initial=0.0), 0.0)

    def _cramer_bound(self) -> np.ndarray:
        """A gap that is off by e at most has a square that is off by e (2 |gap| + e) at most; see `_ks_bound` for e."""
        p, q = self.shares
        doubt = np.maximum(p, q) * (self.widths > 0)
        return np.einsum("dk,dk,dk->d", doubt, 2 * np.abs(self.gaps) + doubt, (p + q) / 2)

    def _wasserstein_bound(self, scores: np.ndarray) -> np.ndarray:
        """No value lies further from its bin's position than half the bin. That bounds W1, and the standard deviation too.

        A feature of infinite variance, such as Pareto's with exponent 1/2, has a few values so far out, in bins so wide, that
        they make the spread doubtful: its bound is large, or infinite. KS is the method for it.
        """
        if not self.widths.any():
            return np.zeros(len(self.current))
        p, q = self.shares
        spread = distances.standard_deviation(self.reference, self.positions)
        moved = ((q + p) * self.widths).sum(axis=-1) / 2
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            doubt = np.sqrt((p * self.widths**2).sum(axis=-1)) / 2
            return np.where((doubt < spread) & (spread < np.inf), (moved + scores * doubt) / (spread - doubt), np.inf)


def quantile_groups(reference: np.ndarray, groups: int = 10) -> np.ndarray:
    """For each bin of each row (R, K) its group, 0 to 2 * groups + 2, not falling: quantiles of the reference, open at both ends.

    Where an outer quantile is a single value (a constant, a spike at zero), what lies beyond it gets a group of its own, else a
    constant that moved would stay in its group. Numbers in between that no bin has are left out.

    Examples
    --------
    >>> quantile_groups(np.array([[0.0, 9, 0]]), 2).tolist()
    [[0, 4, 6]]
    """
    total, held, place = reference.sum(axis=-1, keepdims=True), reference > 0, np.arange(reference.shape[-1])
    if reference.shape[-1] == 0:
        return np.zeros(reference.shape, int)
    # A bin belongs to the quantile its middle lies in, so a bin across a quantile is not always counted below it.
    middle = (np.cumsum(reference, axis=-1) - reference / 2) / np.where(total > 0, total, 1.0)
    group = np.floor(middle * groups + 1e-9).astype(int).clip(0, groups - 1) * 2 + 2
    ends = ((held.argmax(axis=-1), 0, np.less), (len(place) - 1 - held[:, ::-1].argmax(axis=-1), 2 * groups + 2, np.greater))
    for end, beyond, is_beyond in ends:
        of_end = np.take_along_axis(group, end[:, None], axis=-1)
        is_alone = (held & (group == of_end)).sum(axis=-1, keepdims=True) == 1
        group = np.where(is_beyond(place, end[:, None]), np.where(is_alone, beyond, of_end), group)
    return np.where(total > 0, group, 0)


def _by_quantile(reference: np.ndarray, current: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    if reference.shape[-1] == 0:  # neither side has a value
        return np.zeros((len(reference), 1)), np.zeros((len(current), 1))
    group = quantile_groups(reference, groups)
    if len(group) == 1:  # one reference: the same groups every day
        starts = np.flatnonzero(np.append(True, np.diff(group[0]) > 0))
        return np.add.reduceat(reference, starts, axis=-1), np.add.reduceat(current, starts, axis=-1)
    size = 2 * groups + 3
    place = (np.arange(len(group))[:, None] * size + group).ravel()
    sides = [np.bincount(place, weights=side.ravel(), minlength=len(group) * size) for side in (reference, current)]
    return sides[0].reshape(-1, size), sides[1].reshape(-1, size)


def _by_category(reference: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each category the reference knows, and all new ones together as the last."""
    is_new = reference == 0
    return np.column_stack([reference, np.zeros(len(reference))]), np.column_stack(
        [np.where(is_new, 0.0, current), np.where(is_new, current, 0.0).sum(axis=-1)]
    )
