"""Scores of days against a baseline, from histograms alone: every column, segment, method and window.

Bins are made here, because methods differ in what they need, and so are the bounds on what binning hides; the formulas are in
`distances.py`, the cuts in `thresholds.py`.

A score of a profile's own bins (ks, wasserstein, cramer_von_mises) has a bound on its distance from the same score of the raw
rows. psi, chi2, js, hellinger, kl, tv and linf are defined on groups of those bins; they are exact there, and their bound is 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import get_args

import numpy as np
import pandas as pd

from monitoring_assets.drift import distances
from monitoring_assets.drift.thresholds import CalibratedThreshold, CutKey, calibrated_for, judge
from monitoring_assets.monitor_spec import Drift, Method, MonitorSpec
from monitoring_assets.profiling.histograms import Histogram, Key, named
from monitoring_assets.profiling.kernel import BUCKET_PREFIX

# Rows of the smaller side from which js, hellinger, kl, tv and linf are taken over so many groups of equal reference mass: about
# the cube root. Noise adds (groups - 1) / 8 * (1/n + 1/m) to a squared Hellinger distance, so 100 groups at 1 M rows add 2e-5 and
# at 100 rows would add 0.25, ten groups 0.02. Deciles lose 3 to 4 % of the distance of two normals, 100 groups less than 0.5 %.
GROUPS = ((1_000_000, 100), (125_000, 50), (8_000, 20), (0, 10))

# Decimals of a stored score: far below what any sample can tell, far above what rounding in sums can change.
DIGITS = 12


def score_days(
    spec: MonitorSpec,
    baseline_id: str,
    reference: Mapping[Key, Histogram],
    current: Mapping[Key, Histogram],
    days: Sequence[date],
    thresholds: Mapping[CutKey, CalibratedThreshold] | None = None,
) -> pd.DataFrame:
    """Compare every window that ends on one of the days with the baseline.

    `thresholds` are the baseline's calibrated ones, from `read_thresholds`; without them the constant defaults judge.

    Returns
    -------
    DataFrame
        The columns of the table `drift_scores`, one row per day, window, segment, column and method.
    """
    kinds = spec.watched_columns
    blocks: list[dict[str, object]] = []
    for (segment, column), histogram in current.items():
        if column not in kinds:
            continue
        baseline = reference.get((segment, column))
        total = baseline.total() if baseline else None
        for length in spec.drift.windows_days:
            of = {"window_days": length, "segment": segment, "feature": column}
            calibrated = calibrated_for(thresholds or {}, segment, column, length)
            window = histogram.windows(days, length)
            blocks += [of | block for block in _score_column(spec.drift, total, window, calibrated)]
    if not blocks:
        return pd.DataFrame()
    columns = {name: np.concatenate([_filled(block[name], len(days)) for block in blocks]) for name in blocks[0]}
    day = np.tile(np.array(days, dtype=object), len(blocks))
    return pd.DataFrame({"day": day} | columns | {"baseline_id": np.full(len(day), baseline_id, object)}, copy=False)


def _filled(value: object, length: int) -> np.ndarray:
    """One value of a block repeated for its days; arrays have a value per day already."""
    if isinstance(value, np.ndarray):
        return value
    return np.full(length, value, dtype=object if value is None or isinstance(value, str) else None)


def _score_column(
    drift: Drift, reference: Histogram | None, window: Histogram, calibrated: Mapping[str, CalibratedThreshold]
) -> list[dict[str, object]]:
    """One block of `drift_scores` per method."""
    pair = Comparison.of(reference, window) if reference is not None and reference.row_count[0] > 0 else None
    rows = window.effective_rows
    enough = rows >= drift.minimum_rows
    blocks: list[dict[str, object]] = []
    for method in drift.methods(window.kind):
        scores, p_values, bounds = pair.apply(method) if pair else np.full((3, len(window.days)), np.nan)
        reasons = _reasons(drift, reference, window, enough, scores)
        # The last bits depend on which other days share the sums; what is stored must not.
        scores, bounds = np.round(np.where(enough, scores, np.nan), DIGITS), np.round(bounds, DIGITS)
        levels = drift.thresholds.get(method) if method in calibrated else drift.levels(method)
        judgement = judge(method, scores, p_values, rows, levels, calibrated.get(method))
        blocks.append(
            {
                "method": method,
                "score": scores,
                "p_value": np.where(np.isnan(scores), np.nan, p_values),
                "threshold": judgement.thresholds,
                "severity": judgement.severities,
                "reference_rows": int(reference.row_count[0]) if reference else 0,
                "current_rows": window.row_count.astype(int),
                "score_error_bound": np.where(np.isnan(scores), np.nan, bounds),
                "reason": reasons,
            }
        )
    return blocks


def _reasons(drift: Drift, reference: Histogram | None, window: Histogram, enough: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Why there is no score (D,), None where there is one."""
    reasons = np.full(len(window.days), None, dtype=object)
    if reference is None:
        reasons[:] = "the baseline does not hold this column or segment"
    elif reference.row_count[0] == 0:
        reasons[:] = "the baseline has 0 rows"
    else:
        reasons[np.isnan(scores)] = "no values to compare: all missing on one side, or a constant reference"
        reasons[~enough] = [
            f"{int(effective)} {'' if effective == rows else 'effective '}rows, {drift.minimum_rows} needed"
            for effective, rows in zip(window.effective_rows[~enough], window.row_count[~enough], strict=True)
        ]
    return reasons


