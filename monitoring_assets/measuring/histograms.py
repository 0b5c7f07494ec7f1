"""Profiles read back from the warehouse as arrays: one histogram per segment and column, a row per day.

Adding rows is adding days, which is how windows and baselines are made. What the numbers mean for drift is not known here.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from monitoring_assets.measuring.kernel import BUCKET_PREFIX

Key = tuple[str | None, str]  # segment, column


@dataclass(frozen=True)
class Histogram:
    """Counts of one column over several days.

    `support` (K,) holds lower bin edges or categories, ascending; `counts` (D, K) the rows per day and support point;
    `missing` (D,) the rows that are NULL, NaN or infinite; `minimum` and `maximum` (D,) are nan for categories and empty days.
    `is_exact` tells that every bin is a single value, or that every category has its name. `upper` (K,) holds the upper bin
    edges, equal to the lower ones where the bin is a single value. `row_count` (D,) is the rows whatever their weight,
    `squared_weight` (D,) the sum of their squared weights; both are the counted rows unless given.
    """

    kind: str
    days: list[date]
    support: np.ndarray
    counts: np.ndarray
    missing: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    is_exact: bool
    upper: np.ndarray = field(default_factory=lambda: np.zeros(0))
    row_count: np.ndarray = field(default_factory=lambda: np.zeros(0))
    squared_weight: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if len(self.upper) != len(self.support):
            object.__setattr__(self, "upper", self.support)
        if len(self.row_count) != len(self.missing):
            object.__setattr__(self, "row_count", self.rows)
        if len(self.squared_weight) != len(self.missing):
            object.__setattr__(self, "squared_weight", self.rows)

    @property
    def rows(self) -> np.ndarray:
        """Rows per day (D,), missing ones included; sums of weights where rows have one."""
        return self.counts.sum(axis=1) + self.missing

    @property
    def effective_rows(self) -> np.ndarray:
        """How many unweighted rows would tell as much (D,): (Σ w)² / Σ w², the rows themselves where no row has a weight.

        Source: Kish (1965), Survey Sampling, section 11.7. It holds where weights do not hang on the values; where the rare ones
        are logged more often, it errs on the modest side.
        """
        rows = self.rows
        return rows * np.divide(rows, self.squared_weight, out=np.zeros(len(rows)), where=self.squared_weight > 0)

    def effective(self) -> "Histogram":
        """The same shares, of as many rows as they tell: each day's counts add up to its `effective_rows`."""
        rows = self.rows
        if np.array_equal(rows, self.squared_weight):
            return self
        scale = np.divide(rows, self.squared_weight, out=np.ones(len(rows)), where=self.squared_weight > 0)
        counts, missing = self.counts * scale[:, None], self.missing * scale
        return replace(self, counts=counts, missing=missing, squared_weight=counts.sum(axis=1) + missing)

    def total(self) -> "Histogram":
        """All days added up into one."""
        return self.mixed(np.ones((1, len(self.days)), bool), self.days[-1:])

    def mixed(self, inside: np.ndarray, days: Sequence[date]) -> "Histogram":
        """Sums over chosen days: row r, called `days[r]`, adds up the days i with `inside[r, i]`, (R, D)."""
        share = inside.astype(float)
        return replace(
            self,
            days=list(days),
            counts=share @ self.counts,
            missing=share @ self.missing,
            minimum=np.fmin.reduce(np.where(inside, self.minimum, np.nan), axis=1, initial=np.nan),
            maximum=np.fmax.reduce(np.where(inside, self.maximum, np.nan), axis=1, initial=np.nan),
            row_count=share @ self.row_count,
            squared_weight=share @ self.squared_weight,
        )

    def windows(self, days: Sequence[date], length: int) -> "Histogram":
        """For each day asked for, the sum of the `length` days that end with it; days without a profile add nothing."""
        ordinals = np.array([day.toordinal() for day in self.days], int)
        ends = np.array([day.toordinal() for day in days], int)
        start, stop = np.searchsorted(ordinals, ends - length, side="right"), np.searchsorted(ordinals, ends, side="right")
        return replace(
            self,
            days=list(days),
            counts=self._cumulative[stop] - self._cumulative[start],
            missing=_sums(self.missing, start, stop),
            minimum=_extremes(np.fmin, self.minimum, start, stop),
            maximum=_extremes(np.fmax, self.maximum, start, stop),
            row_count=_sums(self.row_count, start, stop),
            squared_weight=_sums(self.squared_weight, start, stop),
        )

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return np.concatenate([np.zeros((1, len(self.support))), np.cumsum(self.counts, axis=0)])

    def on(self, support: np.ndarray) -> np.ndarray:
        """The counts laid out on a larger support that contains this one: (D, len(support))."""
        counts = np.zeros((len(self.days), len(support)))
        counts[:, np.searchsorted(support, self.support)] = self.counts
        return counts

    def bucketed(self, known: Collection[str]) -> "Histogram":
        """The categories that are not known put into their buckets, as the kernel does on a crowded day."""
        names = np.array(
            [name if name in known or name.startswith(BUCKET_PREFIX) else _bucket(name) for name in self.support], object
        )
        support, place = np.unique(names, return_inverse=True) if len(names) else (names, np.zeros(0, int))
        counts = np.zeros((len(self.counts), len(support)))
        np.add.at(counts.T, place, self.counts.T)
        return replace(self, support=support, counts=counts, upper=support, is_exact=False)


