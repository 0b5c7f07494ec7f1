"""Days of the flights of 2013 to judge: as they were, or shuffled so that nothing drifts, and then moved by a known amount.

Each contender gets the same days, as frames or as histograms. What is counted on them is in `false_alarms.py`.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd

from monitoring_assets.demo.flights import FEATURES, load_flights
from monitoring_assets.measuring.histograms import Histogram, Key

YEAR, FIRST_DAY = 365, date(2013, 1, 1)
NUMERIC = [name for name, kind in FEATURES.items() if kind == "numeric"]


@dataclass(frozen=True)
class Days:
    """Rows of consecutive days: `day` (N,) from 0; for each feature its distinct `values`, ascending, and each row's place among
    them as `codes` (N,), -1 where it is missing."""

    day: np.ndarray
    codes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    number: int

    @classmethod
    def of_flights(cls) -> "Days":
        frame = load_flights()
        found = {name: pd.factorize(frame[name], sort=True) for name in FEATURES}
        codes = {name: codes.astype(np.int32) for name, (codes, _) in found.items()}
        values = {name: np.asarray(values) for name, (_, values) in found.items()}
        return cls(frame["scheduled_departure"].dt.dayofyear.to_numpy() - 1, codes, values, YEAR)

    def rows(self, rows: np.ndarray, day: np.ndarray, number: int) -> "Days":
        """Some of the rows, on other days."""
        return replace(self, day=day, codes={name: codes[rows] for name, codes in self.codes.items()}, number=number)

    def taken(self, chosen: np.ndarray) -> "Days":
        """Some of the days, numbered anew."""
        place = np.full(self.number, -1)
        place[chosen] = np.arange(len(chosen))
        rows = np.flatnonzero(place[self.day] >= 0)
        return self.rows(rows, place[self.day[rows]], len(chosen))

    def shuffled(self, rows_a_day: int | None, generator: np.random.Generator) -> "Days":
        """A year of days that do not differ; None keeps the number of rows each day had, else so many are drawn for each."""
        rows = generator.permutation(len(self.day))
        if rows_a_day is None:
            return self.rows(rows, self.day, YEAR)
        wanted = rows_a_day * YEAR
        rows = rows[:wanted] if wanted <= len(rows) else generator.integers(0, len(rows), wanted)
        return self.rows(rows, np.repeat(np.arange(YEAR), rows_a_day), YEAR)

    def shifted(self, deviations: float) -> "Days":
        """Every numeric value moved by so many of its feature's standard deviations."""
        moved = {name: self.values[name] + deviations * _spread(*self._counted(name))[1] for name in NUMERIC}
        return replace(self, values=self.values | moved)

    def reweighted(self, deviations: float, generator: np.random.Generator) -> "Days":
        """Numeric features drawn anew from the same values, with shares ∝ exp(θ value), whose mean lies so many deviations away.

        Harder to find than `shifted`, which moves a feature of few distinct values onto values never seen before.
        """
        codes = dict(self.codes)
        for name in NUMERIC:
            present = self.codes[name] >= 0
            drawn = generator.choice(len(self.values[name]), int(present.sum()), p=_tilted(*self._counted(name), deviations))
            codes[name] = self.codes[name].copy()
            codes[name][present] = drawn
        return replace(self, codes=codes)

    def frame(self) -> pd.DataFrame:
        columns = {}
        for name, codes in self.codes.items():
            missing = np.nan if name in NUMERIC else None
            columns[name] = np.append(self.values[name], missing)[codes]
        return pd.DataFrame(columns | {"timestamp": pd.Timestamp(FIRST_DAY) + pd.to_timedelta(self.day, unit="D")})

    def histograms(self) -> dict[Key, Histogram]:
        return {(None, name): self.histogram(name) for name in FEATURES}

    def histogram(self, name: str) -> Histogram:
        values = self.values[name]
        size = len(values) + 1
        places = self.day * size + self.codes[name] % size
        counts = np.bincount(places, minlength=self.number * size).reshape(self.number, size).astype(float)
        minimum, maximum = np.full((2, self.number), np.nan)
        if name in NUMERIC:
            held = counts[:, :-1] > 0
            minimum = np.where(held.any(1), np.where(held, values, np.inf).min(1), np.nan)
            maximum = np.where(held.any(1), np.where(held, values, -np.inf).max(1), np.nan)
        days = [FIRST_DAY + timedelta(days=place) for place in range(self.number)]
        return Histogram(FEATURES[name], days, values, counts[:, :-1], counts[:, -1], minimum, maximum, True)

    def _counted(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        codes = self.codes[name]
        return np.bincount(codes[codes >= 0], minlength=len(self.values[name])).astype(float), self.values[name]


def _spread(counts: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    mean = counts @ values / counts.sum()
    return mean, float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))


def _tilted(counts: np.ndarray, values: np.ndarray, deviations: float) -> np.ndarray:
    """Shares whose mean is so many deviations higher, found by halving."""
    mean, spread = _spread(counts, values)
    z = (values - mean) / spread
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        weights = counts * np.exp(middle * z - (middle * z).max())
        low, high = (middle, high) if weights @ z / weights.sum() < deviations else (low, middle)
    return weights / weights.sum()
