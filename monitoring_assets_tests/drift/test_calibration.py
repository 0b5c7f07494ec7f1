"""Laws of calibration, on simulated days whose truth is known. Rates are checked with a margin of three standard errors."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.drift.calibration import MINIMUM_DAYS, calibrate, coarsened
from monitoring_assets.drift.scores import score_histograms
from monitoring_assets.drift.thresholds import SCALES, read_thresholds, to_effect
from monitoring_assets.drift.windows import score_days
from monitoring_assets.measuring.histograms import Histogram
from monitoring_assets.monitor_spec import MonitorSpec
from monitoring_assets.warehouse_tables import TABLES

CUTS = np.linspace(-3, 3, 39)
FIRST = date(2026, 1, 1)
NUMBERS, WORDS = ["x0", "x1", "x2"], ["c0", "c1"]


def spec(windows=(1,), **drift) -> MonitorSpec:
    return MonitorSpec.model_validate(
        {
            "name": "quiet", "id": "id", "event_time": "at", "start_day": "2026-01-01",
            "features": {n: {"kind": "numeric"} for n in NUMBERS} | {n: {"kind": "categorical"} for n in WORDS},
            "prediction": {"value": "prediction"}, "log": {"path": "/log.parquet"}, "reference": {"path": "/reference.parquet"},
            "drift": {"windows_days": list(windows), **drift},
        }
    )  # fmt: skip


def histogram(kind, support, counts, missing=None) -> Histogram:
    days = len(counts)
    ends = (support[0], support[-1]) if kind == "numeric" else (np.nan, np.nan)
    return Histogram(
        kind, [FIRST + timedelta(days=i) for i in range(days)], support, np.asarray(counts, float),
        np.zeros(days) if missing is None else missing, np.full(days, ends[0]), np.full(days, ends[1]), True,
    )  # fmt: skip


def numeric(generator, days, rows, restless=0.0, shift=0.0) -> Histogram:
    """Normal values whose mean wanders from day to day by `restless` standard deviations."""
    means = restless * generator.normal(size=days) + shift
    values = generator.normal(means[:, None], 1.0, (days, rows))
    cells = np.searchsorted(CUTS, values)
    return histogram("numeric", np.append(-3.2, CUTS), [np.bincount(row, minlength=40) for row in cells])


def categorical(generator, days, rows, categories=30) -> Histogram:
    """Zipf's law: a few common categories, many rare ones."""
    shares = 1 / np.arange(1, categories + 1)
    names = np.array([f"k{i:02}" for i in range(categories)], object)
    return histogram("categorical", names, generator.multinomial(rows, shares / shares.sum(), days))


def monitor(generator, days, rows, restless=0.0):
    return {(None, name): numeric(generator, days, rows, restless) for name in NUMBERS} | {
        (None, name): categorical(generator, days, rows) for name in WORDS
    }


def part(histograms, start, stop):
    span = slice(start, stop)
    return {
        key: replace(h, days=h.days[span], counts=h.counts[span], missing=h.missing[span], minimum=h.minimum[span],
                     maximum=h.maximum[span])
        for key, h in histograms.items()
    }  # fmt: skip


def alarming_days(histograms, reference_days, monitor_spec) -> float:
    """Share of the days after the reference on which any score of any window alarms. The monitor starts on the first of them, so
    until a window is full it holds the days since then."""
    reference, later = part(histograms, 0, reference_days), part(histograms, reference_days, None)
    thresholds = read_thresholds(calibrate(reference, monitor_spec, "b"))
    days = next(iter(later.values())).days
    scores = score_days(monitor_spec, "b", reference, later, days, thresholds)
    return float((scores["severity"] != "ok").groupby(scores["day"]).any().mean())


@pytest.fixture(scope="module")
def quiet():
    return monitor(np.random.default_rng(1), 40, 300)


@pytest.fixture(scope="module")
def table(quiet) -> pd.DataFrame:
    return calibrate(quiet, spec((1, 7)), "b")


def threshold_at(table, feature, method, rows, window=1, reference="baseline"):
    return read_thresholds(table)[None, feature, window, reference][method].cuts(np.asarray(rows, float))[0]


def test_the_table_has_the_warehouses_columns_and_a_row_per_score(table):
    assert set(table.columns) == set(TABLES["thresholds"]) - {"settings_digest"}
    assert len(table) == 2 * (3 * 5 + 2 * 4)


def test_the_same_baseline_always_gets_the_same_thresholds(quiet, table):
    pd.testing.assert_frame_equal(table, calibrate(quiet, spec((1, 7)), "b"))


