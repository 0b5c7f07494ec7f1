"""How often a contender alarms on quiet days, and how small a shift it finds, on the flights of 2013.

The first 60 days of a shuffled year are the reference, the others are judged one at a time on all 13 features; a day counts when
any of them alarms. Real days are January and February, each judged by a reference of the others. A shift is counted on
the feature that moved, for the feature where it is found least.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

import benchmarks.peers  # noqa: F401  switches the peers' usage reporting off
from benchmarks.flights import NUMERIC, YEAR, Days
from monitoring_assets.demo.flights import FEATURES
from monitoring_assets.drift import distances
from monitoring_assets.drift.calibration import calibrate
from monitoring_assets.drift.scores import score_histograms
from monitoring_assets.drift.thresholds import read_thresholds
from monitoring_assets.drift.windows import score_days
from monitoring_assets.monitor_spec import MonitorSpec

REFERENCE_DAYS, JANUARY_AND_FEBRUARY = 60, 59
ROWS: dict[str, int | None] = {"920": None, "100": 100, "10,000": 10_000}
# How a feature is changed, and by how many standard deviations.
CHANGES = (("moved", 0.1), ("moved", 0.25), ("moved", 0.5), ("reweighted", 0.25))

Alarms = pd.DataFrame  # (days, features) of booleans
Fitted = Callable[[Days], Alarms]


@dataclass(frozen=True)
class Share:
    """The share of days with an alarm. `measure` names what was done to the days."""

    measure: str
    contender: str
    share: float
    detail: str = ""


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
            "drift": {"windows_days": list(windows), "calibrated": True},
        }
    )


def ours(reference: Days, windows: tuple[int, ...] = (1,)) -> Fitted:
    """Every default method with its calibrated threshold."""
    spec, known = flights_spec(windows), reference.histograms()
    thresholds = read_thresholds(calibrate(known, spec, "benchmark"))

    def judge(current: Days) -> Alarms:
        days = current.histogram("hour").days
        scores = score_days(spec, "benchmark", known, current.histograms(), days, thresholds)
        drifted = scores["severity"].notna() & (scores["severity"] != "ok")
        return drifted.groupby([scores["day"], scores["feature"]]).any().unstack()

    return judge


def p_values(reference: Days, current: Days) -> pd.DataFrame:
    """Of the two-sample Kolmogorov–Smirnov test, as scipy's `ks_2samp(method="asymp")`, and of the χ² test."""
    from scipy import stats

    found = {}
    for name, kind in FEATURES.items():
        known, days = reference.histogram(name).total().counts[0], current.histogram(name).counts
        if kind == "categorical":
            found[name] = distances.chi2(known, days)[1]
        else:
            rows = days.sum(axis=1)
            effective = np.round(rows * known.sum() / np.maximum(rows + known.sum(), 1))
            found[name] = stats.kstwo.sf(distances.ks(*_on_common_values(reference, current, name)), np.maximum(effective, 1))
    return pd.DataFrame(found)


def _on_common_values(reference: Days, current: Days, name: str) -> tuple[np.ndarray, np.ndarray]:
    known, days = reference.histogram(name).total(), current.histogram(name)
    support = np.union1d(known.support, days.support)
    return known.on(support)[0], days.on(support)


def p_below(reference: Days) -> Fitted:
    return lambda current: p_values(reference, current) < 0.05


def p_bonferroni(reference: Days) -> Fitted:
    return lambda current: p_values(reference, current) < 0.05 / len(FEATURES)


def psi_above(reference: Days) -> Fitted:
    known = reference.histograms()

    def judge(current: Days) -> Alarms:
        days = current.histograms()
        return pd.DataFrame({key[1]: score_histograms("psi", known[key].total(), days[key]) for key in days}) > 0.2

    return judge


def nannyml(reference: Days) -> Fitted:
    from benchmarks.peers.nannyml import alarm_days

    known = reference.frame()
    return lambda current: alarm_days(known, current.frame(), list(FEATURES), "timestamp")


def evidently(reference: Days) -> Fitted:
    from benchmarks.peers.evidently import comparer

    drifted = comparer(reference.frame()[list(FEATURES)], FEATURES)

    def judge(current: Days) -> Alarms:
        days = [drifted(current.taken(np.array([day])).frame()[list(FEATURES)]) for day in range(current.number)]
        return pd.DataFrame([{name: name in found for name in FEATURES} for found in days])

    return judge


