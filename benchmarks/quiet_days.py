"""How often a quiet monitor alarms, on simulated days whose truth is known: independent, wandering, persistent, with gaps.

Run `python -m benchmarks.quiet_days [RUNS [NAMES]]`, RUNS of each line (60), fewer where there are 100 columns. It
prints the table of docs/statistics.md. A run simulates a reference of 56 days and 90 days after it, of the same process: five
columns of about 300 rows a day, four of them numeric. An alarm is any score of any column and window beyond its threshold. Every
window is judged, as a monitor would, however few of its days there are: the monitor starts on the day after the reference and
knows no day before. Lines of all features together judge the same days by the scores `(all features)` alone, from the rows.
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from monitoring_assets.drift import calibration
from monitoring_assets.drift.multivariate_scores import WEIGHT, Samples, calibrate_samples, score_samples
from monitoring_assets.drift.thresholds import read_thresholds
from monitoring_assets.drift.windows import score_days
from monitoring_assets.measuring.histograms import Histogram, Key
from monitoring_assets.monitor_spec import MonitorSpec

FIRST = date(2026, 1, 5)  # a Monday
FIRST_MONTH, LATER = 30, 60
MOVED = 0.25  # standard deviations
WINDOWS = ((1, 7), (1, 7, 30))
CUTS = np.linspace(-4, 4, 63)
NOISE: dict[str, dict[Any, Any]] = {}  # of each line, kept by each process

Process = Callable[[np.random.Generator, int], np.ndarray]  # (generator, days) -> how far each day's mean lies off


def independent(generator: np.random.Generator, days: int) -> np.ndarray:
    return np.zeros(days)


def wandering(generator: np.random.Generator, days: int, sigma: float = 0.3) -> np.ndarray:
    return sigma * generator.normal(size=days)


def heavy_tailed(generator: np.random.Generator, days: int) -> np.ndarray:
    """Student's t with 3 degrees of freedom, whose standard deviation is √3."""
    return 0.3 * generator.standard_t(3, days) / np.sqrt(3)


def persistent(generator: np.random.Generator, days: int, phi: float) -> np.ndarray:
    """An autoregression with the standard deviation of `wandering`."""
    steps, found = generator.normal(size=days), np.empty(days)
    found[0] = steps[0]
    for day in range(1, days):
        found[day] = phi * found[day - 1] + np.sqrt(1 - phi**2) * steps[day]
    return 0.3 * found


def weekends(generator: np.random.Generator, days: int) -> np.ndarray:
    return 0.5 * (np.arange(days) % 7 >= 5)


def steady(generator: np.random.Generator, days: int) -> np.ndarray:
    return np.full(days, 300)


def varying(generator: np.random.Generator, days: int) -> np.ndarray:
    return np.maximum(300 * np.exp(0.5 * generator.normal(size=days)), 30).astype(int)


def growing(generator: np.random.Generator, days: int) -> np.ndarray:
    return np.linspace(150, 600, days).astype(int)


def ordinary(generator: np.random.Generator, days: int) -> np.ndarray:
    return np.full(days, 920)


def with_outages(generator: np.random.Generator, days: int) -> np.ndarray:
    """After the reference, five of any twelve days are lost, in one piece."""
    return np.where((np.arange(days) >= 56) & (np.arange(days) % 12 < 5), 0, 300)


def many(generator: np.random.Generator, days: int) -> np.ndarray:
    return np.full(days, 30_000)


@dataclass(frozen=True)
class Line:
    """A line of the table: what the quiet days are like. `rows` says how many each of so many days has."""

    name: str
    process: Process
    rows: Process = steady
    columns: int = 5
    reference_days: int = 56
    together: bool = False


LINES = (
    Line("independent", independent),
    Line("independent, 920 rows", independent, ordinary),
    Line("independent, varying volume", independent, varying),
    Line("independent, growing volume", independent, growing),
    Line("wander by 0.3 σ", wandering),
    Line("wander, varying volume", wandering, varying),
    Line("wander, five of twelve days lost", wandering, with_outages),
    Line("persist, AR 0.5", partial(persistent, phi=0.5)),
    Line("persist, AR 0.8", partial(persistent, phi=0.8)),
    Line("persist, AR 0.95", partial(persistent, phi=0.95)),
    Line("weekends of their own, 0.5 σ", weekends),
    Line("wander with heavy tails, t₃", heavy_tailed),
    Line("wander by 0.1 σ, 30,000 rows", partial(wandering, sigma=0.1), many),
    Line("wander, 100 columns", wandering, columns=100),
    Line("wander, reference of 14 days", wandering, reference_days=14),
    Line("all features together: independent", independent, together=True),
    Line("all features together: wander by 0.3 σ", wandering, together=True),
    Line("all features together: persist, AR 0.8", partial(persistent, phi=0.8), together=True),
    Line("all features together: weekends of their own, 0.5 σ", weekends, together=True),
    Line("all features together: five of twelve days lost", wandering, with_outages, together=True),
)  # fmt: skip


