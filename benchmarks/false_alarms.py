"""How often the drift engine alarms on quiet days, and how small a shift it finds, on the flights of 2013.

Run `python benchmarks/false_alarms.py [--json FILE] [--plot FILE] [--seeds N]`. Speed and memory are measured elsewhere. Rows are
shuffled over the days, so nothing drifts; the first 60 days are the reference, the other 305 are judged one at a time by
every default method on all 13 features. Real days are January and February, each judged by a baseline of the others.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from monitoring_assets.demo.flights import FEATURES, load_flights
from monitoring_assets.drift.calibration import calibrate
from monitoring_assets.drift.thresholds import read_thresholds
from monitoring_assets.drift.windows import score_days
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.profiling.histograms import Histogram, Key

YEAR, REFERENCE_DAYS, JANUARY_AND_FEBRUARY = 365, 60, 59
NUMERIC = [name for name, kind in FEATURES.items() if kind == "numeric"]
SHIFTS = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Result:
    """A line of the table. `target` is an upper limit of false alarms or a lower limit of what is found."""

    what: str
    measured: float
    target: float | None
    is_upper: bool
    detail: str = ""

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if (self.measured <= self.target if self.is_upper else self.measured >= self.target) else "MISSED"


@dataclass(frozen=True)
class Flights:
    """The year as codes: for each feature its distinct values and every row's place among them, -1 where missing."""

    values: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]
    deviation: dict[str, float]
    day: np.ndarray

    @classmethod
    def load(cls) -> "Flights":
        frame = load_flights()
        codes, values = {}, {}
        for name in FEATURES:
            codes[name], values[name] = pd.factorize(frame[name], sort=True)
        deviation = {name: float(frame[name].std()) for name in NUMERIC}
        return cls({n: np.asarray(v) for n, v in values.items()}, codes, deviation, day_of_year(frame))

    def histogram(self, name: str, rows: np.ndarray, day: np.ndarray, days: int) -> Histogram:
        size = len(self.values[name]) + 1
        code = self.codes[name][rows] % size
        return as_histogram(name, self.values[name], np.bincount(day * size + code, minlength=days * size).reshape(days, size))

    def histograms(self, rows: np.ndarray, day: np.ndarray, days: int) -> dict[Key, Histogram]:
        return {(None, name): self.histogram(name, rows, day, days) for name in FEATURES}

    def shuffled(self, rows_a_day: int | None, generator: np.random.Generator) -> dict[Key, Histogram]:
        """A year of days that do not differ; None keeps the number of flights each day had, else they are drawn."""
        if rows_a_day is None:
            return self.histograms(generator.permutation(len(self.day)), self.day, YEAR)
        drawn = generator.integers(0, len(self.day), rows_a_day * YEAR)
        rows = drawn if rows_a_day * YEAR > len(self.day) else generator.permutation(len(self.day))[: rows_a_day * YEAR]
        return self.histograms(rows, np.repeat(np.arange(YEAR), rows_a_day), YEAR)


def day_of_year(frame: pd.DataFrame) -> np.ndarray:
    return frame["scheduled_departure"].dt.dayofyear.to_numpy() - 1


def as_histogram(name: str, values: np.ndarray, counts: np.ndarray) -> Histogram:
    """From counts (D, K + 1) whose last column is the missing rows."""
    days = len(counts)
    held = counts[:, :-1] > 0
    minimum, maximum = np.full(days, np.nan), np.full(days, np.nan)
    if FEATURES[name] == "numeric":
        minimum = np.where(held.any(1), np.where(held, values, np.inf).min(1), np.nan)
        maximum = np.where(held.any(1), np.where(held, values, -np.inf).max(1), np.nan)
    dates = [date(2013, 1, 1) + timedelta(days=i) for i in range(days)]
    return Histogram(
        FEATURES[name], dates, values, counts[:, :-1].astype(float), counts[:, -1].astype(float), minimum, maximum, True
    )