def score_histograms(method: str, reference: Histogram, window: Histogram) -> np.ndarray:
    """Scores (D,) of one method, unjudged; nan where undefined."""
    return Comparison.of(reference, window).apply(method)[0]


def resolution(reference_rows: float, current_rows: np.ndarray) -> np.ndarray:
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
    """A reference and current days on the same bins: `reference` (K,), `current` (D, K), `support` (K,) the bins' lower edges or
    the categories; the missing rows. `positions` (D, K) is where a bin's mass is taken to lie and `widths` (D, K) its width, 0
    where it is a single value: by day, for an open bin ends where the values of that day and the reference end."""

    kind: str
    support: np.ndarray
    widths: np.ndarray
    positions: np.ndarray
    reference: np.ndarray
    current: np.ndarray
    reference_missing: float
    current_missing: np.ndarray
    row_counts: tuple[float, np.ndarray]
    _grouped: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def of(cls, reference: Histogram, window: Histogram) -> "Comparison":
        """Lay a reference of one row and current days out on common bins.

        Weighted rows are counted as their effective rows: chi2, and the half row of an empty bin in psi and kl, then know how
        much was really seen. Other scores are of shares alone.
        """
        reference, window = reference.effective(), window.effective()
        if window.kind == "categorical" and not (reference.is_exact and window.is_exact):
            crowded = [side for side in (reference, window) if not side.is_exact]
            known = set().union(*(named(side.support) for side in crowded))
            reference, window = reference.bucketed(known), window.bucketed(known)
        support = np.union1d(reference.support, window.support)
        sides = [reference.on(support)[0], window.on(support)]
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
            window.kind, support, widths, positions, sides[0], sides[1], float(reference.missing[0]), window.missing,
            (float(reference.rows[0]), window.rows),
        )  # fmt: skip

    def apply(self, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores, p-values and error bounds (D,) of one method."""
        reference, current, days = self.reference, self.current, len(self.current)
        p_values, bounds = np.full(days, np.nan), np.zeros(days)
        match method:
            case "psi":
                scores = distances.psi(*self.grouped(10))
            case "chi2":
                scores, p_values = distances.chi2(*self.grouped(10))
            case "ks":
                scores, bounds = distances.ks(reference, current), self._ks_bound()
            case "wasserstein":
                scores = distances.wasserstein(reference, current, self.positions)
                bounds = self._wasserstein_bound(scores)
            case "cramer_von_mises":
                scores = distances.cramer_von_mises(reference, current)
                bounds = self._cramer_bound()
            case "missingness":
                present = np.array([reference.sum(), self.reference_missing])
                scores = distances.missingness(present, np.column_stack([current.sum(axis=-1), self.current_missing]))
            case "new_category":
                both = np.append(reference, max(self.reference_missing, 1.0)), np.column_stack([current, self.current_missing])
                # A bucket the reference fills may hold new categories too.
                shared = np.array([str(name).startswith(BUCKET_PREFIX) for name in self.support], bool) & (reference > 0)
                scores, bounds = distances.new_category(*both), distances.shares(both[1])[:, :-1] @ shared.astype(float)
            case "js" | "hellinger" | "kl" | "tv" | "linf":
                scores, groups = np.full(days, np.nan), resolution(*self.row_counts)
                for count in np.unique(groups):
                    ref, cur = self.grouped(int(count))
                    scores[groups == count] = getattr(distances, method)(ref, cur[groups == count])
            case _:
                raise ValueError(f"unknown method {method!r}; known: {', '.join(get_args(Method))}")
        return scores, p_values, bounds

    def grouped(self, groups: int) -> tuple[np.ndarray, np.ndarray]:
        """Both sides on groups of equal reference mass, or on categories; missing rows are the last group."""
        if groups in self._grouped:
            return self._grouped[groups]
        is_numeric = self.kind == "numeric"
        group = quantile_groups(self.reference, groups) if is_numeric else category_groups(self.reference)
        self._grouped[groups] = (
            np.append(_added(self.reference, group), self.reference_missing),
            np.column_stack([_added(self.current, group), self.current_missing]),
        )
        return self._grouped[groups]

    @cached_property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the reference (K,) and of the days (D, K); 0 where a side has no rows."""
        return np.nan_to_num(distances.shares(self.reference)), np.nan_to_num(distances.shares(self.current))

    @cached_property
    def gaps(self) -> np.ndarray:
        """G − F, the gap of the distribution functions, after each bin (D, K)."""
        return np.cumsum(self.shares[1] - self.shares[0], axis=-1)

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
        spread = distances.standard_deviation(self.reference, self.positions) if self.reference.sum() else np.nan
        moved = ((q + p) * self.widths).sum(axis=-1) / 2
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            doubt = np.sqrt((p * self.widths**2).sum(axis=-1)) / 2
            return np.where((doubt < spread) & (spread < np.inf), (moved + scores * doubt) / (spread - doubt), np.inf)


def quantile_groups(reference: np.ndarray, groups: int = 10) -> np.ndarray:
    """For each bin its group: quantiles of the reference, open at both ends.

    Where an outer quantile is a single value (a constant, a spike at zero), what lies beyond it gets a group of its own, else a
    constant that moved would stay in its group.

    Examples
    --------
    >>> quantile_groups(np.array([0.0, 9, 0])).tolist()
    [0, 1, 2]
    """
    if reference.sum() == 0:
        return np.zeros(len(reference), int)
    # A bin belongs to the quantile its middle lies in, so a bin across a quantile is not always counted below it.
    middle = np.cumsum(reference) - reference / 2
    group = np.floor(middle / reference.sum() * groups + 1e-9).astype(int).clip(0, groups - 1) * 2 + 2
    held = np.flatnonzero(reference)
    first, last = held[0], held[-1]
    group[:first] = 0 if (group[held] == group[first]).sum() == 1 else group[first]
    group[last + 1 :] = 2 * groups + 2 if (group[held] == group[last]).sum() == 1 else group[last]
    return np.unique(group, return_inverse=True)[1]


def category_groups(reference: np.ndarray) -> np.ndarray:
    """For each category its bin: one each for those the reference knows, one for all new ones together."""
    known = reference > 0
    return np.where(known, np.cumsum(known) - 1, known.sum())


def _added(counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Counts (..., K) added up by group."""
    if len(groups) == 0:
        return counts
    if (np.diff(groups) < 0).any():
        order = np.argsort(groups, kind="stable")
        counts, groups = counts[..., order], groups[order]
    starts = np.flatnonzero(np.append(True, np.diff(groups) > 0))
    return np.add.reduceat(counts, starts, axis=-1)