def test_a_weight_that_all_rows_share_changes_no_threshold_and_no_score(quiet, table):
    def eightfold(histograms):  # by a power of two, so that shares and hence the simulated days are the same to the last bit
        return {key: replace(h, counts=8 * h.counts, missing=8 * h.missing, row_count=h.rows, squared_weight=64 * h.rows)
                for key, h in histograms.items()}  # fmt: skip

    weighted = calibrate(eightfold(quiet), spec((1, 7)), "b")
    for name in ("noise", "day_to_day", "reference_rows", "effective_windows"):
        for one, other in zip(weighted[name], table[name], strict=True):
            assert one == pytest.approx(other, rel=1e-6)
    later = monitor(np.random.default_rng(2), 10, 300)
    days = next(iter(later.values())).days
    both = [score_days(spec((1, 7)), "b", of(quiet), of(later), days, read_thresholds(table)) for of in (dict, eightfold)]
    pd.testing.assert_frame_equal(*both, rtol=1e-9)


def test_columns_do_not_depend_on_their_order(quiet, table):
    other = calibrate(dict(reversed(quiet.items())), spec((1, 7)), "b")
    order = ["feature", "method", "window_days"]
    pd.testing.assert_frame_equal(*(t.sort_values(order, ignore_index=True) for t in (table, other)))


def test_thresholds_fall_as_rows_grow_and_stay_above_the_floor(table):
    rows = np.geomspace(10, 1e8, 60)
    for key, thresholds in read_thresholds(table).items():
        for method, threshold in thresholds.items():
            effects = to_effect(method, threshold.cuts(rows)[0], rows)
            assert (np.diff(effects) <= 0.02 * effects[:-1]).all(), (key, method)
            floor = to_effect(method, SCALES[method].practical[0])
            assert (effects >= floor * (1 - 1e-9)).all(), (key, method)


def test_a_restless_reference_gets_higher_thresholds_at_any_number_of_rows(table):
    restless = calibrate(monitor(np.random.default_rng(1), 40, 300, restless=0.5), spec((1, 7)), "b")
    for window in (1, 7):
        for method in ("psi", "ks", "js", "wasserstein"):
            quiet_cuts = threshold_at(table, "x0", method, [100, 1e4, 1e6], window)
            assert (threshold_at(restless, "x0", method, [100, 1e4, 1e6], window) > 1.5 * quiet_cuts).all()


def test_a_lower_rate_gives_higher_thresholds(quiet):
    strict, lax = (calibrate(quiet, spec(false_alarm_rate=rate), "b") for rate in (0.001, 0.1))
    for feature, method in (("x0", "ks"), ("c0", "chi2"), ("c0", "psi")):
        assert threshold_at(strict, feature, method, [100]) > threshold_at(lax, feature, method, [100])


def test_with_few_days_only_sampling_noise_counts_and_the_table_says_so(quiet):
    few = calibrate(part(quiet, 0, MINIMUM_DAYS - 1), spec((1, 7)), "b")
    assert (few["day_to_day"] == 0).all()
    assert few["confidence"].str.startswith("sampling noise only: 9 reference days").all()


def test_forty_days_hold_fewer_independent_weeks_than_windows(table):
    weeks = table[table["window_days"] == 7]["effective_windows"]
    assert weeks.max() <= 40 / 7
    assert table[table["window_days"] == 7]["confidence"].str.startswith("low").all()


def test_a_window_longer_than_the_reference_is_given_the_room_of_a_day(quiet):
    found = calibrate(quiet, spec((1, 60)), "b")
    day, long = (found[found["window_days"] == length]["day_to_day"].to_numpy() for length in (1, 60))
    assert (long == day).all()


def test_columns_without_rows_or_unknown_to_the_spec_have_no_thresholds(quiet):
    empty = replace(quiet[None, "x0"], counts=np.zeros((40, 40)))
    assert calibrate({(None, "x0"): empty}, spec(), "b").empty
    assert calibrate({(None, "stranger"): quiet[None, "x0"]}, spec(), "b").empty


@pytest.mark.parametrize("counts", [[[50.0]] * 12, [[50.0, 0.0]] * 12])
def test_a_constant_column_has_finite_thresholds(counts):
    days = histogram("numeric", np.arange(float(len(counts[0]))), counts)
    found = read_thresholds(calibrate({(None, "x0"): days}, spec(), "b"))
    assert all(np.isfinite(threshold.cuts(np.array([50.0]))).all() for each in found.values() for threshold in each.values())