def simulated(line: Line, generator: np.random.Generator) -> dict[Key, Histogram]:
    """The columns of a monitor by day, the reference first. Every fifth is categorical, of eight categories."""
    number = line.reference_days + FIRST_MONTH + LATER
    rows = line.rows(generator, number)
    found = {}
    for place in range(line.columns):
        numeric = place % 5 > 0
        counts = counted(line.process(generator, number), rows, CUTS if numeric else CUTS[3::8], generator)
        found[None, f"x{place}" if numeric else f"c{place}"] = histogram(counts, numeric)
    return found


def counted(means: np.ndarray, rows: np.ndarray, cuts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows of normal values around each day's mean, by cell (days, cells)."""
    from scipy import special

    below = special.ndtr(cuts - means[:, None])
    shares = np.diff(below, axis=1, prepend=0.0, append=1.0)
    return generator.multinomial(rows, shares / shares.sum(axis=1, keepdims=True)).astype(float)


def histogram(counts: np.ndarray, numeric: bool) -> Histogram:
    support = np.append(2 * CUTS[0] - CUTS[1], CUTS) if numeric else np.array([f"k{i}" for i in range(counts.shape[1])], object)
    days = len(counts)
    ends = (support[0], support[-1]) if numeric else (np.nan, np.nan)
    return Histogram(
        "numeric" if numeric else "categorical", [FIRST + timedelta(days=day) for day in range(days)], support, counts,
        np.zeros(days), np.full(days, ends[0]), np.full(days, ends[1]), True,
    )  # fmt: skip


def part(histograms: dict[Key, Histogram], start: int, stop: int | None = None) -> dict[Key, Histogram]:
    """Some of the days; those without rows have no profile, as in the warehouse."""
    found = {}
    for key, each in histograms.items():
        kept = [day for day in range(len(each.days))[start:stop] if each.rows[day] > 0]
        found[key] = each.mixed(np.array(kept)[:, None] == np.arange(len(each.days)), [each.days[day] for day in kept])
    return found


def spec_of(kinds: dict[str, str], windows: Sequence[int]) -> MonitorSpec:
    return MonitorSpec.model_validate(
        {
            "name": "quiet", "id": "id", "event_time": "at", "start_day": "2026-01-05",
            "features": {name: {"kind": kind} for name, kind in kinds.items()},
            "prediction": {"value": "prediction"}, "log": {"path": "/log.parquet"}, "reference": {"path": "/reference.parquet"},
            "drift": {"windows_days": list(windows)},
        }
    )  # fmt: skip


def alarms(reference: dict[Key, Histogram], current: dict[Key, Histogram], windows: Sequence[int], moved: Histogram) -> Any:
    """Whether each day has an alarm, and whether the column x1 has one when its days are `moved`: two Series by day."""
    spec = spec_of({key[1]: each.kind for key, each in reference.items()}, windows)
    thresholds = read_thresholds(calibration.calibrate(reference, spec, "b"))
    days = next(iter(current.values())).days
    found = []
    for histograms in (current, {(None, "x1"): moved}):
        scores = score_days(spec, "b", reference, histograms, days, thresholds)
        alarming = scores["severity"].notna() & (scores["severity"] != "ok")
        found.append(alarming.groupby(scores["day"]).any())
    return found


@contextmanager
def noise_of_the_first(line: Line) -> Iterator[None]:
    """Sampling noise is simulated for the first column of each kind and rate only: all columns of a line are drawn from one
    distribution, and their references differ too little to matter."""
    simulate, known = calibration.simulated_noise, NOISE.setdefault(line.name, {})

    def shared(reference: Histogram, methods: Sequence[str], rate: float, generator: np.random.Generator) -> dict[str, Any]:
        key = (reference.kind, rate)
        if key not in known:
            known[key] = simulate(reference, methods, rate, generator)
        return known[key]

    calibration.simulated_noise = shared
    try:
        yield
    finally:
        calibration.simulated_noise = simulate


def sampled(line: Line, generator: np.random.Generator) -> pd.DataFrame:
    """The rows of a monitor whose numeric columns have something in common, each pair a correlation of 0.36."""
    number = line.reference_days + FIRST_MONTH + LATER
    of_day = np.repeat(np.arange(number), line.rows(generator, number))
    common, found = generator.normal(size=len(of_day)), {}
    for place in range(line.columns):
        values = 0.6 * common + 0.8 * generator.normal(size=len(of_day)) + line.process(generator, number)[of_day]
        found[f"x{place}" if place else "c0"] = (
            values
            if place
            else pd.Categorical.from_codes(np.searchsorted(CUTS[3::8], values), [f"k{i}" for i in range(len(CUTS[3::8]) + 1)])
        )
    days = np.datetime64(FIRST) + of_day
    return pd.DataFrame(found | {"day": days, "sample_key": generator.exponential(size=len(days)), WEIGHT: 1.0}).sort_values(
        ["day", "sample_key"], ignore_index=True
    )


def shares_together(line: Line, seed: int) -> list[float]:
    """As `shares`, by the scores of all features together; what is found of one column that moved is not their matter."""
    generator = np.random.default_rng([zlib.crc32(line.name.encode()), seed])
    rows = sampled(line, generator)
    is_reference = rows["day"] < np.datetime64(FIRST) + line.reference_days
    reference, current = rows[is_reference].reset_index(drop=True), rows[~is_reference].reset_index(drop=True)
    kinds = {name: "numeric" if name.startswith("x") else "categorical" for name in rows if name[1:].isdigit()}
    samples = Samples(kinds, reference, current, frozenset())
    last = FIRST + timedelta(days=line.reference_days + FIRST_MONTH - 1)
    found = []
    for windows in WINDOWS:
        spec = spec_of(kinds, windows)
        thresholds = read_thresholds(calibrate_samples(spec, "b", samples))
        days = [day.date() for day in current["day"].drop_duplicates()]
        scores = score_samples(spec, "b", samples, days, thresholds)
        alarming = (scores["severity"].notna() & (scores["severity"] != "ok")).groupby(scores["day"]).any()
        found.append((alarming[alarming.index > last].mean(), alarming[alarming.index <= last].mean()))
    (later, first), (later_30, first_30) = found
    return [later, later_30, first, first_30, np.nan]


def shares(line: Line, seed: int) -> list[float]:
    """Of one run, the share of days with an alarm: after the first month with each set of windows, then in the first month; and
    of days after the first month on which a column moved by `MOVED` is found."""
    generator = np.random.default_rng([zlib.crc32(line.name.encode()), seed])
    days = simulated(line, generator)
    reference, current = part(days, 0, line.reference_days), part(days, line.reference_days)
    number = line.reference_days + FIRST_MONTH + LATER
    counts = counted(line.process(generator, number) + MOVED, line.rows(generator, number), CUTS, generator)
    moved = part({(None, "x1"): histogram(counts, True)}, line.reference_days)[None, "x1"]
    last = FIRST + timedelta(days=line.reference_days + FIRST_MONTH - 1)
    found = []
    for windows in WINDOWS:
        with noise_of_the_first(line):
            alarming, of_moved = alarms(reference, current, windows, moved)
        found.append([each.mean() for each in (alarming[alarming.index > last], alarming[alarming.index <= last],
                                               of_moved[of_moved.index > last])])  # fmt: skip
    (later, first, _), (later_30, first_30, power) = found
    return [later, later_30, first, first_30, power]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    chosen = [line for line in LINES if len(sys.argv) < 3 or any(word in line.name for word in sys.argv[2:])]
    columns = ["windows 1, 7", "1, 7, 30", "first month, 1, 7", "first month, 1, 7, 30", f"{MOVED} σ is found, 1, 7, 30"]
    print(f"| quiet days that … | {' | '.join(columns)} | runs |\n{'|---' * (len(columns) + 2)}|")
    with ProcessPoolExecutor(2) as pool:
        for line in chosen:
            of_line = max(runs * 5 // line.columns, 2)
            measure = shares_together if line.together else shares
            found = np.array(list(pool.map(partial(measure, line), range(of_line), chunksize=2)))
            shown = " | ".join("–" if np.isnan(share) else f"{share:.1%}" for share in found.mean(axis=0))
            print(f"| {line.name} | {shown} | {of_line} |", flush=True)


if __name__ == "__main__":
    main()