# The slowest first.
CONTENDERS: dict[str, Callable[[Days], Fitted]] = {
    "ours": ours,
    "evidently": evidently,
    "nannyml": nannyml,
    "p < 0.05": p_below,
    "p Bonferroni": p_bonferroni,
    "PSI > 0.2": psi_above,
}


@dataclass(frozen=True)
class Extent:
    """How much is judged: slow contenders judge fewer of the same days. `days` are of each shuffle, by rows a day."""

    shuffles: int
    days: dict[str, int]
    real_days: int


FULL = Extent(5, dict.fromkeys(ROWS, YEAR - REFERENCE_DAYS), JANUARY_AND_FEBRUARY)
ONE_SHUFFLE = Extent(1, FULL.days, JANUARY_AND_FEBRUARY)
SLOW = Extent(1, {"920": 10, "100": 10, "10,000": 3}, 20)
QUICK = Extent(1, dict.fromkeys(ROWS, 50), 10)
QUICK_SLOW = Extent(1, {"920": 3, "100": 3, "10,000": 1}, 3)


def measured(contender: str, quick: bool) -> Iterator[Share]:
    fit, flights = CONTENDERS[contender], Days.of_flights()
    extent = {"evidently": SLOW, "nannyml": ONE_SHUFFLE}.get(contender, FULL)
    if quick:
        extent = QUICK_SLOW if contender == "evidently" else QUICK
    for label in ROWS:
        yield quiet_days(contender, fit, flights, label, extent)
    if contender == "ours":
        yield quiet_days("ours", lambda reference: ours(reference, (1, 7)), flights, "920", extent, "; windows of 1 and 7 days")
    yield real_days(contender, fit, flights, extent)
    yield from power(contender, fit, flights, extent)


def split(year: Days, days: int) -> tuple[Days, Days]:
    return year.taken(np.arange(REFERENCE_DAYS)), year.taken(np.arange(REFERENCE_DAYS, REFERENCE_DAYS + days))


def quiet_days(contender: str, fit: Callable[[Days], Fitted], flights: Days, label: str, extent: Extent, also: str = "") -> Share:
    shares = []
    for seed in range(extent.shuffles):
        reference, current = split(flights.shuffled(ROWS[label], np.random.default_rng(seed)), extent.days[label])
        shares.append(float(fit(reference)(current).any(axis=1).mean()))
    detail = f"{extent.days[label]} days of each of {extent.shuffles} shuffles: " + ", ".join(f"{share:.1%}" for share in shares)
    return Share(f"quiet days, {label} rows{also}", contender, float(np.mean(shares)), detail)


def real_days(contender: str, fit: Callable[[Days], Fitted], flights: Days, extent: Extent) -> Share:
    winter = flights.taken(np.arange(JANUARY_AND_FEBRUARY))
    alarming = {}
    # Spread over both months where not all are judged.
    judged = np.unique(np.linspace(0, JANUARY_AND_FEBRUARY - 1, extent.real_days).astype(int)).tolist()
    for left_out in judged:
        others = np.delete(np.arange(JANUARY_AND_FEBRUARY), left_out)
        alarms = fit(winter.taken(others))(winter.taken(np.array([left_out]))).any(axis=0)
        if alarms.any():
            alarming[left_out] = ", ".join(alarms.index[alarms])
    listed = "; ".join(f"{pd.Timestamp(2013, 1, 1) + pd.Timedelta(days=day):%d %b}: {names}" for day, names in alarming.items())
    return Share("real days", contender, len(alarming) / len(judged), f"{len(alarming)} of {len(judged)}. {listed}")


def power(contender: str, fit: Callable[[Days], Fitted], flights: Days, extent: Extent) -> Iterator[Share]:
    reference, current = split(flights.shuffled(None, np.random.default_rng(0)), extent.days["920"])
    judge = fit(reference)
    for way, size in CHANGES:
        moved = current.shifted(size) if way == "moved" else current.reweighted(size, np.random.default_rng(1))
        found = judge(moved)[NUMERIC].mean()
        detail = f"weakest {found.idxmin()}; " + ", ".join(f"{name} {share:.0%}" for name, share in found.items())
        yield Share(f"{way} by {size:g} σ", contender, float(found.min()), detail)


def main() -> None:
    """Run `python -m benchmarks.false_alarms CONTENDER [--quick]`; prints a line of JSON per result."""
    for share in measured(sys.argv[1], quick="--quick" in sys.argv):
        print(json.dumps(asdict(share)), flush=True)


if __name__ == "__main__":
    main()