def test_joining_bins_keeps_the_rows():
    generator = np.random.default_rng(0)
    fine = histogram("numeric", np.arange(1000.0), generator.poisson(1.0, (5, 1000)))
    joined = coarsened(fine)
    assert joined.counts.sum() == fine.counts.sum()
    assert len(joined.support) <= 120
    later = replace(fine, counts=fine.counts[:, ::-1])
    both = [score_histograms("wasserstein", h.total(), w)[0] for h, w in ((fine, later), (joined, coarsened(later)))]
    assert both[0] == pytest.approx(both[1], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [40, 300, 3_000])
def test_quiet_days_alarm_at_most_at_the_stated_rate(rows):
    shares = [alarming_days(monitor(np.random.default_rng(seed), 360, rows), 60, spec()) for seed in (1, 2)]
    assert np.mean(shares) <= 0.01 + 3 * np.sqrt(0.01 / 600)


def test_restless_but_quiet_days_alarm_at_most_at_the_stated_rate():
    shares = [alarming_days(monitor(np.random.default_rng(seed), 360, 300, restless=0.3), 60, spec()) for seed in (1, 2)]
    assert np.mean(shares) <= 0.01 + 3 * np.sqrt(0.01 / 600)


def by_weekday(generator, days, rows) -> Histogram:
    """Weekends are another world: values one standard deviation higher."""
    shift = np.array([(FIRST + timedelta(days=i)).weekday() >= 5 for i in range(days)], float)
    return numeric(generator, days, rows, shift=shift)


@pytest.mark.parametrize("choice", ["baseline", "same_weekday", "previous_window"])
def test_days_that_differ_by_weekday_are_quiet_against_every_reference(choice):
    only = spec(references=[choice])
    shares = [alarming_days({(None, "x0"): by_weekday(np.random.default_rng(seed), 360, 300)}, 60, only) for seed in (1, 2)]
    assert np.mean(shares) <= 0.01 + 3 * np.sqrt(0.01 / 600)


def test_a_sunday_like_a_monday_is_found_by_its_weekday_only():
    both = spec(references=["baseline", "same_weekday"])
    reference = {(None, "x0"): by_weekday(np.random.default_rng(3), 60, 300)}
    sunday = numeric(np.random.default_rng(4), 1, 300)
    sunday = {(None, "x0"): replace(sunday, days=[date(2026, 3, 8)])}
    scores = score_days(both, "b", reference, sunday, [date(2026, 3, 8)], read_thresholds(calibrate(reference, both, "b")))
    alarms = scores[(scores["severity"] != "ok") & (scores["method"] == "wasserstein")]
    assert alarms["reference"].tolist() == ["same_weekday"]
    assert alarms["change"].tolist() == ["shift"]


def test_a_lasting_change_is_news_to_the_previous_window_once():
    choices = spec(references=["baseline", "previous_window"])
    generator = np.random.default_rng(5)
    reference = {(None, "x0"): numeric(generator, 60, 300)}
    current = {(None, "x0"): numeric(generator, 6, 300, shift=np.array([0, 0, 1.0, 1, 1, 1]))}
    days = current[None, "x0"].days
    scores = score_days(choices, "b", reference, current, days, read_thresholds(calibrate(reference, choices, "b")))
    alarms = scores[(scores["method"] == "ks") & scores["change"].notna()]
    found = alarms.groupby("reference")["day"].apply(list).to_dict()
    assert found == {"baseline": days[2:], "previous_window": [days[2]]}
    first = scores[(scores["reference"] == "previous_window") & (scores["day"] == days[0])]
    assert first["reason"].eq("0 rows in the reference, 30 needed").all()


@pytest.mark.slow
def test_weeks_calibrated_from_eight_weeks_alarm_at_most_at_the_stated_rate():
    # Windows overlap, so 7 days count as one.
    shares = [
        alarming_days(monitor(np.random.default_rng(seed), 56 + 112, 300, restless=0.3), 56, spec((7,))) for seed in range(4)
    ]
    assert np.mean(shares) <= 0.01 + 3 * np.sqrt(0.01 / (4 * 16))


def test_a_quarter_of_a_standard_deviation_is_found_in_nine_hundred_rows():
    generator = np.random.default_rng(4)
    reference = monitor(generator, 60, 920)
    thresholds = read_thresholds(calibrate(reference, spec(), "b"))
    moved = {(None, "x0"): numeric(generator, 100, 920, shift=0.25)}
    scores = score_days(spec(), "b", reference, moved, moved[None, "x0"].days, thresholds)
    assert (scores["severity"] != "ok").groupby(scores["day"]).any().mean() >= 0.95
