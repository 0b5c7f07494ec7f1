"""Laws of day-to-day variation: what longer and incomplete windows may do follows from single days and how they persist."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quiet_days import LINES, shares
from monitoring_assets.drift.calibration import calibrate
from monitoring_assets.drift.day_to_day import Persistence, persistence
from monitoring_assets.drift.thresholds import read_thresholds
from monitoring_assets.drift.windows import score_days
from monitoring_assets_tests.drift.test_calibration import monitor, numeric, part, spec


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["wander by 0.3 σ", "wander, five of twelve days lost", "persist, AR 0.8", "weekends of their own"]
)
def test_quiet_monitors_stay_quiet_from_their_first_day_on(name):
    # Six of the benchmark's runs, each of 90 days and windows of 1, 7 and 30 days; docs/statistics.md has many more.
    (line,) = (line for line in LINES if line.name.startswith(name))
    rates = np.mean([shares(line, seed)[:4] for seed in range(6)], axis=0)
    assert rates.max() <= 0.02, rates


def series(phi: float, days: int, generator: np.random.Generator) -> np.ndarray:
    """An autoregression of variance 1."""
    found = generator.normal(size=days)
    for day in range(1, days):
        found[day] = phi * found[day - 1] + np.sqrt(1 - phi**2) * found[day]
    return found


def of_days(levels: np.ndarray, noise: float = 0.0) -> Persistence:
    return persistence(levels[:, None], np.full(len(levels), noise), np.arange(len(levels)))


def test_a_week_that_holds_one_day_is_judged_as_the_day():
    reference = monitor(np.random.default_rng(1), 56, 300, restless=0.3)
    thresholds = read_thresholds(calibrate(reference, spec((1, 7)), "b"))
    first = part(monitor(np.random.default_rng(2), 1, 300), 0, 1)
    scores = score_days(spec((1, 7)), "b", reference, first, first[None, "x0"].days, thresholds)
    by_window = {length: rows.set_index(["feature", "method"]) for length, rows in scores.groupby("window_days")}
    assert (by_window[7]["current_days"] == 1).all()
    assert by_window[7]["threshold"].to_dict() == pytest.approx(by_window[1]["threshold"].to_dict())
    assert by_window[7]["severity"].to_dict() == by_window[1]["severity"].to_dict()


def test_a_window_needs_less_room_the_more_of_its_days_it_holds():
    reference = monitor(np.random.default_rng(1), 56, 300, restless=0.3)
    generator = np.random.default_rng(2)
    week = {(None, name): numeric(generator, 7, 300) for name in ("x0", "x1", "x2")}
    thresholds = read_thresholds(calibrate(reference, spec((7,)), "b"))
    scores = score_days(spec((7,)), "b", reference, week, week[None, "x0"].days, thresholds)
    of_ks = scores[(scores["feature"] == "x0") & (scores["method"] == "ks")].sort_values("day")
    assert of_ks["current_days"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (np.diff(of_ks["threshold"]) < 0).all()


def test_days_with_hardly_a_row_do_not_make_a_window_complete():
    reference = monitor(np.random.default_rng(1), 56, 300, restless=0.3)
    thresholds = read_thresholds(calibrate(reference, spec((7,)), "b"))
    week = numeric(np.random.default_rng(2), 7, 300)
    counts = week.counts.copy()
    counts[:6] = np.arange(40) == 20
    trickle = replace(week, counts=counts, row_count=np.zeros(0), squared_weight=np.zeros(0))
    found = []
    for histogram in (trickle, part({(None, "x0"): week}, 6, 7)[None, "x0"]):
        day = week.days[-1:]
        scores = score_days(spec((7,)), "b", reference, {(None, "x0"): histogram}, day, thresholds)
        found.append(scores[scores["method"] == "ks"]["threshold"].iloc[0])
    assert found[0] == pytest.approx(found[1], rel=0.05)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_persistence_is_estimated_without_bias_from_two_months(phi):
    generator = np.random.default_rng(7)
    found = [of_days(series(phi, 56, generator)) for _ in range(200)]
    # At 0 the estimate is cut off below, which raises its mean.
    assert np.mean([each.phi for each in found]) == pytest.approx(phi, abs=0.06)
    assert np.mean([each.phi + 2 * each.error >= phi for each in found]) >= 0.95


def test_noise_does_not_hide_persistence():
    generator = np.random.default_rng(8)
    found = [of_days(series(0.8, 200, generator) + 0.7 * generator.normal(size=200), 0.49).phi for _ in range(50)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_days_that_vary_by_sampling_alone_show_no_persistence():
    found = of_days(np.random.default_rng(9).normal(size=56), 1.0)
    assert (found.phi, found.weekly) == (0.0, 0.0)


def test_weekdays_of_their_own_even_out_in_whole_weeks_only():
    levels = (np.arange(56) % 7 >= 5) + 0.05 * np.random.default_rng(0).normal(size=56)
    found = of_days(levels)
    ratios = found.ratios("baseline", 14)
    assert found.weekly > 0.9
    assert max(ratios[6], ratios[13]) < 0.05
    assert ratios[1] > 0.8  # a Saturday and a Sunday
    assert ratios[8] > ratios[6]


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_the_mean_square_of_windows_is_the_processes(phi):
    generator = np.random.default_rng(10)
    known = Persistence(56, phi)
    expected = known.ratios("baseline", 30)
    seen, single = np.zeros(3), 0.0
    for _ in range(4_000):
        days = series(phi, 56 + 60, generator)
        reference, later = days[:56], days[-30:]
        single += np.mean(((reference - reference.mean()) * 56 / 55) ** 2)
        seen += [(later[:length].mean() - reference.mean()) ** 2 for length in (1, 7, 30)]
    assert seen / single == pytest.approx(expected[[0, 6, 29]], rel=0.1)


def test_windows_beside_each_other_differ_more_the_longer_they_are_where_days_persist():
    ratios = Persistence(56, 0.9).ratios("previous_window", 7)
    assert (np.diff(ratios) > 0).all()
    assert (np.diff(Persistence(56, 0.0).ratios("previous_window", 7)) < 0).all()