def named(support: np.ndarray) -> set[str]:
    """The categories that are not buckets."""
    return {name for name in support if not name.startswith(BUCKET_PREFIX)}


def read_histograms(
    connection: duckdb.DuckDBPyConnection, profiles: str, where: str = "true", parameters: Sequence[object] = ()
) -> dict[Key, Histogram]:
    """Histograms of the profile rows that a condition selects, by segment and column.

    `profiles` is a table with `warehouse_tables.PROFILE_COLUMNS`.
    """
    found = connection.sql(
        # A profile from before there were weights has no sum of squares: each of its rows counts once.
        "SELECT segment, feature, kind, day, row_count, coalesce(squared_weight, row_count) AS squared_weight, "
        "null_count + nan_count + infinite_count AS missing, is_exact, minimum, "
        f"maximum, bins, uppers, categories, counts FROM {profiles} WHERE {where}",
        params=list(parameters),
    ).to_arrow_table()
    heads = found.select(
        ["segment", "feature", "kind", "day", "row_count", "squared_weight", "missing", "is_exact", "minimum", "maximum"]
    ).to_pandas()
    if heads.empty:
        return {}
    histograms: dict[Key, Histogram] = {}
    # Sorted here: DuckDB would carry the lists through its sort.
    for (segment, feature), head in heads.sort_values("day", kind="stable").groupby(["segment", "feature"], dropna=False):
        part, kind = found.take(pa.array(head.index)), head["kind"].iloc[0]
        counted = part["counts"].combine_chunks()
        lengths = counted.value_lengths().to_numpy(zero_copy_only=False)
        points = _flat(part["bins" if kind == "numeric" else "categories"])
        codes, distinct = pd.factorize(points)
        order = np.argsort(distinct)
        rank = np.empty(len(order), int)
        rank[order] = np.arange(len(order))
        codes, support = rank[codes], distinct[order]
        counts = np.zeros((len(head), len(support)))
        counts[np.repeat(np.arange(len(head)), lengths), codes] = _flat(part["counts"])
        upper = support
        if kind == "numeric":
            upper = np.full(len(support), -np.inf)
            np.maximum.at(upper, codes, _flat(part["uppers"]))
        is_exact = head["is_exact"].to_numpy(bool)
        histogram = Histogram(
            kind, head["day"].tolist(), support, counts, head["missing"].to_numpy(float), head["minimum"].to_numpy(float),
            head["maximum"].to_numpy(float), bool(is_exact.all()), upper, head["row_count"].to_numpy(float),
            head["squared_weight"].to_numpy(float),
        )  # fmt: skip
        if kind == "categorical" and is_exact.any() and not is_exact.all():
            histogram = histogram.bucketed(named(points[np.repeat(~is_exact, lengths)]))
        histograms[(segment if isinstance(segment, str) else None, feature)] = _with_days_once(histogram)
    return histograms


def _with_days_once(histogram: Histogram) -> Histogram:
    """Several rows of one day, of parts of it, added up."""
    days = list(dict.fromkeys(histogram.days))
    if len(days) == len(histogram.days):
        return histogram
    return histogram.mixed(np.array([[of == day for of in histogram.days] for day in days]), days)


def _flat(lists: pa.ChunkedArray) -> np.ndarray:
    return pa.chunked_array([chunk.flatten() for chunk in lists.chunks], lists.type.value_type).to_numpy()


def _sums(values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    before = np.append(0.0, np.cumsum(values))
    return before[stop] - before[start]


def _extremes(function: np.ufunc, values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    pairs = np.stack([start, stop], axis=1).ravel()
    found = function.reduceat(np.append(values, np.nan), pairs)[::2] if len(pairs) else np.zeros(0)
    return np.where(stop > start, found, np.nan)


def _bucket(name: str) -> str:
    return BUCKET_PREFIX + hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:2]