def flights_spec(windows: tuple[int, ...] = (1,)) -> MonitorSpec:
    return MonitorSpec.model_validate(
        {
            "name": "flights",
            "id": "flight_id",
            "event_time": "scheduled_departure",
            "start_day": "2013-01-01",
            "features": {name: {"kind": kind} for name, kind in FEATURES.items()},
            "prediction": {"value": "unused"},
            "log": {"path": "/unused.parquet"},
            "reference": {"path": "/unused.parquet"},
            "drift": {"windows_days": list(windows)},
        }
    )


def days_of(histograms: Mapping[Key, Histogram], chosen: np.ndarray) -> dict[Key, Histogram]:
    return {
        key: replace(
            h,
            days=[h.days[i] for i in chosen],
            counts=h.counts[chosen],
            missing=h.missing[chosen],
            minimum=h.minimum[chosen],
            maximum=h.maximum[chosen],
        )
        for key, h in histograms.items()
    }


class Monitor:
    """A reference with its thresholds, as production would hold them."""

    def __init__(self, reference: dict[Key, Histogram], windows: tuple[int, ...] = (1,)) -> None:
        self.spec, self.reference = flights_spec(windows), reference
        self.thresholds = read_thresholds(calibrate(reference, self.spec, "benchmark"))

    def alarms(self, current: Mapping[Key, Histogram]) -> pd.DataFrame:
        """The scores that alarm, and `share`, of days with any, in its attributes."""
        days = next(iter(current.values())).days
        scores = score_days(self.spec, "benchmark", self.reference, current, days, self.thresholds)
        alarms = scores[~scores["severity"].isin(["ok"]) & scores["severity"].notna()]
        alarms.attrs["share"] = alarms["day"].nunique() / len(days)
        return alarms


def shifted(histogram: Histogram, by: float) -> Histogram:
    """Every value moved by the same amount."""
    return replace(histogram, support=histogram.support + by, minimum=histogram.minimum + by, maximum=histogram.maximum + by)


def tilted(name: str, histogram: Histogram, deviations: float, generator: np.random.Generator) -> Histogram:
    """Days drawn anew from the same values, with shares ∝ exp(θ value) so that the mean moves by so many deviations.

    Harder to find than `shifted`, which moves a feature of few distinct values onto values never seen before.
    """
    counts = histogram.counts.sum(0)
    mean = (counts @ histogram.support) / counts.sum()
    spread = np.sqrt(counts @ (histogram.support - mean) ** 2 / counts.sum())
    z = (histogram.support - mean) / spread
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        weights = counts * np.exp(middle * z - (middle * z).max())
        low, high = (middle, high) if weights @ z / weights.sum() < deviations else (low, middle)
    present = histogram.counts.sum(1).astype(int)
    drawn = np.array([generator.multinomial(n, weights / weights.sum()) for n in present])
    return as_histogram(name, histogram.support, np.column_stack([drawn, histogram.missing]).astype(int))


def quiet_days(flights: Flights, seeds: int) -> list[Result]:
    results = []
    for rows, label in ((None, "~920"), (100, "100"), (10_000, "10,000")):
        shares = []
        for seed in range(seeds):
            year = flights.shuffled(rows, np.random.default_rng(seed))
            alarms = Monitor(days_of(year, np.arange(REFERENCE_DAYS))).alarms(days_of(year, np.arange(REFERENCE_DAYS, YEAR)))
            shares.append(alarms.attrs["share"])
        detail = "each shuffle: " + ", ".join(f"{share:.1%}" for share in shares)
        results.append(Result(f"quiet days with an alarm, {label} rows a day", float(np.mean(shares)), 0.02, True, detail))
    return results


def both_windows(flights: Flights, seeds: int) -> Result:
    """Default windows of 1 and 7 days together, one rate over both."""
    shares = []
    for seed in range(seeds):
        year = flights.shuffled(None, np.random.default_rng(100 + seed))
        monitor = Monitor(days_of(year, np.arange(REFERENCE_DAYS)), (1, 7))
        shares.append(monitor.alarms(days_of(year, np.arange(REFERENCE_DAYS, YEAR))).attrs["share"])
    return Result("quiet days with an alarm, ~920 rows, windows of 1 and 7 days", float(np.mean(shares)), 0.02, True)


