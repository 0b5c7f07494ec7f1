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

from monitoring_assets.profiling.kernel import BUCKET_PREFIX

Key = tuple[str | None, str]  # segment, column


@dataclass(frozen=True)
class Histogram:
    """Counts of one column over several days.

    `support` (K,) holds lower bin edges or categories, ascending; `counts` (D, K) the rows per day and support point;
    `missing` (D,) the rows that are NULL, NaN or infinite; `minimum` and `maximum` (D,) are nan for categories and empty days.
    `is_exact` tells that every bin is a single value, or that every category has its name. `upper` (K,) holds the upper bin
    edges, equal to the lower ones where the bin is a single value. `row_count` (D,) is the rows whatever their weight.
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

    def __post_init__(self) -> None:
        if len(self.upper) != len(self.support):
            object.__setattr__(self, "upper", self.support)
        if len(self.row_count) != len(self.missing):
            object.__setattr__(self, "row_count", self.rows)

    @property
    def rows(self) -> np.ndarray:
        """Rows per day (D,), missing ones included; sums of weights where rows have one."""
        return self.counts.sum(axis=1) + self.missing

    def total(self) -> "Histogram":
        """All days added up into one."""
        return replace(
            self,
            days=self.days[-1:],
            counts=self.counts.sum(axis=0, keepdims=True),
            missing=self.missing.sum(keepdims=True),
            minimum=np.fmin.reduce(self.minimum, keepdims=True, initial=np.nan),
            maximum=np.fmax.reduce(self.maximum, keepdims=True, initial=np.nan),
            row_count=self.row_count.sum(keepdims=True),
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

    `profiles` is a table with `warehouse.PROFILE_COLUMNS`.
    """
    found = connection.sql(
        "SELECT segment, feature, kind, day, row_count, null_count + nan_count + infinite_count AS missing, is_exact, minimum, "
        f"maximum, bins, uppers, categories, counts FROM {profiles} WHERE {where} ORDER BY segment, feature, day",
        params=list(parameters),
    ).to_arrow_table()
    heads = found.select(
        ["segment", "feature", "kind", "day", "row_count", "missing", "is_exact", "minimum", "maximum"]
    ).to_pandas()
    if heads.empty:
        return {}
    keys = pd.MultiIndex.from_frame(heads[["segment", "feature"]])
    starts: list[int] = np.flatnonzero(_changes(keys.codes[0]) | _changes(keys.codes[1])).tolist()
    histograms: dict[Key, Histogram] = {}
    for start, stop in zip(starts, [*starts[1:], len(heads)], strict=True):
        head, part = heads.iloc[start:stop], found.slice(start, stop - start)
        segment, feature, kind = head.iloc[0][["segment", "feature", "kind"]]
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
        )  # fmt: skip
        if kind == "categorical" and is_exact.any() and not is_exact.all():
            histogram = histogram.bucketed(named(points[np.repeat(~is_exact, lengths)]))
        histograms[(segment if isinstance(segment, str) else None, feature)] = histogram
    return histograms


def _changes(codes: np.ndarray) -> np.ndarray:
    return np.append(True, codes[1:] != codes[:-1])


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