def power(flights: Flights) -> list[Result]:
    year = flights.shuffled(None, np.random.default_rng(0))
    monitor = Monitor(days_of(year, np.arange(REFERENCE_DAYS)))
    current = days_of(year, np.arange(REFERENCE_DAYS, YEAR))
    targets = {0.25: 0.9, 0.5: 0.99}
    results = []
    for size in SHIFTS:
        for way in ("moved", "reweighted"):
            found = {}
            for name in NUMERIC:
                day = current[None, name]
                moved = (
                    shifted(day, size * flights.deviation[name])
                    if way == "moved"
                    else tilted(name, day, size, np.random.default_rng(1))
                )
                found[name] = monitor.alarms({(None, name): moved}).attrs["share"]
            weakest = min(found, key=lambda name: found[name])
            detail = f"weakest {weakest}; " + ", ".join(f"{name} {share:.1%}" for name, share in found.items())
            target = targets.get(size) if way == "moved" else None
            what = f"days found, one feature {way} by {size:g} σ, weakest of {len(found)} features"
            results.append(Result(what, found[weakest], target, False, detail))
    return results


def real_days(flights: Flights) -> Result:
    rows = np.flatnonzero(flights.day < JANUARY_AND_FEBRUARY)
    days = flights.histograms(rows, flights.day[rows], JANUARY_AND_FEBRUARY)
    alarming = {}
    for left_out in range(JANUARY_AND_FEBRUARY):
        others = np.delete(np.arange(JANUARY_AND_FEBRUARY), left_out)
        alarms = Monitor(days_of(days, others)).alarms(days_of(days, np.array([left_out])))
        if len(alarms):
            alarming[f"{alarms['day'].iloc[0]:%d %b}"] = ", ".join(sorted(set(alarms["feature"])))
    share = len(alarming) / JANUARY_AND_FEBRUARY
    detail = "; ".join(f"{day}: {names}" for day, names in alarming.items())
    return Result("real days of January and February with an alarm, each left out", share, 0.05, True, detail)


def calibration_time(flights: Flights) -> Result:
    rows = np.flatnonzero(flights.day < JANUARY_AND_FEBRUARY)
    days = flights.histograms(rows, flights.day[rows], JANUARY_AND_FEBRUARY)
    calibrate(days_of(days, np.arange(12)), flights_spec(), "warm")
    start = time.perf_counter()
    calibrate(days, flights_spec((1, 7)), "timed")
    return Result("seconds to calibrate 13 features, 59 days, 2 windows", time.perf_counter() - start, 3.0, True)


def plot(results: list[Result], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [result for result in results if "seconds" not in result.what][::-1]
    figure, axes = plt.subplots(figsize=(10, 0.42 * len(shown) + 1))
    colours = ["#c0392b" if result.is_upper else "#2471a3" for result in shown]
    axes.barh(range(len(shown)), [100 * result.measured for result in shown], color=colours, height=0.6)
    for place, result in enumerate(shown):
        axes.text(100 * max(result.measured, result.target or 0) + 0.8, place, f"{result.measured:.1%}", va="center", fontsize=8)
        if result.target is not None:
            axes.plot([100 * result.target] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
    axes.set_yticks(range(len(shown)), [result.what for result in shown], fontsize=8)
    axes.set_xlabel("% of days (red: false alarms, blue: found; black line: target)")
    axes.set_xlim(0, 110)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--plot", type=Path, help="write a picture here (.png or .svg)")
    parser.add_argument("--seeds", type=int, default=5, help="shuffles per size (5)")
    arguments = parser.parse_args()
    flights = Flights.load()
    results = [
        calibration_time(flights),
        *quiet_days(flights, arguments.seeds),
        both_windows(flights, arguments.seeds),
        real_days(flights),
        *power(flights),
    ]
    for result in results:
        measured = f"{result.measured:.2f}" if "seconds" in result.what else f"{result.measured:.2%}"
        target = "" if result.target is None else f"{'≤' if result.is_upper else '≥'} {result.target:g}"
        print(f"{result.what:75} {measured:>8} {target:>8} {result.verdict:7} {result.detail}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(r) | {"verdict": r.verdict} for r in results], indent=1) + "\n")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
